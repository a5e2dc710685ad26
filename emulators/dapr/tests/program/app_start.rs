//! What Dapr asks the application before it delivers, and when it is ready.
//!
//! Whether a binding is read shows in whether somebody connects to its broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use reqwest::Method;

use super::NO_BROKER;
use super::silent_broker::SilentBroker;
use super::support::{App, Call, Setup, is_real_daprd, queue};

fn not_subscribed(binding: &str) -> String {
    format!("app has not subscribed to binding {binding}.")
}

#[tokio::test]
async fn c32_a_binding_is_read_when_the_answer_to_options_is_2xx_or_405_and_else_not() {
    let statuses = [(200, true), (204, true), (405, true), (404, false), (500, false), (302, false)];
    let app = App::start(move |call: &Call| {
        let asked = call.path.strip_prefix("/q-").and_then(|status| status.parse().ok());
        if call.method == Method::OPTIONS { asked.unwrap_or(404) } else { 404 }
    })
    .await;
    let (mut setup, mut brokers) = (Setup::new().app(app.port), Vec::new());
    for (status, _) in statuses {
        let (name, broker) = (format!("q-{status}"), SilentBroker::start().await);
        setup = setup.file(&format!("{name}.yaml"), queue(&name, &broker.address, &[]));
        brokers.push(broker);
    }
    let dapr = setup.start().await;
    dapr.ready().await;
    for ((status, is_read), broker) in statuses.into_iter().zip(&brokers) {
        let name = format!("q-{status}");
        let asked = app.calls_of(&Method::OPTIONS, &format!("/{name}"));
        assert_eq!(asked.len(), 1, "{name} is asked once");
        assert_eq!(asked[0].header("content-type"), Some("application/json"));
        assert!(asked[0].body.is_empty(), "{asked:?}");
        if is_read {
            broker.connected(&name, &dapr).await;
        } else {
            dapr.logged(&not_subscribed(&name)).await;
            assert!(!broker.is_connected(), "{name}");
        }
    }
}

#[tokio::test]
async fn c24_c34_a_direction_that_is_written_is_not_asked_for_and_an_output_is_never_read() {
    let app = App::start(|_| 404).await;
    let (input, both, output) =
        (SilentBroker::start().await, SilentBroker::start().await, SilentBroker::start().await);
    let setup = Setup::new()
        .app(app.port)
        .file("in.yaml", queue("q-in", &input.address, &[("direction", "input")]))
        .file("both.yaml", queue("q-both", &both.address, &[("Direction", " INPUT , output")]))
        .file("out.yaml", queue("q-out", &output.address, &[("direction", "output")]));
    let dapr = setup.start().await;
    dapr.ready().await;
    input.connected("the input", &dapr).await;
    both.connected("the one of both directions", &dapr).await;
    let calls = app.calls();
    assert!(calls.iter().all(|call| call.method != Method::OPTIONS), "{calls:?}");
    assert!(!output.is_connected());
}

#[tokio::test]
async fn c25_a_route_is_asked_instead_of_the_name() {
    let app = App::start(|_| 404).await;
    let text = queue("named", NO_BROKER, &[("route", "a/../orders//new")]);
    let dapr = Setup::new().app(app.port).file("named.yaml", text).start().await;
    dapr.ready().await;
    assert_eq!(app.calls_of(&Method::OPTIONS, "/orders/new").len(), 1, "{:?}", app.calls());
    assert!(app.calls_of(&Method::OPTIONS, "/named").is_empty());
}

#[tokio::test]
async fn c33_an_application_that_does_not_answer_the_question_in_time_keeps_that_binding_off() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (asked, written) = (SilentBroker::start().await, SilentBroker::start().await);
    let setup = Setup::new()
        .app(silent.local_addr().expect("bound").port())
        .args(&["--app-binding-options-timeout", "50ms", "--disable-init-endpoints", "config,subscribe"])
        .file("asked.yaml", queue("asked", &asked.address, &[]))
        .file("in.yaml", queue("q-in", &written.address, &[("direction", "input")]));
    let dapr = setup.start().await;
    dapr.ready().await;
    dapr.logged("could not invoke OPTIONS method on input binding subscription endpoint").await;
    assert!(!asked.is_connected());
    if !is_real_daprd("it starts none that would come after it, in an order of chance") {
        written.connected("the other binding", &dapr).await;
    }
}

#[tokio::test]
async fn c18_c31_the_start_waits_for_the_application_and_no_longer() {
    let placeholder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = placeholder.local_addr().expect("bound");
    drop(placeholder);
    let broker = SilentBroker::start().await;
    let text = queue("q", &broker.address, &[("direction", "input")]);
    let dapr = Setup::new().app(address.port()).file("q.yaml", text).start().await;
    let (status, code, message) = dapr.get("/v1.0/healthz").await.refusal();
    assert_eq!((status, &*code), (500, "ERR_HEALTH_NOT_READY"), "{message}");
    assert_eq!(dapr.get("/v1.0/healthz/outbound").await.status, 204);
    assert!(!broker.is_connected(), "nothing is read before the application is there");

    let listener = tokio::net::TcpListener::bind(address).await.expect("still free");
    let app = App::answering(listener, |_| std::future::ready(200));
    dapr.ready().await;
    broker.connected("the input", &dapr).await;
    assert!(!app.calls().is_empty());
    drop(app);
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204, "once ready, it stays so");
}

#[tokio::test]
async fn c31_without_an_application_nothing_is_read() {
    let broker = SilentBroker::start().await;
    let text = queue("q", &broker.address, &[("direction", "input")]);
    let dapr = Setup::new().file("q.yaml", text).start().await;
    dapr.ready().await;
    assert!(!broker.is_connected());
}

/// The emulator used to ask for subscriptions too.
#[tokio::test]
async fn the_application_is_asked_for_its_configuration_unless_that_is_switched_off() {
    let app = App::start(|_| 404).await;
    let dapr = Setup::new().app(app.port).start().await;
    dapr.ready().await;
    let calls = app.calls();
    let asked: Vec<_> = calls.iter().map(|call| (call.method.as_str(), &*call.path)).collect();
    assert_eq!(asked, [("GET", "/dapr/config")]);
    assert_eq!(calls[0].header("dapr-app-id"), Some("orders"));

    let app = App::start(|_| 404).await;
    let setup = Setup::new().app(app.port).args(&["--disable-init-endpoints", "config,subscribe"]);
    setup.start().await.ready().await;
    assert!(app.calls().is_empty(), "{:?}", app.calls());
}

#[tokio::test]
async fn c17_the_application_is_shown_its_token() {
    let app = App::start(|_| 404).await;
    let setup = Setup::new().app(app.port).file("q.yaml", queue("q", NO_BROKER, &[]));
    let dapr = setup.env("APP_API_TOKEN", "s3cret").start().await;
    dapr.ready().await;
    let calls = app.calls();
    assert_eq!(calls.len(), 2, "configuration, OPTIONS: {calls:?}");
    for call in &calls {
        assert_eq!(call.header("dapr-api-token"), Some("s3cret"), "{call:?}");
    }
    assert!(!dapr.log.text().contains("s3cret"));

    let app = App::start(|_| 404).await;
    let setup = Setup::new().app(app.port).file("q.yaml", queue("q", NO_BROKER, &[]));
    setup.start().await.ready().await;
    assert!(app.calls().iter().all(|call| call.header("dapr-api-token").is_none()));
}

#[tokio::test]
async fn c46_bindings_wait_for_an_application_whose_health_is_probed() {
    let health = Arc::new(AtomicU16::new(500));
    let now = Arc::clone(&health);
    let app = App::start(move |call: &Call| match &*call.path {
        "/healthz" => now.load(Ordering::SeqCst),
        _ => 404,
    })
    .await;
    let setup = Setup::new()
        .app(app.port)
        .args(&["--enable-app-health-check", "--app-health-probe-interval=1"])
        .file("q.yaml", queue("q", NO_BROKER, &[]));
    let dapr = setup.start().await;
    dapr.ready().await;
    app.called(&Method::GET, "/healthz", 1).await;
    assert!(app.calls_of(&Method::OPTIONS, "/q").is_empty(), "not while it is unwell");
    health.store(200, Ordering::SeqCst);
    app.called(&Method::OPTIONS, "/q", 1).await;
}

/// A good probe does not forgive earlier bad ones as long as the application counts as well.
#[tokio::test]
async fn c46_bad_probes_add_up_and_one_good_probe_begins_anew() {
    let probes = Arc::new(AtomicU16::new(0));
    let counted = Arc::clone(&probes);
    let app = App::start(move |call: &Call| match &*call.path {
        // Good and bad take turns: never two bad ones in a row.
        "/healthz" if counted.fetch_add(1, Ordering::SeqCst) % 2 == 1 => 500,
        "/healthz" => 200,
        _ => 404,
    })
    .await;
    let setup = Setup::new()
        .app(app.port)
        .args(&["--enable-app-health-check", "--app-health-probe-interval=1", "--app-health-threshold=2"])
        .file("q.yaml", queue("q", NO_BROKER, &[]));
    let dapr = setup.start().await;
    dapr.ready().await;
    // Well, bad, well, bad: that is two; and well again.
    app.called(&Method::OPTIONS, "/q", 2).await;
    let probes = probes.load(Ordering::SeqCst);
    assert!((5..=6).contains(&probes), "{probes}");
    assert!(dapr.log.text().contains("App entered un-healthy status"), "{}", dapr.log.text());
    assert_eq!(app.calls_of(&Method::GET, "/dapr/config").len(), 1, "asked once");
}
