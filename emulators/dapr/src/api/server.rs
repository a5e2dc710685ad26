//! Listeners, connections, and their end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::head_clock::{HeadClock, Watched};
use super::{answer, answer_peer};
use crate::limits::{ACCEPT_PAUSE, BUFFER_BYTES_MIN, HEADER_BYTES_SLOP};
use crate::runtime::Runtime;

/// Who comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Callers of the API.
    Api,
    /// Other Daprs.
    Peers,
}

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
    pub fn start(listeners: Vec<(Door, TcpListener)>, runtime: &Arc<Runtime>) -> Self {
        let (connections, stop) = (TaskTracker::new(), CancellationToken::new());
        let mut accepting = JoinSet::new();
        for (door, listener) in listeners {
            accepting.spawn(accept(door, listener, Arc::clone(runtime), connections.clone(), stop.clone()));
        }
        Self { accepting, connections, stop }
    }

    /// Accepts no more connections, lets requests under way finish within `grace`, then closes. Tells whether they did.
    pub async fn stop(mut self, grace: Duration) -> bool {
        self.accepting.shutdown().await;
        self.stop.cancel();
        self.connections.close();
        tokio::time::timeout(grace, self.connections.wait()).await.is_ok()
    }
}

async fn accept(
    door: Door,
    listener: TcpListener,
    runtime: Arc<Runtime>,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let from = (door, Some(peer));
                connections.spawn(connection(stream, from, Arc::clone(&runtime), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (door, peer): (Door, Option<SocketAddr>),
    runtime: Arc<Runtime>,
    stop: CancellationToken,
) {
    let header_bytes = runtime.options.header_bytes_max().saturating_add(HEADER_BYTES_SLOP);
    let clock = HeadClock::start();
    let in_service = clock.clone();
    let service = service_fn(move |request| {
        let (runtime, clock) = (Arc::clone(&runtime), in_service.clone());
        clock.head_is_whole();
        async move {
            let reply = match door {
                Door::Api => answer(runtime, request, peer).await,
                Door::Peers => answer_peer(runtime, request).await,
            };
            clock.request_is_answered();
            Ok::<_, Infallible>(reply)
        }
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(header_bytes.max(BUFFER_BYTES_MIN))
        .serve_connection(TokioIo::new(Watched::new(stream, clock.clone())), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = clock.ran_out() => {
            tracing::debug!("a connection was closed: a request's head took too long");
            return;
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::limits::HEAD_TIMEOUT;
    use crate::options::Options;
    use crate::runtime::Start;

    const REQUEST: &[u8] = b"GET /v1.0/healthz/outbound HTTP/1.1\r\nHost: x\r\n\r\n";

    /// The client's end of a connection that is served.
    async fn client(buffer_bytes: usize) -> DuplexStream {
        let line = ["dapr-emulator", "--app-id", "x"].map(OsString::from);
        let (options, _) = Options::parse_daprd(line).expect("app-id is enough");
        let stop = CancellationToken::new();
        let runtime = Runtime::start(Start::new(options), stop.clone()).await;
        let (client, server) = duplex(buffer_bytes);
        let runtime = Arc::new(runtime.expect("nothing can fail"));
        tokio::spawn(connection(server, (Door::Api, None), runtime, stop));
        client
    }

    async fn answered(client: &mut DuplexStream) {
        let mut answer = [0; 1024];
        let read = client.read(&mut answer).await.expect("the connection stands");
        assert!(
            answer[..read].starts_with(b"HTTP/1.1 204"),
            "{:?}",
            String::from_utf8_lossy(&answer[..read])
        );
    }

    /// Waits for the end of the connection, which comes without an answer, and tells how long it took.
    async fn closed(client: &mut DuplexStream) -> Duration {
        let begun = Instant::now();
        let patience = HEAD_TIMEOUT * 10;
        let read = tokio::time::timeout(patience, client.read(&mut [0; 1024])).await;
        assert_eq!(read.expect("it is closed").expect("no error"), 0);
        begun.elapsed()
    }

    /// It used to wait for ever.
    #[tokio::test(start_paused = true)]
    async fn a_first_head_that_does_not_become_whole_ends_the_connection() {
        for start in [&b""[..], b"GET / HT"] {
            let mut client = client(1 << 16).await;
            client.write_all(start).await.expect("it is open");
            let took = closed(&mut client).await;
            assert!((HEAD_TIMEOUT..HEAD_TIMEOUT + Duration::from_secs(1)).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_from_its_first_byte() {
        let mut client = client(1 << 16).await;
        client.write_all(REQUEST).await.expect("it is open");
        answered(&mut client).await;
        tokio::time::sleep(HEAD_TIMEOUT * 3 / 2).await;
        let (first, rest) = REQUEST.split_at(9);
        client.write_all(first).await.expect("an idle connection stays open");
        tokio::time::sleep(HEAD_TIMEOUT * 9 / 10).await;
        client.write_all(rest).await.expect("in time");
        answered(&mut client).await;
        client.write_all(first).await.expect("it is open");
        tokio::time::sleep(HEAD_TIMEOUT / 2).await;
        client.write_all(b"x").await.expect("it is open");
        let took = closed(&mut client).await;
        assert!((HEAD_TIMEOUT / 2..HEAD_TIMEOUT).contains(&took), "a further byte gives no time: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_and_a_slow_body_are_left_alone() {
        let mut client = client(1 << 16).await;
        for _ in 0..2 {
            client.write_all(REQUEST).await.expect("it is open");
            answered(&mut client).await;
            tokio::time::sleep(HEAD_TIMEOUT * 5).await;
        }
        let head = b"PUT /v1.0/metadata/key HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
        client.write_all(head).await.expect("it is open");
        for byte in b"value" {
            client.write_all(&[*byte]).await.expect("it is open");
            tokio::time::sleep(HEAD_TIMEOUT).await;
        }
        answered(&mut client).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_its_answer_late_still_gets_it() {
        let mut client = client(16).await;
        client.write_all(REQUEST).await.expect("it is open");
        // The answer has begun, and waits for room, when the next head begins.
        tokio::time::sleep(HEAD_TIMEOUT / 10).await;
        client.write_all(&REQUEST[..9]).await.expect("it is open");
        tokio::time::sleep(HEAD_TIMEOUT * 2).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            assert!(client.read_buf(&mut answer).await.expect("it stands") > 0, "it was cut off: {answer:?}");
        }
        assert!(answer.starts_with(b"HTTP/1.1 204"), "{:?}", String::from_utf8_lossy(&answer));
    }
}
