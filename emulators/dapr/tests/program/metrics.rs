//! What Prometheus is told, by daprd's names.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::blob_store::BlobStore;
use super::support::{App, DEADLINE, Dapr, Setup, free_port};

/// Values by name and labels, without the buckets.
async fn metrics(port: u16) -> BTreeMap<String, f64> {
    let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.expect("it listens");
    assert!(text.headers()["content-type"].to_str().expect("text").starts_with("text/plain; version=0.0.4"));
    let text = text.text().await.expect("text");
    let values = text.lines().filter(|line| line.starts_with("dapr_") && !line.contains("_bucket{"));
    let pairs = values.filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

async fn measured(setup: Setup) -> (Dapr, u16) {
    let port = free_port();
    let args = [
        "--enable-metrics=true",
        "--metrics-listen-address",
        "127.0.0.1",
        "--metrics-port",
        &port.to_string(),
    ];
    let dapr = setup.args(&args).start().await;
    dapr.ready().await;
    (dapr, port)
}

#[tokio::test]
async fn calls_components_and_the_application_are_counted() {
    let (store, app) = (BlobStore::start().await, App::start(|_| 200).await);
    let setup = Setup::new().app(app.port).file("box.yaml", store.component(&[]));
    let (dapr, port) = measured(setup).await;
    for _ in 0..2 {
        assert_eq!(dapr.create("box", json!(1), json!({})).await.status, 200);
    }
    assert_eq!(dapr.bind("box", &json!({ "operation": "get" })).await.status, 500);
    assert_eq!(dapr.call(Method::PUT, "/v1.0/invoke/orders/method/x", &[], b"four").await.status, 200);
    let counted = tests::until("the last call to be counted", DEADLINE, async || {
        let metrics = metrics(port).await;
        let last = "dapr_http_server_response_count{app_id=\"orders\",method=\"PUT\",path=\"/v1.0/invoke/orders/method/x\",status=\"200\"}";
        if metrics.contains_key(last) { Ok(metrics) } else { Err(metrics) }
    })
    .await;
    for (name, labels, value) in [
        ("http_server_request_count", "method=\"POST\",path=\"/v1.0/bindings/box\",status=\"200\"", 2.0),
        ("http_server_request_count", "method=\"POST\",path=\"/v1.0/bindings/box\",status=\"500\"", 1.0),
        ("http_server_response_count", "method=\"POST\",path=\"/v1.0/bindings/box\",status=\"200\"", 2.0),
        ("http_server_latency_count", "method=\"POST\",path=\"/v1.0/bindings/box\",status=\"200\"", 2.0),
        ("http_client_completed_count", "method=\"GET\",path=\"/dapr/config\",status=\"200\"", 1.0),
        ("http_client_completed_count", "method=\"PUT\",path=\"/x\",status=\"200\"", 1.0),
        ("http_client_sent_bytes_count", "method=\"PUT\",path=\"/x\",status=\"\"", 1.0),
        (
            "component_output_binding_count",
            "component=\"box\",namespace=\"\",operation=\"create\",success=\"true\"",
            2.0,
        ),
        (
            "component_output_binding_count",
            "component=\"box\",namespace=\"\",operation=\"get\",success=\"false\"",
            1.0,
        ),
        (
            "component_output_binding_latencies_count",
            "component=\"box\",namespace=\"\",operation=\"create\",success=\"true\"",
            2.0,
        ),
        ("runtime_component_init_total", "component=\"bindings.azure.blobstorage\"", 1.0),
    ] {
        let name = format!("dapr_{name}{{app_id=\"orders\",{labels}}}");
        assert_eq!(counted.get(&name), Some(&value), "{name}: {counted:#?}");
    }
    assert_eq!(counted["dapr_runtime_component_loaded{app_id=\"orders\"}"], 1.0);
    assert!(counted.contains_key("dapr_http_server_request_bytes_sum{app_id=\"orders\"}"));
}

#[tokio::test]
async fn a_configuration_counts_less_or_nothing() {
    let store = BlobStore::start().await;
    for (spec, expected) in [
        ("{metric: {enabled: false}}", None),
        ("{metrics: {enabled: false}}", None),
        (
            "{metrics: {http: {increasedCardinality: false, excludeVerbs: true}}}",
            Some("dapr_http_server_request_count{app_id=\"orders\",method=\"\",path=\"\",status=\"200\"}"),
        ),
    ] {
        let setup = Setup::new()
            .file("box.yaml", store.component(&[]))
            .file("config.txt", format!("kind: Configuration\nmetadata: {{name: c}}\nspec: {spec}\n"))
            .args(&["--config", "FOLDER/config.txt"]);
        let (dapr, port) = measured(setup).await;
        assert_eq!(dapr.create("box", json!(1), json!({})).await.status, 200);
        tests::until("what is counted, or nothing", DEADLINE, async || {
            let metrics = metrics(port).await;
            let is_right = expected.map_or(metrics.is_empty(), |name| metrics.contains_key(name));
            if is_right { Ok(()) } else { Err(metrics) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let address = ["--metrics-listen-address", "127.0.0.1", "--metrics-port", &port];
    let ended = super::ended(Setup::new().args(&["--enable-metrics=true"]).args(&address)).await;
    assert!(!ended.status.success());
    assert!(ended.log.contains(&format!("127.0.0.1:{port}")), "{}", ended.log);
}
