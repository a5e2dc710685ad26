//! Policies around calls: of output bindings, and of applications. Those of deliveries are tested with a broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use super::blob_store::BlobStore;
use super::support::{App, Setup, is_real_daprd};

fn resiliency(spec: &str) -> String {
    format!("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {{name: r}}\nspec: {spec}\n")
}

const RETRY: &str = "{policies: {retries: {r: {policy: constant, duration: 10ms, maxRetries: 2, matching: \
                     {httpStatusCodes: \"500-599\"}}}}, targets: {components: {box: {outbound: {retry: r}}}, apps: {orders: \
                     {retry: r}}}}";

#[tokio::test]
async fn an_operation_is_tried_again_as_often_as_its_policy_says() {
    let store = BlobStore::start().await;
    let setup = Setup::new().file("box.yaml", store.component(&[])).file("r.yaml", resiliency(RETRY));
    let dapr = setup.start().await;
    let gets = || store.requests().iter().filter(|request| request.starts_with("GET ")).count();
    let missing = json!({ "operation": "get", "metadata": { "blobName": "missing" } });
    let (status, _, message) = dapr.bind("box", &missing).await.refusal();
    assert_eq!((status, gets()), (500, 3), "{message}");
    assert!(message.ends_with("blob not found"), "{message}");
    let unknown = json!({ "operation": "no such" });
    assert_eq!(dapr.bind("box", &unknown).await.status, 500);
    assert_eq!(gets(), 3, "what is no operation is not tried");
}

#[tokio::test]
async fn a_call_of_an_application_is_tried_again_at_the_statuses_that_are_named() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let app = App::start(move |call| match &*call.path {
        "/late" if counted.fetch_add(1, Ordering::SeqCst) < 2 => 503,
        "/late" => 200,
        "/never" => 500,
        _ => 404,
    })
    .await;
    let dapr = Setup::new().app(app.port).file("r.yaml", resiliency(RETRY)).start().await;
    dapr.ready().await;
    for (method, status, calls) in [("late", 200, 3), ("never", 500, 3), ("missing", 404, 1)] {
        let path = format!("/v1.0/invoke/orders/method/{method}");
        let answer = dapr.call(Method::POST, &path, &[], b"the body").await;
        assert_eq!((answer.status, &*answer.text()), (status, "an answer that is no JSON"), "{method}");
        let made = app.calls_of(&Method::POST, &format!("/{method}"));
        assert_eq!(made.len(), calls, "{method}");
        assert!(made.iter().all(|call| call.body == b"the body"), "{method}: each with its body");
    }
}

#[tokio::test]
async fn a_try_has_its_time_and_a_circuit_breaker_opens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let app = App::answering(listener, async |call| match &*call.path {
        "/slow" => std::future::pending().await,
        "/broken" => 500,
        _ => 200,
    });
    let spec = "{policies: {timeouts: {t: 200ms}, circuitBreakers: {b: {timeout: 60s, trip: consecutiveFailures >= 2}}}, \
                targets: {apps: {orders: {timeout: t, circuitBreaker: b}}}}";
    let setup = Setup::new().app(app.port).file("r.yaml", resiliency(spec));
    let dapr = setup.start().await;
    dapr.ready().await;
    let invoked = async |method: &str| dapr.get(&format!("/v1.0/invoke/orders/method/{method}")).await;
    let (status, _, message) = invoked("slow").await.refusal();
    assert_eq!((status, &*message), (500, "failed to invoke, id: orders, err: context deadline exceeded"));
    for _ in 0..2 {
        assert_eq!(invoked("broken").await.text(), "an answer that is no JSON");
    }
    let (status, _, message) = invoked("broken").await.refusal();
    assert_eq!((status, &*message), (500, "failed to invoke, id: orders, err: circuit breaker is open"));
    assert_eq!(app.calls_of(&Method::GET, "/broken").len(), 2);
    assert_eq!(invoked("well").await.status, 200, "each method has its own");
}

#[tokio::test]
async fn a_mistake_in_a_policy_ends_the_start_with_its_place() {
    if is_real_daprd("it leaves the document out, and says so in its log") {
        return;
    }
    for (spec, said) in [
        ("\n  policies:\n    timeouts: {t: soon}", "invalid duration \"soon\""),
        ("\n  targets:\n    apps: {orders: {retry: none}}", "no policy \"none\""),
    ] {
        let ended = super::ended(Setup::new().file("r.yaml", resiliency(spec))).await;
        assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
        assert!(ended.log.contains("r.yaml:6: ") && ended.log.contains(said), "{}", ended.log);
    }
}

#[tokio::test]
async fn another_applications_policies_are_not_ours() {
    let store = BlobStore::start().await;
    let scoped = resiliency(RETRY) + "scopes: [another]\n";
    let setup = Setup::new().file("box.yaml", store.component(&[])).file("r.yaml", scoped);
    let dapr = setup.start().await;
    let missing = json!({ "operation": "get", "metadata": { "blobName": "missing" } });
    assert_eq!(dapr.bind("box", &missing).await.status, 500);
    assert_eq!(store.requests().iter().filter(|request| request.starts_with("GET ")).count(), 1);
}
