//! The shapes of answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::Reply;
use crate::app::AnswerBody;
use crate::bindings::go_json;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// Made here.
    Own(Full<Bytes>),
    /// An application's, as it comes.
    App(AnswerBody),
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self::Own(Full::default())
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::App(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::App(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::App(body) => body.size_hint(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiError<'a> {
    error_code: &'a str,
    message: &'a str,
}

/// 204.
pub(super) fn empty() -> Reply {
    let mut reply = Response::new(ReplyBody::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

/// Data, which is always called JSON.
pub(super) fn data(status: StatusCode, data: Bytes) -> Reply {
    let mut reply = Response::new(ReplyBody::Own(Full::new(data)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// An error in Dapr's envelope.
pub(super) fn error(status: StatusCode, error_code: &str, message: &str) -> Reply {
    tracing::debug!(%status, error_code, message, "refused");
    data(status, go_json(&ApiError { error_code, message }).unwrap_or_default())
}

/// Text.
pub(super) fn plain(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(ReplyBody::Own(Full::from(text.to_owned())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}
