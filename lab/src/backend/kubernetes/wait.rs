//! Waits until the pods of a lab are as ordered, with a deadline, and fetches what tells why they are not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Client;
use kube::api::{Api, ListParams, LogParams};
use tokio::sync::watch;

use super::Patience;
use super::apply::answered;
use super::diagnose::{self, Problem};
use super::names::{self, PART};
use super::pods::{Pods, Replica};
use crate::backend::error::named;
use crate::backend::{Failure, LabError, Stage};
use crate::limits;
use crate::paths::LabFiles;

/// Whose pods are waited for, and where they are.
#[derive(Clone)]
pub struct Waiting<'a> {
    /// The cluster.
    pub client: &'a Client,
    /// The lab's name.
    pub lab: &'a str,
    /// What is known of its pods.
    pub pods: &'a Pods,
    /// Where logs are.
    pub files: &'a LabFiles,
    /// How long it waits for what may yet come.
    pub patience: Patience,
    /// Changes with the pods.
    pub changes: watch::Receiver<u64>,
}

/// What there should be: replicas ready, by the label of their pods.
pub type Expected = BTreeMap<String, usize>;

impl Waiting<'_> {
    fn namespace(&self) -> String {
        names::namespace(self.lab)
    }

    /// Waits until each part has so many replicas, each with every container ready, and no other.
    ///
    /// # Errors
    /// Names the pod that will not get ready, with its events and last lines; or at the deadline those that are not.
    pub async fn until_ready(&mut self, expected: &Expected, within: Duration) -> Result<(), LabError> {
        let started = Instant::now();
        let mut looked = Instant::now();
        loop {
            let missing = missing(&self.pods.replicas(), expected);
            if missing.is_empty() {
                return Ok(());
            }
            if looked.elapsed() >= limits::CLUSTER_POLL * 4 {
                if let Some(failure) = self.look(expected, started).await? {
                    return Err(LabError::Failed(Box::new(failure)));
                }
                looked = Instant::now();
            }
            if started.elapsed() > within {
                return Err(self.too_late(&missing, within).await);
            }
            // Pods change without a word where time alone makes a problem of what they are.
            let _ = tokio::time::timeout(limits::CLUSTER_POLL, self.changes.changed()).await;
        }
    }

    /// The first pod that will not get ready.
    async fn look(&self, expected: &Expected, started: Instant) -> Result<Option<Failure>, LabError> {
        let events = self.events().await?;
        for pod in self.pods.pods() {
            let label = label_of(&pod);
            if !expected.contains_key(&label) || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let name = pod.metadata.name.clone().unwrap_or_default();
            let of_pod: Vec<Event> = events
                .iter()
                .filter(|event| event.involved_object.name.as_deref() == Some(&name))
                .cloned()
                .collect();
            let age = self.age(&name).unwrap_or_else(|| started.elapsed());
            if let Some(problem) = diagnose::problem(&pod, &of_pod, age, self.patience) {
                return Ok(Some(self.failure(&name, &label, problem, &of_pod, age).await));
            }
        }
        self.not_made(expected, &events, started).await
    }

    fn age(&self, pod: &str) -> Option<Duration> {
        self.pods.replicas().iter().find(|replica| replica.pod == pod).map(|replica| replica.seen.elapsed())
    }

    /// A pod that is not even made: a webhook, a quota, a missing account stands in the way.
    async fn not_made(
        &self,
        expected: &Expected,
        events: &[Event],
        started: Instant,
    ) -> Result<Option<Failure>, LabError> {
        if started.elapsed() < self.patience.made {
            return Ok(None);
        }
        let there: Vec<String> = self.pods.pods().iter().map(label_of).collect();
        let Some(label) = expected.keys().find(|label| !there.contains(label)) else { return Ok(None) };
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace());
        let of_part = ListParams::default().labels(&format!("{PART}={label}"));
        let sets = answered("list", "ReplicaSets", sets.list(&of_part)).await?;
        let failed = sets.items.iter().find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_deref()?;
            let condition = conditions.iter().find(|condition| condition.type_ == "ReplicaFailure")?;
            condition.message.clone()
        });
        let Some(detail) = failed else { return Ok(None) };
        let hint = match detail.contains("webhook") {
            true => "kubectl get pods -A | grep -v Running   # is what serves the webhook ready?",
            false => "the message names what is in the way",
        };
        let problem = Problem {
            what: "is not made".to_owned(),
            detail,
            hint: hint.to_owned(),
            container: None,
            crashed: false,
        };
        let of_part: Vec<Event> = events
            .iter()
            .filter(|event| {
                event.involved_object.name.as_deref().is_some_and(|name| name.starts_with(label.as_str()))
            })
            .cloned()
            .collect();
        Ok(Some(self.failure(label, label, problem, &of_part, started.elapsed()).await))
    }

    /// The first pod that is not ready, with its events and last lines; where there is none, the parts that lack one.
    async fn too_late(&self, missing: &[String], within: Duration) -> LabError {
        let replicas = self.pods.replicas();
        let late = replicas.iter().find(|replica| !replica.ready && missing.contains(&replica.label));
        let (name, seconds) = (self.lab.to_owned(), within.as_secs());
        let Some(late) = late else {
            return LabError::NotReady { name, seconds, waiting: missing.join(", ") };
        };
        let events = self.events().await.unwrap_or_default();
        let of_pod = |event: &&Event| event.involved_object.name.as_deref() == Some(&late.pod);
        let of_pod: Vec<Event> = events.iter().filter(of_pod).cloned().collect();
        let problem = Problem {
            what: format!("was not ready after {seconds} s"),
            detail: format!("not ready: {}", missing.join(", ")),
            hint: named("logs", self.lab),
            container: Some(late.container.clone()),
            crashed: false,
        };
        let failure = self.failure(&late.pod, &late.label, problem, &of_pod, late.seen.elapsed()).await;
        LabError::Failed(Box::new(Failure { stage: Stage::Ready, ..failure }))
    }

    async fn events(&self) -> Result<Vec<Event>, LabError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace());
        let mut events = answered("list", "events", api.list(&ListParams::default())).await?.items;
        events.sort_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
        Ok(events)
    }

    async fn failure(
        &self,
        pod: &str,
        label: &str,
        problem: Problem,
        events: &[Event],
        age: Duration,
    ) -> Failure {
        let Problem { what, detail, hint, container, crashed } = problem;
        let resource = match &container {
            Some(container) => self
                .pods
                .replicas()
                .into_iter()
                .find(|replica| replica.pod == pod && replica.container == *container)
                .map_or_else(|| label.to_owned(), |replica| replica.name),
            None => label.to_owned(),
        };
        let mut log_tail: Vec<String> =
            diagnose::events_shown(events).into_iter().map(|line| format!("event {line}")).collect();
        if let Some(container) = &container {
            log_tail.extend(self.last_lines(pod, container, crashed).await);
        }
        Failure {
            log: self.files.log(&resource),
            resource,
            stage: Stage::Start,
            what: format!("{what} (pod {pod})"),
            probe: None,
            last_status: (!detail.is_empty()).then_some(detail),
            elapsed_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            log_tail,
            hint: Some(hint),
        }
    }

    /// What a container said last; of one that crashed, what it said before it did.
    async fn last_lines(&self, pod: &str, container: &str, crashed: bool) -> Vec<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace());
        let parameters = LogParams {
            container: Some(container.to_owned()),
            previous: crashed,
            tail_lines: i64::try_from(limits::LOG_TAIL_LINES).ok(),
            ..LogParams::default()
        };
        let logs = answered("read", "a log", api.logs(pod, &parameters)).await.unwrap_or_default();
        logs.lines().map(str::to_owned).collect()
    }
}

/// What a pod is a replica of, by its label.
pub fn label_of(pod: &Pod) -> String {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(PART)).cloned().unwrap_or_default()
}

/// The labels whose pods are not all there and ready, or of which there are too many.
pub fn missing(replicas: &[Replica], expected: &Expected) -> Vec<String> {
    let mut missing = Vec::new();
    for (label, count) in expected {
        let mut pods: BTreeMap<&str, bool> = BTreeMap::new();
        for replica in replicas.iter().filter(|replica| replica.label == *label) {
            let ready = pods.entry(&replica.pod).or_insert(true);
            *ready &= replica.ready;
        }
        let all_ready = pods.len() == *count && pods.values().all(|ready| *ready);
        if !all_ready {
            missing.push(label.clone());
        }
    }
    missing
}
