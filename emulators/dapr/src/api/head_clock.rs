//! How long a request's head may take (Go, `net/http`, `ReadHeaderTimeout`): the first from the accept, later ones from
//! their first byte. It knows neither HTTP nor what is answered: it is told where a request begins and ends.
//!
//! hyper's own limit will not do: it counts the idle time between two requests too, for which daprd has no limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::limits::HEAD_TIMEOUT;

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Between two requests.
    Idle,
    /// A head is on its way, and must be whole then.
    Head { deadline: Instant },
    /// A request is being answered.
    Answer,
    /// The answer is made and on its way to the client, who may be slow.
    Flush,
}

/// The clock of one connection.
#[derive(Debug, Clone)]
pub(super) struct HeadClock(Arc<Mutex<Phase>>);

impl HeadClock {
    /// Begins with the wait for the first head.
    pub(super) fn start() -> Self {
        Self(Arc::new(Mutex::new(Phase::Head { deadline: Instant::now() + HEAD_TIMEOUT })))
    }

    pub(super) fn head_is_whole(&self) {
        *self.phase() = Phase::Answer;
    }

    /// What is read as soon as the answer is written belongs to the next head.
    pub(super) fn request_is_answered(&self) {
        *self.phase() = Phase::Flush;
    }

    fn all_is_written(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Flush) {
            *phase = Phase::Idle;
        }
    }

    fn bytes_came(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle) {
            *phase = Phase::Head { deadline: Instant::now() + HEAD_TIMEOUT };
        }
    }

    /// Returns when a head was not whole in time. It looks again when the first possible deadline is over, rather than at
    /// each byte: no head that begins meanwhile can be late before.
    pub(super) async fn ran_out(&self) {
        loop {
            let now = Instant::now();
            let phase = *self.phase();
            let next = match phase {
                Phase::Head { deadline } if deadline <= now => return,
                Phase::Head { deadline } => deadline,
                Phase::Idle | Phase::Answer | Phase::Flush => now + HEAD_TIMEOUT,
            };
            tokio::time::sleep_until(next).await;
        }
    }

    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that tells its clock when bytes come, and when all that was to go has gone.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    clock: HeadClock,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, clock: HeadClock) -> Self {
        Self { stream, clock }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let filled = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > filled {
            self.clock.bytes_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.clock.all_is_written();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
