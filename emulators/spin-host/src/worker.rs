//! Answers requests: finds the route, makes an instance, calls it, passes its response on.
//!
//! It must not know connections. One worker belongs to one runtime, with a pool of outbound connections of its own.
//! Rules: Spin 3.6.3, `crates/trigger-http/src/{server,wasi}.rs`.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Body;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme as WasiScheme};
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView as _};

use crate::app::{App, Component, StaticAnswer, Target};
use crate::guest::Guest;
use crate::headers::{self, RequestError, RouteFacts};
use crate::hosts::chaining_component;
use crate::outbound::{Exchanges, Hooks, Pool};
use crate::routes::WELL_KNOWN_PREFIX;

/// The client address that a component sees when another component calls it.
const CHAINED_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// What one runtime answers with.
pub struct Worker {
    /// The application.
    pub app: Arc<App>,
    /// Outbound connections of this runtime.
    pub pool: Pool,
    /// How many exchanges with other hosts may still begin; shared by all runtimes.
    pub exchanges: Arc<Exchanges>,
    /// Where the application's own listener is.
    pub own_authority: Authority,
    /// Everything that must be finished before the program ends.
    pub in_flight: TaskTracker,
}

/// Why a guest gave no response.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("no instance could be made: {0:#}")]
    Instance(wasmtime::Error),
    #[error("the guest failed: {0:#}")]
    Guest(wasmtime::Error),
    #[error("the guest ended without a response")]
    NoResponse,
    #[error("the guest answered with an error: {0}")]
    ErrorCode(ErrorCode),
}

impl Worker {
    /// Answers a request that came over a connection.
    pub async fn answer<B>(
        self: &Arc<Self>,
        mut request: Request<B>,
        client: SocketAddr,
    ) -> Response<WasiBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        remove_internal_host(&mut request);
        let (mut parts, body) = request.into_parts();
        if let Some(name) = parts.uri.path().strip_prefix(WELL_KNOWN_PREFIX) {
            return self.well_known(name);
        }
        // The match borrows the path, and the URI changes below. Cloning a URI copies no text.
        let uri = parts.uri.clone();
        let Some(found) = self.app.router.find(uri.path()) else { return empty(StatusCode::NOT_FOUND) };
        let component = match &found.route.target {
            Target::Static(answer) => {
                return match headers::set_uri(&mut parts, Scheme::HTTP) {
                    Ok(()) => static_response(answer),
                    Err(error) => failed("-", &error.into()),
                };
            }
            Target::Component(component) => component,
        };
        let path_info = found.path_info();
        let facts = RouteFacts {
            path_info: &path_info,
            matched: &found.route.based,
            raw: &found.route.raw,
            component: found.route.raw_or_prefix(),
            parameters: found.parameters().collect(),
        };
        let told = headers::set_uri(&mut parts, Scheme::HTTP)
            .and_then(|()| headers::add_spin_fields(&mut parts, &facts, client));
        let result = match told {
            Ok(()) => self.call(component, Request::from_parts(parts, body), 0).await,
            Err(error) => Err(error.into()),
        };
        result.unwrap_or_else(|error| failed(&component.id, &error))
    }

    /// Answers a request that another component of the application sent.
    pub async fn answer_chained(
        self: &Arc<Self>,
        component: Arc<Component>,
        mut request: Request<WasiBody>,
        chain_length: u32,
    ) -> Response<WasiBody> {
        remove_internal_host(&mut request);
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let facts = RouteFacts {
            path_info: &path,
            matched: "/...",
            raw: "/...",
            component: "",
            parameters: Vec::new(),
        };
        let told = headers::set_uri(&mut parts, Scheme::HTTP)
            .and_then(|()| headers::add_spin_fields(&mut parts, &facts, CHAINED_CLIENT));
        let result = match told {
            Ok(()) => self.call(&component, Request::from_parts(parts, body), chain_length).await,
            Err(error) => Err(error.into()),
        };
        result.unwrap_or_else(|error| failed(&component.id, &error))
    }

    /// Runs a fresh instance until it has given its response; what it still does then goes on by itself.
    async fn call<B>(
        self: &Arc<Self>,
        component: &Arc<Component>,
        request: Request<B>,
        chain_length: u32,
    ) -> Result<Response<WasiBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let hooks = Hooks { worker: Arc::clone(self), component: Arc::clone(component), chain_length };
        let mut store = Guest::store(component, hooks);
        let instance = component.handler.instantiate_async(&mut store).await.map_err(CallError::Instance)?;
        let (sender, mut receiver) = oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(WasiScheme::Http, request).map_err(CallError::Instance)?;
        let outparam = http.new_response_outparam(sender).map_err(CallError::Instance)?;
        let limit = component.request_timeout;
        let mut run = Run {
            guest: Some(Box::pin(async move {
                let handler = instance.wasi_http_incoming_handler();
                let call = handler.call_handle(&mut store, request, outparam);
                match limit {
                    None => call.await,
                    Some(limit) => timeout(limit, call).await.unwrap_or_else(|_| {
                        Err(wasmtime::Error::msg(format!(
                            "it ran for longer than --request-timeout {limit:?}"
                        )))
                    }),
                }
            })),
            component: Arc::clone(component),
            in_flight: self.in_flight.clone(),
        };
        // The guest runs within this task, which saves a switch to another one for guests that end with their response.
        let mut ended = None;
        let response = poll_fn(|context| {
            if let Some(guest) = run.guest.as_mut()
                && let Poll::Ready(result) = guest.as_mut().poll(context)
            {
                run.guest = None;
                ended = Some(result);
            }
            Pin::new(&mut receiver).poll(context)
        })
        .await;
        match (response, ended) {
            (Ok(Ok(response)), None | Some(Ok(()))) => Ok(response),
            (Ok(Ok(response)), Some(Err(error))) => {
                failed_late(&component.id, &error);
                Ok(response)
            }
            (Ok(Err(code)), _) => Err(CallError::ErrorCode(code)),
            (Err(_), Some(Err(error))) => Err(CallError::Guest(error)),
            (Err(_), _) => Err(CallError::NoResponse),
        }
    }

    fn well_known(&self, name: &str) -> Response<WasiBody> {
        match name {
            "health" => Response::new(full(Bytes::from_static(b"OK"))),
            "info" => {
                let mut info = serde_json::json!({ "name": self.app.name });
                if let Some(version) = &self.app.version {
                    info["version"] = version.clone().into();
                }
                if let Some(digest) = self.app.image_digest {
                    info["oci_image_digest"] = digest.to_string().into();
                }
                let mut response = Response::new(full(Bytes::from(format!("{info:#}"))));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            _ => empty(StatusCode::NOT_FOUND),
        }
    }
}

type GuestFuture = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// A running guest. When nobody waits for it any more, because its response has begun or its client has gone, it goes on
/// in a task of its own, as in Spin.
struct Run {
    guest: Option<GuestFuture>,
    component: Arc<Component>,
    in_flight: TaskTracker,
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(guest) = self.guest.take() else { return };
        let component = Arc::clone(&self.component);
        self.in_flight.spawn(async move {
            if let Err(error) = guest.await {
                failed_late(&component.id, &error);
            }
        });
    }
}

fn failed(component: &str, error: &CallError) -> Response<WasiBody> {
    tracing::error!(component, error = one_line(&error.to_string()), "request failed");
    empty(StatusCode::INTERNAL_SERVER_ERROR)
}

fn failed_late(component: &str, error: &wasmtime::Error) {
    let error = one_line(&format!("{error:#}"));
    tracing::warn!(
        component,
        error,
        "the guest failed after its response had begun; the response may be cut off"
    );
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A `Host` below `spin.internal` must not come from outside: it is how components address each other.
fn remove_internal_host<B>(request: &mut Request<B>) {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    if host.and_then(chaining_component).is_some() {
        request.headers_mut().remove(HOST);
    }
}

fn static_response(answer: &StaticAnswer) -> Response<WasiBody> {
    Response::from_parts(answer.head.clone(), full(answer.body.clone()))
}

fn full(bytes: Bytes) -> WasiBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty(status: StatusCode) -> Response<WasiBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
