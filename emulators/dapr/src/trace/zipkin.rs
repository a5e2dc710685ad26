//! Spans to a Zipkin endpoint: collected and sent in batches in the background, as OpenTelemetry's batch processor does
//! for daprd. A call never waits for it, and what does not fit is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{Description, Span};
use crate::app::causes;
use crate::limits::{SPAN_BATCH_INTERVAL, SPAN_BATCH_MAX, SPAN_SEND_TIMEOUT, SPANS_QUEUED_MAX};

/// An endpoint that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("invalid collector URL {0:?}: write it as http://host:9411/api/v2/spans")]
pub struct EndpointError(String);

/// Where finished spans go.
#[derive(Debug, Clone)]
pub struct Exporter {
    queue: mpsc::Sender<Work>,
    app_id: Arc<str>,
    has_dropped: Arc<AtomicBool>,
}

enum Work {
    Span(Box<ZipkinSpan>),
    /// Everything before it is sent when this is answered.
    Flush(oneshot::Sender<()>),
}

/// Zipkin's JSON, version 2.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ZipkinSpan {
    timestamp: u64,
    duration: u64,
    trace_id: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    name: String,
    kind: &'static str,
    local_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_endpoint: Option<Endpoint>,
    tags: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    service_name: String,
}

impl Exporter {
    /// Begins to send to `endpoint`, such as `http://localhost:9411/api/v2/spans`, in the name of `app_id`.
    ///
    /// # Errors
    /// When the endpoint is no address over HTTP.
    pub fn start(endpoint: &str, app_id: &str) -> Result<Self, EndpointError> {
        let uri: Option<Uri> = endpoint.parse().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
        let uri = uri.ok_or_else(|| EndpointError(endpoint.to_owned()))?;
        let (queue, work) = mpsc::channel(SPANS_QUEUED_MAX);
        tokio::spawn(run(work, uri));
        Ok(Self { queue, app_id: app_id.into(), has_dropped: Arc::default() })
    }

    pub(super) fn export(&self, span: &Span, began: SystemTime, took: Duration, description: Description) {
        let Description { name, remote, tags } = description;
        let mut tags: std::collections::BTreeMap<_, _> = tags.into_iter().collect();
        tags.insert("otel.scope.name".to_owned(), "dapr-diagnostics".to_owned());
        tags.insert("service.name".to_owned(), self.app_id.to_string());
        let since_epoch = began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let span = ZipkinSpan {
            timestamp: us(since_epoch),
            // Zipkin's least is 1.
            duration: us(took).max(1),
            trace_id: format!("{:032x}", span.trace_id),
            id: format!("{:016x}", span.span_id),
            parent_id: (span.parent_id != 0).then(|| format!("{:016x}", span.parent_id)),
            name: name.to_lowercase(),
            kind: "CLIENT",
            local_endpoint: Endpoint { service_name: self.app_id.to_string() },
            remote_endpoint: (!remote.is_empty()).then_some(Endpoint { service_name: remote }),
            tags,
        };
        if self.queue.try_send(Work::Span(Box::new(span))).is_err()
            && !self.has_dropped.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                queued_max = SPANS_QUEUED_MAX,
                "spans are dropped: they come faster than they are taken"
            );
        }
    }

    /// Waits until what was exported so far is sent, or `grace` is over.
    pub(super) async fn flush(&self, grace: Duration) {
        let (flushed, is_flushed) = oneshot::channel();
        let flush = async {
            if self.queue.send(Work::Flush(flushed)).await.is_ok() {
                let _ = is_flushed.await;
            }
        };
        let _ = tokio::time::timeout(grace, flush).await;
    }
}

/// Sends batches until nobody exports any more.
async fn run(mut work: mpsc::Receiver<Work>, endpoint: Uri) {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut batch: Vec<Box<ZipkinSpan>> = Vec::new();
    let mut ticks = tokio::time::interval(SPAN_BATCH_INTERVAL);
    let mut is_failing = false;
    loop {
        let (is_over, flushed) = tokio::select! {
            work = work.recv() => match work {
                Some(Work::Span(span)) => {
                    batch.push(span);
                    if batch.len() < SPAN_BATCH_MAX {
                        continue;
                    }
                    (false, None)
                }
                Some(Work::Flush(flushed)) => (false, Some(flushed)),
                None => (true, None),
            },
            _ = ticks.tick() => (false, None),
        };
        if !batch.is_empty() {
            let sent = send(&client, &endpoint, &batch).await;
            if let (Err(error), false) = (&sent, is_failing) {
                tracing::warn!(%endpoint, error, "spans cannot be sent: they are dropped until they can");
            }
            is_failing = sent.is_err();
            batch.clear();
        }
        if let Some(flushed) = flushed {
            let _ = flushed.send(());
        }
        if is_over {
            return;
        }
    }
}

async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    endpoint: &Uri,
    batch: &[Box<ZipkinSpan>],
) -> Result<(), String> {
    let body = serde_json::to_vec(batch).map_err(|error| error.to_string())?;
    let mut request =
        Request::post(endpoint.clone()).body(Full::from(body)).map_err(|error| error.to_string())?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let exchange = async {
        let response = client.request(request).await.map_err(|error| causes(&error))?;
        let status = response.status();
        // The connection is used again only when its answer is read; no more of it than a collector says.
        let _ = http_body_util::Limited::new(response.into_body(), 64 << 10).collect().await;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("failed to send spans to zipkin server with status {status}"))
        }
    };
    tokio::time::timeout(SPAN_SEND_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
