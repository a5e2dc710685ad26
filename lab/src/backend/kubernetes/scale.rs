//! More and fewer replicas, deaths and restarts, as the cluster's own controllers carry them out: the lab changes a number or
//! deletes a pod, and watches what becomes of it.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::apply::{answered, api_of};
use super::names::{self, DaprPlace, Replicated};
use super::object::Object;
use super::pods::Replica;
use super::{House, KubernetesBackend};
use crate::backend::{AfterKill, LabError, Part, Scalable, Scaled, StartedReplica, Target};
use crate::clock;
use crate::limits;
use crate::spec::{DaprStrategy, Role, SpinShape, Topology};

/// The least that a node waits between telling a container to end and killing it. With nothing the API server forgets the pod at
/// once, while its containers still run for a moment: nobody could wait for their end.
const SUDDEN: Duration = Duration::from_secs(1);

/// What holds the number of replicas of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Deployment,
    SpinApp,
}

impl KubernetesBackend {
    /// Starts or stops replicas until there are `count`.
    pub(super) async fn scale_to(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        let house = &self.house;
        scalable.check(house.spec.topology, count)?;
        let everywhere = house.spec.cluster.dapr_strategy == DaprStrategy::Daemonset;
        if scalable.target == Target::Dapr && everywhere {
            return Err(LabError::Refused(format!(
                "{scalable} is a daemonset: it has one replica on each node; add a node"
            )));
        }
        let _alone = house.scaling.lock().await;
        // What goes takes its counters along, and one that lived for seconds may not have been looked at.
        let client = &house.reached()?.client;
        house.counted.read(client, &house.spec.name, &house.pods).await?;
        let (ordered, ordered_us) = (Instant::now(), clock::now_us());
        let before = house.pods.of(scalable.part());
        let from = before.len() as u32;
        let mut stopped = Vec::new();
        for part in house.together(scalable) {
            let going: Vec<_> =
                house.pods.of(part).into_iter().filter(|replica| replica.number > count).collect();
            house.prefer(&going).await?;
            house.set_replicas(part, count).await?;
            stopped.extend(going);
        }
        house.until_count(scalable, count).await?;
        // Where one died in the meantime, the controller may have kept another than was meant: that one takes its place.
        let mut gone = stopped.clone();
        for part in house.together(scalable) {
            house.pods.close_ranks(part);
            let stay = house.pods.of(part);
            gone.retain(|replica| stay.iter().all(|other| other.uid != replica.uid));
        }
        house.until_gone(&gone).await?;
        let known = |replica: &Replica| before.iter().any(|old| old.uid == replica.uid);
        let mut started: Vec<_> = house
            .pods
            .of(scalable.part())
            .iter()
            .filter(|replica| !known(replica))
            .map(|replica| started(replica, ordered))
            .collect();
        started.sort_by(|one, other| one.ready_after_ms.total_cmp(&other.ready_after_ms));
        Ok(Scaled {
            resource: scalable.to_string(),
            from,
            to: count,
            ordered_us,
            took_ms: ordered.elapsed().as_secs_f64() * 1e3,
            started,
            stopped: stopped.into_iter().map(|replica| replica.name).collect(),
        })
    }

    pub(super) async fn kill_one(&self, part: Part, replica: u32, after: AfterKill) -> Result<(), LabError> {
        let house = &self.house;
        let part = house.pod_of(part);
        if after == AfterKill::StayDown && house.is_down(part, replica) {
            return Ok(());
        }
        let victim = house.replica(part, replica)?;
        if after == AfterKill::StayDown {
            house.keep_down(part, replica, &victim).await?;
        }
        house.delete(&victim, SUDDEN).await?;
        house.until_gone(&[victim]).await
    }

    pub(super) async fn restart_one(&self, part: Part, replica: u32) -> Result<(), LabError> {
        let house = &self.house;
        let part = house.pod_of(part);
        if house.is_down(part, replica) {
            let _alone = house.scaling.lock().await;
            let count = house.pods.of(part).len() as u32 + 1;
            house.set_replicas(part, count).await?;
            house.forget_down(part, replica);
            return house.until_ready_again(part, replica, "").await;
        }
        let old = house.replica(part, replica)?;
        house.delete(&old, limits::STOP_GRACE).await?;
        house.until_ready_again(part, replica, &old.uid).await
    }
}

impl House {
    /// What is scaled with one number: an application that is a SpinApp and the Dapr that is beside it by order alone.
    fn together(&self, scalable: Scalable) -> Vec<Part> {
        let role = scalable.role;
        let beside =
            self.spec.topology == Topology::Sidecar && names::dapr_place(&self.spec, role) == DaprPlace::Own;
        match scalable.target {
            Target::App if beside => vec![Part::App(role), Part::Dapr(role)],
            _ => vec![scalable.part()],
        }
    }

    /// The part whose pod another one is in: a sidecar lives and dies with its application.
    fn pod_of(&self, part: Part) -> Part {
        match part {
            Part::Dapr(role) if names::dapr_place(&self.spec, role) != DaprPlace::Own => Part::App(role),
            other => other,
        }
    }

    fn replica(&self, part: Part, number: u32) -> Result<Replica, LabError> {
        let found = self.pods.of(part).into_iter().find(|replica| replica.number == number);
        found.ok_or_else(|| {
            let known: Vec<_> = self.pods.replicas().into_iter().map(|replica| replica.name).collect();
            let name = match part {
                Part::Broker | Part::Blob => Replicated::One(part).name(number),
                _ => Replicated::Many(part).name(number),
            };
            LabError::Refused(format!("there is no {name}; there are: {}", known.join(", ")))
        })
    }

    fn holder(&self, part: Part) -> Holder {
        let is_spin_app = |role: Role| {
            names::is_wasm(self.spec.stacks.of(role)) && self.spec.cluster.spin_shape == SpinShape::Spinapp
        };
        match part {
            Part::App(role) if is_spin_app(role) => Holder::SpinApp,
            _ => Holder::Deployment,
        }
    }

    async fn set_replicas(&self, part: Part, count: u32) -> Result<(), LabError> {
        let client = &self.reached()?.client;
        let (name, namespace) = (part.to_string(), names::namespace(&self.spec.name));
        let patch = Patch::Merge(json!({ "spec": { "replicas": count } }));
        let parameters = PatchParams::default();
        match self.holder(part) {
            Holder::Deployment => {
                let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
                answered("scale", &name, api.patch_scale(&name, &parameters, &patch)).await?;
            }
            Holder::SpinApp => {
                let kind =
                    json!({ "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": {} });
                let api = api_of(client, &Object::custom("spinapps", kind).resource, Some(&namespace));
                answered("scale", &name, api.patch(&name, &parameters, &patch)).await?;
            }
        }
        Ok(())
    }

    /// Tells the controller which pods to take first when there are to be fewer.
    async fn prefer(&self, going: &[Replica]) -> Result<(), LabError> {
        let api = self.pod_api()?;
        let cost =
            json!({ "metadata": { "annotations": { "controller.kubernetes.io/pod-deletion-cost": "-1" } } });
        for replica in going {
            let patch = Patch::Merge(&cost);
            answered("mark", &replica.pod, api.patch(&replica.pod, &PatchParams::default(), &patch)).await?;
        }
        Ok(())
    }

    async fn keep_down(&self, part: Part, number: u32, victim: &Replica) -> Result<(), LabError> {
        let impossible =
            |why: &str| Err(LabError::Refused(format!("{} cannot stay down: {why}", victim.name)));
        let count = self.pods.of(part).len() as u32 - 1;
        match (part, self.holder(part)) {
            (Part::Broker | Part::Blob, _) => return impossible("what it holds would be lost with it"),
            (Part::Dapr(_), _) if self.spec.cluster.dapr_strategy == DaprStrategy::Daemonset => {
                return impossible("a daemonset starts it again");
            }
            (_, Holder::SpinApp) if count == 0 => {
                return impossible("a SpinApp has one replica at least");
            }
            _ => {}
        }
        let _alone = self.scaling.lock().await;
        self.prefer(std::slice::from_ref(victim)).await?;
        self.set_replicas(part, count).await?;
        self.remember_down(part, number);
        Ok(())
    }

    fn pod_api(&self) -> Result<Api<Pod>, LabError> {
        let client = &self.reached()?.client;
        Ok(Api::namespaced(client.clone(), &names::namespace(&self.spec.name)))
    }

    async fn delete(&self, replica: &Replica, grace: Duration) -> Result<(), LabError> {
        let api = self.pod_api()?;
        let parameters = DeleteParams {
            grace_period_seconds: u32::try_from(grace.as_secs()).ok(),
            ..DeleteParams::default()
        };
        match answered("delete", &replica.pod, api.delete(&replica.pod, &parameters)).await {
            Ok(_) => Ok(()),
            // The controller was quicker.
            Err(LabError::Api(error)) if error.cause.starts_with("404 ") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until these pods are there no more.
    async fn until_gone(&self, replicas: &[Replica]) -> Result<(), LabError> {
        let there = || {
            let pods = self.pods.pods();
            let uids: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
            let left = replicas.iter().filter(|replica| uids.contains(&replica.uid.as_str()));
            left.map(|replica| replica.name.clone()).collect::<Vec<_>>()
        };
        self.until(|| there().is_empty(), || there().join(", ")).await
    }

    /// Waits until there are so many replicas and each is ready.
    async fn until_count(&self, scalable: Scalable, count: u32) -> Result<(), LabError> {
        let parts = self.together(scalable);
        let right = || {
            parts.iter().all(|part| {
                let replicas = self.pods.of(*part);
                replicas.len() == count as usize && replicas.iter().all(|replica| replica.ready)
            })
        };
        self.until(right, || format!("{count} of {scalable}")).await
    }

    async fn until_ready_again(&self, part: Part, number: u32, not: &str) -> Result<(), LabError> {
        let ready = || {
            let pods = self.pods.replicas();
            let new = self.pods.of(part).into_iter().find(|replica| replica.number == number);
            new.is_some_and(|new| {
                let mut beside = pods.iter().filter(|other| other.uid == new.uid);
                new.uid != not && beside.all(|other| other.ready)
            })
        };
        self.until(ready, || Replicated::Many(part).name(number)).await
    }

    async fn until(&self, done: impl Fn() -> bool, waiting: impl Fn() -> String) -> Result<(), LabError> {
        let mut changes = self.changes.subscribe();
        let all = async {
            while !done() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        match tokio::time::timeout(limits::VERB, all).await {
            Ok(()) => Ok(()),
            Err(_) => Err(LabError::NotReady {
                name: self.spec.name.clone(),
                seconds: limits::VERB.as_secs(),
                waiting: waiting(),
            }),
        }
    }
}

/// `ready_after` counts from the order; the cold start from when the cluster made the pod, so finding a node is in it.
fn started(replica: &Replica, ordered: Instant) -> StartedReplica {
    let cold_start = replica.ready_after.unwrap_or_default();
    let ready_after = replica.seen.saturating_duration_since(ordered) + cold_start;
    StartedReplica {
        name: replica.name.clone(),
        ready_after_ms: ready_after.as_secs_f64() * 1e3,
        cold_start_ms: cold_start.as_secs_f64() * 1e3,
    }
}
