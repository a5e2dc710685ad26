//! How much is held, delivered and given back at a time, and for how long.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::broker::{Broker, plain};
use super::gate::holding;
use super::support::{App, Dapr, Setup, queue};

async fn dapr(broker: &Broker, app: &App, more: &[(&str, &str)]) -> Dapr {
    Setup::new().file("q.yaml", broker.binding("input", more)).app(app.port).start().await
}

#[tokio::test]
async fn c41_no_more_messages_are_held_than_max_active_messages() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let _dapr = dapr(&broker, &app, &[("maxActiveMessages", "3"), ("maxConcurrentHandlers", "0")]).await;
    broker.send_all((0..10).map(plain)).await;
    gate.holds(3).await;
    let counts = broker.counts("q").await;
    assert_eq!((counts.locked, counts.active), (3, 7), "{counts:?}");
    gate.let_through(1);
    app.called(&Method::POST, "/q", 4).await;
    gate.let_through(9);
    broker.counts_are("all to be completed", |counts| counts.completed_total == 10).await;
    assert_eq!((gate.waiting_max(), app.calls_of(&Method::POST, "/q").len()), (3, 10));
}

#[tokio::test]
async fn c41_no_more_are_delivered_at_a_time_than_max_concurrent_handlers() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let _dapr = dapr(&broker, &app, &[("maxActiveMessages", "5"), ("maxConcurrentHandlers", "2")]).await;
    broker.send_all((0..10).map(plain)).await;
    gate.holds(2).await;
    let counts = broker.counts_are("five to be held", |counts| counts.locked == 5).await;
    assert_eq!(counts.active, 5, "{counts:?}");
    gate.let_through(10);
    broker.counts_are("all to be completed", |counts| counts.completed_total == 10).await;
    assert_eq!(gate.waiting_max(), 2);
}

#[tokio::test]
async fn c41_without_limits_messages_come_one_after_the_other() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let _dapr = dapr(&broker, &app, &[]).await;
    broker.send_all((0..5).map(plain)).await;
    gate.holds(1).await;
    assert_eq!(broker.counts("q").await.locked, 1);
    gate.let_through(5);
    let calls = app.called(&Method::POST, "/q", 5).await;
    let bodies: Vec<_> = calls.iter().map(|call| String::from_utf8_lossy(&call.body).into_owned()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    assert_eq!(gate.waiting_max(), 1);
}

#[tokio::test]
async fn c39_c40_a_lock_is_renewed_as_long_as_the_application_works_and_not_when_that_is_switched_off() {
    let (deliveries, short_lock) = (3, "PT2S");
    let brokers = [0, 1].map(|_| Broker::with(&["--listen", "127.0.0.1:0"], short_lock, 100));
    let (renewed, renewed_gate) = holding().await;
    let (lost, lost_gate) = holding().await;
    let room = ("maxActiveMessages", "10");
    let handlers = ("maxConcurrentHandlers", "0");
    let _renewing = dapr(&brokers[0], &renewed, &[room, handlers, ("lockRenewalInSec", "1")]).await;
    let losing = dapr(&brokers[1], &lost, &[room, handlers, ("lockRenewalInSec", "0")]).await;
    for broker in &brokers {
        broker.send(plain(1)).await;
    }
    renewed_gate.holds(1).await;
    lost.called(&Method::POST, "/q", deliveries).await;
    assert_eq!(renewed.calls_of(&Method::POST, "/q").len(), 1, "for as long its lock was renewed");
    renewed_gate.let_through(1);
    lost_gate.let_through(deliveries);
    brokers[0].counts_are("the one to be completed", |counts| counts.completed_total == 1).await;
    brokers[1].counts_are("the other to be completed", |counts| counts.completed_total == 1).await;
    losing.logged("Error completing message").await;
}

/// Deliveries of two queues count together, and the application's other calls wait as well.
#[tokio::test]
async fn c42_no_more_calls_are_made_at_a_time_than_app_max_concurrency() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let room = [("direction", "input"), ("maxActiveMessages", "10"), ("maxConcurrentHandlers", "0")];
    let setup = Setup::new()
        .file("q.yaml", queue("q", &broker.address, &room))
        .file("other.yaml", queue("other", &broker.address, &room))
        .file("out.yaml", queue("other", &broker.address, &[]).replace("{name: other}", "{name: out}"))
        .args(&["--app-max-concurrency", "2"]);
    let dapr = setup.app(app.port).start().await;
    dapr.ready().await;
    assert_eq!(dapr.get("/v1.0/metadata").await.json()["appConnectionProperties"]["maxConcurrency"], 2);
    for number in 0..5 {
        assert_eq!(dapr.create("out", number.into(), serde_json::json!({})).await.status, 204);
    }
    broker.send_all((0..5).map(plain)).await;
    broker.counts_are("all to be held", |counts| counts.locked == 5).await;
    gate.holds(2).await;
    let invoked = tokio::spawn(reqwest::get(dapr.url("/v1.0/invoke/orders/method/x")));
    gate.let_through(10);
    broker.counts_are("all to be completed", |counts| counts.completed_total == 5).await;
    let answer = invoked.await.expect("it does not panic").expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(gate.waiting_max(), 2);
}

/// How long it takes to fail this many deliveries, each of which dead-letters its message.
async fn failing(deliveries: u64, more: &[(&str, &str)]) -> Duration {
    let broker = Broker::with(&["--listen", "127.0.0.1:0"], "PT30S", 1);
    let app = App::start(|call| if call.method == Method::POST { 500 } else { 200 }).await;
    broker.send_all((0..deliveries).map(plain)).await;
    let start = Instant::now();
    let _dapr = dapr(&broker, &app, &[&[("maxActiveMessages", "5")], more].concat()).await;
    broker.counts_are("every delivery to fail", |counts| counts.dead_lettered == deliveries).await;
    start.elapsed()
}

/// Of 45 failures 10 are let through at once, and 5 may wait while they still hold a place: that leaves 30.
#[tokio::test]
async fn c43_failures_are_held_down_to_max_retriable_errors_per_second() {
    let held_down = failing(45, &[("maxRetriableErrorsPerSec", "10")]).await;
    let free = failing(45, &[("maxRetriableErrorsPerSec", "0")]).await;
    assert!(held_down > Duration::from_millis(2_500), "{held_down:?}");
    assert!(free < held_down, "{free:?} without a limit, {held_down:?} with one");
}
