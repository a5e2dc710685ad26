//! A blob store, played by the test: one account, blobs in memory, every request remembered.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::support::component;

/// Blobs of one page of a list, however many are asked for.
const PAGE: usize = 2;

#[derive(Debug, Clone)]
pub struct Blob {
    pub headers: HeaderMap,
    pub content: Vec<u8>,
}

#[derive(Default)]
struct Store {
    /// Method, path and query of each request.
    requests: Mutex<Vec<String>>,
    containers: Mutex<Vec<String>>,
    /// By path, container included.
    blobs: Mutex<BTreeMap<String, Blob>>,
    /// Statuses that the next requests for blobs are answered with, whatever they are.
    failures: Mutex<Vec<u16>>,
}

/// The store while it serves. Gone when dropped.
pub struct BlobStore {
    pub endpoint: String,
    store: Arc<Store>,
    _serving: AbortOnDropHandle<()>,
}

impl BlobStore {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let store = Arc::new(Store::default());
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&store));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { endpoint, store, _serving: AbortOnDropHandle::new(serving) }
    }

    /// A component `box` on the container of that name.
    pub fn component(&self, more: &[(&str, &str)]) -> String {
        let metadata = [
            ("accountName", "account"),
            ("accountKey", "a2V5"),
            ("endpoint", &*self.endpoint),
            ("containerName", "box"),
        ];
        component("box", "bindings.azure.blobstorage", &[&metadata, more].concat())
    }

    /// A blob of the container `box`.
    pub fn blob(&self, name: &str) -> Option<Blob> {
        self.store.blobs.lock().expect("no handler panics").get(&format!("box/{name}")).cloned()
    }

    pub fn containers(&self) -> Vec<String> {
        self.store.containers.lock().expect("no handler panics").clone()
    }

    pub fn requests(&self) -> Vec<String> {
        self.store.requests.lock().expect("no handler panics").clone()
    }

    /// Answers the next requests for blobs with these statuses.
    pub fn fail_with(&self, statuses: &[u16]) {
        *self.store.failures.lock().expect("no handler panics") = statuses.to_vec();
    }
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let content = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body").to_vec();
    store.requests.lock().expect("no handler panics").push(format!("{} {}", head.method, head.uri));
    let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    if !authorization.is_some_and(|value| value.starts_with("SharedKey account:")) {
        return refused(StatusCode::FORBIDDEN, "AuthenticationFailed");
    }
    let path = head.uri.path().strip_prefix("/account/").unwrap_or_default().to_owned();
    let query = head.uri.query().unwrap_or_default();
    if query.contains("restype=container") {
        return container(&store, &head.method, &path, query);
    }
    let failure = store.failures.lock().expect("no handler panics").pop();
    if let Some(status) = failure {
        return refused(StatusCode::from_u16(status).expect("a status"), "ServerBusy");
    }
    let mut blobs = store.blobs.lock().expect("no handler panics");
    match head.method {
        Method::PUT => {
            blobs.insert(path, Blob { headers: head.headers, content });
            StatusCode::CREATED.into_response()
        }
        Method::GET | Method::HEAD => match blobs.get(&path) {
            Some(blob) => {
                let own = blob.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-meta-"));
                let own: HeaderMap = own.map(|(name, value)| (name.clone(), value.clone())).collect();
                (own, blob.content.clone()).into_response()
            }
            None => refused(StatusCode::NOT_FOUND, "BlobNotFound"),
        },
        Method::DELETE => match blobs.remove(&path) {
            Some(_) => StatusCode::ACCEPTED.into_response(),
            None => refused(StatusCode::NOT_FOUND, "BlobNotFound"),
        },
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb"),
    }
}

fn container(store: &Store, method: &Method, name: &str, query: &str) -> Response {
    let mut containers = store.containers.lock().expect("no handler panics");
    match (method, query.contains("comp=list")) {
        (&Method::PUT, _) if name == "forbidden" => refused(StatusCode::FORBIDDEN, "AuthorizationFailure"),
        (&Method::PUT, _) if containers.iter().any(|known| known == name) => {
            refused(StatusCode::CONFLICT, "ContainerAlreadyExists")
        }
        (&Method::PUT, _) => {
            containers.push(name.to_owned());
            StatusCode::CREATED.into_response()
        }
        (&Method::GET, true) => list(store, name, query),
        _ => refused(StatusCode::BAD_REQUEST, "InvalidQueryParameterValue"),
    }
}

/// A page: the marker is the first name of the next one.
fn list(store: &Store, container: &str, query: &str) -> Response {
    let parameter = |name: &str| {
        let pair = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        pair.unwrap_or_default().to_owned()
    };
    let (prefix, marker) = (parameter("prefix"), parameter("marker"));
    let page = parameter("maxresults").parse().unwrap_or(PAGE).min(PAGE);
    let blobs = store.blobs.lock().expect("no handler panics");
    let names = blobs.keys().filter_map(|path| path.strip_prefix(&format!("{container}/")));
    let mut names = names.filter(|name| name.starts_with(&prefix) && **name >= *marker);
    let mut xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>".to_owned();
    for name in names.by_ref().take(page) {
        let length = blobs[&format!("{container}/{name}")].content.len();
        let _ = write!(
            xml,
            "<Blob><Name>{name}</Name><Properties><Content-Length>{length}</Content-Length></Properties></Blob>"
        );
    }
    let next = names.next().unwrap_or_default();
    let _ =
        write!(xml, "</Blobs><Marker>{marker}</Marker><NextMarker>{next}</NextMarker></EnumerationResults>");
    ([("content-type", "application/xml")], xml).into_response()
}

fn refused(status: StatusCode, code: &str) -> Response {
    let xml = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, [("x-ms-error-code", code), ("content-type", "application/xml")], xml).into_response()
}
