//! The app channel: daprd's calls to the application (dapr, `pkg/channel/http`).
//!
//! It must not know where a call comes from: a binding, a probe, an invocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;

use crate::limits::{
    APP_CONCURRENCY_MAX, APP_CONNECTIONS_MAX, APP_DIAL_TIMEOUT, APP_IDLE_CONNECTIONS_MAX,
    APP_RESPONSE_BYTES_MAX,
};

/// Header with which Dapr and the application show each other their tokens.
pub const API_TOKEN: HeaderName = HeaderName::from_static("dapr-api-token");

/// Where the application is, and how it is called.
#[derive(Debug)]
pub struct AppChannel {
    client: Client<HttpConnector, Full<Bytes>>,
    authority: Authority,
    /// One slot for each call under way.
    slots: Arc<Semaphore>,
    token: Option<HeaderValue>,
    healthy: AtomicBool,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Health checks are on and say that the application is not well.
    #[error("app is not in a healthy state")]
    Unhealthy,
    /// It could not be reached, or went away.
    #[error("{method} {uri}: {cause}")]
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
    /// Whether that is all of it.
    pub is_whole: bool,
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
        Ok(Self { client, authority, slots, token, healthy: AtomicBool::new(true) })
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
        body: Bytes,
    ) -> Result<AppResponse, AppError> {
        if !self.healthy.load(Ordering::Relaxed) {
            return Err(AppError::Unhealthy);
        }
        // Held until the answer's body is read; the semaphore is never closed.
        let _slot = self.slots.acquire().await;
        self.call_without_slot(method, path, headers, body).await
    }

    /// Like [`AppChannel::call`] for health probes: no slot, no token, whether healthy or not.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn probe(&self, path: PathAndQuery) -> Result<StatusCode, AppError> {
        let request = Request::get(self.uri(path)?).body(Full::default())?;
        self.exchange(request).await.map(|response| response.status)
    }

    async fn call_without_slot(
        &self,
        method: Method,
        path: PathAndQuery,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<AppResponse, AppError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri(path)?;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        if let Some(token) = &self.token {
            headers.insert(API_TOKEN, token.clone());
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("Go-http-client/1.1"));
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
        self.exchange(request).await
    }

    fn uri(&self, path: PathAndQuery) -> Result<Uri, http::Error> {
        Uri::builder().scheme(Scheme::HTTP).authority(self.authority.clone()).path_and_query(path).build()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<AppResponse, AppError> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let transport = |error: &dyn std::error::Error| AppError::Transport {
            method: method.clone(),
            uri: uri.clone(),
            cause: causes(error),
        };
        let response = self.client.request(request).await.map_err(|error| transport(&error))?;
        let (head, body) = response.into_parts();
        let (body, is_whole) = read_body(body).await.map_err(|error| transport(&error))?;
        Ok(AppResponse { status: head.status, headers: head.headers, body, is_whole })
    }
}

/// Reads a body to its end and keeps its beginning; also tells whether that is all of it. One that ends before the length
/// that was announced is taken for what there is of it, as daprd does.
async fn read_body(mut body: Incoming) -> Result<(Bytes, bool), hyper::Error> {
    let (mut kept, mut is_whole) = (BytesMut::new(), true);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Err(error) if ends_early(&error) => break,
            frame => frame?,
        };
        if let Ok(data) = frame.into_data() {
            if kept.is_empty() && hyper::body::Body::is_end_stream(&body) {
                return Ok((data, true));
            }
            let room = APP_RESPONSE_BYTES_MAX - kept.len();
            is_whole &= data.len() <= room;
            kept.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    Ok((kept.freeze(), is_whole))
}

fn ends_early(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    error.is_incomplete_message()
        || cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof)
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
