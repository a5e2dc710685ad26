//! One connection's socket: reads, writes, and the times within which a peer must be heard.
//!
//! It must not know what the bytes mean.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::error::{Fatal, condition};
use crate::broker::{Broker, now_us};
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
    if let Err(error) = converse(&mut stream, &mut connection, &shutdown).await {
        tracing::debug!(error = %error, "connection lost");
    }
    connection.release();
    let out = std::mem::take(connection.out());
    // The last words, to a peer that may not listen any more.
    let goodbye = async {
        stream.write_all(&out).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, goodbye).await;
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
) -> std::io::Result<()> {
    let mut input = BytesMut::new();
    let now = Instant::now();
    let mut watch = Watch { started: now, heard: now, written: now };
    let wake = connection.wake();
    let mut ticks = tokio::time::interval(CONNECTION_TICK);
    let mut tick_period = CONNECTION_TICK;
    loop {
        if connection.has_ready() {
            // A link that is not done has its next turn when others have had theirs.
            tokio::task::yield_now().await;
        }
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => Event::Shutdown,
            event = exchange(stream, connection, &mut input, &mut watch) => event?,
            () = wake.rung() => Event::Progress,
            _ = ticks.tick() => Event::Tick,
        };
        connection.set_now(now_us());
        match event {
            Event::Progress => {
                if let Err(fatal) = connection.receive(&mut input) {
                    tracing::info!(condition = fatal.condition, reason = %fatal.description, "connection ended by its peer's mistake");
                    connection.fail(&fatal);
                }
                connection.serve();
            }
            Event::Tick => {
                if let Err(fatal) = judge(connection, &watch, tick_period) {
                    tracing::info!(reason = %fatal.description, "connection given up");
                    connection.fail(&fatal);
                }
            }
            Event::Shutdown => {
                connection.close(Some(&Fatal::new(condition::CONNECTION_FORCED, "The broker is stopping.")));
            }
            Event::End => return Ok(()),
        }
        if connection.is_closed() {
            return Ok(());
        }
        let wanted =
            connection.peer_idle_timeout().map_or(CONNECTION_TICK, |idle| (idle / 4).min(CONNECTION_TICK));
        if wanted != tick_period {
            tick_period = wanted;
            ticks = tokio::time::interval(wanted);
        }
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
