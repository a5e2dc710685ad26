//! Why a pod does not get ready, by name: what the cluster tells of it becomes one sentence, its events, and what to do. It decides
//! from data alone; who fetches it is [`super::wait`].

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};

use super::Patience;
use super::names;
use super::pods::statuses;
use crate::limits;

/// What keeps a pod from being ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// In words: `cannot pull its image`.
    pub what: String,
    /// What the cluster says of it.
    pub detail: String,
    /// What to do.
    pub hint: String,
    /// Which container it is of; `None` where it is the whole pod's.
    pub container: Option<String>,
    /// Whether what an earlier incarnation of the container logged tells why.
    pub crashed: bool,
}

/// The problem of a pod that waiting does not solve; `None` while it may yet get ready. `age` is how long the pod has been there.
pub fn problem(pod: &Pod, events: &[Event], age: Duration, patience: Patience) -> Option<Problem> {
    sandbox(pod, events)
        .or_else(|| evicted(pod))
        .or_else(|| unschedulable(pod, age, patience))
        .or_else(|| statuses(pod).iter().find_map(|status| of_container(pod, status, events, age, patience)))
}

fn problem_of_pod(what: &str, detail: &str, hint: String) -> Problem {
    Problem { what: what.to_owned(), detail: detail.to_owned(), hint, container: None, crashed: false }
}

fn message(event: &Event) -> &str {
    event.message.as_deref().unwrap_or_default()
}

/// The node has no such runtime, or cannot make the pod's surroundings at all.
fn sandbox(pod: &Pod, events: &[Event]) -> Option<Problem> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("its node");
    let no_runtime = events.iter().map(message).find(|text| {
        text.contains("no runtime for") || (text.contains("RuntimeHandler") && text.contains("not supported"))
    });
    if let Some(text) = no_runtime {
        let hint = format!(
            "node {node} has no containerd-shim-spin: `kubectl label node {node} {pool}=classic`, label one that has it \
             {pool}=wasm, and start the lab with --pools mixed; or give the node the shim and the containerd runtime '{handler}'",
            pool = names::POOL,
            handler = names::HANDLER,
        );
        return Some(problem_of_pod("runs on a node without the Spin runtime", text, hint));
    }
    let failed: Vec<_> =
        events.iter().filter(|event| event.reason.as_deref() == Some("FailedCreatePodSandBox")).collect();
    let times: i32 = failed.iter().map(|event| event.count.unwrap_or(1)).sum();
    let hint = || format!("kubectl describe node {node}");
    (times >= 3)
        .then(|| problem_of_pod("cannot be set up on its node", message(failed[failed.len() - 1]), hint()))
}

fn evicted(pod: &Pod) -> Option<Problem> {
    let status = pod.status.as_ref()?;
    if status.reason.as_deref() != Some("Evicted") {
        return None;
    }
    let detail = status.message.as_deref().unwrap_or_default();
    let hint = "free disk or memory on the node: `kubectl describe node`, `docker system df`".to_owned();
    Some(problem_of_pod("was evicted from its node", detail, hint))
}

fn unschedulable(pod: &Pod, age: Duration, patience: Patience) -> Option<Problem> {
    let conditions = pod.status.as_ref()?.conditions.as_deref()?;
    let condition = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    if age < patience.node {
        return None;
    }
    let detail = condition.message.as_deref().unwrap_or_default();
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    let hint = match selector.and_then(|selector| selector.get(names::POOL)) {
        _ if detail.contains("disk-pressure") => {
            "free disk on the node: `docker system df`, `kubectl describe node`".to_owned()
        }
        Some(pool) if detail.contains("node affinity/selector") => {
            format!("kubectl label node <NODE> {}={pool}   # or leave --pools mixed out", names::POOL)
        }
        _ if detail.contains("Insufficient") => {
            "fewer replicas, or a cluster with more room: kubectl describe node".to_owned()
        }
        _ => "kubectl describe node".to_owned(),
    };
    Some(problem_of_pod("finds no node", detail, hint))
}

fn of_container(
    pod: &Pod,
    status: &ContainerStatus,
    events: &[Event],
    age: Duration,
    patience: Patience,
) -> Option<Problem> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    let said = waiting.message.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let container = Some(status.name.clone());
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            let pulled = |text: &&str| text.contains("Failed to pull image");
            let detail = events.iter().rev().map(message).find(pulled).unwrap_or(said).to_owned();
            Some(Problem {
                what: format!("cannot pull its image {}", status.image),
                detail,
                hint: "is it in the registry, and do the nodes reach that? `kubectl describe pod` shows each attempt"
                    .to_owned(),
                container,
                crashed: false,
            })
        }
        "CreateContainerError" | "CreateContainerConfigError" | "RunContainerError" | "StartError"
            if age > patience.made =>
        {
            Some(Problem {
                what: "cannot be made".to_owned(),
                detail: said.to_owned(),
                hint: format!("kubectl describe pod {name}"),
                container,
                crashed: false,
            })
        }
        "CrashLoopBackOff" => crash_loop(status),
        _ => None,
    }
}

fn crash_loop(status: &ContainerStatus) -> Option<Problem> {
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    if restarts < limits::POD_RESTARTS {
        return None;
    }
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let detail = match ended {
        Some(ended) => format!(
            "exit code {}{}",
            ended.exit_code,
            ended.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default()
        ),
        None => String::new(),
    };
    Some(Problem {
        what: format!("ends again and again ({restarts} times)"),
        detail,
        hint: "its last lines tell why".to_owned(),
        container: Some(status.name.clone()),
        crashed: true,
    })
}

/// What the cluster tells of a pod, the latest last, each line once.
pub fn events_shown(events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for event in events {
        let reason = event.reason.as_deref().unwrap_or_default();
        let line = format!("{reason}: {}", message(event));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.split_off(lines.len().saturating_sub(limits::EVENTS_SHOWN))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LATER: Duration = Duration::from_secs(60);

    fn problem(pod: &Pod, events: &[Event], age: Duration) -> Option<Problem> {
        super::problem(pod, events, age, Patience::default())
    }

    fn pod(status: Value, spec: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "spec": spec, "status": status }))
            .expect("a pod")
    }

    fn waiting(reason: &str, message: &str, restarts: u32) -> Pod {
        let state = json!({ "waiting": { "reason": reason, "message": message } });
        let last = json!({ "terminated": { "exitCode": 1, "finishedAt": null, "startedAt": null } });
        let status = json!({
            "name": "app", "ready": false, "restartCount": restarts, "image": "registry/app@sha256:0",
            "imageID": "", "state": state, "lastState": last,
        });
        pod(json!({ "containerStatuses": [status] }), json!({ "containers": [], "nodeName": "n1" }))
    }

    fn event(reason: &str, message: &str, count: i32) -> Event {
        let event = json!({ "metadata": {}, "involvedObject": {}, "reason": reason, "message": message, "count": count });
        serde_json::from_value(event).expect("an event")
    }

    #[test]
    fn a_node_without_the_shim_is_named_with_the_fix() {
        let text = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime \
                    for \"spin\" is configured";
        let pod = waiting("ContainerCreating", "", 0);
        let found =
            problem(&pod, &[event("FailedCreatePodSandBox", text, 1)], Duration::ZERO).expect("a problem");
        assert_eq!(found.what, "runs on a node without the Spin runtime");
        assert!(found.hint.contains("kubectl label node n1 pool=classic"), "{}", found.hint);
        assert!(found.hint.contains("--pools mixed"), "{}", found.hint);
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_told_at_once_with_the_registrys_words() {
        let pod = waiting("ImagePullBackOff", "Back-off pulling image", 0);
        let pulls = [event("Failed", "Failed to pull image \"registry/app\": not found", 2)];
        let found = problem(&pod, &pulls, Duration::ZERO).expect("a problem");
        assert_eq!(found.what, "cannot pull its image registry/app@sha256:0");
        assert!(found.detail.contains("not found"));
        assert_eq!(found.container.as_deref(), Some("app"));
    }

    #[test]
    fn a_crash_counts_when_it_is_a_habit() {
        assert_eq!(problem(&waiting("CrashLoopBackOff", "", 1), &[], LATER), None);
        let found = problem(&waiting("CrashLoopBackOff", "", 3), &[], LATER).expect("a problem");
        assert!(found.crashed && found.what.contains("3 times"), "{found:?}");
        assert_eq!(found.detail, "exit code 1");
    }

    #[test]
    fn a_pod_without_a_node_is_given_a_moment_and_then_told_what_is_missing() {
        let unscheduled = |message: &str| {
            let condition = json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            });
            pod(
                json!({ "conditions": [condition] }),
                json!({ "containers": [], "nodeSelector": { "pool": "wasm" } }),
            )
        };
        let no_pool = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.";
        assert_eq!(problem(&unscheduled(no_pool), &[], Duration::ZERO), None);
        for (message, hint) in [
            (no_pool, "kubectl label node <NODE> pool=wasm"),
            ("0/1 nodes are available: 1 Insufficient cpu.", "fewer replicas"),
            (
                "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }",
                "free disk",
            ),
        ] {
            let found = problem(&unscheduled(message), &[], LATER).expect("a problem");
            assert!(found.detail == message && found.hint.starts_with(hint), "{found:?}");
        }
    }

    #[test]
    fn an_eviction_and_a_container_that_cannot_be_made_are_problems_and_a_slow_start_is_none() {
        let evicted = pod(
            json!({ "phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage." }),
            json!({ "containers": [] }),
        );
        assert!(problem(&evicted, &[], LATER).expect("a problem").what.contains("evicted"));
        let failing = waiting("CreateContainerError", "no command specified", 0);
        assert_eq!(problem(&failing, &[], Duration::ZERO), None);
        assert_eq!(problem(&failing, &[], LATER).expect("a problem").detail, "no command specified");
        assert_eq!(problem(&waiting("ContainerCreating", "", 0), &[], LATER), None);
        assert_eq!(problem(&waiting("PodInitializing", "", 0), &[], LATER), None);
    }

    #[test]
    fn events_are_shown_once_each_and_not_all() {
        let mut events = vec![event("Pulled", "same", 1), event("Pulled", "same", 1)];
        events.extend((0..9).map(|number| event("Warning", &number.to_string(), 1)));
        let shown = events_shown(&events);
        assert_eq!(
            (shown.len(), shown.last().map(String::as_str)),
            (limits::EVENTS_SHOWN, Some("Warning: 8"))
        );
    }
}
