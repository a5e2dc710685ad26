//! What k3d does, and how its answers are read. It never names a cluster to `k3d cluster list`: a missing one would be fatal.

use std::time::Duration;

use serde::Deserialize;

use super::limits;
use super::provider::{Own, State, remove, remove_containers};
use super::{Call, CallError, ClusterError};

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(rename = "serversRunning")]
    servers_running: u32,
    #[serde(rename = "serversCount")]
    servers_count: u32,
    #[serde(rename = "agentsRunning")]
    agents_running: u32,
    #[serde(rename = "agentsCount")]
    agents_count: u32,
}

pub(super) fn list() -> Call {
    Call::new("k3d", ["cluster", "list", "--output", "json"])
}

/// What k3d knows of a cluster.
pub(super) async fn state(own: &Own) -> Result<State, CallError> {
    let call = list();
    let text = call.run().await?;
    let listed: Vec<Listed> = serde_json::from_str(&text)
        .map_err(|source| CallError::Garbage { call: call.to_string(), source })?;
    let Some(found) = listed.iter().find(|listed| listed.name == own.names.cluster) else {
        return Ok(State::Absent);
    };
    let runs = found.servers_running == found.servers_count && found.agents_running == found.agents_count;
    // Without a server there is nothing to start: only containers that an interrupted `create` has left.
    Ok(if runs && found.servers_count > 0 { State::Running } else { State::Stopped })
}

/// k3d's own time for each of the phases of `create`; ours is for all of them together.
const PHASE: Duration = Duration::from_secs(180);

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

/// The calls that make the cluster.
pub(super) fn make(own: &Own) -> Vec<Call> {
    let cluster = &own.names.cluster;
    let config = own.files.cluster().display().to_string();
    let create =
        Call::new("k3d", ["cluster", "create", "--config", &config, "--wait", "--timeout", &seconds(PHASE)]);
    let mut calls = vec![create.within(own.settings.made_within)];
    if own.settings.mixed_pools
        && let Ok(node) = own.settings.node("k3d")
    {
        let label = format!("{}=wasm", super::config::POOL);
        let add = ["node", "create", &format!("{cluster}-wasm"), "--cluster", cluster, "--role", "agent"]
            .map(str::to_owned);
        let add = Call::new("k3d", add).and(["--image", &node.image, "--k3s-node-label", &label]);
        calls.push(add.and(["--wait", "--timeout", &seconds(PHASE)]).within(own.settings.made_within));
    }
    calls
}

/// The call that starts a stopped cluster.
pub(super) fn start(own: &Own) -> Vec<Call> {
    let call =
        Call::new("k3d", ["cluster", "start", &own.names.cluster, "--wait", "--timeout", &seconds(PHASE)]);
    vec![call.within(own.settings.made_within)]
}

/// Removes the cluster, its registry and its network, and what an interrupted `create` or `delete` has left of them.
pub(super) async fn delete(own: &Own) -> Result<Vec<String>, ClusterError> {
    let cluster = &own.names.cluster;
    let mut removed = Vec::new();
    if state(own).await? != State::Absent {
        let call = Call::new("k3d", ["cluster", "delete", cluster]).within(limits::CLUSTER_DELETED);
        call.run().await?;
        removed.push(format!("k3d cluster {cluster}"));
    }
    removed.extend(remove_containers(&format!("label=k3d.cluster={cluster}")).await?);
    removed.extend(remove_containers(&format!("name=^{}$", own.names.registry)).await?);
    removed.extend(remove("network", &format!("name=^k3d-{cluster}$")).await?);
    removed.extend(remove("volume", &format!("name=^k3d-{cluster}-images$")).await?);
    Ok(removed)
}
