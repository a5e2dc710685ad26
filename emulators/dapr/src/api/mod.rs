//! The HTTP API (dapr, `pkg/api/http`): which request goes where, who may call, and what every answer carries.

mod baggage;
mod bindings;
mod head_clock;
mod invoke;
mod metadata;
mod reply;
mod server;
mod spans;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::app::{API_TOKEN, RequestBody};
use crate::invocation::{self, Invocation};
use crate::limits::BODY_DRAIN_BYTES_MAX;
use crate::runtime::Runtime;
use crate::trace::{Span, TRACEPARENT, TRACESTATE};
use invoke::Target;
pub use reply::ReplyBody;
use reply::{empty, error, plain};
pub use server::{Door, Server};

type Reply = Response<ReplyBody>;

const NO_APP_ID: &str = "failed getting app id either from the URL path or the header dapr-app-id";

/// A request whose body is still to be read.
struct Call {
    head: Parts,
    body: Incoming,
    span: Option<Span>,
    /// Goes with the span.
    tracestate: Option<HeaderValue>,
}

/// Why a body was not read.
enum BodyError {
    TooLarge,
    Broken(hyper::Error),
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("stream too large"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

/// Answers one request, and counts it.
async fn answer(runtime: Arc<Runtime>, request: Request<Incoming>, peer: Option<SocketAddr>) -> Reply {
    let Some(metrics) = runtime.metrics.clone() else {
        return answer_uncounted(&runtime, request, peer).await;
    };
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let request_bytes = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let reply = answer_uncounted(&runtime, request, peer).await;
    let reply_bytes = hyper::body::Body::size_hint(reply.body()).lower();
    metrics.api_answered(&method, &path, reply.status(), (request_bytes, reply_bytes), begun.elapsed());
    reply
}

async fn answer_uncounted(
    runtime: &Arc<Runtime>,
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let segments: Vec<String> = path.split('/').filter(|segment| !segment.is_empty()).map(unescape).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if head.method == Method::GET {
        match segments[..] {
            ["v1.0", "healthz"] => return health(runtime, head.uri.query().unwrap_or_default()),
            ["v1.0", "healthz", "outbound"] => return empty(),
            _ => {}
        }
    }
    if runtime.tokens.api.as_ref().is_some_and(|token| head.headers.get(&API_TOKEN) != Some(token)) {
        return plain(StatusCode::UNAUTHORIZED, "invalid api token\n");
    }
    let parent = head.headers.get(TRACEPARENT).and_then(|parent| parent.to_str().ok());
    let has_parent = parent.is_some_and(|parent| Span::parse(parent).is_some());
    let span = runtime.tracer.child_of(parent);
    let baggage = match baggage::of(&head.headers) {
        Ok(baggage) => baggage,
        Err(message) if span.is_some() => {
            return plain(StatusCode::BAD_REQUEST, &format!("invalid baggage header: {message}\n"));
        }
        Err(message) => {
            let message = format!("invalid baggage header: {message}");
            return error(StatusCode::BAD_REQUEST, "ERR_MALFORMED_REQUEST", &message);
        }
    };
    // Without a parent there is nothing that it belongs to.
    let tracestate = head.headers.get(TRACESTATE).filter(|_| has_parent).cloned();
    let described = span.filter(Span::is_exported).map(|_| spans::Request::of(&head, &segments, peer));
    let call = Call { head, body, span, tracestate: tracestate.clone() };
    let mut reply = route(runtime, &path, &segments, call, baggage.as_deref()).await;
    if let Some(described) = described {
        runtime.tracer.end(span.as_ref(), || described.answered(reply.status()));
    }
    add_trace(reply.headers_mut(), span, tracestate, baggage.as_deref());
    reply
}

async fn route(
    runtime: &Arc<Runtime>,
    path: &str,
    segments: &[&str],
    call: Call,
    baggage: Option<&str>,
) -> Reply {
    let method = call.head.method.clone();
    match (&method, segments) {
        (&Method::POST | &Method::PUT, ["v1.0", "bindings", name]) => {
            bindings::invoke(runtime, name, call, baggage).await
        }
        (&Method::GET, ["v1.0", "metadata"]) => metadata::get(runtime),
        (&Method::PUT, ["v1.0", "metadata", key]) => metadata::put(runtime, key, call).await,
        (&Method::POST, ["v1.0", "shutdown"]) => {
            tracing::info!("shutdown requested over the API");
            runtime.shutdown.cancel();
            empty()
        }
        _ => match Target::of(&unescape(path), &call.head.headers) {
            Some(target) => invoke::invoke(runtime, &target, call).await,
            None => error(StatusCode::NOT_FOUND, "ERR_DIRECT_INVOKE", NO_APP_ID),
        },
    }
}

/// Answers a call from another Dapr to the own application.
async fn answer_peer(runtime: Arc<Runtime>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let (verb, headers) = (head.method.clone(), invocation::end_to_end(&head.headers));
    let is_streaming = head.headers.get(CONTENT_LENGTH).is_none() && !hyper::body::Body::is_end_stream(&body);
    let call = Call { head, body, span: None, tracestate: None };
    let body = match call.body(runtime.options.body_bytes_max()).await {
        Ok(body) if is_streaming => RequestBody::chunked(body),
        Ok(body) => RequestBody::whole(body),
        Err(cause) => return plain(StatusCode::BAD_REQUEST, &cause.to_string()),
    };
    invocation::from_peer(&runtime, Invocation { verb, path, headers, body, is_streaming }).await
}

fn health(runtime: &Runtime, query: &str) -> Reply {
    if !runtime.is_ready() {
        let message = "dapr is not ready: [app]";
        return error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_HEALTH_NOT_READY", message);
    }
    let app_id = query.split('&').find_map(|pair| match pair.split_once('=').unwrap_or((pair, "")) {
        ("appid", id) => Some(unescape(&id.replace('+', " "))),
        _ => None,
    });
    if app_id.is_some_and(|id| id != runtime.options.app_id) {
        let message = "dapr app-id does not match";
        return error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_HEALTH_APPID_NOT_MATCH", message);
    }
    empty()
}

fn add_trace(
    headers: &mut HeaderMap,
    span: Option<Span>,
    tracestate: Option<HeaderValue>,
    baggage: Option<&str>,
) {
    if let Some(baggage) = baggage.and_then(|baggage| HeaderValue::from_str(baggage).ok()) {
        headers.insert(HeaderName::from_static("baggage"), baggage);
    }
    let Some(span) = span else { return };
    if let Ok(value) = HeaderValue::from_str(&span.traceparent()) {
        headers.entry(TRACEPARENT).or_insert(value);
    }
    if let Some(state) = tracestate {
        headers.entry(TRACESTATE).or_insert(state);
    }
}

fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Call {
    /// Reads the body, no further than the limit. What is beyond is thrown away, so that the client, which may still be
    /// writing, sees the answer.
    async fn body(self, bytes_max: Option<usize>) -> Result<Bytes, BodyError> {
        let mut body = self.body;
        let bytes_max = bytes_max.unwrap_or(usize::MAX);
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            if whole.len().saturating_add(data.len()) > bytes_max {
                let mut thrown_away = data.len();
                while let Some(Ok(frame)) = body.frame().await {
                    thrown_away += frame.data_ref().map_or(0, Bytes::len);
                    if thrown_away > BODY_DRAIN_BYTES_MAX {
                        break;
                    }
                }
                return Err(BodyError::TooLarge);
            }
            if whole.is_empty() && hyper::body::Body::is_end_stream(&body) {
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}
