//! A lab in one task: Dapr's bindings, the broker's HTTP side and the blob store's REST API as far as the flow uses them, with faults to
//! order. It proves the flow's judgement; that the real parts speak the same is proven where they are tested.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use lab::backend::{BlobEndpoint, Endpoints};
use lab::spec::{BlobStore, OUTBOXES, QUEUES};
use serde_json::{Value, json};

/// What goes wrong, by order id.
#[derive(Debug, Default, Clone)]
pub struct Faults {
    pub lost: HashSet<u64>,
    pub altered: HashSet<u64>,
    pub misplaced: HashSet<u64>,
    pub written_twice: HashSet<u64>,
    pub delivered_twice: HashSet<u64>,
    pub dead_lettered: HashSet<u64>,
    /// Never leave the second queue.
    pub stuck: HashSet<u64>,
    /// Come out before they are due.
    pub early: HashSet<u64>,
    /// Every send takes so long once the warm-up is over.
    pub slow_sends: Option<Duration>,
    /// Dapr refuses to send.
    pub refuse_sends: bool,
}

#[derive(Default)]
struct Inner {
    faults: Faults,
    queues: BTreeMap<String, [u64; 7]>,
    rows: Vec<Value>,
    blob_rows: Vec<Value>,
    blobs: HashMap<String, BTreeMap<String, Vec<u8>>>,
    dead_letters: Vec<Value>,
    recording: bool,
    store_calls_while_recording: Vec<String>,
    sends: u64,
    recorder_starts: u32,
}

/// The running fake.
pub struct FakeLab {
    inner: Arc<Mutex<Inner>>,
    pub endpoints: Endpoints,
}

type Shared = Arc<Mutex<Inner>>;

const ACTIVE: usize = 0;
const SCHEDULED: usize = 1;
const DEAD: usize = 4;
const ENQUEUED_TOTAL: usize = 5;
const COMPLETED_TOTAL: usize = 6;

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("as the contract says").as_micros() as u64
}

fn locked(lab: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    lab.lock().expect("no test panics with the lock")
}

/// The time that a real part would take.
async fn pause(time: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + time).await;
}

impl FakeLab {
    pub async fn start(store: BlobStore, faults: Faults) -> Self {
        let inner: Shared = Arc::new(Mutex::new(Inner { faults, ..Inner::default() }));
        for queue in QUEUES {
            locked(&inner).queues.insert(queue.into(), [0; 7]);
        }
        let router = Router::new()
            .route("/v1.0/bindings/{name}", post(binding))
            .route("/_emulator/clock", get(|| async { json!({"unix_us": now_us()}).to_string() }))
            .route("/_emulator/queues", get(queues))
            .route("/_emulator/queues/{name}/messages", get(messages))
            .route("/account/{container}", get(list))
            .route("/account/{container}/{blob}", get(get_blob).delete(delete_blob));
        let broker = router.clone().route(
            "/_emulator/recorder",
            get(recorder).put(start_recorder).delete(|| async { StatusCode::NO_CONTENT }),
        );
        let blob = router.route(
            "/_emulator/recorder",
            get(blob_recorder)
                .put(|| async { StatusCode::NO_CONTENT })
                .delete(|| async { StatusCode::NO_CONTENT }),
        );
        let broker = serve(broker.with_state(inner.clone())).await;
        let blob = serve(blob.with_state(inner.clone())).await;
        let endpoints = Endpoints {
            servicebus_amqp: "127.0.0.1:1".parse().expect("as the contract says"),
            servicebus_http: broker.clone(),
            servicebus_connection_string: String::new(),
            blob: BlobEndpoint {
                store,
                url: format!("{blob}/account"),
                account: "account".into(),
                key: "a2V5".into(),
            },
            lab_dapr: broker,
            apps: BTreeMap::new(),
            dapr: BTreeMap::new(),
        };
        Self { inner, endpoints }
    }

    pub fn blob_names(&self, container: &str) -> Vec<String> {
        locked(&self.inner).blobs.get(container).map_or(Vec::new(), |b| b.keys().cloned().collect())
    }

    pub fn put_blob(&self, container: &str, name: &str, content: &[u8]) {
        let mut inner = locked(&self.inner);
        inner.blobs.entry(container.into()).or_default().insert(name.into(), content.into());
    }

    pub fn remove_blob(&self, container: &str, name: &str) {
        locked(&self.inner).blobs.entry(container.into()).or_default().remove(name);
    }

    pub fn set_active(&self, queue: &str, active: u64) {
        locked(&self.inner).queues.get_mut(queue).expect("a queue")[ACTIVE] = active;
    }

    /// Calls to the store's REST API between the start of the recorder and the last order's end.
    pub fn store_calls_while_measured(&self) -> Vec<String> {
        locked(&self.inner).store_calls_while_recording.clone()
    }

    pub fn sends(&self) -> u64 {
        locked(&self.inner).sends
    }

    pub fn recorder_starts(&self) -> u32 {
        locked(&self.inner).recorder_starts
    }
}

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("as the contract says");
    let address = listener.local_addr().expect("as the contract says");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Dapr sorts keys: so does `serde_json::Value` without its feature `preserve_order`.
async fn binding(State(lab): State<Shared>, Path(name): Path<String>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).expect("as the contract says");
    let metadata = |key: &str| request["metadata"][key].as_str().unwrap_or_default().to_owned();
    match (name.as_str(), request["operation"].as_str().expect("as the contract says")) {
        ("testdata", "create") => {
            assert!(body.len() < 4 * 1024 * 1024, "daprd's body limit");
            let mut lab = locked(&lab);
            let content = request["data"].to_string().into_bytes();
            lab.blobs.entry(name).or_default().insert(metadata("blobName"), content);
            "{}".into_response()
        }
        ("testdata", "get") => {
            let lab = locked(&lab);
            match lab.blobs.get(&name).and_then(|blobs| blobs.get(&metadata("blobName"))) {
                Some(content) => content.clone().into_response(),
                None => {
                    let answer = json!({"errorCode": "ERR_INVOKE_OUTPUT_BINDING",
                        "message": "error invoking output binding testdata: blob not found"});
                    (StatusCode::INTERNAL_SERVER_ERROR, answer.to_string()).into_response()
                }
            }
        }
        ("q-order-ingress-out", "create") => send(lab, &request).await,
        other => panic!("the flow has no business with {other:?}"),
    }
}

async fn send(lab: Shared, request: &Value) -> Response {
    let due: u64 = {
        let text = request["metadata"]["ScheduledEnqueueTimeUtc"].as_str().expect("a schedule");
        assert!(text.ends_with('Z') && text.len() == 24, "{text} has milliseconds and Z");
        text.parse::<jiff::Timestamp>().expect("as the contract says").as_microsecond() as u64
    };
    let slow = {
        let mut lab = locked(&lab);
        if lab.faults.refuse_sends {
            return (StatusCode::INTERNAL_SERVER_ERROR, "no broker").into_response();
        }
        lab.sends += 1;
        lab.faults.slow_sends.filter(|_| lab.recorder_starts > 0)
    };
    if let Some(slow) = slow {
        pause(slow).await;
    }
    let enqueued = now_us();
    let scheduled = due > enqueued;
    {
        let mut lab = locked(&lab);
        let queue = lab.queues.get_mut(QUEUES[0]).expect("a queue");
        queue[if scheduled { SCHEDULED } else { ACTIVE }] += 1;
        queue[ENQUEUED_TOTAL] += 1;
    }
    let (data, wait) = (request["data"].clone(), due.saturating_sub(enqueued));
    tokio::spawn(async move {
        pause(Duration::from_micros(wait)).await;
        let mut lab = locked(&lab);
        let slot = if scheduled { SCHEDULED } else { ACTIVE };
        lab.queues.get_mut(QUEUES[0]).expect("a queue")[slot] -= 1;
        lab.pass(data, enqueued, due.max(enqueued));
    });
    StatusCode::NO_CONTENT.into_response()
}

impl Inner {
    /// An order's whole way, at once.
    fn pass(&mut self, order: Value, enqueued: u64, due: u64) {
        let id = order["orderId"].as_u64().expect("as the contract says");
        let express = order["delivery"] == "Express";
        let (faults, now) = (self.faults.clone(), now_us());
        let delivered = if faults.early.contains(&id) { due - 1 } else { now };
        let again = 1 + u32::from(faults.delivered_twice.contains(&id));
        let dead = faults.dead_lettered.contains(&id);
        let outcome = if dead { "dead-lettered" } else { "completed" };
        self.record(QUEUES[0], id, [enqueued, due, delivered, now + 300], again, Some(outcome));
        if dead {
            let queue = self.queues.get_mut(QUEUES[0]).expect("a queue");
            queue[DEAD] += 1;
            self.dead_letters.push(json!({
                "sequence_number": id, "state": "active", "delivery_count": 10, "enqueued_us": enqueued,
                "message_id": "", "subject": null, "body": order.to_string(),
                "application_properties": {"DeadLetterReason": "MaxDeliveryCountExceeded",
                                           "DeadLetterErrorDescription": "too often"}}));
            return;
        }
        self.queues.get_mut(QUEUES[0]).expect("a queue")[COMPLETED_TOTAL] += 1;
        let second = if express { QUEUES[1] } else { QUEUES[2] };
        self.queues.get_mut(second).expect("a queue")[ENQUEUED_TOTAL] += 1;
        if faults.stuck.contains(&id) {
            self.queues.get_mut(second).expect("a queue")[ACTIVE] += 1;
            return;
        }
        self.record(second, id, [now + 200, now + 200, now + 700, now + 1_500], 1, Some("completed"));
        self.queues.get_mut(second).expect("a queue")[COMPLETED_TOTAL] += 1;
        if !faults.lost.contains(&id) {
            self.store(order, id, express != faults.misplaced.contains(&id), now + 1_300);
        }
    }

    fn store(&mut self, mut order: Value, id: u64, express: bool, written: u64) {
        if self.faults.altered.contains(&id) {
            order["items"][0]["quantity"] = json!(0);
        }
        let container = OUTBOXES[usize::from(!express)];
        let content = order.to_string().into_bytes();
        for _ in 0..1 + u32::from(self.faults.written_twice.contains(&id)) {
            self.blob_rows.push(
                json!({"container": container, "blob": id.to_string(), "written_us": written, "bytes": content.len()}),
            );
        }
        self.blobs.entry(container.into()).or_default().insert(id.to_string(), content);
    }

    fn record(&mut self, queue: &str, id: u64, at: [u64; 4], deliveries: u32, outcome: Option<&str>) {
        self.rows.push(json!({"queue": queue, "key": id, "sequence_number": id, "enqueued_us": at[0],
            "due_us": at[1], "delivered_us": at[2], "settled_us": at[3], "delivery_count": deliveries,
            "outcome": outcome}));
    }
}

async fn queues(State(lab): State<Shared>) -> Response {
    let lab = locked(&lab);
    let counts = lab.queues.iter().map(|(name, counts)| {
        json!({"name": name, "active": counts[0], "scheduled": counts[1], "deferred": counts[2],
            "locked": counts[3], "dead_lettered": counts[4], "enqueued_total": counts[5],
            "completed_total": counts[6], "dead_lettered_total": counts[4]})
    });
    Value::from_iter(counts).to_string().into_response()
}

async fn messages(State(lab): State<Shared>, Path(name): Path<String>) -> Response {
    let lab = locked(&lab);
    let found = if name == QUEUES[0] { lab.dead_letters.clone() } else { Vec::new() };
    Value::from(found).to_string().into_response()
}

async fn start_recorder(State(lab): State<Shared>, body: Bytes) -> StatusCode {
    let mut lab = locked(&lab);
    assert_eq!(
        serde_json::from_slice::<Value>(&body).expect("as the contract says"),
        json!({"record_key": "orderId"})
    );
    lab.rows.clear();
    lab.blob_rows.clear();
    lab.recorder_starts += 1;
    lab.recording = true;
    StatusCode::NO_CONTENT
}

fn lines(rows: &[Value]) -> Response {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    text.into_response()
}

async fn recorder(State(lab): State<Shared>) -> Response {
    let mut lab = locked(&lab);
    lab.recording = false;
    lines(&lab.rows)
}

async fn blob_recorder(State(lab): State<Shared>) -> Response {
    lines(&locked(&lab).blob_rows)
}

impl Inner {
    fn called(&mut self, headers: &HeaderMap, what: String) {
        let authorization = headers["authorization"].to_str().expect("as the contract says");
        assert!(authorization.starts_with("SharedKey account:"), "{authorization}");
        assert!(headers.contains_key("x-ms-date") && headers.contains_key("x-ms-version"));
        if self.recording {
            self.store_calls_while_recording.push(what);
        }
    }
}

/// Pages of seven, so that markers are used.
async fn list(
    State(lab): State<Shared>,
    Path(container): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut lab = locked(&lab);
    lab.called(&headers, format!("list {container}"));
    assert_eq!((query["restype"].as_str(), query["comp"].as_str()), ("container", "list"));
    let marker = query.get("marker").cloned().unwrap_or_default();
    let names: Vec<_> = match lab.blobs.get(&container) {
        Some(blobs) => blobs.keys().filter(|name| **name >= marker).take(8).cloned().collect(),
        None => Vec::new(),
    };
    let mut xml =
        String::from("\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>");
    for name in names.iter().take(7) {
        let _ = write!(xml, "<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag></Properties></Blob>");
    }
    let next = names.get(7).map_or("", String::as_str);
    let _ = write!(xml, "</Blobs><NextMarker>{next}</NextMarker></EnumerationResults>");
    xml.into_response()
}

async fn get_blob(
    State(lab): State<Shared>,
    Path((container, blob)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut lab = locked(&lab);
    lab.called(&headers, format!("get {container}/{blob}"));
    match lab.blobs.get(&container).and_then(|blobs| blobs.get(&blob)) {
        Some(content) => content.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn delete_blob(
    State(lab): State<Shared>,
    Path((container, blob)): Path<(String, String)>,
    headers: HeaderMap,
) -> StatusCode {
    let mut lab = locked(&lab);
    lab.called(&headers, format!("delete {container}/{blob}"));
    match lab.blobs.get_mut(&container).and_then(|blobs| blobs.remove(&blob)) {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::NOT_FOUND,
    }
}
