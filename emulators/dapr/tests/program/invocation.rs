//! Calls from application to application, and what holds them back: concurrency, health, a broken way.
//!
//! Emulators find each other by a folder, real daprds by multicast DNS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::support::{App, DEADLINE, Dapr, Setup, free_port, is_real_daprd, real_daprd};

/// A Dapr for `app_id`, which finds those of the same folder.
fn member(app_id: &str, names: &tempfile::TempDir) -> Setup {
    let setup = Setup::new().args(&["--app-id", app_id]);
    match real_daprd() {
        Some(_) => setup,
        None => setup.args(&["--name-resolution-path", &names.path().display().to_string()]),
    }
}

/// An app id that no other test has: multicast DNS is one for the machine.
fn unique(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), free_port())
}

async fn ready(setup: Setup) -> Dapr {
    let dapr = setup.start().await;
    dapr.ready().await;
    dapr
}

#[tokio::test]
async fn another_application_is_called_over_its_dapr() {
    let names = tempfile::tempdir().expect("a folder");
    let app = App::start(|call| if call.path == "/gone" { 410 } else { 201 }).await;
    let (from, to) = (unique("from"), unique("to"));
    let caller = ready(member(&from, &names)).await;
    let _callee = ready(member(&to, &names).app(app.port)).await;

    let path = format!("/v1.0/invoke/{to}/method/a/../orders%20new//x?q=1");
    let headers = [("mine", "kept"), ("content-type", "text/x"), ("te", "trailers")];
    let answer = caller.call(Method::PUT, &path, &headers, b"body").await;
    assert_eq!((answer.status, &*answer.text()), (201, "an answer that is no JSON"));
    assert_eq!(answer.header("location"), Some("/elsewhere"));
    let calls = app.called(&Method::PUT, "/orders%20new/x", 1).await;
    let call = &calls[0];
    assert_eq!(call.body, b"body");
    for (name, value) in [
        ("mine", Some("kept")),
        ("content-type", Some("text/x")),
        ("content-length", Some("4")),
        ("te", None),
        ("dapr-caller-app-id", Some(&*from)),
        ("dapr-callee-app-id", Some(&*to)),
        ("dapr-caller-namespace", Some("default")),
        ("dapr-app-id", None),
    ] {
        assert_eq!(call.header(name), value, "{name}: {call:?}");
    }
    let forwarded = call.header("forwarded").expect("where from");
    assert!(forwarded.starts_with("for=") && forwarded.contains(";host="), "{forwarded}");
    assert!(call.header("x-forwarded-for").is_some() && call.header("x-forwarded-host").is_some());

    let gone = caller.get(&format!("/v1.0/invoke/{to}/method/gone")).await;
    assert_eq!((gone.status, &*gone.text()), (410, "an answer that is no JSON"));
}

#[tokio::test]
async fn a_header_and_a_user_name_the_application_too() {
    let app = App::start(|_| 200).await;
    let id = unique("named");
    let names = tempfile::tempdir().expect("a folder");
    let dapr = ready(member(&id, &names).app(app.port)).await;
    let client = reqwest::Client::new();
    let by_header = client.post(dapr.url("/by/header")).header("dapr-app-id", &id).send().await;
    assert_eq!(by_header.expect("an answer").status(), 200);
    let by_user = client.post(dapr.url("/by/user")).basic_auth("dapr-app-id", Some(&id)).send().await;
    assert_eq!(by_user.expect("an answer").status(), 200);
    for path in ["/by/header", "/by/user"] {
        let calls = app.calls_of(&Method::POST, path);
        assert_eq!((calls.len(), calls[0].header("dapr-app-id")), (1, None), "{path}");
        assert_eq!(calls[0].header("dapr-caller-app-id"), None, "the own application is not told");
    }
}

#[tokio::test]
async fn what_cannot_be_called_is_told_in_daprds_words() {
    let names = tempfile::tempdir().expect("a folder");
    let (from, empty, deaf) = (unique("from"), unique("empty"), unique("deaf"));
    let caller = ready(member(&from, &names)).await;
    let _empty = ready(member(&empty, &names)).await;
    let app = App::start(|_| 200).await;
    let _deaf = ready(member(&deaf, &names).app(app.port)).await;
    let port = app.port;
    drop(app);
    let nobody = unique("nobody");
    for (id, cause) in [
        (&nobody, format!("couldn't find service: {nobody}")),
        (&from, "cannot invoke local endpoint: app channel not initialized".to_owned()),
        (&empty, "rpc error: code = Internal desc = app channel is not initialized".to_owned()),
        (
            &deaf,
            format!(
                "rpc error: code = Internal desc = error invoking app channel: Get \"http://127.0.0.1:{port}/x\": dial tcp \
                 127.0.0.1:{port}: connect: connection refused"
            ),
        ),
        (&"a.b.c".to_owned(), "invalid app id a.b.c".to_owned()),
    ] {
        let (status, code, message) = caller.get(&format!("/v1.0/invoke/{id}/method/x")).await.refusal();
        assert_eq!((status, &*code), (500, "ERR_DIRECT_INVOKE"), "{message}");
        assert_eq!(message, format!("failed to invoke, id: {id}, err: {cause}"));
    }
    let odd = caller.get(&format!("/v1.0/invoke/{empty}/method/a%3fb")).await.refusal().2;
    assert!(odd.contains("invalid method: method contains forbidden character"), "{odd}");
}

/// The entry that a Dapr leaves when it is killed must not stand in the way of the next.
#[tokio::test]
async fn a_dapr_that_was_killed_is_called_again_when_another_has_taken_its_place() {
    if is_real_daprd("its names are multicast DNS") {
        return;
    }
    let names = tempfile::tempdir().expect("a folder");
    let app = App::start(|_| 200).await;
    std::fs::write(names.path().join("to.1"), "127.0.0.1:1").expect("written");
    let caller = ready(member("from", &names)).await;
    let called = caller.get("/v1.0/invoke/to/method/x");
    let started = async {
        let is_forgotten = async || if names.path().join("to.1").exists() { Err("there") } else { Ok(()) };
        tests::until("the entry to be taken away", DEADLINE, is_forgotten).await;
        member("to", &names).app(app.port).start().await
    };
    let (answer, callee) = tokio::join!(called, started);
    assert_eq!(answer.status, 200, "{}", answer.text());
    callee.signal("-TERM");
    assert_eq!(callee.ended().await.status.code(), Some(0));
    let left = std::fs::read_dir(names.path()).expect("a folder").count();
    assert_eq!(left, 1, "the caller's own entry");
}

/// Its port may be another's by then.
#[tokio::test]
async fn an_entry_that_leads_to_another_application_is_taken_away() {
    if is_real_daprd("its names are multicast DNS") {
        return;
    }
    let names = tempfile::tempdir().expect("a folder");
    let (app, other) = (App::start(|_| 200).await, App::start(|_| 200).await);
    let caller = ready(member("from", &names)).await;
    let _other = ready(member("other", &names).app(other.port)).await;
    let entries = std::fs::read_dir(names.path()).expect("a folder").map(|entry| entry.expect("one").path());
    let entry =
        entries.into_iter().find(|file| file.display().to_string().contains("other.")).expect("registered");
    let stale = names.path().join("to.1");
    std::fs::copy(entry, &stale).expect("copied");
    let called = caller.get("/v1.0/invoke/to/method/x");
    let started = async {
        let is_forgotten = async || if stale.exists() { Err("there") } else { Ok(()) };
        tests::until("the entry to be taken away", DEADLINE, is_forgotten).await;
        member("to", &names).app(app.port).start().await
    };
    let (answer, _callee) = tokio::join!(called, started);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(app.calls_of(&Method::GET, "/x").len(), 1);
    assert!(other.calls_of(&Method::GET, "/x").is_empty());
}

#[tokio::test]
async fn calls_to_the_application_are_as_many_at_a_time_as_it_takes() {
    let (at_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let gate = Arc::new(Semaphore::new(0));
    let (now, peak, opened) = (Arc::clone(&at_work), Arc::clone(&most), Arc::clone(&gate));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let app = App::answering(listener, move |call| {
        let (now, peak, opened) = (Arc::clone(&now), Arc::clone(&peak), Arc::clone(&opened));
        async move {
            if call.path != "/x" {
                return 404;
            }
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            opened.acquire().await.expect("it is not closed").forget();
            now.fetch_sub(1, Ordering::SeqCst);
            200
        }
    });
    let dapr = ready(Setup::new().app(app.port).args(&["--app-max-concurrency", "2"])).await;
    assert_eq!(dapr.get("/v1.0/metadata").await.json()["appConnectionProperties"]["maxConcurrency"], 2);
    let (client, url) = (reqwest::Client::new(), dapr.url("/v1.0/invoke/orders/method/x"));
    let calls: Vec<_> = (0..6).map(|_| tokio::spawn(client.get(&url).send())).collect();
    for done in 0..6 {
        let due = 2.min(6 - done);
        tests::until("the application to be as busy as it may", DEADLINE, async || {
            let busy = at_work.load(Ordering::SeqCst);
            if busy == due { Ok(()) } else { Err(busy) }
        })
        .await;
        gate.add_permits(1);
        tests::until("one to be over", DEADLINE, async || {
            let called = app.calls_of(&Method::GET, "/x").len();
            let busy = at_work.load(Ordering::SeqCst);
            if called - busy == done + 1 { Ok(()) } else { Err((called, busy)) }
        })
        .await;
    }
    for call in calls {
        assert_eq!(call.await.expect("no panic").expect("an answer").status(), 200);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_unwell_application_is_not_called() {
    let app = App::start(|call| if call.path == "/healthz" { 503 } else { 200 }).await;
    let setup = Setup::new().app(app.port).args(&[
        "--enable-app-health-check",
        "--app-health-probe-interval=1",
        "--app-health-probe-timeout=900",
        "--app-health-threshold=2",
    ]);
    let dapr = ready(setup).await;
    app.called(&Method::GET, "/healthz", 1).await;
    let (status, code, message) = dapr.get("/v1.0/invoke/orders/method/x").await.refusal();
    assert_eq!((status, &*code), (500, "ERR_DIRECT_INVOKE"));
    assert!(
        message.ends_with("err: rpc error: code = Internal desc = app is not in a healthy state"),
        "{message}"
    );
    let health = dapr.get("/v1.0/metadata").await.json()["appConnectionProperties"]["health"].clone();
    let expected = serde_json::json!({
        "healthCheckPath": "/healthz",
        "healthProbeInterval": "1s",
        "healthProbeTimeout": "900ms",
        "healthThreshold": 2,
    });
    assert_eq!(health, expected);
    assert!(app.calls().iter().all(|call| call.path == "/healthz"), "not even for its configuration");
}

/// An application on a raw socket: it answers with these bytes, waits for `gate`, adds `rest` and closes.
async fn raw_app(first: &'static [u8], rest: &'static [u8]) -> (u16, Arc<Semaphore>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (port, gate) = (listener.local_addr().expect("bound").port(), Arc::new(Semaphore::new(0)));
    let opened = Arc::clone(&gate);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let opened = Arc::clone(&opened);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.unwrap_or(0) > 0 && stream.write_all(first).await.is_ok() {
                    opened.acquire().await.expect("it is not closed").forget();
                    let _ = stream.write_all(rest).await;
                }
            });
        }
    });
    (port, gate)
}

#[tokio::test]
async fn an_answer_goes_through_as_it_comes() {
    let first = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 10\r\n\r\nfirst";
    let (port, gate) = raw_app(first, b"again").await;
    let dapr = Setup::new().app(port).args(&["--disable-init-endpoints", "config,subscribe"]).start().await;
    dapr.ready().await;
    let mut answer = reqwest::get(dapr.url("/v1.0/invoke/orders/method/x")).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.content_length()), (200, None), "in chunks");
    let chunk = tokio::time::timeout(DEADLINE, answer.chunk()).await.expect("before its end").expect("data");
    assert_eq!(chunk.as_deref(), Some(&b"first"[..]));
    gate.add_permits(1);
    assert_eq!(answer.chunk().await.expect("data").as_deref(), Some(&b"again"[..]));
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_one_that_ends_early_has_ended() {
    let early = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 100\r\n\r\nearly";
    for (first, expected) in [(&b"no HTTP at all\r\n\r\n"[..], None), (b"", None), (early, Some("early"))] {
        let (port, gate) = raw_app(first, b"").await;
        gate.add_permits(100);
        let setup = Setup::new().app(port).args(&["--disable-init-endpoints", "config,subscribe"]);
        let dapr = ready(setup).await;
        let answer = dapr.get("/v1.0/invoke/orders/method/x").await;
        match expected {
            Some(body) => assert_eq!((answer.status, &*answer.text()), (200, body)),
            None => {
                let (status, code, message) = answer.refusal();
                assert_eq!((status, &*code), (500, "ERR_DIRECT_INVOKE"), "{message}");
                assert!(message.contains("Get \"http://127.0.0.1:"), "{message}");
            }
        }
        assert_eq!(dapr.get("/v1.0/healthz").await.status, 204, "it lives on");
    }
}

/// Memory of the process, in KiB.
fn resident_kib(dapr: &Dapr) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", dapr.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn a_stream_without_end_and_a_body_of_100_mb_stay_out_of_memory() {
    if is_real_daprd("its memory is its own") {
        return;
    }
    let endless = axum::Router::new().fallback(|| async {
        let chunk = axum::body::Bytes::from(vec![b'x'; 1 << 16]);
        let stream =
            futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(chunk.clone()));
        axum::body::Body::from_stream(stream)
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move { axum::serve(listener, endless).await });
    let setup = Setup::new().app(port).args(&["--disable-init-endpoints", "config,subscribe"]);
    let dapr = ready(setup).await;
    let before_kib = resident_kib(&dapr);

    let mut answer = reqwest::get(dapr.url("/v1.0/invoke/orders/method/x")).await.expect("an answer");
    let mut read_bytes = 0;
    while read_bytes < 64 << 20 {
        read_bytes += answer.chunk().await.expect("it goes on").expect("without end").len();
    }
    drop(answer);
    let large = vec![b'x'; 100 << 20];
    let refused = dapr.call(Method::POST, "/v1.0/invoke/orders/method/x", &[], &large).await.refusal();
    assert!(refused.2.contains("stream too large"), "{refused:?}");
    let refused = dapr.call(Method::POST, "/v1.0/bindings/x", &[], &large).await.refusal();
    assert_eq!((refused.0, &*refused.1), (400, "ERR_MALFORMED_REQUEST"), "{refused:?}");

    let grown_kib = resident_kib(&dapr).saturating_sub(before_kib);
    assert!(grown_kib < 32 << 10, "{grown_kib} KiB more");
    let alive = tokio::time::timeout(Duration::from_secs(10), dapr.get("/v1.0/healthz")).await;
    assert_eq!(alive.expect("it answers").status, 204);
}
