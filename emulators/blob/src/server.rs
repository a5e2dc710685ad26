//! Connections: accept, serve HTTP/1.1, stop in an orderly way. What is answered is not decided here.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Account;
use crate::http::Service;
use crate::limits;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Config {
    /// Accounts with their keys.
    pub accounts: Vec<Account>,
    /// Most bytes of all blobs together.
    pub memory_limit_bytes: u64,
}

/// Opens a listening socket with the backlog of [`limits::BACKLOG`]. Port 0 means any free port.
///
/// # Errors
/// What the system says: usually that the port is taken.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves until `shutdown` is cancelled, then finishes what is in flight, for at most [`limits::STOP_TIMEOUT`].
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) {
    let service = Arc::new(Service::new(config.accounts, config.memory_limit_bytes));
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(limits::MAX_CONNECTIONS)));
    loop {
        let (stream, peer, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (service, shutdown) = (Arc::clone(&service), shutdown.clone());
        connections.spawn(async move {
            connection(stream, peer, &service, &shutdown).await;
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits::STOP_TIMEOUT, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "stopped before every request was answered");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Never closed, so there is always a place in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    service: &Arc<Service>,
    shutdown: &CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let answer = service_fn(|request| async move {
        Ok::<_, std::convert::Infallible>(service.answer(request, peer.ip()).await)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIMEOUT)
        .max_buf_size(limits::MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // A client that goes away or sends no HTTP: its own affair, and nobody else's connection is touched.
        tracing::debug!(%peer, error = %error, "the connection ended early");
    }
}
