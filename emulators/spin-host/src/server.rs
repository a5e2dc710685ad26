//! Connections: accepted, given to a runtime, served, and finished when the program is told to stop.
//!
//! It must not look into requests.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use http::uri::Authority;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::limits;
use crate::outbound::{Exchanges, Pool};
use crate::worker::Worker;

/// Opens the listening socket.
///
/// # Errors
/// As the system: the port is taken, the address is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // A restart may take a port whose old connections still linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Answers requests until `shutdown`, then finishes those in flight, for [`limits::SHUTDOWN_GRACE`] at most.
///
/// With `threads` above one, connections are divided among that many runtimes of one thread each, the calling one
/// among them; a connection and all that it causes stay on one thread. Otherwise the calling runtime serves all.
///
/// # Errors
/// When a thread cannot be started or the socket cannot be used.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    threads: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let own_authority = own_authority(listener.local_addr()?)?;
    let in_flight = TaskTracker::new();
    let exchanges = Arc::new(Exchanges::new(raised_file_limit()));
    let worker = || {
        let worker = Worker {
            app: Arc::clone(&app),
            pool: Pool::new(),
            exchanges: Arc::clone(&exchanges),
            own_authority: own_authority.clone(),
            in_flight: in_flight.clone(),
        };
        Lane { worker: Arc::new(worker), connections: Arc::new(AtomicUsize::new(0)) }
    };
    let mut lanes = vec![(worker(), Handle::current())];
    let mut others = Vec::new();
    for number in 1..threads {
        let other = Other::start(number)?;
        lanes.push((worker(), other.handle.clone()));
        others.push(other);
    }
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut is_refusing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, client)) => {
                give(&lanes, stream, client, &in_flight, &shutdown);
                if std::mem::take(&mut is_refusing) {
                    tracing::info!("connections are accepted again");
                }
            }
            Err(error) => {
                // Said once, however long it lasts.
                if !std::mem::replace(&mut is_refusing, true) {
                    tracing::warn!(error = error.to_string(), "cannot accept connections");
                }
                sleep(limits::ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    in_flight.close();
    if timeout(limits::SHUTDOWN_GRACE, in_flight.wait()).await.is_err() {
        tracing::warn!(left = in_flight.len(), "stopping though not everything in flight was finished");
    }
    Ok(())
}

/// Asks for as many file descriptors as the user may have, and gives how many there are.
fn raised_file_limit() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    // Some systems name no bound and then refuse it; what there was stays.
    let files = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_or(soft, |()| hard);
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// Where the application calls itself: an unspecified address is reached by the loopback one.
fn own_authority(address: SocketAddr) -> io::Result<Authority> {
    let mut address = address;
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address.to_string().parse().map_err(io::Error::other)
}

/// A worker with the number of connections that it serves.
#[derive(Clone)]
struct Lane {
    worker: Arc<Worker>,
    connections: Arc<AtomicUsize>,
}

/// A runtime of one thread besides the calling one. Ends when dropped.
struct Other {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = move || {
            // The sender is dropped to say the same.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(run)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

/// Gives a connection to the lane with the fewest.
fn give(
    lanes: &[(Lane, Handle)],
    stream: TcpStream,
    client: SocketAddr,
    in_flight: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let fewest = lanes.iter().min_by_key(|(lane, _)| lane.connections.load(Ordering::Relaxed));
    let Some((lane, handle)) = fewest else { return };
    // A socket belongs to the runtime in whose context it was made.
    let Ok(stream) = stream.into_std() else { return };
    let (lane, shutdown) = (lane.clone(), shutdown.clone());
    let connections = Arc::clone(&lane.connections);
    connections.fetch_add(1, Ordering::Relaxed);
    in_flight.spawn_on(
        async move {
            if let Err(error) = connection(lane.worker, stream, client, shutdown).await {
                tracing::debug!(%client, error = error.to_string(), "connection ended");
            }
            connections.fetch_sub(1, Ordering::Relaxed);
        },
        handle,
    );
}

async fn connection(
    worker: Arc<Worker>,
    stream: std::net::TcpStream,
    client: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let worker = Arc::clone(&worker);
        async move { Ok::<_, Infallible>(worker.answer(request, client).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    }
}
