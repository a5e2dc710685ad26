//! Azure Service Bus over AMQP 1.0 in one small binary.
//!
//! [`serve`] runs a broker on listeners that the caller has bound, until it is told to stop. Inside, data goes one way: bytes
//! → `protocol` (frames, links, credit) → `broker` (which entity, who waits, what is due) → `engine` (one entity's
//! messages, no I/O, no clock). `message` is what is kept of a message between wire and engine.

mod broker;
pub mod config;
pub mod engine;
pub mod filter;
mod http;
pub mod limits;
mod message;
mod protocol;

use std::sync::Arc;
use std::time::Duration;

use config::NamespaceConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// The entities.
    pub namespace: NamespaceConfig,
    /// The largest message that is accepted, bytes.
    pub max_message_bytes: usize,
    /// The JSON field by which messages are recorded from the start; none leaves the recorder off.
    pub record_key: Option<String>,
}

/// The broker's two ports.
#[derive(Debug)]
pub struct Listeners {
    /// AMQP 1.0.
    pub amqp: TcpListener,
    /// Health, clock, recorder and queues.
    pub http: TcpListener,
}

/// Serves until `shutdown` is cancelled and every connection was told so.
pub async fn serve(listeners: Listeners, options: Options, shutdown: CancellationToken) {
    let broker = Arc::new(broker::Broker::new(&options.namespace));
    if let Some(record_key) = &options.record_key {
        broker.recorder().start(record_key);
    }
    let limits = protocol::Limits { max_message_bytes: options.max_message_bytes };
    let connections = TaskTracker::new();
    let amqp = accept(&listeners.amqp, |stream| {
        connections.spawn(protocol::drive(stream, Arc::clone(&broker), limits, shutdown.clone()));
    });
    let http = accept(&listeners.http, |stream| {
        connections.spawn(http::drive(stream, Arc::clone(&broker), shutdown.clone()));
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = amqp => {}
        () = http => {}
        () = broker.run_timer() => {}
    }
    connections.close();
    if tokio::time::timeout(limits::SHUTDOWN_TIMEOUT * 2, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time");
    }
}

/// Hands accepted connections on, for ever. A failure to accept is that of one connection, or passes.
async fn accept(listener: &TcpListener, mut handle: impl FnMut(TcpStream)) {
    /// Pause after a failure such as too many open files.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(error = %error, "cannot set TCP_NODELAY");
                }
                handle(stream);
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
