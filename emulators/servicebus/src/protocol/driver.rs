//! One connection's socket: reads, writes, and the times within which a peer must be heard.
//!
//! It must not know what the bytes mean.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::{Fatal, condition};
use crate::broker::{Broker, now_us};
use crate::engine::Micros;
use crate::limits::{
    CONNECTION_TICK, HANDSHAKE_TIMEOUT, IDLE_TIMEOUT, OUT_BYTES_HIGH, READ_BYTES, SHUTDOWN_TIMEOUT,
    WRITE_STALL_TIMEOUT,
};

/// What a connection may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest message, bytes.
    pub max_message_bytes: usize,
}

/// What happened on a socket.
enum Event {
    /// Bytes came, were taken, or a link may be served.
    Progress,
    /// The peer has no more to say.
    End,
    /// The program ends.
    Shutdown,
    /// Time has passed.
    Tick,
}

/// Serves one connection until it ends.
pub async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    broker: Arc<Broker>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let mut connection = Connection::new(broker, limits.max_message_bytes);
    let end = converse(&mut stream, &mut connection, &shutdown).await.unwrap_or_else(|error| {
        tracing::debug!(error = %error, "connection lost");
        Ending::Agreed
    });
    connection.release();
    let out = std::mem::take(connection.out());
    // The last words, to a peer that may not listen any more.
    let goodbye = async {
        stream.write_all(&out).await?;
        stream.shutdown().await?;
        // A socket that is closed with bytes unread takes back what was written last, so that the peer would not learn why.
        while end == Ending::Failed && stream.read_buf(&mut BytesMut::with_capacity(READ_BYTES)).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, goodbye).await;
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// By its peer, or by the end of the program.
    Agreed,
    /// By a mistake of its peer, of which the peer is told.
    Failed,
}

/// The instants by which a connection is judged.
struct Watch {
    started: Instant,
    heard: Instant,
    written: Instant,
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    connection: &mut Connection,
    shutdown: &CancellationToken,
) -> std::io::Result<Ending> {
    let mut input = BytesMut::new();
    let now = Instant::now();
    let mut watch = Watch { started: now, heard: now, written: now };
    let wake = connection.wake();
    let mut ticks = tokio::time::interval(CONNECTION_TICK);
    let mut tick_period = CONNECTION_TICK;
    let mut ending = Ending::Agreed;
    loop {
        if connection.has_ready() {
            // A link that is not done has its next turn when others have had theirs.
            tokio::task::yield_now().await;
        }
        let deadline_us = connection.deadline_us();
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => Event::Shutdown,
            event = exchange(stream, connection, &mut input, &mut watch) => event?,
            () = wake.rung() => Event::Progress,
            () = until(deadline_us) => Event::Progress,
            _ = ticks.tick() => Event::Tick,
        };
        connection.set_now(now_us());
        match event {
            Event::Progress => {
                if let Err(fatal) = connection.receive(&mut input) {
                    tracing::info!(condition = fatal.condition, reason = %fatal.description, "connection ended by its peer's mistake");
                    connection.fail(&fatal);
                    ending = Ending::Failed;
                }
                connection.serve();
            }
            Event::Tick => {
                if let Err(fatal) = judge(connection, &watch, tick_period) {
                    tracing::info!(reason = %fatal.description, "connection given up");
                    connection.fail(&fatal);
                    ending = Ending::Failed;
                }
            }
            Event::Shutdown => {
                connection.close(Some(&Fatal::new(condition::CONNECTION_FORCED, "The broker is stopping.")));
            }
            Event::End => return Ok(ending),
        }
        if connection.is_closed() {
            return Ok(ending);
        }
        let wanted =
            connection.peer_idle_timeout().map_or(CONNECTION_TICK, |idle| (idle / 4).min(CONNECTION_TICK));
        if wanted != tick_period {
            tick_period = wanted;
            ticks = tokio::time::interval(wanted);
        }
    }
}

/// Waits until an instant of the broker's clock; for ever when there is none.
async fn until(deadline_us: Option<Micros>) {
    match deadline_us {
        Some(deadline_us) => {
            tokio::time::sleep(Duration::from_micros(deadline_us.saturating_sub(now_us()))).await;
        }
        None => std::future::pending().await,
    }
}

/// Writes and reads what can be, until something of it is done.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    connection: &mut Connection,
    input: &mut BytesMut,
    watch: &mut Watch,
) -> std::io::Result<Event> {
    poll_fn(|cx| {
        let was_full = connection.out().len() > OUT_BYTES_HIGH;
        while !connection.out().is_empty() {
            match pin!(&mut *stream).poll_write(cx, connection.out()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Event::End)),
                Poll::Ready(Ok(count)) => {
                    connection.out().advance(count);
                    watch.written = Instant::now();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        let full = connection.out().len() > OUT_BYTES_HIGH;
        if !full {
            input.reserve(READ_BYTES);
            if let Poll::Ready(read) = pin!(stream.read_buf(input)).poll(cx) {
                watch.heard = Instant::now();
                return Poll::Ready(read.map(|count| if count == 0 { Event::End } else { Event::Progress }));
            }
        }
        // What could be written made room for what waits behind it.
        if !full && (was_full || connection.has_ready()) {
            Poll::Ready(Ok(Event::Progress))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Whether a connection's peer is still there; asks it for a sign of life, and gives it one.
fn judge(connection: &mut Connection, watch: &Watch, tick_period: Duration) -> Result<(), Fatal> {
    let silent = |since: Instant, limit: Duration| since.elapsed() > limit;
    if !connection.is_open() && silent(watch.started, HANDSHAKE_TIMEOUT) {
        return Err(Fatal::new(condition::CONNECTION_FORCED, "the connection was not opened in time"));
    }
    if silent(watch.heard, IDLE_TIMEOUT * 2) {
        return Err(Fatal::new(
            condition::RESOURCE_LIMIT_EXCEEDED,
            "the peer was silent for longer than agreed",
        ));
    }
    if !connection.out().is_empty() && silent(watch.written, WRITE_STALL_TIMEOUT) {
        return Err(Fatal::new(condition::CONNECTION_FORCED, "the peer does not read what it is sent"));
    }
    let due =
        connection.peer_idle_timeout().is_some_and(|idle| watch.written.elapsed() + tick_period > idle / 2);
    if due {
        connection.put_heartbeat();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The times within which a peer must be heard are minutes, so they are tested here, where time can be paused.

    use amqp::performative::{Open, Performative};
    use amqp::{Frame, ProtocolHeader};
    use tokio::io::DuplexStream;

    use super::*;
    use crate::config::NamespaceConfig;

    fn connected() -> (DuplexStream, tokio::task::JoinHandle<()>) {
        connected_through(1 << 16)
    }

    /// A connection through a pipe that holds so many bytes in each direction.
    fn connected_through(pipe_bytes: usize) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (peer, stream) = tokio::io::duplex(pipe_bytes);
        let broker = Arc::new(Broker::new(&NamespaceConfig::default()));
        let limits = Limits { max_message_bytes: 1 << 20 };
        (peer, tokio::spawn(drive(stream, broker, limits, CancellationToken::new())))
    }

    fn hello(idle_time_out: Option<u32>) -> BytesMut {
        let open = Open {
            container_id: "test".to_owned(),
            hostname: None,
            max_frame_size: u32::MAX,
            channel_max: 0,
            idle_time_out,
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let mut out = BytesMut::from(&ProtocolHeader::Amqp.bytes()[..]);
        Frame::put(&mut out, 0, &open.into());
        out
    }

    /// All that the broker says until it ends the connection: the frames, and how long it took.
    async fn listen(peer: &mut DuplexStream) -> (Vec<Frame>, Duration) {
        let (begun, mut inbox) = (Instant::now(), BytesMut::new());
        while peer.read_buf(&mut inbox).await.expect("a stream") > 0 {}
        let took = begun.elapsed();
        ProtocolHeader::take(&mut inbox).expect("AMQP");
        let frames = std::iter::from_fn(|| Frame::take(&mut inbox, u32::MAX).expect("a frame"));
        (frames.collect(), took)
    }

    fn close_condition(frames: &[Frame]) -> Option<&str> {
        match frames.last() {
            Some(Frame::Amqp { performative: Performative::Close(close), .. }) => {
                close.error.as_ref().map(|error| error.condition.as_str())
            }
            _ => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let (mut peer, driver) = connected();
        peer.write_all(&hello(None)).await.expect("a stream");
        let (frames, took) = listen(&mut peer).await;
        assert_eq!(close_condition(&frames), Some(condition::RESOURCE_LIMIT_EXCEEDED));
        assert!((IDLE_TIMEOUT * 2..IDLE_TIMEOUT * 2 + CONNECTION_TICK * 2).contains(&took), "{took:?}");
        driver.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_open_is_given_up() {
        let (mut peer, driver) = connected();
        peer.write_all(&hello(None)[..3]).await.expect("a stream");
        let (frames, took) = listen(&mut peer).await;
        assert!(frames.is_empty());
        assert!((HANDSHAKE_TIMEOUT..HANDSHAKE_TIMEOUT + CONNECTION_TICK * 2).contains(&took), "{took:?}");
        driver.await.expect("it ends");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        const LONGEST: Duration = WRITE_STALL_TIMEOUT.saturating_add(CONNECTION_TICK.saturating_mul(2));
        let (mut peer, driver) = connected_through(16);
        let begun = Instant::now();
        peer.write_all(&hello(None)).await.expect("a stream");
        driver.await.expect("it ends");
        let took = begun.elapsed();
        assert!((WRITE_STALL_TIMEOUT..LONGEST + SHUTDOWN_TIMEOUT).contains(&took), "{took:?}");
    }

    /// The broker must be heard well within the time that the peer bears.
    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_in_less_than_half_the_peers_time() {
        let (mut peer, _driver) = connected();
        peer.write_all(&hello(Some(60_000))).await.expect("a stream");
        let mut inbox = BytesMut::with_capacity(1024);
        peer.read_buf(&mut inbox).await.expect("header and open");
        for _ in 0..3 {
            let silent_since = Instant::now();
            inbox.clear();
            peer.read_buf(&mut inbox).await.expect("a sign of life");
            assert_eq!(Frame::take(&mut inbox, 512), Ok(Some(Frame::Heartbeat)));
            assert!(silent_since.elapsed() <= Duration::from_secs(30), "{:?}", silent_since.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_keep_a_peer() {
        let (mut peer, driver) = connected();
        peer.write_all(&hello(None)).await.expect("a stream");
        let mut heartbeat = BytesMut::new();
        Frame::put_heartbeat(&mut heartbeat);
        for _ in 0..10 {
            tokio::time::advance(IDLE_TIMEOUT).await;
            peer.write_all(&heartbeat).await.expect("a stream");
            tokio::task::yield_now().await;
        }
        assert!(!driver.is_finished());
    }
}
