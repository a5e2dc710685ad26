//! The app channel: daprd's calls to the application (dapr, `pkg/channel/http`).
//!
//! It must not know where a call comes from: a binding, a probe, an invocation.

mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use body::{AnswerBody, RequestBody};

use crate::limits::{
    APP_CONCURRENCY_MAX, APP_CONNECTIONS_MAX, APP_DIAL_TIMEOUT, APP_IDLE_CONNECTIONS_MAX,
    APP_RESPONSE_BYTES_MAX,
};
use crate::metrics::Metrics;

/// Header with which Dapr and the application show each other their tokens.
pub const API_TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");

/// Where the application is, and how it is called.
#[derive(Debug)]
pub struct AppChannel {
    client: Client<HttpConnector, RequestBody>,
    authority: Authority,
    metrics: Option<Arc<Metrics>>,
    /// One slot for each call under way.
    slots: Arc<Semaphore>,
    token: Option<HeaderValue>,
    healthy: AtomicBool,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Health checks are on and say that the application is not well.
    #[error("rpc error: code = Internal desc = app is not in a healthy state")]
    Unhealthy,
    /// It could not be reached, or went away. The text is Go's.
    #[error("{} \"{uri}\": {cause}", go_operation(.method))]
    Transport {
        /// The call.
        method: Method,
        /// Its address.
        uri: Uri,
        /// What went wrong, the innermost cause last.
        cause: String,
    },
    /// The call cannot be written as HTTP.
    #[error("the call cannot be written as HTTP")]
    Request(#[from] http::Error),
}

/// What the application answered.
#[derive(Debug)]
pub struct AppResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, or the beginning of one that is too long.
    pub body: Bytes,
}

/// The beginning of an answer; its body is still to be read.
#[derive(Debug)]
pub struct AppAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, which holds the call's slot until it is dropped.
    pub body: AnswerBody,
}

impl AppChannel {
    /// A channel to `host:port`; `max_concurrency` below 1 means any number of calls at a time. The token goes with
    /// every call.
    ///
    /// # Errors
    /// When host and port are no authority.
    pub fn new(
        host: &str,
        port: u16,
        max_concurrency: i64,
        token: Option<HeaderValue>,
        metrics: Option<Arc<Metrics>>,
    ) -> Result<Self, http::Error> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(None);
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(APP_IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .http1_title_case_headers(true)
            .build(connector);
        let slots = usize::try_from(max_concurrency).ok().filter(|&slots| slots > 0);
        // Without a limit of its own, the channel is held by the connections that daprd allows to one host.
        let slots = slots.map_or(APP_CONNECTIONS_MAX, |slots| slots.min(APP_CONCURRENCY_MAX));
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let authority = Authority::try_from(format!("{host}:{port}")).map_err(http::Error::from)?;
        let slots = Arc::new(Semaphore::new(slots));
        Ok(Self { client, authority, metrics, slots, token, healthy: AtomicBool::new(true) })
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Calls made to an unhealthy application fail at once.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// Whether something listens at the application's port.
    pub async fn is_listening(&self) -> bool {
        let dial = tokio::net::TcpStream::connect(self.authority.as_str());
        matches!(tokio::time::timeout(APP_DIAL_TIMEOUT, dial).await, Ok(Ok(_)))
    }

    /// Calls the application and reads its whole answer. Redirects are not followed, and nothing is tried twice.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<AppResponse, AppError> {
        let AppAnswer { status, headers, body } =
            self.open(method.clone(), path.clone(), headers, body).await?;
        // The slot is held until the body is read.
        match read_body(body, &path).await {
            Ok(body) => Ok(AppResponse { status, headers, body }),
            Err(error) => Err(transport(method, self.uri(path)?, &error)),
        }
    }

    /// Calls the application and returns when its answer begins.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: RequestBody,
    ) -> Result<AppAnswer, AppError> {
        if !self.healthy.load(Ordering::Relaxed) {
            return Err(AppError::Unhealthy);
        }
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(path)?;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        if let Some(token) = &self.token {
            headers.insert(API_TOKEN, token.clone());
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("Go-http-client/1.1"));
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
        match &self.metrics {
            None => self.exchange(request, slot).await,
            Some(metrics) => self.counted(metrics, request, slot).await,
        }
    }

    /// Like [`AppChannel::call`] for health probes: no slot, no token, whether healthy or not.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn probe(&self, path: PathAndQuery) -> Result<StatusCode, AppError> {
        let begun = Instant::now();
        let uri = self.uri(path.clone())?;
        let request = Request::get(uri.clone()).body(RequestBody::default())?;
        let answer = self.exchange(request, None).await;
        let status = answer.as_ref().map_or(StatusCode::INTERNAL_SERVER_ERROR, |answer| answer.status);
        if let Some(metrics) = &self.metrics {
            metrics.probed(status, begun.elapsed());
        }
        read_body(answer?.body, &path).await.map_err(|error| transport(Method::GET, uri, &error))?;
        Ok(status)
    }

    async fn counted(
        &self,
        metrics: &Metrics,
        request: Request<RequestBody>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<AppAnswer, AppError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        metrics.app_called(&method, &path, 0);
        let begun = Instant::now();
        let answer = self.exchange(request, slot).await;
        let (status, bytes) = match &answer {
            Ok(answer) => {
                let length = answer.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
                (answer.status, length.and_then(|length| length.parse().ok()).unwrap_or(-1))
            }
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, -1),
        };
        metrics.app_answered(&method, &path, status, bytes, begun.elapsed());
        answer
    }

    fn uri(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(path).build()
    }

    async fn exchange(
        &self,
        request: Request<RequestBody>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<AppAnswer, AppError> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let response = self.client.request(request).await.map_err(|error| transport(method, uri, &error))?;
        let (head, body) = response.into_parts();
        Ok(AppAnswer { status: head.status, headers: head.headers, body: AnswerBody::new(body, slot) })
    }
}

/// Reads a body to its end and keeps its beginning.
async fn read_body(mut body: AnswerBody, path: &PathAndQuery) -> Result<Bytes, hyper::Error> {
    let (mut kept, mut is_whole) = (BytesMut::new(), true);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if kept.is_empty() && hyper::body::Body::is_end_stream(&body) {
                return Ok(data);
            }
            let room = APP_RESPONSE_BYTES_MAX - kept.len();
            if data.len() > room && is_whole {
                is_whole = false;
                tracing::warn!(%path, kept_bytes = APP_RESPONSE_BYTES_MAX, "the app's answer is long: the rest is not kept");
            }
            kept.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    Ok(kept.freeze())
}

/// An error of the way to the application, in Go's words where it is a common one.
fn transport(method: Method, uri: Uri, error: &(dyn std::error::Error + 'static)) -> AppError {
    let mut cause = None;
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            let address = uri.authority().map_or("", Authority::as_str);
            cause = Some(format!("dial tcp {address}: connect: connection refused"));
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            cause = Some("EOF".to_owned());
        }
        source = error.source();
    }
    AppError::Transport { method, uri, cause: cause.unwrap_or_else(|| causes(error)) }
}

/// A method as Go's client names it: `Post`.
pub(crate) fn go_operation(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(method.as_str().len().min(1));
    first.to_owned() + &rest.to_ascii_lowercase()
}

/// An error and what caused it, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Headers with which daprd calls the application: JSON, whatever the body is.
#[must_use]
pub fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
