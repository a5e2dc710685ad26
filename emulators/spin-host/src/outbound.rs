//! What guests send: checked against the allowed hosts, then to another component, to the application itself, or out
//! over connections that are kept and used again.
//!
//! It must not follow redirects, retry what was sent, or change a request beyond what Spin changes. Rules: Spin 3.6.3,
//! `crates/factor-outbound-http/src/wasi.rs`, `crates/trigger-http/src/outbound_http.rs`.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderName, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::app::Component;
use crate::hosts::{Target, chaining_component};
use crate::limits;
use crate::worker::Worker;

/// A host name by which a guest may mean its own application.
const OWN_HOST: &str = "self.alt";

/// An HTTP/1.1 client that keeps its connections; one for each thread of the host, or one for all.
#[derive(Clone)]
pub struct Pool(Client<Connector, WasiBody>);

impl Pool {
    /// A client without connections.
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build(Connector))
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// How many exchanges of guests with other hosts may be under way.
pub struct Exchanges {
    free: Arc<Semaphore>,
    most: usize,
    /// Whether the last one was refused, so that a flood is reported once.
    is_refusing: AtomicBool,
}

impl Exchanges {
    /// For a program that may open so many files.
    pub fn new(files: usize) -> Self {
        let most = limits::OUTBOUND_EXCHANGES.min(files / limits::OUTBOUND_SHARE_OF_FILES);
        Self { free: Arc::new(Semaphore::new(most)), most, is_refusing: AtomicBool::new(false) }
    }

    /// Room for one, given back when it is dropped. Waiting for room could last for ever: applications call themselves.
    fn begin(&self, component: &str) -> Result<OwnedSemaphorePermit, Error> {
        let Ok(room) = Arc::clone(&self.free).try_acquire_owned() else {
            if !self.is_refusing.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    component,
                    most = self.most,
                    "too many outbound requests at a time; more are refused"
                );
            }
            return Err(Error::ConnectionLimitReached);
        };
        if self.free.available_permits() > self.most / 2 {
            self.is_refusing.store(false, Ordering::Relaxed);
        }
        Ok(room)
    }
}

/// What wasi:http asks the host, on behalf of one instance.
pub struct Hooks {
    /// Who runs the instance.
    pub worker: Arc<Worker>,
    /// Whose instance it is.
    pub component: Arc<Component>,
    /// How many components called each other to get here.
    pub chain_length: u32,
}

type Exchange = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn set_host_header(&mut self) -> bool {
        // The client sets it from the URI.
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        let call = Call {
            worker: Arc::clone(&self.worker),
            component: Arc::clone(&self.component),
            chain_length: self.chain_length,
            options: options.unwrap_or_default(),
        };
        Box::new(async move {
            let response = call.send(request).await?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as _))
        })
    }
}

struct Call {
    worker: Arc<Worker>,
    component: Arc<Component>,
    chain_length: u32,
    options: RequestOptions,
}

impl Call {
    async fn send(self, mut request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let uri = request.uri();
        let own = uri
            .authority()
            .is_none_or(|authority| authority.host().is_empty() || authority.host() == OWN_HOST);
        let allowed = if own { self.component.may_reach_itself() } else { self.may_reach(uri) };
        if !allowed {
            return Err(Error::HttpRequestDenied);
        }
        if own {
            *request.uri_mut() = to_own_listener(uri, &self.worker.own_authority)?;
        } else if let Some(target) = uri.host().and_then(chaining_component).map(str::to_owned) {
            return self.chain(&target, request).await;
        }
        if request.uri().scheme() == Some(&Scheme::HTTPS) {
            let host = request.uri().host().unwrap_or_default();
            tracing::error!(
                component = self.component.id,
                host,
                "spin-host does not speak TLS to other hosts"
            );
            return Err(Error::TlsProtocolError);
        }
        self.exchange(request).await
    }

    fn may_reach(&self, uri: &Uri) -> bool {
        // Only scheme and authority are asked about, so the path is not parsed again.
        let scheme = uri.scheme_str().unwrap_or("https");
        let authority = uri.authority().map_or("", Authority::as_str);
        let Some(target) = Target::parse(&format!("{scheme}://{authority}"), scheme) else {
            tracing::warn!(component = self.component.id, %uri, "outbound request to what is no URL");
            return false;
        };
        self.component.may_reach(&target)
    }

    /// Calls another component of the application in process, also one with private routes only.
    async fn chain(self, target: &str, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        if self.chain_length >= limits::SERVICE_CHAIN_LENGTH {
            tracing::error!(
                component = self.component.id,
                target,
                "components call each other in too long a chain"
            );
            return Err(Error::LoopDetected);
        }
        let Some(component) = self.worker.app.components.get(target).cloned() else {
            tracing::error!(component = self.component.id, target, "no such component to call");
            return Err(Error::DestinationNotFound);
        };
        Ok(Box::pin(self.worker.answer_chained(component, request, self.chain_length + 1)).await)
    }

    async fn exchange(self, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
        let room = self.worker.exchanges.begin(&self.component.id)?;
        let or_default = |asked: Option<Duration>| asked.unwrap_or(limits::OUTBOUND_TIMEOUT);
        let sent = CONNECT_TIMEOUT
            .scope(or_default(self.options.connect_timeout), self.worker.pool.0.request(request));
        let response = timeout(or_default(self.options.first_byte_timeout), sent)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| wasi_error(&error))?;
        let between_bytes = or_default(self.options.between_bytes_timeout);
        Ok(response.map(|body| TimedBody { body, between_bytes, sleep: None, _room: room }.boxed_unsync()))
    }
}

/// Sends a relative request to this program's own listener.
fn to_own_listener(uri: &Uri, own: &Authority) -> Result<Uri, Error> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(own.clone());
    parts.path_and_query =
        uri.path_and_query().cloned().or_else(|| Some(http::uri::PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)
}

/// The guest's view of a failed exchange: what the connector says, else a protocol error.
fn wasi_error(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(error) = source.downcast_ref::<ConnectError>() {
            return error.to_wasi();
        }
        cause = source.source();
    }
    tracing::warn!(error = chain(error), "outbound request failed");
    Error::HttpProtocolError
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

tokio::task_local! {
    /// The client has no way to pass this to its connector. A connection that is used again needs none.
    static CONNECT_TIMEOUT: Duration;
}

/// Opens TCP connections.
#[derive(Clone)]
struct Connector;

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("the URI has no host")]
    Uri,
    #[error("the host name has no address")]
    Name,
    #[error("the connection was refused")]
    Refused,
    #[error("the connection took too long")]
    Timeout,
}

impl ConnectError {
    fn to_wasi(&self) -> Error {
        match self {
            Self::Uri => Error::HttpRequestUriInvalid,
            Self::Name => {
                Error::DnsError { rcode: Some("address not available".to_owned()), info_code: Some(0) }
            }
            Self::Refused => Error::ConnectionRefused,
            Self::Timeout => Error::ConnectionTimeout,
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = CONNECT_TIMEOUT.try_with(|limit| *limit).unwrap_or(limits::OUTBOUND_TIMEOUT);
        Box::pin(async move { timeout(limit, connect(&uri)).await.map_err(|_| ConnectError::Timeout)? })
    }
}

async fn connect(uri: &Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
    let authority = uri.authority().ok_or(ConnectError::Uri)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let addresses = tokio::net::lookup_host((host, authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| {
            tracing::debug!(%uri, error = error.to_string(), "no address");
            ConnectError::Name
        })?
        .collect::<Vec<_>>();
    let stream = TcpStream::connect(&*addresses).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrNotAvailable => ConnectError::Name,
        _ => ConnectError::Refused,
    })?;
    // Without it a small request waits for the acknowledgement of the one before it: up to 40 ms.
    stream.set_nodelay(true).map_err(|_| ConnectError::Refused)?;
    Ok(TokioIo::new(stream))
}

/// A response's body that fails when its next piece takes too long.
struct TimedBody {
    body: Incoming,
    between_bytes: Duration,
    /// Runs only while a piece is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    _room: OwnedSemaphorePermit,
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.sleep = None;
            return Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| {
                    tracing::warn!(error = chain(&error), "the body of an outbound response broke off");
                    Error::HttpProtocolError
                })
            }));
        }
        let between_bytes = self.between_bytes;
        let sleeping = self.sleep.get_or_insert_with(|| Box::pin(sleep(between_bytes)));
        ready!(sleeping.as_mut().poll(context));
        self.sleep = None;
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
