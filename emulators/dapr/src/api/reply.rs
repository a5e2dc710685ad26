//! The shapes of answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use super::Reply;
use crate::bindings::go_json;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiError<'a> {
    error_code: &'a str,
    message: &'a str,
}

/// 204.
pub(super) fn empty() -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

/// Data, which is always called JSON.
pub(super) fn data(status: StatusCode, data: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(data));
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
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}
