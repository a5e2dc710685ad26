//! What the application gets of a message, and what its answer does to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use amqp::Value;
use amqp::message::Properties;
use lab::flow::broker::QueueCounts;
use reqwest::Method;

use super::broker::{Broker, MAX_DELIVERY_COUNT, message, plain};
use super::support::{App, Call, Setup, queue};

const FAST_FAILURES: [(&str, &str); 2] = [("maxRetriableErrorsPerSec", "0"), ("maxActiveMessages", "10")];

fn post(call: &Call) -> bool {
    call.method == Method::POST
}

#[tokio::test]
async fn c35_c36_a_message_is_one_post_with_its_bytes_and_its_metadata() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let dapr = Setup::new().file("q.yaml", broker.binding("input", &[])).app(app.port).start().await;
    let properties = Properties {
        message_id: Some("the id".into()),
        correlation_id: Some("c".into()),
        subject: Some("l".to_owned()),
        content_type: Some("text/x".into()),
        group_id: Some("s".to_owned()),
        ..Properties::default()
    };
    let application =
        [("a:b", Value::from("x y/ü")), ("number", Value::Int(1)), ("connection", Value::from("close"))];
    let body = b"\x00no JSON: \xff\"";
    broker.send(message(&properties, &application, body)).await;
    let calls = app.called(&Method::POST, "/q", 1).await;
    let call = &calls[0];
    assert_eq!(call.body, body);
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "12"),
        ("id", "the id"),
        ("correlationid", "c"),
        ("label", "l"),
        ("a%3ab", "x+y%2F%C3%BC"),
        ("user-agent", "Go-http-client/1.1"),
    ] {
        assert_eq!(call.header(name), Some(value), "{name}: {call:?}");
    }
    for absent in ["number", "connection", "deliverycount", "sequencenumber", "locktoken", "sessionid"] {
        assert_eq!(call.header(absent), None, "{absent}");
    }
    let counts = broker.counts_are("the message to be completed", |counts| counts.completed_total == 1).await;
    assert_eq!((counts.active, counts.locked), (0, 0));
    assert_eq!(app.calls().iter().filter(|call| post(call)).count(), 1);
    dapr.signal("-TERM");
    assert_eq!(dapr.ended().await.status.code(), Some(0));
}

/// daprd's request then has the length that the property says, whatever its body has; Go's client refuses that. The
/// emulator used to drop the property.
#[tokio::test]
async fn c36_a_property_that_names_another_length_fails_the_delivery() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let _dapr =
        Setup::new().file("q.yaml", broker.binding("input", &FAST_FAILURES)).app(app.port).start().await;
    let length = |text: &str| [("content-length", Value::from(text))];
    broker.send(message(&Properties::default(), &length("3"), b"12 bytes....")).await;
    broker.send(message(&Properties::default(), &length("12"), b"another 12..")).await;
    let settled = |counts: &QueueCounts| (counts.dead_lettered, counts.completed_total) == (1, 1);
    broker.counts_are("one to be dead-lettered, one completed", settled).await;
    assert!(app.calls_of(&Method::POST, "/q").iter().all(|call| call.body == b"another 12.."));
}

#[tokio::test]
async fn c17_a_delivery_shows_the_applications_token() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let setup = Setup::new().file("q.yaml", broker.binding("input", &[])).app(app.port);
    let _dapr = setup.env("APP_API_TOKEN", "s3cret").start().await;
    let named = [("dapr-api-token", Value::from("forged"))];
    broker.send(message(&Properties::default(), &named, b"1")).await;
    let calls = app.called(&Method::POST, "/q", 1).await;
    let tokens: Vec<_> = calls[0].headers.get_all("dapr-api-token").iter().collect();
    assert_eq!(tokens, ["s3cret"]);
}

#[tokio::test]
async fn c25_the_route_takes_the_messages() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let text = queue("named", &broker.address, &[("route", "orders/new")]).replace("\"named\"", "\"q\"");
    let _dapr = Setup::new().file("q.yaml", text).app(app.port).start().await;
    broker.send(plain(1)).await;
    app.called(&Method::POST, "/orders/new", 1).await;
    assert!(app.calls().iter().filter(|call| post(call)).all(|call| call.path == "/orders/new"));
}

#[tokio::test]
async fn c37_every_2xx_completes_and_nothing_else_does() {
    let broker = Broker::start();
    // The body is the status that is answered.
    let app = App::start(|call| String::from_utf8_lossy(&call.body).parse().unwrap_or(200)).await;
    let text = broker.binding("input", &FAST_FAILURES);
    let dapr = Setup::new().file("q.yaml", text).app(app.port).start().await;
    let (good, bad) = ([200, 201, 202, 204, 299], [301, 302, 307, 400, 404, 429, 500, 503]);
    broker.send_all(good.iter().chain(&bad).map(plain)).await;
    let all = |dead: usize, done: usize| {
        move |counts: &QueueCounts| {
            counts.dead_lettered == dead as u64 && counts.completed_total == done as u64
        }
    };
    broker.counts_are("every message to be settled for good", all(bad.len(), good.len())).await;
    let posts = app.calls_of(&Method::POST, "/q");
    for (statuses, deliveries) in [(&good[..], 1), (&bad[..], MAX_DELIVERY_COUNT as usize)] {
        for status in statuses {
            let count = posts.iter().filter(|call| call.body == status.to_string().as_bytes()).count();
            assert_eq!(count, deliveries, "{status}");
        }
    }
    assert!(app.calls().iter().all(|call| call.path != "/elsewhere"), "redirects are not followed");
    dapr.logged("status code: 404").await;
}

#[tokio::test]
async fn c32_a_binding_that_the_application_does_not_want_is_left_alone() {
    let broker = Broker::start();
    let app = App::start(|call| if call.path == "/other" { 405 } else { 404 }).await;
    let setup = Setup::new()
        .file("q.yaml", queue("q", &broker.address, &[]))
        .file("other.yaml", queue("other", &broker.address, &FAST_FAILURES));
    let dapr = setup.app(app.port).start().await;
    broker.send(plain(1)).await;
    dapr.ready().await;
    // The other one is read, so its message is the sign that this one could have been.
    assert_eq!(dapr.create("other", serde_json::json!(1), serde_json::json!({})).await.status, 204);
    app.called(&Method::POST, "/other", 1).await;
    assert!(app.calls_of(&Method::POST, "/q").is_empty());
    let counts = broker.counts("q").await;
    assert_eq!((counts.active, counts.locked), (1, 0), "{counts:?}");
}

#[tokio::test]
async fn c30_an_input_whose_queue_is_not_there_stops_neither_the_start_nor_the_others() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let setup = Setup::new()
        .file("absent.yaml", queue("absent", &broker.address, &[("direction", "input")]))
        .file("q.yaml", broker.binding("input", &[]));
    let dapr = setup.app(app.port).start().await;
    dapr.ready().await;
    broker.send(plain(1)).await;
    broker.counts_are("the message to be completed", |counts| counts.completed_total == 1).await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
    assert!(app.calls_of(&Method::POST, "/absent").is_empty());
}

#[tokio::test]
async fn c46_an_unwell_application_gets_nothing_until_it_is_well_again() {
    const THRESHOLD: usize = 2;
    let broker = Broker::start();
    let health = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&health);
    let app =
        App::start(move |call| if call.path == "/alive" { now.load(Ordering::SeqCst) } else { 200 }).await;
    let setup = Setup::new().file("q.yaml", queue("q", &broker.address, &FAST_FAILURES)).app(app.port);
    let dapr = setup
        .args(&["--enable-app-health-check", "--app-health-check-path", "/alive"])
        .args(&["--app-health-probe-interval", "1", "--app-health-probe-timeout", "500"])
        .args(&["--app-health-threshold", &THRESHOLD.to_string()])
        .start()
        .await;
    broker.send(plain(1)).await;
    app.called(&Method::POST, "/q", 1).await;
    let probes = async |more: usize| {
        let count = app.calls_of(&Method::GET, "/alive").len() + more;
        app.called(&Method::GET, "/alive", count).await;
    };

    health.store(503, Ordering::SeqCst);
    // One more than it takes: by then the last bad answer was seen.
    probes(THRESHOLD + 1).await;
    broker.send(plain(2)).await;
    probes(1).await;
    let counts = broker.counts("q").await;
    assert_eq!((counts.active, counts.locked), (1, 0), "{counts:?}");
    let (status, _, message) = dapr.get("/v1.0/invoke/orders/method/x").await.refusal();
    assert!(status == 500 && message.contains("app is not in a healthy state"), "{message}");

    health.store(200, Ordering::SeqCst);
    app.called(&Method::POST, "/q", 2).await;
    assert_eq!(app.calls_of(&Method::OPTIONS, "/q").len(), 2, "it is asked again");
}

#[tokio::test]
async fn c31_nothing_is_taken_before_the_application_listens() {
    let broker = Broker::start();
    let placeholder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = placeholder.local_addr().expect("bound");
    drop(placeholder);
    broker.send(plain(1)).await;
    let setup = Setup::new().file("q.yaml", broker.binding("input", &[]));
    let dapr = setup.app(address.port()).start().await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 500);
    let counts = broker.counts("q").await;
    assert_eq!((counts.active, counts.locked), (1, 0), "{counts:?}");
    let listener = tokio::net::TcpListener::bind(address).await.expect("still free");
    let app = App::answering(listener, |_| std::future::ready(200));
    app.called(&Method::POST, "/q", 1).await;
    broker.counts_are("the message to be completed", |counts| counts.completed_total == 1).await;
}

/// Spans are made only where a Configuration names a sampling rate above 0. Without one, what the message says passes, and
/// where it says nothing there is a span of zeros.
#[tokio::test]
async fn c45_a_delivery_goes_on_with_the_span_of_its_message() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let configuration = "kind: Configuration\napiVersion: dapr.io/v1alpha1\nmetadata: {name: c}\nspec: {tracing: {samplingRate: \"$RATE\"}}\n";
    for rate in [None, Some("0"), Some("0.00001"), Some("1")] {
        let (broker, app) = (Broker::start(), App::start(|_| 200).await);
        let mut setup = Setup::new().file("q.yaml", broker.binding("input", &[])).app(app.port);
        if let Some(rate) = rate {
            setup = setup.file("c.txt", configuration).args(&["--config", "FOLDER/c.txt"]).env("RATE", rate);
        }
        let _dapr = setup.start().await;
        let span = [("traceparent", Value::from(parent)), ("tracestate", Value::from("a"))];
        broker.send(message(&Properties::default(), &span, b"1")).await;
        broker.send(plain(2)).await;
        let calls = app.called(&Method::POST, "/q", 2).await;
        let given = calls[0].header("traceparent").expect("a span");
        let new = calls[1].header("traceparent");
        if rate.is_some_and(|rate| rate != "0") {
            assert!(given.starts_with(&parent[..36]) && given != parent, "same trace, another span: {given}");
            let flags = if rate == Some("1") { "-01" } else { "-00" };
            assert!(
                new.is_some_and(|new| new[..36] != parent[..36] && new.ends_with(flags)),
                "{rate:?}: {new:?}"
            );
        } else {
            let zeros = "00-00000000000000000000000000000000-0000000000000000-00";
            assert_eq!((given, new), (parent, rate.is_none().then_some(zeros)), "{rate:?}");
        }
        assert_eq!(calls[0].header("tracestate"), Some("a"), "{rate:?}");
    }
}

#[tokio::test]
async fn c36_c37_a_message_that_no_header_can_carry_is_given_back() {
    let (broker, app) = (Broker::start(), App::start(|_| 200).await);
    let text = broker.binding("input", &FAST_FAILURES);
    let _dapr = Setup::new().file("q.yaml", text).app(app.port).start().await;
    let subject = Properties { subject: Some("a\nb".to_owned()), ..Properties::default() };
    broker.send(message(&subject, &[], b"1")).await;
    broker.send(plain("good")).await;
    let settled = |counts: &QueueCounts| counts.dead_lettered == 1 && counts.completed_total == 1;
    broker.counts_are("one to be dead-lettered, one completed", settled).await;
    assert_eq!(app.calls_of(&Method::POST, "/q").len(), 1);
}
