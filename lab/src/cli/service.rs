//! `lab service`: what stands in for a Kubernetes Service.

use std::net::SocketAddr;

use clap::Args;
use tokio::sync::watch;

use super::error::CliError;
use crate::exit::Exit;
use crate::relay::{self, Targets};

/// Relay TCP connections to replicas, a random one for each connection, as kube-proxy does. Used by the lab itself.
///
/// Reads lines {"targets":["127.0.0.1:1",…]} from stdin, whenever the ready replicas change, and ends when stdin does.
#[derive(Debug, Clone, Args)]
pub(super) struct ServiceArgs {
    /// Address to listen on; port 0 means any free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The service's name, for its log.
    #[arg(long, value_name = "NAME", default_value = "service")]
    name: String,
}

pub(super) async fn run(args: ServiceArgs) -> Result<Exit, CliError> {
    program::init_logging();
    let failed = |source| CliError::Service { address: args.listen, source };
    let shutdown = program::shutdown_token(false).map_err(failed)?;
    let listener = relay::listen(args.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    program::announce("lab service", env!("CARGO_PKG_VERSION"), &[("tcp", address)]).map_err(failed)?;
    tracing::info!(name = args.name, %address, "relaying");
    let targets = Targets::default();
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(relay::serve(listener, targets.clone(), stopped));
    tokio::select! {
        followed = targets.follow(tokio::io::stdin()) => followed.map_err(failed)?,
        () = shutdown.cancelled() => {}
    }
    stop.send_replace(true);
    // It can only have panicked, and there is nothing left to serve.
    let _ = serving.await;
    Ok(Exit::Ok)
}
