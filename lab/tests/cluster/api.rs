//! A stand-in of an API server: it keeps what is applied, lists, watches and removes it, makes pods of what makes pods, and answers
//! otherwise where a case says so. It is a registry that has every image, too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The label by which a lab finds its pods.
const PART: &str = "spin-lab/part";

/// Words of paths that name all objects of a kind.
const PLURALS: [&str; 13] = [
    "components",
    "configmaps",
    "customresourcedefinitions",
    "daemonsets",
    "deployments",
    "events",
    "namespaces",
    "nodes",
    "pods",
    "replicasets",
    "runtimeclasses",
    "spinapps",
    "statefulsets",
];

/// The server.
#[derive(Clone)]
pub struct Api {
    url: String,
    state: Arc<Mutex<Objects>>,
    asked: Arc<Notify>,
    changes: watch::Sender<usize>,
}

/// What the server has, by path.
#[derive(Default)]
struct Objects {
    objects: BTreeMap<String, Value>,
    /// Every change: the path, `ADDED`, `MODIFIED` or `DELETED`, and the object.
    log: Vec<(String, &'static str, Value)>,
    /// Answers that a case has put in the place of the server's own: always, and once each.
    answers: BTreeMap<String, (u16, Value)>,
    once: BTreeMap<String, VecDeque<(u16, Value)>>,
    /// The status of pods that are not simply ready, by their part.
    statuses: BTreeMap<String, Value>,
    requests: Vec<String>,
    queries: BTreeMap<String, String>,
}

impl Api {
    pub fn serve(listener: tokio::net::TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (state, asked) = (Arc::default(), Arc::default());
        let api = Self { url, state, asked, changes: watch::Sender::new(0) };
        api.has("/version", json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" }));
        let router = Router::new()
            .route("/api/v1/namespaces/{namespace}/pods/{pod}/portforward", get(forwarded))
            .fallback(answer)
            .with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    fn state(&self) -> MutexGuard<'_, Objects> {
        self.state.lock().expect("the objects")
    }

    /// Answers requests of a path, whatever their method.
    pub fn put(&self, path: &str, status: u16, value: Value) {
        self.state().answers.insert(path.to_owned(), (status, value));
    }

    /// Answers the next request like `PATCH /api/v1/…` of those that nothing was said for yet.
    pub fn once(&self, request: &str, status: u16, value: Value) {
        self.state().once.entry(request.to_owned()).or_default().push_back((status, value));
    }

    /// An object that is there.
    pub fn has(&self, path: &str, object: Value) {
        self.state().store(path, object);
        self.told();
    }

    /// Somebody removes an object.
    pub fn forget(&self, path: &str) {
        self.state().remove(path);
        self.told();
    }

    /// The object of a path.
    pub fn object(&self, path: &str) -> Option<Value> {
        self.state().objects.get(path).cloned()
    }

    /// The paths of all objects that begin so.
    pub fn paths(&self, start: &str) -> Vec<String> {
        self.state().objects.keys().filter(|path| path.starts_with(start)).cloned().collect()
    }

    /// What becomes of the pods of a part, those that are there and those that come.
    pub fn pods_are(&self, part: &str, status: Value) {
        let mut state = self.state();
        state.statuses.insert(part.to_owned(), status.clone());
        let of_part = |object: &Value| object["kind"] == "Pod" && object["metadata"]["labels"][PART] == part;
        let pods: Vec<_> = state
            .objects
            .iter()
            .filter(|(_, object)| of_part(object))
            .map(|(path, _)| path.clone())
            .collect();
        for path in pods {
            let mut pod = state.objects[&path].clone();
            pod["status"] = status.clone();
            state.store(&path, pod);
        }
        drop(state);
        self.told();
    }

    /// The pods of a part are ready again, those that come.
    pub fn pods_get_ready(&self, part: &str) {
        self.state().statuses.remove(part);
    }

    /// What followed the question mark in the last request like this.
    pub fn query_of(&self, request: &str) -> Option<String> {
        self.state().queries.get(request).cloned()
    }

    /// Something that the cluster tells of a pod.
    pub fn event(&self, namespace: &str, pod: &str, reason: &str, message: &str) {
        let name = format!("{pod}.{reason}");
        let event = json!({
            "kind": "Event", "apiVersion": "v1", "metadata": { "name": name, "namespace": namespace },
            "involvedObject": { "kind": "Pod", "name": pod }, "reason": reason, "message": message,
            "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1,
        });
        self.has(&format!("/api/v1/namespaces/{namespace}/events/{name}"), event);
    }

    /// The requests so far: `DELETE /api/v1/…`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Waits for a request.
    pub async fn asked(&self, request: &str) {
        let asked = async {
            loop {
                let next = self.asked.notified();
                if self.requests().iter().any(|known| known == request) {
                    return;
                }
                next.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), asked).await;
        assert!(waited.is_ok(), "waited for {request}; seen: {:?}", self.requests());
    }

    /// A cluster that can take pods.
    pub fn put_ready(&self, nodes: &[&str]) {
        let nodes: Vec<Value> = nodes.iter().map(|name| node(name, true)).collect();
        self.put("/api/v1/nodes", 200, list("NodeList", "v1", nodes));
        let dns = json!({
            "metadata": { "name": "coredns" }, "status": { "availableReplicas": 1 },
            "spec": { "selector": {}, "template": {} }
        });
        self.put(
            "/apis/apps/v1/namespaces/kube-system/deployments",
            200,
            list("DeploymentList", "apps/v1", vec![dns]),
        );
        let account =
            json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "default" } });
        self.put("/api/v1/namespaces/default/serviceaccounts/default", 200, account);
    }

    /// A kubeconfig whose current context, of this name, is this server. It is JSON, which is YAML.
    pub fn kubeconfig(&self, context: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{ "name": "fake", "cluster": { "server": self.url } }],
            "users": [{ "name": "somebody", "user": { "token": "secret" } }],
            "contexts": [{ "name": context, "context": { "cluster": "fake", "user": "somebody" } }],
        })
        .to_string()
    }

    fn told(&self) {
        let changes = self.state().log.len();
        self.changes.send_replace(changes);
    }
}

/// The collection that a path is in, and its name there.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Objects {
    fn store(&mut self, path: &str, mut object: Value) {
        let known = self.objects.contains_key(path);
        if object["metadata"].is_object() {
            object["metadata"]["resourceVersion"] = (self.log.len() + 1).to_string().into();
        }
        self.log.push((path.to_owned(), if known { "MODIFIED" } else { "ADDED" }, object.clone()));
        self.objects.insert(path.to_owned(), object);
    }

    fn remove(&mut self, path: &str) -> bool {
        let Some(object) = self.objects.remove(path) else { return false };
        self.log.push((path.to_owned(), "DELETED", object.clone()));
        let within: Vec<String> = match object["kind"].as_str() {
            Some("Namespace") => {
                let name = format!("/namespaces/{}/", split(path).1);
                self.objects.keys().filter(|other| other.contains(&name)).cloned().collect()
            }
            Some("Deployment" | "DaemonSet" | "SpinApp") => {
                let owner: Value = path.into();
                let owned = |object: &Value| object["metadata"]["annotations"]["owner"] == owner;
                self.objects
                    .iter()
                    .filter(|(_, object)| owned(object))
                    .map(|(path, _)| path.clone())
                    .collect()
            }
            _ => Vec::new(),
        };
        for path in within {
            self.remove(&path);
        }
        true
    }

    /// What is applied, and the pods that it makes.
    fn apply(&mut self, path: &str, body: Value) {
        let mut object = self.objects.get(path).cloned().unwrap_or_else(|| json!({}));
        merge(&mut object, body);
        self.store(path, object.clone());
        let template = &object["spec"]["template"];
        let (replicas, labels, spec) = match object["kind"].as_str() {
            Some("Deployment") => (&object["spec"]["replicas"], &template["metadata"], &template["spec"]),
            Some("DaemonSet") => (&Value::Null, &template["metadata"], &template["spec"]),
            _ => return,
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        for number in 1..=replicas.as_u64().unwrap_or(1) {
            let name = format!("{}-{number}", split(path).1);
            let mut pod = json!({
                "kind": "Pod", "apiVersion": "v1", "metadata": labels, "spec": spec,
            });
            pod["metadata"]["name"] = name.clone().into();
            pod["metadata"]["namespace"] = namespace.into();
            pod["metadata"]["uid"] = format!("uid-{name}").into();
            let injected = pod["metadata"]["annotations"]["dapr.io/enabled"] == "true";
            pod["metadata"]["annotations"]["owner"] = path.into();
            pod["spec"]["nodeName"] = "one".into();
            if let Some(containers) = pod["spec"]["containers"].as_array_mut().filter(|_| injected) {
                containers.push(json!({ "name": "daprd", "image": "ghcr.io/dapr/daprd:1.18.3" }));
            }
            let part = pod["metadata"]["labels"][PART].as_str().unwrap_or_default();
            pod["status"] = self.statuses.get(part).cloned().unwrap_or_else(|| ready(&pod));
            self.store(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod);
        }
    }

    fn in_collection(&self, collection: &str, selector: &str) -> Vec<Value> {
        let here = |path: &str| {
            let (parent, _) = split(path);
            // A question for objects of every namespace.
            parent == collection
                || parent.split("/namespaces/").count() == 2 && {
                    let (group, rest) = parent.split_once("/namespaces/").unwrap_or_default();
                    rest.split_once('/').is_some_and(|(_, plural)| format!("{group}/{plural}") == collection)
                }
        };
        let objects = self.objects.iter().filter(|(path, object)| here(path) && selected(object, selector));
        objects.map(|(_, object)| object.clone()).collect()
    }
}

/// The status of a pod all of whose containers are ready.
fn ready(pod: &Value) -> Value {
    let status = |container: &Value| {
        json!({
            "name": container["name"], "ready": true, "restartCount": 0, "image": container["image"],
            "imageID": container["image"], "state": { "running": {} },
        })
    };
    let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    json!({ "phase": "Running", "containerStatuses": containers.iter().map(status).collect::<Vec<_>>() })
}

/// A JSON merge patch.
fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                match value {
                    Value::Null => drop(into.remove(&key)),
                    value => merge(into.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (into, patch) => *into = patch,
    }
}

/// Whether an object has the labels of a selector: `name=value` or `name`, with commas between.
fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let label = &object["metadata"]["labels"][name];
        if value.is_empty() { !label.is_null() } else { label == value }
    })
}

async fn answer(
    State(api): State<Api>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    body: Bytes,
) -> Response {
    let (path, request) = (uri.path(), format!("{method} {}", uri.path()));
    api.state().requests.push(request.clone());
    api.state().queries.insert(request.clone(), uri.query().unwrap_or_default().to_owned());
    api.asked.notify_waiters();
    if let Some(image) = path.strip_prefix("/v2/") {
        let digest = split(image).1.to_owned();
        return ([(HeaderName::from_static("docker-content-digest"), digest)], "{}").into_response();
    }
    let said = {
        let mut state = api.state();
        let once = state.once.get_mut(&request).and_then(VecDeque::pop_front);
        once.or_else(|| state.answers.get(path).cloned())
    };
    if let Some((status, value)) = said {
        let status = StatusCode::from_u16(status).expect("a status");
        return match value {
            Value::String(text) => (status, text).into_response(),
            value => (status, axum::Json(value)).into_response(),
        };
    }
    let selector = query.get("labelSelector").cloned().unwrap_or_default();
    let plural = PLURALS.contains(&split(path).1);
    let answered = match method {
        Method::GET if query.contains_key("watch") => {
            let since = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            return watched(&api, path.to_owned(), selector, since);
        }
        Method::GET if plural => {
            let state = api.state();
            let mut all = list("List", "v1", state.in_collection(path, &selector));
            all["metadata"]["resourceVersion"] = state.log.len().to_string().into();
            Some(all)
        }
        Method::PATCH => {
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            api.state().apply(path, body.clone());
            Some(body)
        }
        Method::DELETE if plural => {
            let mut state = api.state();
            let all: Vec<_> = state.objects.iter().filter(|(other, _)| split(other).0 == path).collect();
            let all: Vec<_> = all
                .into_iter()
                .filter(|(_, object)| selected(object, &selector))
                .map(|(path, _)| path.clone())
                .collect();
            for path in all {
                state.remove(&path);
            }
            Some(list("List", "v1", Vec::new()))
        }
        Method::DELETE => {
            let removed = api.state().remove(path);
            removed.then(|| json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
        }
        _ => api.object(path),
    };
    api.told();
    match answered {
        Some(value) => axum::Json(value).into_response(),
        None => (StatusCode::NOT_FOUND, axum::Json(failure(404, "not found"))).into_response(),
    }
}

/// A forwarded connection to a port of a pod, which says everything back that it is told, after the pod's name.
async fn forwarded(Path((_, pod)): Path<(String, String)>, request: Request) -> Response {
    let port: u16 =
        request.uri().query().and_then(|query| query.split_once("ports=")?.1.parse().ok()).expect("a port");
    let key = request.headers()[header::SEC_WEBSOCKET_KEY].clone();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let upgraded = TokioIo::new(upgrade.await?);
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        let [low, high] = port.to_le_bytes();
        // What is said and what went wrong have a channel each, which begins with the port.
        for channel in [0, 1] {
            socket.send(Message::binary(vec![channel, low, high])).await.expect("it listens");
        }
        socket.send(Message::binary([&[0], pod.as_bytes()].concat())).await.expect("it listens");
        while let Some(Ok(message)) = socket.next().await {
            if message.is_binary() && socket.send(message).await.is_err() {
                break;
            }
        }
        Ok::<_, hyper::Error>(())
    });
    let headers = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "Upgrade"),
        (header::SEC_WEBSOCKET_ACCEPT, &derive_accept_key(key.as_bytes())),
        (header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io"),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers.map(|(name, value)| (name, value.to_owned()))).into_response()
}

/// Every change of a collection from a version on, a line each, for as long as somebody listens.
fn watched(api: &Api, collection: String, selector: String, since: usize) -> Response {
    let (api, changes) = (api.clone(), api.changes.subscribe());
    let lines = futures_util::stream::unfold((api, changes, since), move |(api, mut changes, since)| {
        let (collection, selector) = (collection.clone(), selector.clone());
        async move {
            loop {
                let log = api.state().log.clone();
                let mut lines = String::new();
                for (path, kind, object) in log.iter().skip(since) {
                    if split(path).0 == collection && selected(object, &selector) {
                        lines += &format!("{}\n", json!({ "type": kind, "object": object }));
                    }
                }
                let next = log.len();
                if !lines.is_empty() {
                    return Some((Ok::<_, std::io::Error>(lines), (api, changes, next)));
                }
                changes.wait_for(|count| *count > next).await.ok()?;
            }
        }
    });
    Body::from_stream(lines).into_response()
}

/// What an API server answers instead.
pub fn failure(code: u16, message: &str) -> Value {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        _ => "InternalError",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason })
}

/// A list of objects.
pub fn list(kind: &str, version: &str, items: Vec<Value>) -> Value {
    json!({ "kind": kind, "apiVersion": version, "metadata": {}, "items": items })
}

/// A node.
pub fn node(name: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    let info = json!({
        "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.5", "kubeletVersion": "v1.35.2+k3s1",
        "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux",
        "osImage": "", "systemUUID": ""
    });
    json!({
        "metadata": { "name": name, "labels": { "pool": "wasm" } },
        "status": { "conditions": [{ "type": "Ready", "status": status }], "nodeInfo": info }
    })
}
