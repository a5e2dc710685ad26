//! Calls from application to application: to the own one over its channel, to another over its Dapr (dapr,
//! `pkg/messaging/direct_messaging.go`).
//!
//! Daprs talk HTTP with each other where daprd talks gRPC; neither application can tell. It must not know how a caller
//! names what it calls.

pub mod names;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::api::ReplyBody;
use crate::app::{AnswerBody, AppAnswer, RequestBody, causes};
use crate::limits::{PEER_CONNECT_TIMEOUT, PEER_IDLE_CONNECTIONS_MAX};
use crate::resiliency::policy::Failed;
use crate::runtime::Runtime;
use crate::trace::{Description, Span, TRACEPARENT};
use names::{Found, Names, Registration};

/// Who called, and who is called: told to applications of another Dapr only.
const CALLER_NAMESPACE: HeaderName = HeaderName::from_static("dapr-caller-namespace");
/// See [`CALLER_NAMESPACE`].
pub const CALLER_APP_ID: HeaderName = HeaderName::from_static("dapr-caller-app-id");
const CALLEE_APP_ID: HeaderName = HeaderName::from_static("dapr-callee-app-id");
/// Between Daprs: what went wrong before the application answered.
const PEER_ERROR: HeaderName = HeaderName::from_static("dapr-emulator-peer-error");

/// Names that a call has between two ends only, and the length.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One call, which may be made several times.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its verb.
    pub verb: Method,
    /// Path and query.
    pub path: PathAndQuery,
    /// What the caller sent along.
    pub headers: HeaderMap,
    /// Its data.
    pub body: RequestBody,
    /// It came in chunks: it is made once.
    pub is_streaming: bool,
}

/// The way to other applications.
#[derive(Debug)]
pub struct Peers {
    names: Names,
    client: Client<HttpConnector, RequestBody>,
    /// Where this machine is, as told to others, and its name.
    host_address: String,
    host_name: String,
}

/// The names of daprd's gRPC codes that calls end with.
const INTERNAL: &str = "rpc error: code = Internal desc = ";
/// The number of the first, as it is counted.
const INTERNAL_CODE: &str = "13";
const UNAVAILABLE: &str = "rpc error: code = Unavailable desc = ";

impl Peers {
    /// The applications whose Daprs have this folder.
    #[must_use]
    pub fn new(names: Names) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(PEER_CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(PEER_IDLE_CONNECTIONS_MAX)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let host_name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        Self { names, client, host_address: host_address(), host_name }
    }

    /// Tells the others where calls for this application go.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn register(&self, app_id: &str, address: SocketAddr) -> std::io::Result<Registration> {
        self.names.register(app_id, address)
    }

    /// Headers that tell the application who called it and over which machine (RFC 7239).
    fn introduce(&self, headers: &mut HeaderMap, namespace: &str, from: &str, to: &str) {
        let (address, name) = (&self.host_address, &self.host_name);
        let quoted = if address.contains(':') { format!("\"[{address}]\"") } else { address.clone() };
        let forwarded = format!("for={quoted};by={quoted};host={name}");
        for (header, value) in
            [("x-forwarded-for", address.as_str()), ("x-forwarded-host", name), ("forwarded", &forwarded)]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.append(header, value);
            }
        }
        for (header, value) in [(CALLER_NAMESPACE, namespace), (CALLER_APP_ID, from), (CALLEE_APP_ID, to)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(header, value);
            }
        }
    }

    async fn call(&self, found: &Found, invocation: &Invocation) -> Result<AppAnswer, Failed<AppAnswer>> {
        let uri = Uri::builder().scheme("http").authority(found.address.to_string());
        let uri = uri.path_and_query(invocation.path.clone()).build();
        let uri = uri.map_err(|error| permanent(format!("{INTERNAL}{error}")))?;
        let mut request = Request::new(invocation.body.clone());
        *request.method_mut() = invocation.verb.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = invocation.headers.clone();
        let response = self.client.request(request).await.map_err(|error| {
            if is_refused(&error) {
                found.forget();
            }
            let cause = causes(&error);
            Failed::plain(format!("{UNAVAILABLE}connection error: desc = \"transport: {cause}\""))
        })?;
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::MISDIRECTED_REQUEST && head.headers.contains_key(PEER_ERROR) {
            // What an earlier Dapr left behind, at a port that is another's now.
            found.forget();
            return Err(Failed::plain(format!("{UNAVAILABLE}another application answered")));
        }
        if let Some(error) = head.headers.remove(PEER_ERROR) {
            let error =
                percent_decode_str(error.to_str().unwrap_or_default()).decode_utf8_lossy().into_owned();
            return Err(permanent(error));
        }
        Ok(AppAnswer { status: head.status, headers: head.headers, body: AnswerBody::new(body, None) })
    }
}

/// Calls an application once, or, where it is another Dapr's and that cannot be reached, as often as daprd does.
///
/// # Errors
/// In daprd's words.
pub async fn invoke(runtime: &Runtime, target: &str, invocation: &Invocation) -> Result<AppAnswer, String> {
    let (app_id, namespace) = match target.split('.').collect::<Vec<_>>()[..] {
        [id] => (id, runtime.namespace()),
        [id, namespace] => (id, namespace),
        _ => return Err(format!("invalid app id {target}")),
    };
    if app_id == runtime.options.app_id && namespace == runtime.namespace() {
        let app = runtime.app.as_ref().ok_or("cannot invoke local endpoint: app channel not initialized")?;
        let Invocation { verb, path, headers, body, .. } = invocation.clone();
        return app.open(verb, path, headers, body).await.map_err(|error| error.to_string());
    }
    let Some(peers) = &runtime.peers else { return Err(format!("couldn't find service: {app_id}")) };
    let mut invocation = invocation.clone();
    peers.introduce(&mut invocation.headers, runtime.namespace(), &runtime.options.app_id, app_id);
    let once = || async {
        let found = peers.names.resolve(app_id).await.map_err(permanent)?;
        counted(runtime, app_id, peers.call(&found, &invocation)).await
    };
    let retries = if invocation.is_streaming { None } else { runtime.resiliency.service_retries(app_id) };
    let Some(retries) = retries else { return once().await.map_err(|failed| failed.error) };
    let tries = &AtomicU32::new(0);
    let counting = || async {
        let failed_before = tries.fetch_add(1, Ordering::Relaxed);
        once().await.map_err(|failed| match failed.is_permanent {
            true => failed,
            false => Failed::plain(format!(
                "failed to invoke target {app_id} after {failed_before} retries. Error: {}",
                failed.error
            )),
        })
    };
    retries.run(counting).await.map_err(|failed| failed.error)
}

async fn counted(
    runtime: &Runtime,
    app_id: &str,
    call: impl Future<Output = Result<AppAnswer, Failed<AppAnswer>>>,
) -> Result<AppAnswer, Failed<AppAnswer>> {
    let Some(metrics) = &runtime.metrics else { return call.await };
    let begun = Instant::now();
    metrics.invocation_sent(app_id);
    let answer = call.await;
    if let Ok(answer) = &answer {
        metrics.invocation_answered(app_id, answer.status, begun.elapsed());
    }
    answer
}

/// Takes a call that came from another Dapr to the own application.
pub(crate) async fn from_peer(runtime: &Runtime, invocation: Invocation) -> Response<ReplyBody> {
    let Invocation { verb, path, mut headers, body, .. } = invocation;
    let callee = headers.get(CALLEE_APP_ID).and_then(|id| id.to_str().ok());
    if callee != Some(&*runtime.options.app_id) {
        let mut reply = refused("another application is here");
        *reply.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        return reply;
    }
    let caller = headers.get(CALLER_APP_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    if let Some(metrics) = &runtime.metrics {
        metrics.invocation_received(&caller);
    }
    let parent = headers.get(TRACEPARENT).and_then(|parent| parent.to_str().ok());
    let span = runtime.tracer.child_of(parent).filter(Span::has_trace);
    if let Some(value) = span.and_then(|span| HeaderValue::from_str(&span.traceparent()).ok()) {
        headers.insert(TRACEPARENT, value);
    }
    let called = path.path().to_owned();
    let answer = match &runtime.app {
        None => Err(format!("{INTERNAL}app channel is not initialized")),
        Some(app) => app
            .open(verb, path, headers, body)
            .await
            .map_err(|error| format!("{INTERNAL}error invoking app channel: {error}")),
    };
    runtime.tracer.end(span.as_ref(), || Description {
        name: format!("calllocal/{}{called}", runtime.options.app_id),
        remote: runtime.options.app_id.clone(),
        tags: vec![("rpc.service".to_owned(), "ServiceInvocation".to_owned())],
    });
    let status = answer.as_ref().map_or(INTERNAL_CODE, |answer| answer.status.as_str()).to_owned();
    if let Some(metrics) = &runtime.metrics {
        metrics.invocation_answer_sent(&caller, &status);
    }
    match answer {
        Ok(answer) => {
            let mut reply = Response::new(ReplyBody::App(answer.body));
            *reply.status_mut() = answer.status;
            *reply.headers_mut() = end_to_end(&answer.headers);
            reply
        }
        Err(error) => refused(&error),
    }
}

/// What another Dapr is told instead of an application's answer.
fn refused(error: &str) -> Response<ReplyBody> {
    let mut reply = Response::new(ReplyBody::default());
    *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let error = utf8_percent_encode(error, NON_ALPHANUMERIC).to_string();
    if let Ok(error) = HeaderValue::from_str(&error) {
        reply.headers_mut().insert(PEER_ERROR, error);
    }
    reply
}

/// Headers that are meant for the other end (RFC 9110, 7.6.1), without the length of the body, which is told anew.
#[must_use]
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let nominated = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    for name in nominated.flat_map(|value| value.split(',')).map(str::trim) {
        kept.remove(name);
    }
    for name in HOP_BY_HOP {
        kept.remove(*name);
    }
    kept
}

fn permanent<T>(error: impl Into<String>) -> Failed<T> {
    Failed { is_permanent: true, ..Failed::plain(error) }
}

fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// The address that others would reach this machine by (dapr, `utils.GetHostAddress`). Nothing is sent.
fn host_address() -> String {
    if let Some(address) = std::env::var("DAPR_HOST_IP").ok().filter(|address| !address.is_empty()) {
        return address;
    }
    let outward = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("8.8.8.8:80")?;
        socket.local_addr()
    });
    outward.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}
