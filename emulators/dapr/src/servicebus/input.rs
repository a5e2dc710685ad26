//! Messages of a queue to the application (`subscription.go`; dapr, `pkg/runtime/processor/binding`): one call for each,
//! completed when it is answered with 2xx and given back at once when not.
//!
//! Where daprd asks the broker for one message at a time, the link here has credit for every message that may be held:
//! `maxActiveMessages` less those that are held. An application cannot tell, a benchmark can.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use amqp::client::{ClientError, Connection, Delivery, Receiver, ReceiverOptions, Settler};
use amqp::performative::{DeliveryState, Modified};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::broker::Broker;
use super::limiter::Limiter;
use super::lock_renewal::{self, ActiveLocks, lock_token};
use super::message;
use super::settings::QueueSettings;
use crate::app::{AppChannel, AppResponse, RequestBody, causes, json_headers};
use crate::limits::{APP_RESPONSE_LOG_BYTES_MAX, DONE_BATCH, LINK_PAUSE, LINK_PAUSE_FACTOR};
use crate::metrics::Metrics;
use crate::resiliency::policy::{Failed, Policy};
use crate::trace::{Description, Span, TRACEPARENT, TRACESTATE, Tracer};

/// An input binding on one queue.
#[derive(Debug)]
pub struct QueueInput {
    /// Name of the component.
    pub name: String,
    /// Path at which the application takes its messages.
    pub route: PathAndQuery,
    settings: QueueSettings,
    broker: Arc<Broker>,
}

/// Where deliveries go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The application.
    pub app: Arc<AppChannel>,
    /// Makes the span of each delivery.
    pub tracer: Tracer,
    /// What is put around each.
    pub policy: Option<Arc<Policy>>,
    /// Where they are counted.
    pub metrics: Option<Arc<Metrics>>,
}

/// An input that reads. Dropping it cuts everything off.
#[derive(Debug)]
pub struct RunningInput {
    stop: CancellationToken,
    cut: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl QueueInput {
    /// An input that does not read yet.
    #[must_use]
    pub fn new(name: &str, route: PathAndQuery, settings: QueueSettings, broker: Arc<Broker>) -> Self {
        Self { name: name.to_owned(), route, settings, broker }
    }

    /// Begins to read.
    #[must_use]
    pub fn start(self: &Arc<Self>, target: Target) -> RunningInput {
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let run = run(Arc::clone(self), target, stop.clone(), cut.clone());
        RunningInput { stop, cut, task: AbortOnDropHandle::new(tokio::spawn(run)) }
    }

    async fn connect(&self) -> Result<(Connection, Receiver), String> {
        let connect = async {
            let connection = self.broker.connection(&self.settings.queue).await?;
            let receiver = connection.receiver(&self.settings.queue, ReceiverOptions::default()).await?;
            receiver.add_credit(self.settings.max_active).await?;
            Ok((connection, receiver))
        };
        match tokio::time::timeout(self.settings.timeout, connect).await {
            Ok(connected) => connected.map_err(|error: ClientError| causes(&error)),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }
}

impl RunningInput {
    /// Takes no new message from now on, lets calls under way finish and settles them.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Cuts calls under way off; their messages are given back.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until all is settled. May be broken off, and asked again also after the end.
    pub async fn ended(&mut self) {
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }
}

/// Reads until it is stopped, over as many connections as that takes.
async fn run(input: Arc<QueueInput>, target: Target, stop: CancellationToken, cut: CancellationToken) {
    let queue = &input.settings.queue;
    let (recovery_min, recovery_max) = input.settings.recovery;
    let (mut connect_pause, mut recovery_pause) = (LINK_PAUSE.0, recovery_min);
    while !stop.is_cancelled() {
        let connected = tokio::select! {
            connected = input.connect() => connected,
            () = stop.cancelled() => return,
        };
        let pause = match connected {
            Err(error) => {
                let pause = connect_pause;
                connect_pause = pause.mul_f64(LINK_PAUSE_FACTOR).min(LINK_PAUSE.1);
                let retry_ms = pause.as_millis();
                tracing::warn!(
                    queue,
                    error,
                    retry_ms,
                    "Failed to connect to Azure Service Bus queue; will retry"
                );
                pause
            }
            Ok((connection, receiver)) => {
                tracing::debug!(queue, binding = input.name, "reading");
                connect_pause = LINK_PAUSE.0;
                let round = Round::new(&input, &target, &stop, &cut, &receiver);
                let (received_any, error) = Arc::new(round).read(connection, receiver).await;
                let Some(error) = error else { return };
                if received_any {
                    recovery_pause = recovery_min;
                }
                let (pause, retry_ms) = (recovery_pause, recovery_pause.as_millis());
                recovery_pause = pause.saturating_mul(2).min(recovery_max);
                tracing::warn!(
                    queue,
                    error,
                    retry_ms,
                    "Subscription lost connection, attempting to reconnect"
                );
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One link's life: what every message that came on it shares.
struct Round {
    input: Arc<QueueInput>,
    target: Target,
    /// No new calls.
    stop: CancellationToken,
    /// Calls under way end now.
    cut: CancellationToken,
    settler: Settler,
    active: ActiveLocks,
    handlers: Option<Semaphore>,
    limiter: Limiter,
}

impl Round {
    fn new(
        input: &Arc<QueueInput>,
        target: &Target,
        stop: &CancellationToken,
        cut: &CancellationToken,
        receiver: &Receiver,
    ) -> Self {
        Self {
            input: Arc::clone(input),
            target: target.clone(),
            stop: stop.clone(),
            // When the link breaks, its calls are cut off without ending the input.
            cut: cut.child_token(),
            settler: receiver.settler(),
            active: Arc::new(Mutex::new(HashMap::new())),
            handlers: input.settings.max_handlers.map(Semaphore::new),
            limiter: Limiter::new(input.settings.max_errors_per_second),
        }
    }

    /// Reads until the link breaks, with the reason, or until it was stopped and all is settled, without one. Also
    /// tells whether any message came.
    async fn read(self: Arc<Self>, connection: Connection, mut receiver: Receiver) -> (bool, Option<String>) {
        let settings = &self.input.settings;
        let _renewal = settings.lock_renewal.map(|interval| {
            let active = Arc::clone(&self.active);
            let queue = settings.queue.clone();
            let renew = lock_renewal::run(connection, queue, active, interval, settings.timeout);
            AbortOnDropHandle::new(tokio::spawn(renew))
        });
        let (done, mut finished) = mpsc::unbounded_channel();
        let (mut held, mut received_any, mut drained) = (0_usize, false, false);
        let mut batch = Vec::new();
        let drain = async {
            self.stop.cancelled().await;
            let _ = tokio::time::timeout(settings.timeout, self.settler.drain()).await;
        };
        tokio::pin!(drain);
        loop {
            if drained && held == 0 {
                let _ = tokio::time::timeout(settings.timeout, receiver.detach()).await;
                return (received_any, None);
            }
            tokio::select! {
                // What has arrived is taken before the end of the drain is seen: nothing stays behind, locked.
                biased;
                delivery = receiver.receive() => match delivery {
                    Some(Ok(delivery)) => {
                        (held, received_any) = (held + 1, true);
                        let (round, done) = (Arc::clone(&self), done.clone());
                        tokio::spawn(async move {
                            round.handle(delivery).await;
                            let _ = done.send(());
                        });
                    }
                    ended => {
                        self.cut.cancel();
                        let error = ended.and_then(Result::err).map(|error| causes(&error));
                        return (received_any, Some(error.unwrap_or_else(|| "the link ended".to_owned())));
                    }
                },
                count = finished.recv_many(&mut batch, DONE_BATCH) => {
                    batch.clear();
                    held = held.saturating_sub(count);
                    if !self.stop.is_cancelled() {
                        let credit = u32::try_from(count).unwrap_or(u32::MAX);
                        // A lost connection shows in `receive`.
                        let _ = self.settler.add_credit(credit).await;
                    }
                }
                () = &mut drain, if !drained => drained = true,
            }
        }
    }

    /// Everything that happens to one message; when it returns, the place it took is free.
    async fn handle(&self, delivery: Delivery) {
        if let Some(token) = lock_token(&delivery.tag) {
            self.locks().insert(delivery.id, token);
        }
        let outcome = {
            // Held until the message is settled; the semaphore is never closed.
            let _slot = match &self.handlers {
                Some(handlers) => handlers.acquire().await.ok(),
                None => None,
            };
            let outcome = self.deliver(&delivery.message).await;
            self.settle(&delivery, outcome.is_ok()).await;
            outcome
        };
        self.locks().remove(&delivery.id);
        if let Err(error) = outcome {
            tracing::warn!(
                binding = self.input.name,
                error,
                "a message was not processed and goes back to its queue"
            );
            tokio::select! {
                () = self.limiter.take() => {}
                () = self.stop.cancelled() => {}
                () = self.cut.cancelled() => {}
            }
        }
    }

    fn locks(&self) -> std::sync::MutexGuard<'_, HashMap<u32, [u8; 16]>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the application with the message.
    async fn deliver(&self, message: &Bytes) -> Result<(), String> {
        if self.stop.is_cancelled() {
            return Err("input binding is closed".to_owned());
        }
        let begun = Instant::now();
        let outcome = tokio::select! {
            outcome = self.call_app(message) => outcome,
            () = self.cut.cancelled() => Err("error invoking app: context canceled".to_owned()),
        };
        if let Some(metrics) = &self.target.metrics {
            metrics.delivered(&self.input.name, outcome.is_ok(), begun.elapsed());
        }
        outcome
    }

    /// Calls it as often as the policy has it (dapr, `sendBindingEventToApp`).
    async fn call_app(&self, message: &Bytes) -> Result<(), String> {
        let received =
            message::decode(message).map_err(|error| format!("error reading the message: {error}"))?;
        let Target { tracer, policy, .. } = &self.target;
        let (span, headers) = headers(&received.metadata, tracer)?;
        check_length(&received.metadata, received.body.len())?;
        let outcome = match policy {
            None => self.post(headers, RequestBody::whole(received.body)).await,
            Some(policy) => {
                // The length is not told where the body may have to be sent again.
                let make = if policy.has_retries() { RequestBody::chunked } else { RequestBody::whole };
                policy.run(|| self.post(headers.clone(), make(received.body.clone()))).await
            }
        };
        let has_retry = policy.as_ref().is_some_and(|policy| policy.retry.is_some());
        let answer = match outcome {
            Ok(answer) => Ok(answer),
            Err(Failed { value: Some(answer), .. }) if !has_retry => Ok(answer),
            // What was answered is gone when a retry policy gives up.
            Err(Failed { status: Some(_), .. }) => {
                Err("error invoking app: response object is nil".to_owned())
            }
            Err(failed) => Err(format!("error invoking app: {}", failed.error)),
        }?;
        tracer.end(span.as_ref(), || self.describe(answer.status));
        if answer.status.is_success() { Ok(()) } else { Err(not_success(answer.status, &answer.body)) }
    }

    /// Calls it once. To a policy, statuses of success other than 200 are failures.
    async fn post(&self, headers: HeaderMap, body: RequestBody) -> Result<AppResponse, Failed<AppResponse>> {
        let answer = self.target.app.call(Method::POST, self.input.route.clone(), headers, body).await;
        let answer = answer.map_err(|error| Failed::plain(error.to_string()))?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        let error = format!("error sending binding event to application, status {status}");
        Err(Failed { value: Some(answer), error, status: Some(status), is_permanent: false })
    }

    fn describe(&self, status: StatusCode) -> Description {
        let name = &self.input.name;
        let mut description = Description { name: format!("bindings/{name}"), ..Description::default() };
        description.remote.clone_from(name);
        description.tag("db.connection_string", format!("POST /{name}"));
        description.tag("db.name", name);
        description.tag("db.system", "bindings");
        description.tag("rpc.service", "Dapr");
        description.fail_from(status);
        description
    }

    /// Completes or gives back; what fails here only shows in the log, and the message comes again when its lock ends.
    async fn settle(&self, delivery: &Delivery, success: bool) {
        let state = if success {
            DeliveryState::Accepted
        } else {
            let undeliverable_here = Some(false);
            DeliveryState::Modified(Modified {
                delivery_failed: Some(false),
                undeliverable_here,
                message_annotations: None,
            })
        };
        let what = if success { "completing" } else { "abandoning" };
        let settled = self.settler.settle(delivery.id, state);
        let error = match tokio::time::timeout(self.input.settings.timeout, settled).await {
            Ok(Ok(DeliveryState::Rejected(rejected))) => rejected.error.map_or_else(
                || "rejected".to_owned(),
                |error| format!("{}: {}", error.condition.as_str(), error.description.unwrap_or_default()),
            ),
            Ok(Ok(_)) => return,
            Ok(Err(error)) => causes(&error),
            Err(_) => "context deadline exceeded".to_owned(),
        };
        tracing::warn!(binding = self.input.name, error, "Error {what} message");
    }
}

fn not_success(status: StatusCode, body: &Bytes) -> String {
    let shown = body.get(..APP_RESPONSE_LOG_BYTES_MAX).unwrap_or(body);
    let code = status.as_u16();
    let body = String::from_utf8_lossy(shown);
    format!("fails to send binding event to http app channel, status code: {code} body: {body}")
}

/// The message's metadata as headers of the call (dapr, `InternalMetadataToHTTPHeader`), and its span.
fn headers(metadata: &[(String, String)], tracer: &Tracer) -> Result<(Option<Span>, HeaderMap), String> {
    let mut headers = json_headers();
    let (mut parent, mut state) = (None, None);
    let nominated: Vec<String> = metadata
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| value.split(',').map(|token| token.trim().to_ascii_lowercase()))
        .collect();
    for (name, value) in metadata {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            TRACEPARENT => parent = Some(value.as_str()),
            TRACESTATE => state = Some(value.as_str()),
            name if is_dropped(name) || nominated.iter().any(|nominated| nominated == name) => {}
            _ => {
                let name = if name.starts_with("grpc-") { format!("dapr-{name}") } else { name };
                let header = HeaderName::from_bytes(name.as_bytes());
                let header =
                    header.map_err(|_| format!("error invoking app: invalid header field name {name:?}"))?;
                let value = HeaderValue::from_bytes(value.as_bytes());
                let value = value.map_err(|_| {
                    format!("error invoking app: net/http: invalid header field value for {name:?}")
                })?;
                headers.append(header, value);
            }
        }
    }
    // What has no trace, and with tracing off everything, passes as it is; where nothing came, a span of zeros stands.
    let span = tracer.child_of(parent);
    let (traced, made) = (span.filter(Span::has_trace), span.map(|span| span.traceparent()));
    let came = parent.filter(|parent| !parent.is_empty());
    let traceparent = if traced.is_some() { made.as_deref() } else { came.or(made.as_deref()) };
    for (name, value) in [(TRACEPARENT, traceparent), (TRACESTATE, state)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok((traced, headers))
}

/// daprd sets the length of its request to a property of that name, and Go's client then refuses the body that does not
/// have it (`constructRequest`; `net/http`, `transferWriter`).
fn check_length(metadata: &[(String, String)], body_bytes: usize) -> Result<(), String> {
    let Some((_, text)) = metadata.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    else {
        return Ok(());
    };
    let length: i64 = text
        .parse()
        .map_err(|_| format!("error invoking app: strconv.ParseInt: parsing {text:?}: invalid syntax"))?;
    // Nothing or less means that it is not known.
    if length <= 0 || usize::try_from(length) == Ok(body_bytes) {
        return Ok(());
    }
    Err(format!("error invoking app: http: ContentLength={length} with Body length {body_bytes}"))
}

/// Names that are not passed on: those that HTTP needs for itself, and those that daprd keeps.
fn is_dropped(name: &str) -> bool {
    name.ends_with("-bin")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "content-type"
                | "destination-app-id"
                | "http2-settings"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Tracing;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(rate: Option<&str>) -> Tracer {
        let sampling_rate = rate.map(str::to_owned);
        Tracer::new(&Tracing { sampling_rate, ..Tracing::default() }, None)
    }

    fn made(pairs: &[(&str, &str)], rate: Option<&str>) -> HeaderMap {
        let metadata: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        headers(&metadata, &tracer(rate)).expect("headers").1
    }

    #[test]
    fn metadata_becomes_headers() {
        let headers = made(
            &[("id", ""), ("correlationID", "c"), ("label", "l"), ("X%3A", "a+b"), ("grpc-x", "1")],
            Some("0"),
        );
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["id"], "");
        assert_eq!(headers["correlationid"], "c");
        assert_eq!(headers["x%3a"], "a+b");
        assert_eq!(headers["dapr-grpc-x"], "1");
        assert!(!headers.contains_key("traceparent"));
    }

    #[test]
    fn what_http_needs_for_itself_is_dropped() {
        let headers = made(
            &[
                ("Content-Type", "text/plain"),
                ("content-length", "3"),
                ("Transfer-Encoding", "chunked"),
                ("Connection", "close, mine"),
                ("mine", "x"),
                ("grpc-trace-bin", "x"),
                ("kept", "y"),
            ],
            Some("0"),
        );
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "kept"]);
        assert_eq!(headers["content-type"], "application/json");
    }

    #[test]
    fn a_property_that_names_another_length_is_an_error() {
        let checked = |text: &str| check_length(&[("Content-Length".to_owned(), text.to_owned())], 12);
        assert_eq!(
            [checked("12"), checked("0"), checked("-1"), check_length(&[], 12)],
            [const { Ok(()) }; 4]
        );
        for wrong in ["3", "20", "twelve", ""] {
            assert!(checked(wrong).expect_err(wrong).starts_with("error invoking app: "));
        }
    }

    #[test]
    fn the_trace_goes_on() {
        let headers = made(&[("traceparent", PARENT), ("tracestate", "a=b")], Some("0.1"));
        let child = headers["traceparent"].to_str().expect("text");
        assert!(child.starts_with(&PARENT[..36]) && child != PARENT, "{child}");
        assert_eq!(headers["tracestate"], "a=b");
        assert!(made(&[], Some("0.1")).contains_key("traceparent"), "a new trace");
    }

    #[test]
    fn without_a_rate_and_with_rate_zero_it_passes_as_it_is() {
        for rate in [None, Some("0")] {
            for parent in [PARENT, "odd", "00-00000000000000000000000000000000-0000000000000000-00"] {
                assert_eq!(made(&[("traceparent", parent)], rate)["traceparent"], parent, "{rate:?}");
            }
        }
        assert!(!made(&[], Some("0")).contains_key("traceparent"));
        // As a real daprd does it.
        let zeros = "00-00000000000000000000000000000000-0000000000000000-00";
        assert_eq!(made(&[], None)["traceparent"], zeros);
    }

    #[test]
    fn a_value_that_no_header_can_hold_is_an_error() {
        let metadata = [("label".to_owned(), "a\nb".to_owned())];
        assert!(
            headers(&metadata, &tracer(None)).expect_err("refused").contains("invalid header field value")
        );
    }
}
