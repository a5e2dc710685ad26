//! Listeners, connections, and their end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer;
use crate::limits::{ACCEPT_PAUSE, BUFFER_BYTES_MIN, HEADER_BYTES_SLOP};
use crate::runtime::Runtime;

/// The API while it serves.
#[derive(Debug)]
pub struct Server {
    accepting: JoinSet<()>,
    connections: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// Begins to answer on these listeners.
    #[must_use]
    pub fn start(listeners: Vec<TcpListener>, runtime: &Arc<Runtime>) -> Self {
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, Arc::clone(runtime), connections.clone(), stop.clone()));
        }
        Self { accepting, connections, stop }
    }

    /// Accepts no more connections, lets requests under way finish within `grace`, then closes.
    pub async fn stop(mut self, grace: Duration) {
        self.accepting.shutdown().await;
        self.stop.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(grace, self.connections.wait()).await;
    }
}

async fn accept(
    listener: TcpListener,
    runtime: Arc<Runtime>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(connection(stream, Arc::clone(&runtime), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, runtime: Arc<Runtime>, stop: CancellationToken) {
    let header_bytes = runtime.options.header_bytes_max().saturating_add(HEADER_BYTES_SLOP);
    let service = service_fn(move |request| {
        let runtime = Arc::clone(&runtime);
        async move { Ok::<_, Infallible>(answer(runtime, request).await) }
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(header_bytes.max(BUFFER_BYTES_MIN))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
