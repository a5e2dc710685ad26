//! The bodies of calls to the application, and of its answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// The body of a call.
#[derive(Debug, Clone, Default)]
pub struct RequestBody {
    data: Full<Bytes>,
    /// Its length is not told: it goes out in chunks.
    is_chunked: bool,
}

impl RequestBody {
    /// A body with its length.
    #[must_use]
    pub fn whole(data: Bytes) -> Self {
        Self { data: Full::new(data), is_chunked: false }
    }

    /// A body in chunks.
    #[must_use]
    pub fn chunked(data: Bytes) -> Self {
        Self { data: Full::new(data), is_chunked: true }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.data).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        !self.is_chunked && self.data.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_chunked { SizeHint::default() } else { self.data.size_hint() }
    }
}

/// The body of an answer. The call's slot is free when it is dropped.
#[derive(Debug)]
pub struct AnswerBody {
    body: Incoming,
    _slot: Option<OwnedSemaphorePermit>,
    is_chunked: bool,
}

impl AnswerBody {
    pub(crate) fn new(body: Incoming, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, _slot: slot, is_chunked: false }
    }

    /// The same without its length.
    #[must_use]
    pub fn in_chunks(self) -> Self {
        Self { is_chunked: true, ..self }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            // What ends early has ended: daprd passes on what it got (`http_channel.go`, `ErrUnexpectedEOF`).
            Poll::Ready(Some(Err(error))) if is_cut_short(&error) => Poll::Ready(None),
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_chunked && !self.body.is_end_stream() {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

fn is_cut_short(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message()
        || source.is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
}
