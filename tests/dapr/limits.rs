//! How much is held and delivered at a time, by one Dapr and by several, and for how long.

use std::collections::BTreeSet;

use reqwest::Method;

use super::broker::{Broker, plain};
use super::gate::holding;
use super::support::{App, Dapr, Setup};

async fn dapr(broker: &Broker, app: &App, more: &[(&str, &str)]) -> Dapr {
    Setup::new().file("q.yaml", broker.binding("input", more)).app(app.port).start().await
}

#[tokio::test]
async fn no_more_messages_are_held_than_max_active_messages() {
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
async fn no_more_are_delivered_at_a_time_than_max_concurrent_handlers() {
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
async fn without_limits_messages_come_one_after_the_other() {
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
async fn replicas_compete_for_a_queue_and_each_has_limits_of_its_own() {
    let broker = Broker::start();
    let (mut apps, mut daprs) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (app, gate) = holding().await;
        daprs.push(dapr(&broker, &app, &[("maxActiveMessages", "4"), ("maxConcurrentHandlers", "0")]).await);
        apps.push((app, gate));
    }
    broker.send_all((0..100).map(plain)).await;
    for (_, gate) in &apps {
        gate.holds(4).await;
    }
    assert_eq!(broker.counts("q").await.locked, 8);
    for (_, gate) in &apps {
        gate.let_through(100);
    }
    broker.counts_are("all to be completed", |counts| counts.completed_total == 100).await;
    let calls: Vec<_> = apps.iter().flat_map(|(app, _)| app.calls_of(&Method::POST, "/q")).collect();
    let bodies: BTreeSet<_> = calls.iter().map(|call| call.body.clone()).collect();
    assert_eq!((calls.len(), bodies.len()), (100, 100), "each was delivered once");
}

#[tokio::test]
async fn a_lock_is_renewed_as_long_as_the_application_works_and_not_when_that_is_switched_off() {
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
