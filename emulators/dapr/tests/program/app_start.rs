//! What Dapr asks the application before it delivers, and when it is ready.
//!
//! Whether a binding is read shows without a broker: an input that starts says that it cannot reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use reqwest::Method;

use super::NO_BROKER;
use super::support::{App, Call, DEADLINE, Setup, is_real_daprd, queue};

/// What stands in the log of an input that reads.
fn reads(queue: &str, log: &str) -> bool {
    log.lines()
        .any(|line| line.contains("Failed to connect to Azure Service Bus queue") && line.contains(queue))
}

fn not_subscribed(binding: &str) -> String {
    format!("app has not subscribed to binding {binding}.")
}

#[tokio::test]
async fn a_binding_is_read_when_the_answer_to_options_is_2xx_or_405_and_else_not() {
    let statuses = [(200, true), (204, true), (405, true), (404, false), (500, false), (302, false)];
    let app = App::start(move |call: &Call| {
        let asked = call.path.strip_prefix("/q-").and_then(|status| status.parse().ok());
        if call.method == Method::OPTIONS { asked.unwrap_or(404) } else { 404 }
    })
    .await;
    let mut setup = Setup::new().app(app.port);
    for (status, _) in statuses {
        let name = format!("q-{status}");
        setup = setup.file(&format!("{name}.yaml"), queue(&name, NO_BROKER, &[]));
    }
    let dapr = setup.start().await;
    dapr.ready().await;
    for (status, is_read) in statuses {
        let name = format!("q-{status}");
        let asked = app.calls_of(&Method::OPTIONS, &format!("/{name}"));
        assert_eq!(asked.len(), 1, "{name} is asked once");
        assert_eq!(asked[0].header("content-type"), Some("application/json"));
        assert!(asked[0].body.is_empty(), "{asked:?}");
        if is_read {
            tests::until(&format!("{name} to be read"), DEADLINE, async || {
                let log = dapr.log.text();
                if reads(&name, &log) { Ok(()) } else { Err(log) }
            })
            .await;
        } else {
            dapr.logged(&not_subscribed(&name)).await;
            assert!(!reads(&name, &dapr.log.text()), "{name}");
        }
    }
}

#[tokio::test]
async fn a_direction_that_is_written_is_not_asked_for_and_an_output_is_never_read() {
    let app = App::start(|_| 404).await;
    let setup = Setup::new()
        .app(app.port)
        .file("in.yaml", queue("q-in", NO_BROKER, &[("direction", "input")]))
        .file("both.yaml", queue("q-both", NO_BROKER, &[("direction", "input, output")]))
        .file("out.yaml", queue("q-out", NO_BROKER, &[("direction", "output")]));
    let dapr = setup.start().await;
    dapr.ready().await;
    for name in ["q-in", "q-both"] {
        tests::until(&format!("{name} to be read"), DEADLINE, async || {
            let log = dapr.log.text();
            if reads(name, &log) { Ok(()) } else { Err(log) }
        })
        .await;
    }
    let calls = app.calls();
    assert!(calls.iter().all(|call| call.method != Method::OPTIONS), "{calls:?}");
    assert!(!reads("q-out", &dapr.log.text()));
}

#[tokio::test]
async fn a_route_is_asked_instead_of_the_name() {
    let app = App::start(|_| 404).await;
    let text = queue("named", NO_BROKER, &[("route", "a/../orders//new")]);
    let dapr = Setup::new().app(app.port).file("named.yaml", text).start().await;
    dapr.ready().await;
    assert_eq!(app.calls_of(&Method::OPTIONS, "/orders/new").len(), 1, "{:?}", app.calls());
    assert!(app.calls_of(&Method::OPTIONS, "/named").is_empty());
}

#[tokio::test]
async fn an_application_that_does_not_answer_the_question_keeps_only_that_binding_off() {
    if is_real_daprd("it starts none after it") {
        return;
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let setup = Setup::new()
        .app(silent.local_addr().expect("bound").port())
        .args(&["--app-binding-options-timeout", "50ms", "--disable-init-endpoints", "config,subscribe"])
        .file("asked.yaml", queue("asked", NO_BROKER, &[]))
        .file("in.yaml", queue("q-in", NO_BROKER, &[("direction", "input")]));
    let dapr = setup.start().await;
    dapr.ready().await;
    dapr.logged("could not invoke OPTIONS method on input binding subscription endpoint \"/asked\"").await;
    dapr.logged("queue=\"q-in\"").await;
    assert!(!reads("asked", &dapr.log.text()), "{}", dapr.log.text());
}

#[tokio::test]
async fn the_start_waits_for_the_application_and_no_longer() {
    let placeholder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = placeholder.local_addr().expect("bound");
    drop(placeholder);
    let text = queue("q", NO_BROKER, &[("direction", "input")]);
    let dapr = Setup::new().app(address.port()).file("q.yaml", text).start().await;
    let (status, code, message) = dapr.get("/v1.0/healthz").await.refusal();
    assert_eq!((status, &*code), (500, "ERR_HEALTH_NOT_READY"), "{message}");
    assert_eq!(dapr.get("/v1.0/healthz/outbound").await.status, 204);
    assert!(!reads("q", &dapr.log.text()), "nothing is read before the application is there");

    let listener = tokio::net::TcpListener::bind(address).await.expect("still free");
    let app = App::answering(listener, |_| std::future::ready(200));
    dapr.ready().await;
    assert!(!app.calls().is_empty());
    drop(app);
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204, "once ready, it stays so");
}

#[tokio::test]
async fn without_an_application_nothing_is_read() {
    let text = queue("q", NO_BROKER, &[("direction", "input")]);
    let dapr = Setup::new().file("q.yaml", text).start().await;
    dapr.ready().await;
    dapr.logged("failed to read from bindings: app channel not initialized").await;
    assert!(!reads("q", &dapr.log.text()));
}

#[tokio::test]
async fn the_application_is_asked_for_its_configuration_unless_that_is_switched_off() {
    let app = App::start(|_| 404).await;
    let dapr = Setup::new().app(app.port).start().await;
    dapr.ready().await;
    let asked = app.calls_of(&Method::GET, "/dapr/config");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("dapr-app-id"), Some("orders"));
    assert_eq!(app.calls_of(&Method::GET, "/dapr/subscribe").len(), 1);

    let app = App::start(|_| 404).await;
    let setup = Setup::new().app(app.port).args(&["--disable-init-endpoints", "config,subscribe"]);
    setup.start().await.ready().await;
    assert!(app.calls().is_empty(), "{:?}", app.calls());
}

#[tokio::test]
async fn the_application_is_shown_its_token() {
    let app = App::start(|_| 404).await;
    let setup = Setup::new().app(app.port).file("q.yaml", queue("q", NO_BROKER, &[]));
    let dapr = setup.env("APP_API_TOKEN", "s3cret").start().await;
    dapr.ready().await;
    let calls = app.calls();
    assert!(calls.len() >= 3, "config, subscribe, OPTIONS: {calls:?}");
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
async fn bindings_wait_for_an_application_whose_health_is_probed() {
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
