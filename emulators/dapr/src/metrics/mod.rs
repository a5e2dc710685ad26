//! What is counted, by daprd's names (dapr, `pkg/diagnostics`), and the listener that tells it to Prometheus.
//!
//! It must not know what a call means: who carries it out says what happened.

mod series;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

use series::{Client, Components, Invocations, Maker, Policies, Server};

use crate::configuration::Metric;
use crate::limits::{ACCEPT_PAUSE, HEAD_TIMEOUT, METRIC_PATHS_MAX};

/// The states of a circuit breaker, each a gauge that is 1 while it is in it.
const BREAKER_STATES: [&str; 4] = ["closed", "half-open", "open", "unknown"];

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    app_id: String,
    namespace: String,
    settings: Metric,
    /// Paths that have been seen: beyond their bound, others are not told apart.
    paths: RwLock<HashSet<String>>,
    server: Server,
    client: Client,
    components: Components,
    invocations: Invocations,
    policies: Policies,
}

/// Which policy of which target something happened to.
#[derive(Debug, Clone, Copy)]
pub struct PolicyEvent<'a> {
    /// The Resiliency.
    pub resiliency: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// `timeout`, `retry` or `circuitbreaker`.
    pub policy: &'static str,
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// `Binding_<name>` or `app_<id>`.
    pub target: &'a str,
    /// The state of a circuit breaker; empty for the others.
    pub status: &'static str,
}

impl Metrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When the buckets cannot be ones.
    pub fn new(app_id: &str, namespace: &str, settings: &Metric) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let make = Maker { registry: &registry, latency_buckets_ms: &settings.latency_buckets_ms };
        Ok(Self {
            server: make.server()?,
            client: make.client()?,
            components: make.components()?,
            invocations: make.invocations()?,
            policies: make.policies()?,
            registry,
            app_id: app_id.to_owned(),
            namespace: namespace.to_owned(),
            settings: settings.clone(),
            paths: RwLock::default(),
        })
    }

    /// A call to the API was answered.
    pub fn api_answered(
        &self,
        method: &Method,
        path: &str,
        status: StatusCode,
        sizes: (u64, u64),
        took: Duration,
    ) {
        let path = self.path(path);
        let labels = [&*self.app_id, self.verb(method), &*path, status.as_str()];
        self.server.requests.with_label_values(&labels).inc();
        self.server.latency_ms.with_label_values(&labels).observe(whole_ms(took));
        if self.settings.paths {
            self.server.responses.with_label_values(&labels).inc();
        }
        self.server.request_bytes.with_label_values(&labels[..1]).observe(sizes.0 as f64);
        self.server.response_bytes.with_label_values(&labels[..1]).observe(sizes.1 as f64);
    }

    /// The application is called with a body of `bytes`.
    pub fn app_called(&self, method: &Method, path: &str, bytes: u64) {
        let path = self.path(path);
        let labels = [&*self.app_id, self.verb(method), &*path, ""];
        self.client.sent_bytes.with_label_values(&labels).observe(bytes as f64);
    }

    /// The application answered, or `status` is 500; `bytes` is what its answer says of its length, else -1.
    pub fn app_answered(&self, method: &Method, path: &str, status: StatusCode, bytes: i64, took: Duration) {
        let path = self.path(path);
        let labels = [&*self.app_id, self.verb(method), &*path, status.as_str()];
        self.client.completed.with_label_values(&labels).inc();
        self.client.latency_ms.with_label_values(&labels).observe(whole_ms(took));
        self.client.received_bytes.with_label_values(&labels[..1]).observe(bytes as f64);
    }

    /// The application's health was probed.
    pub fn probed(&self, status: StatusCode, took: Duration) {
        let labels = [&*self.app_id, status.as_str()];
        self.client.probes.with_label_values(&labels).inc();
        self.client.probe_latency_ms.with_label_values(&labels).observe(whole_ms(took));
    }

    /// A message was delivered, or was not.
    pub fn delivered(&self, component: &str, success: bool, took: Duration) {
        let labels = [&*self.app_id, component, &*self.namespace, truth(success)];
        self.components.inputs.with_label_values(&labels).inc();
        self.components.input_latency_ms.with_label_values(&labels).observe(ms(took));
    }

    /// An output binding was called.
    pub fn output_called(&self, component: &str, operation: &str, success: bool, took: Duration) {
        let labels = [&*self.app_id, component, &*self.namespace, operation, truth(success)];
        self.components.outputs.with_label_values(&labels).inc();
        self.components.output_latency_ms.with_label_values(&labels).observe(ms(took));
    }

    /// A component was loaded; it has one instance for each direction.
    pub fn component_loaded(&self, component_type: &str, instances: usize) {
        self.components.loaded.with_label_values(&[&*self.app_id]).inc();
        self.components
            .initialized
            .with_label_values(&[&*self.app_id, component_type])
            .inc_by(instances as u64);
    }

    /// A component could not start, and the start goes on.
    pub fn component_failed(&self, component_type: &str, name: &str) {
        self.components.init_failed.with_label_values(&[&*self.app_id, component_type, name, "init"]).inc();
    }

    /// Another application is called.
    pub fn invocation_sent(&self, to: &str) {
        self.invocations.sent.with_label_values(&[&*self.app_id, to, "unary"]).inc();
    }

    /// Another application answered.
    pub fn invocation_answered(&self, from: &str, status: StatusCode, took: Duration) {
        let labels = [&*self.app_id, from, status.as_str(), "unary"];
        self.invocations.answered.with_label_values(&labels).inc();
        self.invocations.latency_ms.with_label_values(&labels[..3]).observe(ms(took));
    }

    /// Another application's call came in.
    pub fn invocation_received(&self, from: &str) {
        self.invocations.received.with_label_values(&[&*self.app_id, from]).inc();
    }

    /// Another application was answered; 13 stands for an error inside.
    pub fn invocation_answer_sent(&self, to: &str, status: &str) {
        self.invocations.answers_sent.with_label_values(&[&*self.app_id, to, status]).inc();
    }

    /// A Resiliency was loaded.
    pub fn resiliency_loaded(&self, name: &str, namespace: &str) {
        self.policies.loaded.with_label_values(&[&*self.app_id, name, namespace]).inc();
    }

    /// A policy was put around a call.
    pub fn policy_executed(&self, event: &PolicyEvent<'_>) {
        self.policies.executed.with_label_values(&self.policy_labels(event)).inc();
        if !event.status.is_empty() {
            for status in BREAKER_STATES {
                let labels = self.policy_labels(&PolicyEvent { status, ..*event });
                self.policies
                    .breaker_states
                    .with_label_values(&labels)
                    .set(i64::from(status == event.status));
            }
        }
    }

    /// A policy did something.
    pub fn policy_activated(&self, event: &PolicyEvent<'_>) {
        self.policies.activated.with_label_values(&self.policy_labels(event)).inc();
    }

    fn policy_labels<'a>(&'a self, event: &PolicyEvent<'a>) -> [&'a str; 7] {
        let PolicyEvent { resiliency, namespace, policy, direction, target, status } = *event;
        [&self.app_id, direction, resiliency, namespace, policy, status, target]
    }

    fn verb<'a>(&self, method: &'a Method) -> &'a str {
        if !self.settings.verbs {
            return "";
        }
        match method.as_str() {
            verb @ ("GET" | "PUT" | "POST" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" | "CONNECT"
            | "TRACE") => verb,
            _ => "UNKNOWN",
        }
    }

    /// How a path is counted: as it is, up to the number of paths that are told apart.
    fn path<'a>(&self, path: &'a str) -> std::borrow::Cow<'a, str> {
        // daprd counts these in any case (`diagnostics/utils`, `StaticPaths`).
        let is_static = matches!(path, "/dapr/config" | "/dapr/subscribe" | "/healthz");
        if !self.settings.paths && !is_static {
            return "".into();
        }
        if self.paths.read().unwrap_or_else(PoisonError::into_inner).contains(path) {
            return path.into();
        }
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        if paths.len() >= METRIC_PATHS_MAX {
            return "".into();
        }
        paths.insert(path.to_owned());
        path.into()
    }

    /// Everything in Prometheus' text form.
    fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Tells Prometheus what was counted, if anything is, on any path, until it is dropped.
pub async fn serve(listener: TcpListener, metrics: Option<Arc<Metrics>>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_| {
                let answer = answer(metrics.as_deref());
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection for metrics ended");
            }
        });
    }
}

fn answer(metrics: Option<&Metrics>) -> Response<Full<Bytes>> {
    match metrics.map_or_else(|| Ok(Vec::new()), Metrics::text) {
        Ok(text) => {
            let mut answer = Response::new(Full::from(text));
            let text =
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
            answer.headers_mut().insert(CONTENT_TYPE, text);
            answer
        }
        Err(error) => {
            let mut answer = Response::new(Full::from(error.to_string()));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            answer
        }
    }
}

fn truth(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

/// daprd counts HTTP calls in whole milliseconds.
fn whole_ms(took: Duration) -> f64 {
    ms(took).floor()
}
