//! Tells each relay which replicas serve, whenever that changes: what a cluster does with the endpoints of a service.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use serde_json::json;

use super::plan::Kind;
use super::{House, Resource};
use crate::process::Child;

/// Starts the task that does it, for the relays there are now.
pub(super) fn keep_told(house: &Arc<House>) {
    let relays = house.all().into_iter();
    for relay in relays.filter(|resource| matches!(resource.kind, Kind::AppService(_) | Kind::DaprService(_)))
    {
        tokio::spawn(keep_one_told(Arc::downgrade(house), relay));
    }
}

async fn keep_one_told(house: Weak<House>, relay: Arc<Resource>) {
    let Some(mut changes) = house.upgrade().map(|house| house.changes.subscribe()) else { return };
    let mut told: Option<(u32, Vec<SocketAddr>)> = None;
    while let Some(present) = house.upgrade() {
        let targets = targets_of(&present, relay.kind);
        drop(present);
        if let Some(child) = relay.snapshot().child {
            let message = (child.pid(), targets);
            if told.as_ref() != Some(&message) && tell(&relay, &child, &message.1).await {
                told = Some(message);
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn targets_of(house: &House, relay: Kind) -> Vec<SocketAddr> {
    let snapshots = house.all_snapshots().into_iter();
    snapshots
        .filter(|(resource, now)| resource.kind.is_target_of(relay) && now.serving)
        .map(|(resource, _)| resource.at.main)
        .collect()
}

/// A relay that ended is told again when it is back.
async fn tell(relay: &Resource, child: &Child, targets: &[SocketAddr]) -> bool {
    let line = format!("{}\n", json!({ "targets": targets }));
    match child.write(line.as_bytes()).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(resource = relay.name, %error, "a relay could not be told its targets");
            false
        }
    }
}
