//! The HTTP port: health as the official emulator tells it, the clock, the recorder, and a look into the queues.
//!
//! It must not change a message.

mod messages;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::broker::address::{EntityPath, Part};
use crate::broker::{Broker, now_us};
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_MESSAGES_MAX, HTTP_READ_TIMEOUT};

const JSON: &str = "application/json";
const ND_JSON: &str = "application/x-ndjson";
/// Tells how many rows the recorder could not keep.
const DROPPED: HeaderName = HeaderName::from_static("x-recorder-dropped");

/// Serves one connection until it ends.
pub async fn drive(stream: TcpStream, broker: Arc<Broker>, shutdown: CancellationToken) {
    let service = service_fn(|request| {
        let broker = Arc::clone(&broker);
        async move { Ok::<_, Infallible>(respond(&broker, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "HTTP connection lost");
    }
}

type Answer = Response<Full<Bytes>>;

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    answer(status, JSON, value.to_string())
}

fn problem(status: StatusCode, words: &str) -> Answer {
    json(status, &json!({ "error": words }))
}

fn no_content() -> Answer {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

async fn respond(broker: &Broker, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, path) {
        (&Method::GET | &Method::HEAD, "/health") => {
            json(StatusCode::OK, &json!({ "status": "healthy", "message": "Service is healthy." }))
        }
        (&Method::GET, "/_emulator/clock") => json(StatusCode::OK, &json!({ "unix_us": now_us() })),
        (&Method::GET, "/_emulator/queues") => json(StatusCode::OK, &messages::queues(broker)),
        (&Method::GET, "/_emulator/recorder") => {
            let (rows, dropped) = broker.recorder().export();
            let mut response = answer(StatusCode::OK, ND_JSON, rows);
            response.headers_mut().insert(DROPPED, HeaderValue::from(dropped));
            response
        }
        (&Method::PUT, "/_emulator/recorder") => start_recorder(broker, body).await,
        (&Method::DELETE, "/_emulator/recorder") => {
            broker.recorder().stop();
            no_content()
        }
        (&Method::GET, path) if path.starts_with("/_emulator/queues/") => show_messages(broker, path, query),
        (_, "/health" | "/_emulator/clock" | "/_emulator/queues" | "/_emulator/recorder") => {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        }
        _ => problem(
            StatusCode::NOT_FOUND,
            "paths are /health, /_emulator/clock, /_emulator/recorder, /_emulator/queues and \
             /_emulator/queues/{name}/messages",
        ),
    }
}

/// What to record by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecorderRequest {
    record_key: String,
}

async fn start_recorder(broker: &Broker, body: Incoming) -> Answer {
    let body = Limited::new(body, HTTP_BODY_BYTES_MAX).collect();
    let Ok(body) = tokio::time::timeout(HTTP_READ_TIMEOUT, body).await else {
        return problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time");
    };
    let Ok(body) = body else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read, or is too large");
    };
    match serde_json::from_slice::<RecorderRequest>(&body.to_bytes()) {
        Ok(request) => {
            broker.recorder().start(&request.record_key);
            no_content()
        }
        Err(error) => {
            let words = format!("expected a body such as {{\"record_key\":\"orderId\"}}: {error}");
            problem(StatusCode::BAD_REQUEST, &words)
        }
    }
}

fn show_messages(broker: &Broker, path: &str, query: &str) -> Answer {
    const LIMIT: usize = 32;
    let name = path.strip_prefix("/_emulator/queues/").and_then(|rest| rest.strip_suffix("/messages"));
    let name = name.and_then(|name| percent_decode_str(name).decode_utf8().ok());
    let Some(name) = name else {
        return problem(StatusCode::NOT_FOUND, "the path is /_emulator/queues/{name}/messages");
    };
    let (mut part, mut limit) = (Part::Main, LIMIT);
    for (key, value) in
        query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
    {
        match (key, value, value.parse::<usize>()) {
            ("dead_letter", "true", _) => part = Part::DeadLetter,
            ("dead_letter", "false", _) => part = Part::Main,
            ("limit", _, Ok(number)) if (1..=HTTP_MESSAGES_MAX).contains(&number) => limit = number,
            _ => {
                let words = format!(
                    "'{key}={value}': known are dead_letter=true|false and limit=1..{HTTP_MESSAGES_MAX}"
                );
                return problem(StatusCode::BAD_REQUEST, &words);
            }
        }
    }
    match broker.find(&EntityPath { name: name.clone().into_owned(), part }) {
        Some(queue) => json(StatusCode::OK, &messages::messages(&queue, limit)),
        None => problem(StatusCode::NOT_FOUND, &format!("there is no queue '{name}'")),
    }
}
