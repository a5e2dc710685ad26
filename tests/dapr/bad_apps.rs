//! Applications that answer badly: what becomes of the message, and that Dapr lives on and serves the others.

use lab::flow::broker::QueueCounts;
use reqwest::Method;
use serde_json::json;

use super::broker::{Broker, MAX_DELIVERY_COUNT, plain};
use super::raw_app::{Answer, RawApp};
use super::support::{App, Dapr, Setup, queue};

const FAST_FAILURES: [(&str, &str); 3] =
    [("maxRetriableErrorsPerSec", "0"), ("maxActiveMessages", "10"), ("maxConcurrentHandlers", "0")];

/// Largest body that is tried, bytes.
const LARGE_BYTES: usize = 100_000_000;
/// What the broker must take as a message, and Dapr as a request: that, and what is around it.
const LIMIT_BYTES: usize = 100 << 20;

async fn dapr(broker: &Broker, port: u16) -> Dapr {
    let dapr = Setup::new().file("q.yaml", broker.binding("input", &FAST_FAILURES)).app(port).start().await;
    dapr.ready().await;
    dapr
}

/// It still takes calls, and says that it is well.
async fn lives(dapr: &Dapr) {
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
}

fn settled(completed: u64, dead: u64) -> impl Fn(&QueueCounts) -> bool {
    move |counts| (counts.completed_total, counts.dead_lettered) == (completed, dead)
}

/// An answer whose body ends before the length that it announced used to count as none in the emulator.
#[tokio::test]
async fn c37_c38_only_the_status_of_an_answer_counts_and_what_is_no_answer_gives_the_message_back() {
    let broker = Broker::start();
    let app = RawApp::start(|body| match body {
        b"garbage" => Answer::Bytes(b"\x00\x01 no HTTP \xff\r\n\r\n"),
        b"nothing" => Answer::Bytes(b""),
        b"half a head" => Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-le"),
        b"a wrong length" => Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"),
        b"too short" => Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"),
        b"until the end" => Answer::Bytes(b"HTTP/1.0 201 Created\r\n\r\n\xff\x00 {"),
        _ => Answer::Bytes(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"),
    })
    .await;
    let dapr = dapr(&broker, app.port).await;
    let (bad, good) = (
        ["garbage", "nothing", "half a head", "a wrong length"],
        ["too short", "until the end", "no content"],
    );
    broker.send_all(good.iter().chain(&bad).map(plain)).await;
    broker.counts_are("every message to be settled for good", settled(3, 4)).await;
    dapr.logged("error invoking app").await;
    lives(&dapr).await;
}

#[tokio::test]
async fn c37_an_application_that_refuses_connections_after_the_start_gives_the_message_back() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let dapr = dapr(&broker, app.port).await;
    broker.send(plain(1)).await;
    broker.counts_are("the first message to be completed", settled(1, 0)).await;
    drop(app);
    broker.send(plain(2)).await;
    broker.counts_are("the second to be dead-lettered", settled(1, 1)).await;
    lives(&dapr).await;
}

/// An answer of more than 4 MiB counted as none, and its message came again.
#[tokio::test]
async fn c38_an_answer_of_any_size_and_shape_completes_and_does_nothing_else() {
    let broker = Broker::start();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let router = axum::Router::new().fallback(|body: String| async move {
        match &*body {
            "large" => vec![b'x'; LARGE_BYTES],
            // What gRPC applications can ask for means nothing over HTTP.
            "to" => json!({ "to": ["other"], "data": 1, "operation": "create" }).to_string().into(),
            _ => Vec::new(),
        }
    });
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let setup = Setup::new()
        .file("q.yaml", broker.binding("input", &FAST_FAILURES))
        .file("other.yaml", queue("other", &broker.address, &[("direction", "output")]));
    let dapr = setup.app(port).start().await;
    broker.send_all(["large", "to", "empty"].map(plain)).await;
    broker.counts_are("the messages to be completed", settled(3, 0)).await;
    assert_eq!(broker.counts("other").await.enqueued_total, 0);
    lives(&dapr).await;
    serving.abort();
}

/// Neither hangs the others up, and both end with the stop.
#[tokio::test]
async fn c39_an_application_that_never_ends_its_answer_keeps_its_message_and_no_other() {
    let broker = Broker::start();
    let app = RawApp::start(|body| match body {
        b"silent" => Answer::Nothing,
        b"endless" => Answer::Endless,
        _ => Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    })
    .await;
    let setup = Setup::new().file("q.yaml", broker.binding("input", &FAST_FAILURES)).app(app.port);
    let dapr = setup.args(&["--dapr-graceful-shutdown-seconds", "1"]).start().await;
    dapr.ready().await;
    broker.send_all(["silent", "endless"].map(plain)).await;
    broker.counts_are("both to be held", |counts| counts.locked == 2).await;
    broker.send_all((0..20).map(plain)).await;
    broker.counts_are("the others to be completed", settled(20, 0)).await;
    assert_eq!(broker.counts("q").await.locked, 2);
    lives(&dapr).await;
    dapr.signal("-TERM");
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("Graceful shutdown timeout exceeded"), "{}", ended.log);
}

/// Each way: from the broker to the application, and from the application to the broker.
#[tokio::test]
async fn c14_c35_a_body_of_100_mb_passes_where_it_is_allowed() {
    let most = LIMIT_BYTES.to_string();
    let broker =
        Broker::with(&["--listen", "127.0.0.1:0", "--max-message-bytes", &most], "PT60S", MAX_DELIVERY_COUNT);
    let app = App::start(|_| 200).await;
    let setup = Setup::new()
        .file("q.yaml", broker.binding("input", &FAST_FAILURES))
        .file(
            "out.yaml",
            queue("q", &broker.address, &[("direction", "output")]).replace("{name: q}", "{name: out}"),
        )
        .args(&["--max-body-size", &most]);
    let dapr = setup.app(app.port).start().await;
    let answer = dapr.create("out", json!("x".repeat(LARGE_BYTES)), json!({})).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let calls = app.called(&Method::POST, "/q", 1).await;
    // A string keeps its quotes.
    assert_eq!(calls[0].body.len(), LARGE_BYTES + 2);
    broker.counts_are("the message to be completed", settled(1, 0)).await;
    lives(&dapr).await;

    let (status, code, message) = {
        let small = Setup::new().file("out.yaml", broker.binding("output", &[])).start().await;
        small.create("q", json!("x".repeat(LARGE_BYTES)), json!({})).await.refusal()
    };
    assert_eq!((status, &*code), (400, "ERR_MALFORMED_REQUEST"));
    assert!(message.ends_with("stream too large"), "{message}");
}
