//! The pods of a lab as replicas with numbers: what a watch tells is kept here, and everything else that wants to know of a pod
//! asks here. It does not speak to a cluster.
//!
//! A pod's name is chance. A replica's number is not: a new pod takes the lowest number that no living pod of its part has, and
//! one that is told to go gives its number back at once, so that what replaces it has the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::names::{self, PART, Replicated};
use crate::backend::{Part, ReplicaEvent, Scalable, Target};
use crate::clock;
use crate::limits;

/// One container of a lab's pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// The resource's name: `distributor-dapr-2`.
    pub name: String,
    /// What it is a replica of.
    pub of: Replicated,
    /// Its number, from 1.
    pub number: u32,
    /// The label of its pod.
    pub label: String,
    /// The pod that it is in.
    pub pod: String,
    /// The pod's unique id: another pod of the same name has another.
    pub uid: String,
    /// The container.
    pub container: String,
    /// Whether the shim runs it, and what is beside it.
    pub wasm: bool,
    /// The node that it is on, once it is on one.
    pub node: Option<String>,
    /// Whether it serves.
    pub ready: bool,
    /// `waiting`, `starting`, `ready`, `restarting`, `stopping`, `failed`.
    pub state: &'static str,
    /// Times that its container was started again.
    pub restarts: u32,
    /// Which image runs, as the node tells it.
    pub image_id: String,
    /// Since when it is known.
    pub seen: Instant,
    /// From then until it was first ready.
    pub ready_after: Option<Duration>,
}

#[derive(Debug)]
struct Known {
    pod: Pod,
    label: String,
    number: u32,
    seen: Instant,
    /// Of each container: when it was first ready, since `seen`.
    ready_after: BTreeMap<String, Duration>,
}

#[derive(Debug, Default)]
struct State {
    /// By name.
    pods: BTreeMap<String, Known>,
    history: VecDeque<ReplicaEvent>,
}

/// Everything that is known of the pods of one lab.
#[derive(Debug, Default)]
pub struct Pods {
    state: Mutex<State>,
}

impl Pods {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod that was made or has changed.
    pub fn applied(&self, pod: Pod) {
        let mut state = self.state();
        let before = state.ready();
        state.apply(pod);
        state.remember(&before);
    }

    /// A pod that is gone.
    pub fn deleted(&self, name: &str) {
        let mut state = self.state();
        let before = state.ready();
        state.pods.remove(name);
        state.remember(&before);
    }

    /// These are all pods that there are.
    pub fn all_are(&self, names: &[String]) {
        let mut state = self.state();
        let before = state.ready();
        state.pods.retain(|name, _| names.contains(name));
        state.remember(&before);
    }

    /// The replicas that live, by part and number. What is told to go is none.
    pub fn replicas(&self) -> Vec<Replica> {
        let state = self.state();
        let mut replicas: Vec<_> =
            state.pods.values().filter(|known| !is_going(&known.pod)).flat_map(Known::replicas).collect();
        replicas.sort_by_key(|replica| (order(replica), replica.number));
        replicas
    }

    /// The replicas of a part.
    pub fn of(&self, part: Part) -> Vec<Replica> {
        let wanted = [Replicated::Many(part), Replicated::One(part)];
        self.replicas().into_iter().filter(|replica| wanted.contains(&replica.of)).collect()
    }

    /// Gives the replicas of a part the lowest numbers, in their order: after a scaling that met a death the ones that are left may
    /// have any. Their logs go on where they are.
    pub fn close_ranks(&self, part: Part) {
        let ranks: Vec<_> = self.of(part).into_iter().map(|replica| replica.pod).zip(1..).collect();
        let mut state = self.state();
        let before = state.ready();
        for (pod, number) in ranks {
            if let Some(known) = state.pods.get_mut(&pod) {
                known.number = number;
            }
        }
        state.remember(&before);
    }

    /// Every pod, those that go too.
    pub fn pods(&self) -> Vec<Pod> {
        self.state().pods.values().map(|known| known.pod.clone()).collect()
    }

    /// When replicas became ready and ceased to be, oldest first.
    pub fn history(&self) -> Vec<ReplicaEvent> {
        self.state().history.iter().copied().collect()
    }
}

impl State {
    fn apply(&mut self, pod: Pod) {
        let Some(name) = pod.metadata.name.clone() else { return };
        let labels = pod.metadata.labels.as_ref();
        let Some(label) = labels.and_then(|labels| labels.get(PART)).cloned() else { return };
        let uid = |pod: &Pod| pod.metadata.uid.clone();
        if self.pods.get(&name).is_some_and(|known| uid(&known.pod) != uid(&pod)) {
            self.pods.remove(&name);
        }
        let number = match self.pods.get(&name) {
            Some(known) => known.number,
            None => self.free_number(&label),
        };
        let known = self.pods.entry(name).or_insert_with(|| Known {
            pod: pod.clone(),
            label,
            number,
            seen: Instant::now(),
            ready_after: BTreeMap::new(),
        });
        known.pod = pod;
        for status in statuses(&known.pod).to_vec() {
            if status.ready {
                known.ready_after.entry(status.name).or_insert_with(|| known.seen.elapsed());
            }
        }
    }

    fn free_number(&self, label: &str) -> u32 {
        let taken = |number: &u32| {
            let mut known = self.pods.values();
            known.any(|known| known.label == label && known.number == *number && !is_going(&known.pod))
        };
        (1..).find(|number| !taken(number)).unwrap_or(u32::MAX)
    }

    /// Which replicas of applications and of Dapr are ready.
    fn ready(&self) -> Vec<(Scalable, u32)> {
        let living = self.pods.values().filter(|known| !is_going(&known.pod));
        let ready = living.flat_map(Known::replicas).filter(|replica| replica.ready);
        ready
            .filter_map(|replica| match replica.of {
                Replicated::Many(Part::App(role)) => {
                    Some((Scalable { role, target: Target::App }, replica.number))
                }
                Replicated::Many(Part::Dapr(role)) => {
                    Some((Scalable { role, target: Target::Dapr }, replica.number))
                }
                _ => None,
            })
            .collect()
    }

    fn remember(&mut self, before: &[(Scalable, u32)]) {
        let now = self.ready();
        let at_us = clock::now_us();
        let gone = before.iter().filter(|was| !now.contains(was)).map(|was| (*was, false));
        let new = now.iter().filter(|is| !before.contains(is)).map(|is| (*is, true));
        for ((of, replica), ready) in gone.chain(new) {
            if self.history.len() == limits::REPLICA_EVENTS {
                self.history.pop_front();
            }
            self.history.push_back(ReplicaEvent { at_us, of, replica, ready });
        }
    }
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() || finished(pod)
}

/// A pod that ended and will not be started again: evicted, for one.
fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// What the node tells of a pod's containers, of sidecars that are init containers too.
pub fn statuses(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// In which order people see parts.
fn order(replica: &Replica) -> usize {
    let parts = crate::spec::Role::ALL.iter().flat_map(|role| [Part::App(*role), Part::Dapr(*role)]);
    match replica.of {
        Replicated::One(Part::Broker) => 0,
        Replicated::One(_) => 1,
        Replicated::LabDapr => 2,
        Replicated::Many(part) => {
            parts.into_iter().position(|other| other == part).map_or(3, |place| 3 + place)
        }
    }
}

impl Known {
    fn replicas(&self) -> Vec<Replica> {
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers);
        containers.filter_map(|container| self.replica(&container.name)).collect()
    }

    fn replica(&self, container: &str) -> Option<Replica> {
        let of = names::part_of(&self.label, container)?;
        let status = statuses(&self.pod).iter().find(|status| status.name == container);
        let ready = status.is_some_and(|status| status.ready);
        Some(Replica {
            name: of.name(self.number),
            of,
            number: self.number,
            label: self.label.clone(),
            pod: self.pod.metadata.name.clone().unwrap_or_default(),
            uid: self.pod.metadata.uid.clone().unwrap_or_default(),
            container: container.to_owned(),
            wasm: self.pod.spec.as_ref().is_some_and(|spec| spec.runtime_class_name.is_some()),
            node: self.pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            ready,
            state: if ready { "ready" } else { self.state(status) },
            restarts: status.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0)),
            image_id: status.map(|status| status.image_id.clone()).unwrap_or_default(),
            seen: self.seen,
            ready_after: self.ready_after.get(container).copied(),
        })
    }

    fn state(&self, status: Option<&ContainerStatus>) -> &'static str {
        let Some(status) = status else { return "waiting" };
        let state = status.state.as_ref();
        match state {
            Some(state) if state.running.is_some() => "starting",
            _ if status.restart_count > 0 => "restarting",
            _ => "waiting",
        }
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// A pod as the API server tells of it.
    pub fn pod(name: &str, label: &str, containers: &[(&str, bool)], going: bool) -> Pod {
        let statuses: Vec<_> = containers
            .iter()
            .map(|(container, ready)| {
                json!({
                    "name": container, "ready": ready, "restartCount": 0, "image": "i", "imageID": "i",
                    "state": { "running": {} },
                })
            })
            .collect();
        let containers: Vec<_> =
            containers.iter().map(|(container, _)| json!({ "name": container })).collect();
        let mut pod = json!({
            "metadata": { "name": name, "uid": format!("uid-{name}"), "labels": { PART: label } },
            "spec": { "containers": containers, "nodeName": "node" },
            "status": { "phase": "Running", "containerStatuses": statuses },
        });
        if going {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(pod).expect("a pod")
    }

    fn names(pods: &Pods) -> Vec<(String, String)> {
        pods.replicas().into_iter().map(|replica| (replica.name, replica.pod)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, pod)| ((*name).to_owned(), (*pod).to_owned())).collect()
    }

    #[test]
    fn what_replaces_a_pod_gets_its_number() {
        let pods = Pods::default();
        let both = [("app", true), (names::DAPRD, true)];
        pods.applied(pod("a", "distributor", &both, false));
        pods.applied(pod("b", "distributor", &both, false));
        pods.applied(pod("a", "distributor", &both, true));
        pods.applied(pod("c", "distributor", &[("app", false), (names::DAPRD, true)], false));
        let expected = pairs(&[
            ("distributor-1", "c"),
            ("distributor-2", "b"),
            ("distributor-dapr-1", "c"),
            ("distributor-dapr-2", "b"),
        ]);
        assert_eq!(names(&pods), expected);
        pods.deleted("a");
        assert_eq!(names(&pods), expected);
        assert_eq!(pods.of(Part::App(crate::spec::Role::Distributor))[0].state, "starting");
    }

    #[test]
    fn whoever_is_left_after_a_scaling_that_met_a_death_takes_the_first_place() {
        let pods = Pods::default();
        let one = [("app", true)];
        for name in ["a", "b", "c"] {
            pods.applied(pod(name, "distributor", &one, false));
        }
        for gone in ["a", "b"] {
            pods.applied(pod(gone, "distributor", &one, true));
        }
        let app = Part::App(crate::spec::Role::Distributor);
        assert_eq!(names(&pods), pairs(&[("distributor-3", "c")]));
        pods.close_ranks(app);
        assert_eq!(names(&pods), pairs(&[("distributor-1", "c")]));
        let last: Vec<_> =
            pods.history().iter().rev().take(2).map(|event| (event.replica, event.ready)).collect();
        assert_eq!(last, [(1, true), (3, false)]);
    }

    #[test]
    fn history_tells_of_applications_and_dapr_and_of_nothing_else() {
        let pods = Pods::default();
        pods.applied(pod("s", "servicebus", &[("servicebus", true)], false));
        pods.applied(pod("a", "distributor", &[("app", false)], false));
        pods.applied(pod("a", "distributor", &[("app", true)], false));
        pods.applied(pod("a", "distributor", &[("app", true)], true));
        pods.applied(pod("d", "distributor-dapr", &[(names::DAPRD, true)], false));
        pods.all_are(&["s".to_owned()]);
        let told: Vec<_> =
            pods.history().iter().map(|event| (event.of.to_string(), event.replica, event.ready)).collect();
        let event = |of: &str, ready| (of.to_owned(), 1, ready);
        assert_eq!(
            told,
            [
                event("distributor", true),
                event("distributor", false),
                event("distributor-dapr", true),
                event("distributor-dapr", false)
            ]
        );
    }

    #[test]
    fn a_pod_that_nobody_labelled_is_no_replica() {
        let pods = Pods::default();
        pods.applied(pod("x", "something", &[("app", true)], false));
        assert!(pods.replicas().is_empty());
    }
}
