//! What kind does, and how its answers are read. kind makes no registry, so the lab runs one beside it; the network is shared
//! by all clusters of kind, so it stays.

use super::limits;
use super::provider::{Own, State, lines, remove_containers};
use super::{Call, CallError, ClusterError};

pub(super) fn list() -> Call {
    Call::new("kind", ["get", "clusters"])
}

/// The containers that are a cluster's nodes, with the state of each.
fn nodes(own: &Own) -> Call {
    let filter = format!("label=io.x-k8s.kind.cluster={}", own.names.cluster);
    Call::new(
        "docker",
        ["container", "ls", "--all", "--filter", &filter, "--format", "{{.Names}} {{.State}}"],
    )
}

/// What kind knows of a cluster, and whether its nodes run.
pub(super) async fn state(own: &Own) -> Result<State, CallError> {
    let listed = lines(&list().run().await?);
    if !listed.contains(&own.names.cluster) {
        return Ok(State::Absent);
    }
    let nodes = lines(&nodes(own).run().await?);
    let all_run = !nodes.is_empty() && nodes.iter().all(|node| node.ends_with(" running"));
    Ok(if all_run { State::Running } else { State::Stopped })
}

/// The calls that make the cluster and its registry. kind makes its network, so the registry comes second.
pub(super) fn make(own: &Own) -> Vec<Call> {
    let config = own.files.cluster().display().to_string();
    let kubeconfig = own.fresh_kubeconfig().display().to_string();
    let create = ["create", "cluster", "--config", &config, "--kubeconfig", &kubeconfig, "--wait", "180s"];
    let create = Call::new("kind", create).within(own.settings.made_within);
    let port = format!("127.0.0.1:{}:5000", own.names.port);
    let label = own.label();
    let image = own.settings.versions.images.get("registry").map_or("registry:2", String::as_str);
    let run =
        ["run", "--detach", "--restart", "unless-stopped", "--name", &own.names.registry, "--label", &label];
    let run = Call::new("docker", run).and(["--network", "kind", "--publish", &port, image]);
    vec![create, run.within(own.settings.made_within)]
}

/// The calls that start what is stopped.
pub(super) async fn start(own: &Own) -> Result<Vec<Call>, CallError> {
    let nodes = lines(&nodes(own).run().await?);
    let names = nodes.iter().filter_map(|node| node.split(' ').next());
    let start = Call::new("docker", ["container", "start"]).and(names).and([own.names.registry.as_str()]);
    Ok(vec![start.within(own.settings.made_within)])
}

/// Removes the cluster; its registry has the label of what stands beside it.
pub(super) async fn delete(own: &Own) -> Result<Vec<String>, ClusterError> {
    let cluster = &own.names.cluster;
    let mut removed = Vec::new();
    if lines(&list().run().await?).contains(cluster) {
        let kubeconfig = own.fresh_kubeconfig().display().to_string();
        let call = Call::new("kind", ["delete", "cluster", "--name", cluster, "--kubeconfig", &kubeconfig]);
        call.within(limits::CLUSTER_DELETED).run().await?;
        removed.push(format!("kind cluster {cluster}"));
    }
    removed.extend(remove_containers(&format!("label=io.x-k8s.kind.cluster={cluster}")).await?);
    Ok(removed)
}
