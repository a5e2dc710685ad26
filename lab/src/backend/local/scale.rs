//! More or fewer replicas of a running lab, as a deployment does it: all new ones start at once and are told to the relays when
//! they are ready; those with the highest numbers go, after the relays have been told and what is in flight is finished.

use std::sync::Arc;
use std::time::Instant;

use super::plan::Kind;
use super::resource::{Life, Resource, Verb};
use super::{LocalBackend, clock};
use crate::backend::{LabError, Scalable, Scaled, StartedReplica, Target};
use crate::limits;
use crate::spec::Topology;

impl LocalBackend {
    /// Starts or stops replicas until there are `count`.
    pub(super) async fn scale_to(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        scalable.check(self.house.setting.spec.topology, count)?;
        let _alone = self.house.scaling.lock().await;
        let (ordered, ordered_us) = (Instant::now(), clock::now_us());
        let exists = |replica: &u32| self.house.find(Kind::of(scalable.part(), *replica)).is_some();
        let from = (1..=limits::REPLICAS).take_while(exists).count() as u32;
        let started = self.start(scalable, from + 1..=count, ordered).await?;
        let stopped = self.stop(scalable, count + 1..=from).await;
        Ok(Scaled {
            resource: scalable.to_string(),
            from,
            to: count,
            ordered_us,
            took_ms: ordered.elapsed().as_secs_f64() * 1e3,
            started,
            stopped,
        })
    }

    /// The kinds that are one replica: an application and its sidecar belong together.
    fn kinds(&self, scalable: Scalable, replica: u32) -> Vec<Kind> {
        let Scalable { role, target } = scalable;
        match (target, self.house.setting.spec.topology) {
            (Target::App, Topology::Sidecar) => vec![Kind::App(role, replica), Kind::Dapr(role, replica)],
            (Target::App, Topology::Shared) => vec![Kind::App(role, replica)],
            (Target::Dapr, _) => vec![Kind::Dapr(role, replica)],
        }
    }

    async fn start(
        &self,
        scalable: Scalable,
        replicas: impl Iterator<Item = u32>,
        ordered: Instant,
    ) -> Result<Vec<StartedReplica>, LabError> {
        let kinds = replicas.flat_map(|replica| self.kinds(scalable, replica));
        let mut resources = Vec::new();
        for life in self.add_all(kinds)? {
            resources.push(Arc::clone(&life.resource));
            tokio::spawn(life.live());
        }
        let mut ready = Vec::new();
        for resource in resources {
            self.until_ready(&resource, 0).await?;
            ready.push(started(&resource, ordered));
        }
        ready.sort_by(|one, other| one.ready_after_ms.total_cmp(&other.ready_after_ms));
        Ok(ready)
    }

    /// All or none: a resource that nobody brings to life would wait for ever.
    fn add_all(&self, kinds: impl Iterator<Item = Kind>) -> Result<Vec<Life>, LabError> {
        let mut added: Vec<Life> = Vec::new();
        for kind in kinds {
            match self.house.add(kind) {
                Ok(life) => added.push(life),
                Err(error) => {
                    added.iter().for_each(|life| self.house.remove(&life.resource));
                    return Err(error);
                }
            }
        }
        Ok(added)
    }

    async fn stop(&self, scalable: Scalable, replicas: impl Iterator<Item = u32>) -> Vec<String> {
        let mut stopping = Vec::new();
        let mut stopped = Vec::new();
        for replica in replicas {
            // Dapr before its application, so that what it has delivered is settled.
            let parts = self.kinds(scalable, replica).into_iter().rev();
            let parts: Vec<_> = parts.filter_map(|kind| self.house.find(kind)).collect();
            stopped.extend(parts.iter().map(|resource| resource.name.clone()));
            let house = Arc::clone(&self.house);
            stopping.push(tokio::spawn(async move {
                for resource in parts {
                    resource.order(Verb::Retire).await;
                    house.remove(&resource);
                }
            }));
        }
        for task in stopping {
            // A task that panicked has dropped its resources, and the supervisor's end ends their processes.
            let _ = task.await;
        }
        stopped
    }
}

fn started(resource: &Resource, ordered: Instant) -> StartedReplica {
    let now = resource.snapshot();
    let cold_start = now.ready_after.unwrap_or_default();
    let before_its_start = now.started.map(|start| start.saturating_duration_since(ordered));
    let ready_after = before_its_start.unwrap_or_default() + cold_start;
    StartedReplica {
        name: resource.name.clone(),
        ready_after_ms: ready_after.as_secs_f64() * 1e3,
        cold_start_ms: cold_start.as_secs_f64() * 1e3,
    }
}
