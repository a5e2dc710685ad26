//! Policies around deliveries: tries again, time limits and circuit breakers, with daprd's oddities.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::flow::broker::QueueCounts;
use reqwest::Method;
use tokio::net::TcpListener;

use super::broker::{Broker, MAX_DELIVERY_COUNT, plain};
use super::support::{App, Dapr, Setup};

const FAST_FAILURES: [(&str, &str); 1] = [("maxRetriableErrorsPerSec", "0")];

async fn dapr(broker: &Broker, app: &App, policies: &str, inbound: &str) -> Dapr {
    let text = format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {{name: r}}\nspec: {{policies: {policies}, targets: \
         {{components: {{q: {{inbound: {inbound}}}}}}}}}\n"
    );
    let setup = Setup::new().file("q.yaml", broker.binding("input", &FAST_FAILURES)).file("r.yaml", text);
    setup.app(app.port).start().await
}

fn settled(completed: u64, dead: u64) -> impl Fn(&QueueCounts) -> bool {
    move |counts| (counts.completed_total, counts.dead_lettered) == (completed, dead)
}

#[tokio::test]
async fn a_delivery_is_tried_again_without_the_broker_and_its_body_goes_out_in_chunks() {
    let (broker, tries) = (Broker::start(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&tries);
    let app = App::start(move |call| match call.method {
        Method::POST if counted.fetch_add(1, Ordering::SeqCst) < 3 => 500,
        _ => 200,
    })
    .await;
    let policies = "{retries: {r: {duration: 10ms, maxRetries: 5}}}";
    let _dapr = dapr(&broker, &app, policies, "{retry: r}").await;
    broker.send(plain("body")).await;
    broker.counts_are("the message to be completed", settled(1, 0)).await;
    let calls = app.calls_of(&Method::POST, "/q");
    // More tries than deliveries are allowed: the broker has delivered it once.
    assert_eq!(calls.len() as u32, MAX_DELIVERY_COUNT + 1);
    for call in &calls {
        assert_eq!(call.body, b"body");
        let length = (call.header("content-length"), call.header("transfer-encoding"));
        assert_eq!(length, (None, Some("chunked")));
    }
}

#[tokio::test]
async fn other_statuses_of_success_are_failures_to_a_retry_policy_and_none_to_a_time_limit() {
    let (broker, app) = (Broker::start(), App::start(|_| 204).await);
    let policies = "{retries: {r: {duration: 10ms, maxRetries: 1}}, timeouts: {t: 30s}}";
    let retrying = dapr(&broker, &app, policies, "{retry: r}").await;
    broker.send(plain(1)).await;
    broker.counts_are("the message to be dead-lettered", settled(0, 1)).await;
    retrying.logged("error invoking app: response object is nil").await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len() as u32, 2 * MAX_DELIVERY_COUNT);
    drop(retrying);

    let broker = Broker::start();
    let _timed = dapr(&broker, &app, policies, "{timeout: t}").await;
    broker.send(plain(2)).await;
    broker.counts_are("the message to be completed", settled(1, 0)).await;
}

#[tokio::test]
async fn a_delivery_that_takes_too_long_is_given_back() {
    let broker = Broker::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let app = App::answering(listener, async |call| match call.method {
        Method::POST => std::future::pending().await,
        _ => 200,
    });
    let dapr = dapr(&broker, &app, "{timeouts: {t: 100ms}}", "{timeout: t}").await;
    broker.send(plain(1)).await;
    broker.counts_are("the message to be dead-lettered", settled(0, 1)).await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len() as u32, MAX_DELIVERY_COUNT);
    dapr.logged("error invoking app: context deadline exceeded").await;
}

#[tokio::test]
async fn an_open_circuit_breaker_gives_messages_back_without_a_call() {
    let (broker, app) = (Broker::start(), App::start(|_| 500).await);
    let policies = "{circuitBreakers: {b: {timeout: 60s, trip: consecutiveFailures > 1}}}";
    let dapr = dapr(&broker, &app, policies, "{circuitBreaker: b}").await;
    broker.send_all((0..4).map(|number| plain(number.to_string()))).await;
    broker.counts_are("every message to be dead-lettered", settled(0, 4)).await;
    dapr.logged("circuit breaker is open").await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len(), 2);
}
