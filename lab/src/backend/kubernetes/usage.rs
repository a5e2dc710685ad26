//! What the parts of a lab use of their nodes, from the kubelets' cumulative counters. They are read every 10 to 15 s, so a question
//! waits until they have been read after it; there is no curve to be had from them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kube::Client;
use serde::Deserialize;

use super::apply::answered;
use super::names;
use super::pods::{Pods, Replica};
use crate::backend::{LabError, Usage};
use crate::limits;

/// One incarnation of a container: pod, container, times it was started again.
type Incarnation = (String, String, u32);

/// The counters of one container, as its kubelet read them.
#[derive(Debug, Clone, PartialEq)]
struct Counters {
    name: String,
    cpu_seconds: f64,
    memory_bytes: u64,
    read_at: String,
}

/// What has been read so far; what a container used stays used when it is gone.
#[derive(Debug, Default)]
pub struct Counted {
    incarnations: Mutex<BTreeMap<Incarnation, Counters>>,
}

impl Counted {
    /// Asks every node that has one of the replicas, and keeps what it tells.
    ///
    /// # Errors
    /// Names the node that did not answer.
    pub async fn read(&self, client: &Client, lab: &str, pods: &Pods) -> Result<(), LabError> {
        let replicas = pods.replicas();
        let mut nodes: Vec<&str> = replicas.iter().filter_map(|replica| replica.node.as_deref()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let summary = summary(client, node).await?;
            self.keep(&summary, &names::namespace(lab), &replicas);
        }
        self.remember(&replicas);
        Ok(())
    }

    /// A replica that no kubelet has looked at yet is known by name all the same; what it uses until a first look is lost if it goes
    /// before.
    fn remember(&self, replicas: &[Replica]) {
        let mut incarnations = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        let is_counted = |replica: &&Replica| !(replica.wasm && replica.container == names::DAPRD);
        for replica in replicas.iter().filter(is_counted) {
            let key = (replica.uid.clone(), replica.container.clone(), replica.restarts);
            incarnations.entry(key).or_insert_with(|| Counters {
                name: replica.name.clone(),
                cpu_seconds: 0.0,
                memory_bytes: 0,
                read_at: String::new(),
            });
        }
    }

    fn keep(&self, summary: &Summary, namespace: &str, replicas: &[Replica]) {
        let mut incarnations = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        for pod in summary.pods.iter().filter(|pod| pod.pod_ref.namespace == namespace) {
            for container in &pod.containers {
                let is_it = |replica: &&Replica| {
                    replica.pod == pod.pod_ref.name && replica.container == container.name
                };
                let Some(replica) = replicas.iter().find(is_it) else { continue };
                let Some(cpu) = cpu_of(replica, pod, container) else { continue };
                let key = (replica.uid.clone(), container.name.clone(), replica.restarts);
                let counters = Counters {
                    name: replica.name.clone(),
                    cpu_seconds: cpu.usage_core_nano_seconds.unwrap_or(0) as f64 / 1e9,
                    memory_bytes: container.memory.as_ref().map_or(0, Memory::resident),
                    read_at: cpu.time.clone(),
                };
                incarnations.insert(key, counters);
            }
        }
    }

    /// When the counters of each living container were read.
    fn read_at(&self, replicas: &[Replica]) -> BTreeMap<Incarnation, String> {
        let incarnations = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        let living = |key: &Incarnation| {
            replicas.iter().any(|replica| {
                (&replica.uid, &replica.container, replica.restarts) == (&key.0, &key.1, key.2)
                    && replica.ready
            })
        };
        let read = incarnations.iter().filter(|(key, _)| living(key));
        read.map(|(key, counters)| (key.clone(), counters.read_at.clone())).collect()
    }

    /// Reads until each living container's counters were read after this was called, or for as long as that may take.
    ///
    /// # Errors
    /// As [`Counted::read`].
    pub async fn fresh(&self, client: &Client, lab: &str, pods: &Pods) -> Result<Vec<Usage>, LabError> {
        let started = Instant::now();
        self.read(client, lab, pods).await?;
        let first = self.read_at(&pods.replicas());
        loop {
            let now = self.read_at(&pods.replicas());
            let stale = first.iter().any(|(key, read_at)| now.get(key) == Some(read_at));
            if !stale || started.elapsed() > limits::USAGE_FRESH {
                return Ok(self.usage(pods));
            }
            tokio::time::sleep(limits::CLUSTER_POLL * 4).await;
            self.read(client, lab, pods).await?;
        }
    }

    /// What is known now: by name, past incarnations together with the present one.
    fn usage(&self, pods: &Pods) -> Vec<Usage> {
        let replicas = pods.replicas();
        let incarnations = self.incarnations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut usage: Vec<Usage> = Vec::new();
        for ((uid, container, restarts), counters) in incarnations.iter() {
            let lives = replicas.iter().any(|replica| {
                (&replica.uid, &replica.container, replica.restarts) == (uid, container, *restarts)
            });
            let rss_bytes = if lives { counters.memory_bytes } else { 0 };
            match usage.iter_mut().find(|row| row.name == counters.name) {
                Some(row) => {
                    row.cpu_seconds += counters.cpu_seconds;
                    row.rss_bytes += rss_bytes;
                }
                None => {
                    let (name, cpu_seconds) = (counters.name.clone(), counters.cpu_seconds);
                    usage.push(Usage { name, cpu_seconds, rss_bytes });
                }
            }
        }
        usage
    }
}

/// The counters of a container. The shim tells none of its containers', so those of a Wasm pod are the pod's, and the application's
/// alone: what a Dapr beside it used is in them.
fn cpu_of<'a>(replica: &Replica, pod: &'a PodStats, container: &'a ContainerStats) -> Option<&'a Cpu> {
    match (replica.wasm, replica.container == names::DAPRD) {
        (false, _) => container.cpu.as_ref(),
        (true, false) => pod.cpu.as_ref(),
        (true, true) => None,
    }
}

async fn summary(client: &Client, node: &str) -> Result<Summary, LabError> {
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary?only_cpu_and_memory=true");
    let request = http::Request::get(&path).body(Vec::new()).unwrap_or_default();
    answered("read the counters of", &format!("node {node}"), client.request(request)).await
}

/// The part of the kubelet's summary that is read.
#[derive(Debug, Deserialize)]
struct Summary {
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodStats {
    pod_ref: PodRef,
    cpu: Option<Cpu>,
    #[serde(default)]
    containers: Vec<ContainerStats>,
}

#[derive(Debug, Deserialize)]
struct PodRef {
    name: String,
    namespace: String,
}

#[derive(Debug, Deserialize)]
struct ContainerStats {
    name: String,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    time: String,
    usage_core_nano_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    rss_bytes: Option<u64>,
    working_set_bytes: Option<u64>,
}

impl Memory {
    /// Resident memory; where the node does not tell it, the working set.
    fn resident(&self) -> u64 {
        self.rss_bytes.filter(|bytes| *bytes > 0).or(self.working_set_bytes).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pods::tests::pod;
    use super::*;

    fn summary(pod: &str, nanoseconds: u64, time: &str) -> Summary {
        let container = json!({
            "name": "app", "cpu": { "time": time, "usageCoreNanoSeconds": nanoseconds },
            "memory": { "workingSetBytes": 7 },
        });
        let pods = json!([{ "podRef": { "name": pod, "namespace": "spin-lab-main", "uid": "u" }, "containers": [container] },
            { "podRef": { "name": pod, "namespace": "other", "uid": "u" }, "containers": [] }]);
        serde_json::from_value(json!({ "node": {}, "pods": pods })).expect("a summary")
    }

    #[test]
    fn what_a_pod_used_stays_counted_when_another_has_its_number() {
        let (pods, counted) = (Pods::default(), Counted::default());
        pods.applied(pod("a", "distributor", &[("app", true)], false));
        counted.keep(&summary("a", 2_000_000_000, "1"), "spin-lab-main", &pods.replicas());
        pods.deleted("a");
        pods.applied(pod("b", "distributor", &[("app", true)], false));
        counted.keep(&summary("b", 500_000_000, "2"), "spin-lab-main", &pods.replicas());
        let usage = counted.usage(&pods);
        assert_eq!(usage.len(), 1);
        assert_eq!(
            (usage[0].name.as_str(), usage[0].cpu_seconds, usage[0].rss_bytes),
            ("distributor-1", 2.5, 7)
        );
    }

    #[test]
    fn a_wasm_pods_counters_are_its_applications() {
        let (pods, counted) = (Pods::default(), Counted::default());
        let mut wasm = pod("a", "distributor", &[("app", true), (names::DAPRD, true)], false);
        wasm.spec.as_mut().expect("a spec").runtime_class_name = Some("spin".to_owned());
        pods.applied(wasm);
        let nothing = json!({ "time": "9", "usageCoreNanoSeconds": 0 });
        let stats = json!({
            "podRef": { "name": "a", "namespace": "spin-lab-main" },
            "cpu": { "time": "1", "usageCoreNanoSeconds": 3_000_000_000_u64 },
            "containers": [{ "name": "app", "cpu": nothing }, { "name": names::DAPRD, "cpu": nothing }],
        });
        let summary: Summary = serde_json::from_value(json!({ "pods": [stats] })).expect("a summary");
        counted.keep(&summary, "spin-lab-main", &pods.replicas());
        let usage: Vec<_> =
            counted.usage(&pods).into_iter().map(|usage| (usage.name, usage.cpu_seconds)).collect();
        assert_eq!(usage, [("distributor-1".to_owned(), 3.0)]);
    }

    #[test]
    fn a_replica_that_went_before_the_first_look_is_known_and_one_that_is_looked_at_later_counts() {
        let (pods, counted) = (Pods::default(), Counted::default());
        pods.applied(pod("a", "distributor", &[("app", true)], false));
        counted.remember(&pods.replicas());
        assert_eq!(counted.usage(&pods)[0].cpu_seconds, 0.0);
        counted.keep(&summary("a", 1_000_000_000, "1"), "spin-lab-main", &pods.replicas());
        counted.remember(&pods.replicas());
        pods.deleted("a");
        let usage = counted.usage(&pods);
        assert_eq!((usage.len(), usage[0].name.as_str(), usage[0].cpu_seconds), (1, "distributor-1", 1.0));
    }

    #[test]
    fn counters_of_strangers_are_not_kept() {
        let (pods, counted) = (Pods::default(), Counted::default());
        counted.keep(&summary("stranger", 1, "1"), "spin-lab-main", &pods.replicas());
        assert!(counted.usage(&pods).is_empty());
    }
}
