//! What a stop leaves behind, and what the death of a broker does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::broker::{Broker, plain};
use super::differences;
use super::gate::holding;
use super::support::{App, DEADLINE, Dapr, Setup, is_real_daprd, queue, real_daprd};

/// Waits until inputs stop; the words of the emulator, and of daprd's `runtime.go`.
async fn stopping(dapr: &Dapr) {
    dapr.logged(if real_daprd().is_some() { "Shutting down component q " } else { "stopping" }).await;
}

const PARALLEL: [(&str, &str); 2] = [("maxActiveMessages", "100"), ("maxConcurrentHandlers", "0")];

#[tokio::test]
async fn c20_c47_what_is_in_flight_is_finished_and_settled_and_nothing_new_is_taken() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let text = broker.binding("input", &[("maxActiveMessages", "3"), ("maxConcurrentHandlers", "0")]);
    let setup = Setup::new().file("q.yaml", text).app(app.port);
    let dapr = setup.args(&["--dapr-graceful-shutdown-seconds", "20"]).start().await;
    broker.send_all((0..10).map(plain)).await;
    gate.holds(3).await;
    dapr.signal("-TERM");
    stopping(&dapr).await;
    gate.let_through(10);
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let counts = broker.counts("q").await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len(), 3);
    assert_eq!(counts.completed_total, 3, "{counts:?}");
    if is_real_daprd(differences::STOP_GOES_ON_RECEIVING) {
        assert_eq!(counts.active + counts.locked + counts.dead_lettered, 7, "{counts:?}");
    } else {
        assert_eq!((counts.active, counts.locked), (7, 0), "{counts:?}");
    }
}

#[tokio::test]
async fn c47_what_the_application_does_not_finish_in_time_is_given_back() {
    let broker = Broker::start();
    let (app, gate) = holding().await;
    let setup = Setup::new().file("q.yaml", broker.binding("input", &PARALLEL)).app(app.port);
    let dapr = setup.args(&["--dapr-graceful-shutdown-seconds", "1"]).start().await;
    broker.send_all((0..5).map(plain)).await;
    gate.holds(5).await;
    dapr.signal("-TERM");
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let counts = broker.counts("q").await;
    assert_eq!((counts.completed_total, counts.active + counts.locked), (0, 5), "{counts:?}");
    if !is_real_daprd(differences::STOP_LEAVES_LOCKS) {
        assert_eq!(counts.locked, 0, "{counts:?}");
    }
}

/// Messages that arrive while the credit is taken back are given back too.
#[tokio::test]
async fn c47_a_stop_under_load_leaves_nothing_locked() {
    let broker = Broker::with(&["--listen", "127.0.0.1:0"], "PT5M", 100);
    let app = App::start(|_| 200).await;
    broker.send_all((0..20_000).map(plain)).await;
    for round in 1..=5 {
        let setup = Setup::new().file("q.yaml", broker.binding("input", &PARALLEL)).app(app.port);
        let dapr = setup.start().await;
        app.called(&Method::POST, "/q", round * 200).await;
        dapr.signal("-TERM");
        assert_eq!(dapr.ended().await.status.code(), Some(0));
        let counts = broker.counts("q").await;
        assert_eq!(counts.completed_total + counts.active + counts.locked, 20_000, "{counts:?}");
        if !is_real_daprd(differences::STOP_LOSES_SIGHT) {
            assert_eq!(counts.locked, 0, "round {round}: {counts:?}");
        }
        assert!(counts.active > 0, "the stop comes too late to show anything: {counts:?}");
    }
}

/// The stop of the inputs used to be dropped together with what it still had to settle.
#[tokio::test]
async fn a_signal_while_inputs_stop_for_an_unwell_application_lets_the_delivery_in_flight_finish() {
    let broker = Broker::start();
    let (health, held) = (Arc::new(AtomicU16::new(200)), Arc::new(Semaphore::new(0)));
    let (now, gate) = (Arc::clone(&health), Arc::clone(&held));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let app = App::answering(listener, move |call| {
        let (now, gate) = (Arc::clone(&now), Arc::clone(&gate));
        async move {
            match (&call.method, &*call.path) {
                (&Method::POST, "/q") => gate.acquire().await.map_or(500, |permit| {
                    permit.forget();
                    200
                }),
                (_, "/healthz") => now.load(Ordering::SeqCst),
                _ => 200,
            }
        }
    });
    let setup = Setup::new()
        .file("q.yaml", broker.binding("input", &[]))
        .app(app.port)
        .args(&["--enable-app-health-check", "--app-health-probe-interval=1", "--app-health-threshold=1"])
        .args(&["--dapr-graceful-shutdown-seconds=20"]);
    let dapr = setup.start().await;
    broker.send(plain(1)).await;
    app.called(&Method::POST, "/q", 1).await;
    health.store(500, Ordering::SeqCst);
    dapr.logged("App entered un-healthy status").await;
    dapr.signal("-TERM");
    stopping(&dapr).await;
    held.add_permits(1);
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let counts = broker.counts("q").await;
    assert_eq!((counts.completed_total, counts.locked), (1, 0), "{counts:?}");
}

#[tokio::test]
async fn c47_the_application_can_still_send_while_its_last_messages_are_finished() {
    let broker = Broker::start();
    let (started, stopped) = (Semaphore::new(0), Semaphore::new(0));
    let phases = Arc::new((started, stopped));
    let (url, listener) = (
        Arc::new(std::sync::OnceLock::<String>::new()),
        TcpListener::bind("127.0.0.1:0").await.expect("a port"),
    );
    let (to, at) = (Arc::clone(&url), Arc::clone(&phases));
    let app = App::answering(listener, move |call| {
        let (to, at) = (Arc::clone(&to), Arc::clone(&at));
        async move {
            if call.method != Method::POST {
                return 200;
            }
            at.0.add_permits(1);
            at.1.acquire().await.expect("never closed").forget();
            let request = json!({ "operation": "create", "data": 1 }).to_string();
            let answer = reqwest::Client::new().post(to.get().expect("known")).body(request).send().await;
            answer.map_or(500, |answer| answer.status().as_u16())
        }
    });
    let setup = Setup::new()
        .file("q.yaml", broker.binding("input", &[]))
        .file("other.yaml", queue("other", &broker.address, &[("direction", "output")]));
    let dapr = setup.app(app.port).start().await;
    url.set(dapr.url("/v1.0/bindings/other")).expect("set once");
    broker.send(plain(1)).await;
    let held = tokio::time::timeout(DEADLINE, phases.0.acquire()).await;
    held.expect("a delivery in time").expect("never closed").forget();
    dapr.signal("-TERM");
    stopping(&dapr).await;
    phases.1.add_permits(1);
    assert_eq!(dapr.ended().await.status.code(), Some(0));
    let (q, other) = (broker.counts("q").await, broker.counts("other").await);
    if is_real_daprd(differences::OUTPUTS_CLOSE_FIRST) {
        assert_eq!((q.completed_total, other.enqueued_total), (0, 0), "{q:?} {other:?}");
    } else {
        assert_eq!((q.completed_total, other.active), (1, 1), "{q:?} {other:?}");
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_does_not_hold_the_stop_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let app = App::start(|_| 200).await;
    let setup = Setup::new().file("q.yaml", queue("q", &address, &[("direction", "input")]));
    let dapr = setup.app(app.port).args(&["--dapr-graceful-shutdown-seconds", "1"]).start().await;
    dapr.ready().await;
    let accepted = silent.accept().expect("it connects");
    dapr.signal("-TERM");
    assert_eq!(dapr.ended().await.status.code(), Some(0));
    drop(accepted);
}

#[tokio::test]
async fn c44_reading_goes_on_when_the_broker_comes_back() {
    let (broker, app) = (Broker::that_goes_away(), App::start(|_| 200).await);
    let text = broker.binding("input", &[("minConnectionRecoveryInSec", "1")]);
    let dapr = Setup::new().file("q.yaml", text).app(app.port).start().await;
    broker.send(plain(1)).await;
    app.called(&Method::POST, "/q", 1).await;
    broker.counts_are("the message to be completed", |counts| counts.completed_total == 1).await;
    let address = broker.address.clone();
    drop(broker);
    if !is_real_daprd(differences::OWN_LOG_LINES) {
        dapr.logged("Subscription lost connection, attempting to reconnect").await;
    }
    let broker = Broker::at(&address);
    broker.send(plain(2)).await;
    app.called(&Method::POST, "/q", 2).await;
    broker.counts_are("the message to be completed", |counts| counts.completed_total == 1).await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
}
