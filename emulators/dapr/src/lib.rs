//! daprd's HTTP API for the two Azure bindings: queues of Service Bus and blobs of Storage.
//!
//! An application cannot tell it from daprd 1.18.3 by what it sends and receives; where the two differ, the README says
//! so. The way through the code: [`options`] → [`resources`] → [`runtime`] → [`serve`]; requests come in through
//! [`api`] and leave through [`bindings`]; messages come in through [`servicebus`] and leave through [`app`].

pub mod api;
pub mod app;
pub mod bindings;
pub mod blob;
pub mod configuration;
pub mod go;
mod lifecycle;
pub mod limits;
pub mod options;
pub mod resources;
pub mod runtime;
pub mod servicebus;
pub mod trace;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::Instant;

use limits::{FREE_PORT_TRIES_MAX, STOP_SETTLE_GRACE};
use runtime::Runtime;

/// Binds the addresses of the API: all on one port, which the first decides. Addresses that this machine does not have
/// are passed over, except the first.
///
/// # Errors
/// When the first cannot be bound, or another is taken.
pub async fn bind(addresses: &[SocketAddr]) -> std::io::Result<Vec<TcpListener>> {
    let any_port = addresses.first().is_some_and(|first| first.port() == 0);
    let mut tries = 1;
    loop {
        match bind_to_one_port(addresses).await {
            // A port that is free at the first address may be taken at the second.
            Err(error)
                if any_port
                    && error.kind() == std::io::ErrorKind::AddrInUse
                    && tries < FREE_PORT_TRIES_MAX =>
            {
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn bind_to_one_port(addresses: &[SocketAddr]) -> std::io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for address in addresses {
        let mut address = *address;
        if let Some(first) = listeners.first() {
            address.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if listeners.is_empty() || error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(error);
            }
            Err(error) => tracing::debug!(%address, %error, "not listening there"),
        }
    }
    Ok(listeners)
}

/// The end came before everything in flight was over (dapr/kit, `RunnerCloserManager`).
#[derive(Debug, thiserror::Error)]
#[error("Graceful shutdown timeout exceeded, forcing shutdown: what was in flight goes back to its queue")]
pub struct Forced;

/// Serves the API and runs the inputs until the runtime is shut down: then no message is taken any more, those in flight
/// are finished and settled within the grace time, and after them the calls to the API.
///
/// # Errors
/// When the grace time was too short for that.
pub async fn serve(listeners: Vec<TcpListener>, runtime: Arc<Runtime>) -> Result<(), Forced> {
    let api = api::Server::start(listeners, &runtime);
    let mut inputs = lifecycle::run(&runtime).await;
    let (begun, grace) = (Instant::now(), runtime.options.grace());
    // What the inputs have in flight may still call the API.
    let inputs_ended = lifecycle::stop_inputs(&mut inputs, grace).await;
    let api_ended = api.stop(grace.saturating_sub(begun.elapsed()).max(STOP_SETTLE_GRACE)).await;
    runtime.close_brokers().await;
    if inputs_ended && api_ended { Ok(()) } else { Err(Forced) }
}
