//! Connections: accept, serve HTTP/1.1, stop in an orderly way. What is answered is not decided here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::account::Account;
use crate::disk::{Disk, LogLimits, OpenError};
use crate::http::Service;
use crate::limits;
use crate::store::Stores;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Config {
    /// Accounts with their keys.
    pub accounts: Vec<Account>,
    /// Most bytes of all blobs together, as far as they are in memory.
    pub memory_limit_bytes: u64,
    /// Where blobs outlive the program; without it they do not.
    pub data: Option<PathBuf>,
}

/// The blobs of all accounts, ready to be served. Dropped, it closes its data directory.
#[derive(Debug)]
pub struct BlobStore {
    service: Arc<Service>,
    disk: Option<Arc<Disk>>,
    threads: Vec<JoinHandle<()>>,
}

/// The disk did not take what clients had given: what was not answered may be lost.
#[derive(Debug, thiserror::Error)]
#[error(
    "the data directory could not be synced, so nothing more can be promised; look at the disk and start again"
)]
pub struct DiskFailed;

impl BlobStore {
    /// An empty store, or what the data directory has; reading that takes as long as it takes.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let names = config.accounts.iter().map(|account| account.name.as_str());
        let stores = match &config.data {
            Some(directory) => {
                Stores::on_disk(names, config.memory_limit_bytes, directory, LogLimits::default())?
            }
            None => Stores::in_memory(names, config.memory_limit_bytes),
        };
        let (stores, mut threads) = (Arc::new(stores), Vec::new());
        let disk = stores.shared().disk().cloned();
        if let Some(disk) = &disk {
            let (syncing, cleaning, stores) = (Arc::clone(disk), Arc::clone(disk), Arc::clone(&stores));
            threads.push(std::thread::spawn(move || syncing.keep_synced()));
            threads.push(std::thread::spawn(move || stores.keep_clean(&cleaning)));
        }
        let service = Arc::new(Service::new(config.accounts, stores));
        Ok(Self { service, disk, threads })
    }

    async fn disk_failed(&self) {
        match &self.disk {
            Some(disk) => disk.failed().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for BlobStore {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            disk.close();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the data directory ended in a panic");
            }
        }
    }
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
///
/// # Errors
/// [`DiskFailed`], which ends it too.
pub async fn serve(
    listener: TcpListener,
    store: BlobStore,
    shutdown: CancellationToken,
) -> Result<(), DiskFailed> {
    // A failed disk ends the connections as a shutdown does.
    let shutdown = shutdown.child_token();
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(limits::MAX_CONNECTIONS)));
    let mut failed = std::pin::pin!(store.disk_failed());
    let mut outcome = Ok(());
    loop {
        let (stream, peer, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            () = &mut failed => {
                outcome = Err(DiskFailed);
                shutdown.cancel();
                break;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        let (service, shutdown) = (Arc::clone(&store.service), shutdown.clone());
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
    outcome
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
