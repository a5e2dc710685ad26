//! What is saved of a cluster that failed before it is removed: the logs of its nodes, and its events. It is best effort, and
//! never hides the failure that it is about.

use std::path::Path;

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use super::limits;
use super::provider::{Own, OwnKind, lines};
use super::{Call, ready};

/// Writes `node-….log` of each node, and `events.log`.
pub(super) async fn save(own: &Own, folder: &Path) {
    if std::fs::create_dir_all(folder).is_err() {
        return;
    }
    let label = match own.kind {
        OwnKind::K3d => format!("label=k3d.cluster={}", own.names.cluster),
        OwnKind::Kind => format!("label=io.x-k8s.kind.cluster={}", own.names.cluster),
    };
    let list =
        Call::new("docker", ["container", "ls", "--all", "--filter", &label, "--format", "{{.Names}}"]);
    for node in list.run().await.map(|text| lines(&text)).unwrap_or_default() {
        let tail = limits::EVIDENCE_LINES.to_string();
        let logs = Call::new("docker", ["container", "logs", "--timestamps", "--tail", &tail, &node]);
        let text = logs.run_both().await.unwrap_or_else(|error| error.to_string());
        // A full disk may be what the cluster failed of.
        let _ = std::fs::write(folder.join(format!("node-{node}.log")), text);
    }
    if let Some(events) = events(own).await {
        let _ = std::fs::write(folder.join("events.log"), events);
    }
}

/// The events of every namespace, oldest first; none where the cluster does not answer.
async fn events(own: &Own) -> Option<String> {
    let fresh = own.fresh_kubeconfig();
    let kubeconfig = if fresh.is_file() { fresh } else { own.files.kubeconfig() };
    let asked = async {
        let client = ready::client(&kubeconfig, &own.context()).await.ok()?;
        let events = Api::<Event>::all(client)
            .list(&ListParams::default().limit(limits::EVIDENCE_EVENTS))
            .await
            .ok()?;
        Some(events.items)
    };
    let mut events = tokio::time::timeout(limits::API_ANSWER, asked).await.ok()??;
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    Some(events.iter().map(line).collect())
}

fn line(event: &Event) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let when = event.last_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    let object = &event.involved_object;
    format!(
        "{when} {} {} {}/{}: {}\n",
        word(&object.namespace),
        word(&event.reason),
        word(&object.kind),
        word(&object.name),
        word(&event.message)
    )
}
