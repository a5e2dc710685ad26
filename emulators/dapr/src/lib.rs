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
pub mod invocation;
mod lifecycle;
pub mod limits;
mod loader;
pub mod metrics;
pub mod options;
pub mod resiliency;
pub mod resources;
pub mod runtime;
pub mod servicebus;
pub mod trace;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use api::Door;
use invocation::names::{Names, Registration};
use limits::{FREE_PORT_TRIES_MAX, SPAN_FLUSH_TIMEOUT, STOP_SETTLE_GRACE};
use options::Options;
use runtime::Runtime;

/// Where a Dapr takes calls.
#[derive(Debug)]
pub struct Listeners {
    api: Vec<TcpListener>,
    peers: Option<(TcpListener, Registration)>,
    metrics: Option<TcpListener>,
}

/// Why a Dapr cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listen on {on}: {remedy}")]
pub struct ListenError {
    on: String,
    remedy: &'static str,
    #[source]
    source: std::io::Error,
}

impl Listeners {
    /// Binds what the command line asks for.
    ///
    /// # Errors
    /// When an address is taken, or cannot be told to other Daprs.
    pub async fn bind(options: &Options) -> Result<Self, ListenError> {
        let addresses = options.listen_addresses();
        let api = bind(&addresses).await.map_err(|source| {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let remedy = "choose another --dapr-http-port, 0 for any free one";
            ListenError { on: addresses.join(", "), remedy, source }
        })?;
        let metrics = match options.enable_metrics {
            false => None,
            true => {
                let (address, remedy) = (
                    options.metrics_address(),
                    "choose another --metrics-port, 0 for any free one, or --enable-metrics=false",
                );
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| ListenError {
                    on: format!("{address} for metrics"),
                    remedy,
                    source,
                })?)
            }
        };
        let peers = match &options.name_resolution_path {
            None => None,
            Some(folder) => Some(listen_for_peers(options, folder).await.map_err(|source| {
                let on = format!("a free port, and tell it in {}", folder.display());
                ListenError { on, remedy: "choose another --name-resolution-path", source }
            })?),
        };
        Ok(Self { api, peers, metrics })
    }

    /// The addresses that it takes calls at, by what for.
    ///
    /// # Errors
    /// When the system does not tell them.
    pub fn addresses(&self) -> std::io::Result<Vec<(&'static str, SocketAddr)>> {
        let api = self.api.first().map(|listener| ("http", listener));
        let metrics = self.metrics.as_ref().map(|listener| ("metrics", listener));
        let all = [api, metrics].into_iter().flatten();
        all.map(|(name, listener)| Ok((name, listener.local_addr()?))).collect()
    }
}

async fn listen_for_peers(options: &Options, folder: &Path) -> std::io::Result<(TcpListener, Registration)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let registration = Names::new(folder).register(&options.app_id, listener.local_addr()?)?;
    Ok((listener, registration))
}

/// Binds the addresses of the API: all on one port, which the first decides. Addresses that this machine does not have
/// are passed over, except the first.
async fn bind(addresses: &[SocketAddr]) -> std::io::Result<Vec<TcpListener>> {
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
pub async fn serve(listeners: Listeners, runtime: Arc<Runtime>) -> Result<(), Forced> {
    let Listeners { api, peers, metrics } = listeners;
    let (peers, registration) = peers.unzip();
    let doors = api.into_iter().map(|listener| (Door::Api, listener));
    let doors = doors.chain(peers.map(|listener| (Door::Peers, listener))).collect();
    let _metrics = metrics.map(|listener| {
        AbortOnDropHandle::new(tokio::spawn(metrics::serve(listener, runtime.metrics.clone())))
    });
    let api = api::Server::start(doors, &runtime);
    let mut inputs = lifecycle::run(&runtime).await;
    drop(registration);
    let (begun, grace) = (Instant::now(), runtime.options.grace());
    // What the inputs have in flight may still call the API.
    let inputs_ended = lifecycle::stop_inputs(&mut inputs, grace).await;
    let api_ended = api.stop(grace.saturating_sub(begun.elapsed()).max(STOP_SETTLE_GRACE)).await;
    runtime.close_brokers().await;
    runtime.tracer.flush(SPAN_FLUSH_TIMEOUT).await;
    if inputs_ended && api_ended { Ok(()) } else { Err(Forced) }
}
