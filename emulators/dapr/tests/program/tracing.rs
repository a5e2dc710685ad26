//! Spans: what goes on without a sampling rate and with one, and what a collector gets.

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::blob_store::BlobStore;
use super::support::{App, DEADLINE, Setup};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ZEROS: &str = "00-00000000000000000000000000000000-0000000000000000-00";

fn configuration(tracing: &str) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {{name: c}}\nspec: {{tracing: {tracing}}}\n"
    )
}

/// daprd registers no provider of spans without a sampling rate: its spans are then what came in, or zeros.
#[tokio::test]
async fn c45_without_a_sampling_rate_the_parent_goes_on_as_it_is_and_zeros_stand_for_none() {
    let store = BlobStore::start().await;
    let app = App::start(|_| 200).await;
    let dapr = Setup::new().app(app.port).file("box.yaml", store.component(&[])).start().await;
    dapr.ready().await;
    for (sent, expected) in [(Some(PARENT), PARENT), (None, ZEROS), (Some("junk"), ZEROS)] {
        let headers: Vec<(&str, &str)> = sent.map(|span| ("traceparent", span)).into_iter().collect();
        let body = br#"{"operation":"create","data":1,"metadata":{"blobName":"x"}}"#;
        let answer = dapr.call(Method::POST, "/v1.0/bindings/box", &headers, body).await;
        assert_eq!((answer.status, answer.header("traceparent")), (200, Some(expected)), "{sent:?}");
        let stored = store.blob("x").expect("stored").headers["x-ms-meta-traceparent"].clone();
        assert_eq!(stored.to_str().ok(), Some(expected), "{sent:?}");
        let invoked = dapr.call(Method::POST, "/v1.0/invoke/orders/method/x", &headers, b"").await;
        assert_eq!(invoked.header("traceparent"), Some(expected), "{sent:?}");
    }
    let calls = app.calls_of(&Method::POST, "/x");
    let passed: Vec<_> = calls.iter().filter_map(|call| call.header("traceparent")).collect();
    assert_eq!(passed[..2], [PARENT, ZEROS]);
}

#[tokio::test]
async fn c45_with_a_rate_each_call_is_a_span_of_its_own() {
    let app = App::start(|_| 200).await;
    let setup = Setup::new()
        .app(app.port)
        .file("config.txt", configuration("{samplingRate: \"1\"}"))
        .args(&["--config", "FOLDER/config.txt"]);
    let dapr = setup.start().await;
    dapr.ready().await;
    let headers = [("traceparent", PARENT), ("tracestate", "a=b")];
    let answer = dapr.call(Method::GET, "/v1.0/invoke/orders/method/x", &headers, b"").await;
    let span = answer.header("traceparent").expect("a span").to_owned();
    assert!(span.starts_with(&PARENT[..36]) && span != PARENT && span.ends_with("-01"), "{span}");
    assert_eq!(app.calls_of(&Method::GET, "/x")[0].header("traceparent"), Some(&*span));
}

#[tokio::test]
async fn spans_that_are_sampled_go_to_zipkin() {
    let (sender, mut batches) = mpsc::unbounded_channel();
    let collector = axum::Router::new().fallback(move |body: axum::body::Bytes| {
        let _ = sender.send(body);
        async { StatusCode::ACCEPTED }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}/api/v2/spans", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, collector).await });
    let (store, app) = (BlobStore::start().await, App::start(|_| 500).await);
    let zipkin = format!("{{samplingRate: \"1\", zipkin: {{endpointAddress: \"{endpoint}\"}}}}");
    let setup = Setup::new()
        .app(app.port)
        .file("box.yaml", store.component(&[]))
        .file("config.txt", configuration(&zipkin))
        .args(&["--config", "FOLDER/config.txt"]);
    let dapr = setup.start().await;
    let not_sampled = "00-4bf92f3577b34da6a3ce929d0e0e4737-00f067aa0ba902b7-00";
    let body = br#"{"operation":"create","data":1}"#;
    for parent in [PARENT, not_sampled] {
        dapr.call(Method::POST, "/v1.0/bindings/box", &[("traceparent", parent)], body).await;
    }
    assert_eq!(dapr.get("/v1.0/invoke/orders/method/a/b").await.status, 500);
    // What is waiting is sent before the end.
    dapr.signal("-TERM");
    let mut spans: Vec<Value> = Vec::new();
    while spans.len() < 2 {
        let batch = tokio::time::timeout(DEADLINE, batches.recv()).await.expect("in time").expect("a batch");
        spans.extend(serde_json::from_slice::<Vec<Value>>(&batch).expect("a list of spans"));
    }
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let binding = &spans[0];
    assert_eq!(binding["traceId"], &PARENT[3..35]);
    assert_eq!(binding["parentId"], "00f067aa0ba902b7");
    assert_eq!((&binding["name"], &binding["kind"]), (&json!("/v1.0/bindings/box"), &json!("CLIENT")));
    assert_eq!(binding["localEndpoint"]["serviceName"], "orders");
    for (name, value) in [
        ("dapr.api", "POST /v1.0/bindings/box"),
        ("dapr.status_code", "200"),
        ("db.name", "box"),
        ("db.system", "bindings"),
        ("http.request.method", "POST"),
    ] {
        assert_eq!(binding["tags"][name], value, "{name}: {binding:#}");
    }
    let invoked = &spans[1];
    assert_eq!(invoked["name"], "calllocal/orders/a/b");
    assert_eq!(invoked["tags"]["error"], "Code(500): Internal Server Error");
    assert_eq!(dapr.ended().await.status.code(), Some(0));
}
