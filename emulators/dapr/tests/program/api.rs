//! The HTTP API: what is answered to whom, and what is refused how.

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::NO_BROKER;
use super::blob_store::BlobStore;
use super::support::{App, DEADLINE, Dapr, Setup, is_real_daprd, queue};

const BINDINGS: &str = "/v1.0/bindings";

/// A Dapr with the queue `out`, whose broker is not there, and the container `box`.
async fn dapr() -> (Dapr, BlobStore) {
    let store = BlobStore::start().await;
    let setup = Setup::new()
        .file("out.yaml", queue("out", NO_BROKER, &[("direction", "output")]))
        .file("in.yaml", queue("in", NO_BROKER, &[("direction", "input")]))
        .file("box.yaml", store.component(&[]));
    (setup.start().await, store)
}

#[tokio::test]
async fn c01_post_and_put_are_the_same_and_need_no_content_type() {
    let (dapr, store) = dapr().await;
    let body = br#"{"operation":"create","data":{"a":1},"metadata":{"blobName":"x"}}"#;
    for method in [Method::POST, Method::PUT] {
        for headers in [&[][..], &[("content-type", "text/plain")]] {
            let answer = dapr.call(method.clone(), &format!("{BINDINGS}/box"), headers, body).await;
            assert_eq!(answer.status, 200, "{method} {headers:?}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    assert_eq!(store.blob("x").expect("stored").content, br#"{"a":1}"#);
}

#[tokio::test]
async fn doubled_and_trailing_slashes_and_escapes_name_the_same_binding() {
    let (dapr, _store) = dapr().await;
    let body = br#"{"operation":"create","data":1}"#;
    for path in ["/v1.0/bindings/box/", "//v1.0//bindings/box", "/v1.0/bindings/b%6Fx"] {
        assert_eq!(dapr.call(Method::POST, path, &[], body).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn c11_metadata_comes_from_the_body_alone() {
    let (dapr, store) = dapr().await;
    let headers = [("metadata.blobname", "from-header"), ("blobName", "from-header")];
    let path = format!("{BINDINGS}/box?metadata.blobName=from-query");
    let answer = dapr.call(Method::POST, &path, &headers, br#"{"operation":"create","data":1}"#).await;
    let name = answer.json()["blobName"].as_str().expect("a name").to_owned();
    assert!(store.blob(&name).is_some() && !name.starts_with("from-"), "{name}");
}

#[tokio::test]
async fn c03_c04_a_body_that_is_no_request_is_malformed() {
    let (dapr, store) = dapr().await;
    let before = store.requests().len();
    for (body, cause) in [
        (&b""[..], "EOF"),
        (b"{", "unexpected EOF"),
        (b"nonsense", "invalid character 'o' in literal null (expecting 'u')"),
        (b"[]", "json: cannot unmarshal array into Go value"),
        (br#"{"operation":1}"#, "json: cannot unmarshal number into Go struct field"),
        (br#"{"operation":"create","metadata":{"blobName":1}}"#, "json: cannot unmarshal number into Go"),
        (br#"{"operation":"create","metadata":"x"}"#, "json: cannot unmarshal string into Go"),
        (br#"{"operation":"create","data":1e999}"#, "json: cannot unmarshal number 1e999 into Go"),
    ] {
        let answer = dapr.call(Method::POST, &format!("{BINDINGS}/box"), &[], body).await;
        let (status, code, message) = answer.refusal();
        assert_eq!((status, &*code), (400, "ERR_MALFORMED_REQUEST"), "{message}");
        assert!(message.starts_with(&format!("failed deserializing HTTP body: {cause}")), "{message}");
    }
    assert_eq!(store.requests().len(), before, "nothing was passed on");
}

#[tokio::test]
async fn c05_what_follows_the_first_value_is_not_looked_at() {
    let (dapr, _store) = dapr().await;
    let body = br#"{"operation":"create","data":1} and { more"#;
    assert_eq!(dapr.call(Method::POST, &format!("{BINDINGS}/box"), &[], body).await.status, 200);
}

#[tokio::test]
async fn c14_a_body_may_have_four_mebibytes_unless_another_limit_is_set() {
    let (dapr, store) = dapr().await;
    let request = |bytes: usize| {
        let data = "x".repeat(bytes);
        json!({ "operation": "create", "data": data, "metadata": { "blobName": "large" } })
    };
    assert_eq!(dapr.bind("box", &request((4 << 20) - 200)).await.status, 200);
    assert_eq!(store.blob("large").expect("stored").content.len(), (4 << 20) - 200);
    let (status, code, message) = dapr.bind("box", &request(4 << 20)).await.refusal();
    assert_eq!((status, &*code), (400, "ERR_MALFORMED_REQUEST"));
    assert_eq!(message, "failed deserializing HTTP body: stream too large");

    let larger = Setup::new().file("box.yaml", store.component(&[])).args(&["--max-body-size", "16Mi"]);
    assert_eq!(larger.start().await.bind("box", &request(5 << 20)).await.status, 200);
    let smaller = Setup::new().file("box.yaml", store.component(&[])).args(&["--max-body-size", "1Ki"]);
    assert_eq!(smaller.start().await.bind("box", &request(2 << 10)).await.status, 400);
}

#[tokio::test]
async fn c06_c07_c08_c09_bindings_that_cannot_be_called_are_told_in_daprs_words() {
    let (dapr, store) = dapr().await;
    let before = store.requests().len();
    let operations = "create get delete list";
    for (name, request, message) in [
        ("none", json!({ "operation": "create" }), "couldn't find output binding none".to_owned()),
        ("in", json!({ "operation": "create" }), "couldn't find output binding in".to_owned()),
        ("none", json!({ "data": 1 }), "operation field is missing from request".to_owned()),
        ("box", json!({ "operation": "" }), "operation field is missing from request".to_owned()),
        (
            "box",
            json!({ "operation": "peek" }),
            format!("binding box does not support operation peek. supported operations:{operations}"),
        ),
        (
            "out",
            json!({ "operation": "get" }),
            "binding out does not support operation get. supported operations:create".to_owned(),
        ),
    ] {
        let (status, code, said) = dapr.bind(name, &request).await.refusal();
        assert_eq!((status, &*code), (500, "ERR_INVOKE_OUTPUT_BINDING"), "{said}");
        assert!(said.starts_with(&format!("error invoking output binding {name}: {message}")), "{said}");
    }
    assert_eq!(store.requests().len(), before, "nothing was passed on");
}

#[tokio::test]
async fn c15_other_paths_and_methods_name_no_application() {
    let (dapr, _store) = dapr().await;
    for (method, path) in [
        (Method::GET, "/v1.0/bindings/box"),
        (Method::DELETE, "/v1.0/bindings/box"),
        (Method::GET, "/"),
        (Method::GET, "/v2.0/healthz"),
        (Method::POST, "/v1.0/healthz"),
        (Method::POST, "/v1.0/bindings"),
        (Method::GET, "/v1.0/shutdown"),
    ] {
        let (status, code, _) = dapr.call(method.clone(), path, &[], b"").await.refusal();
        assert_eq!((status, &*code), (404, "ERR_DIRECT_INVOKE"), "{method} {path}");
    }
}

#[tokio::test]
async fn c18_health_is_without_application_at_once_and_knows_its_app_id() {
    let (dapr, _store) = dapr().await;
    dapr.ready().await;
    assert_eq!(dapr.get("/v1.0/healthz?appid=orders").await.status, 204);
    let (status, code, _) = dapr.get("/v1.0/healthz?appid=other").await.refusal();
    assert_eq!((status, &*code), (500, "ERR_HEALTH_APPID_NOT_MATCH"));
    assert_eq!(dapr.get("/v1.0/healthz/outbound").await.status, 204);
}

#[tokio::test]
async fn c19_metadata_tells_what_runs_and_takes_what_is_put() {
    let app = App::start(|_| 404).await;
    let setup = Setup::new().file("in.yaml", queue("in", NO_BROKER, &[])).app(app.port);
    let dapr = setup.start().await;
    let metadata = dapr.get("/v1.0/metadata").await;
    assert_eq!(metadata.header("content-type"), Some("application/json"));
    let metadata = metadata.json();
    assert_eq!(metadata["id"], "orders");
    assert!(metadata["runtimeVersion"].as_str().is_some_and(|version| version.starts_with("1.")));
    assert_eq!(metadata["extended"]["daprRuntimeVersion"], metadata["runtimeVersion"]);
    let expected = json!([{
        "name": "in", "type": "bindings.azure.servicebusqueues", "version": "v1",
        "capabilities": ["INPUT_BINDING", "OUTPUT_BINDING"],
    }]);
    assert_eq!(metadata["components"], expected);
    let expected = json!({ "port": app.port, "protocol": "http", "channelAddress": "127.0.0.1" });
    assert_eq!(metadata["appConnectionProperties"], expected);

    assert_eq!(dapr.call(Method::PUT, "/v1.0/metadata/mine", &[], b"a value").await.status, 204);
    assert_eq!(dapr.get("/v1.0/metadata").await.json()["extended"]["mine"], "a value");
}

#[tokio::test]
async fn c19_metadata_leaves_out_what_is_not_there() {
    let dapr = Setup::new().start().await;
    let metadata = dapr.get("/v1.0/metadata").await.json();
    for absent in ["components", "actors", "subscriptions", "httpEndpoints", "scheduler"] {
        assert!(metadata.get(absent).is_none(), "{metadata}");
    }
    // The reference documents say that this is left out too; it is not.
    let expected = json!({ "protocol": "http", "channelAddress": "127.0.0.1" });
    assert_eq!(metadata["appConnectionProperties"], expected);
}

#[tokio::test]
async fn c16_with_a_token_only_health_is_open() {
    let (store, token) = (BlobStore::start().await, "s3cret");
    let setup = Setup::new().file("box.yaml", store.component(&[])).env("DAPR_API_TOKEN", token);
    let dapr = setup.start().await;
    assert_eq!(dapr.get("/v1.0/healthz").await.status, 204);
    assert_eq!(dapr.get("/v1.0/healthz/outbound").await.status, 204);
    for headers in [&[][..], &[("dapr-api-token", "wrong")], &[("dapr-api-token", "")]] {
        let answer = dapr.call(Method::GET, "/v1.0/metadata", headers, b"").await;
        assert_eq!((answer.status, &*answer.text()), (401, "invalid api token\n"), "{headers:?}");
        let body = br#"{"operation":"create","data":1}"#;
        assert_eq!(dapr.call(Method::POST, &format!("{BINDINGS}/box"), headers, body).await.status, 401);
    }
    let right = [("dapr-api-token", token)];
    assert_eq!(dapr.call(Method::GET, "/v1.0/metadata", &right, b"").await.status, 200);
    assert!(!dapr.log.text().contains(token), "{}", dapr.log.text());
}

#[tokio::test]
async fn c20_shutdown_is_answered_and_then_carried_out() {
    let (dapr, _store) = dapr().await;
    assert_eq!(dapr.call(Method::POST, "/v1.0/shutdown", &[], b"").await.status, 204);
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[tokio::test]
async fn c21_the_own_application_is_invoked_and_no_other_is_there() {
    let app = App::start(|call| if call.path == "/orders/new" { 418 } else { 404 }).await;
    let dapr = Setup::new().app(app.port).start().await;
    dapr.ready().await;
    let path = "/v1.0/invoke/orders/method/orders/new?x=1";
    let answer = dapr.call(Method::PUT, path, &[("mine", "kept"), ("content-type", "text/x")], b"body").await;
    assert_eq!((answer.status, &*answer.text()), (418, "an answer that is no JSON"));
    assert_eq!(answer.header("location"), Some("/elsewhere"));
    let calls = app.calls_of(&Method::PUT, "/orders/new");
    assert_eq!((calls.len(), &calls[0].body[..]), (1, &b"body"[..]));
    assert_eq!((calls[0].header("mine"), calls[0].header("content-type")), (Some("kept"), Some("text/x")));

    let (status, code, message) = dapr.get("/v1.0/invoke/nobody/method/x").await.refusal();
    assert_eq!((status, &*code), (500, "ERR_DIRECT_INVOKE"), "{message}");
    assert!(message.starts_with("failed to invoke, id: nobody, err: "), "{message}");
}

#[tokio::test]
async fn c22_a_connection_takes_one_request_after_the_other_and_many_work_at_a_time() {
    let (dapr, store) = dapr().await;
    let mut stream = TcpStream::connect(("127.0.0.1", dapr.port)).await.expect("it listens");
    let request = b"GET /v1.0/healthz/outbound HTTP/1.1\r\nhost: x\r\n\r\n";
    for _ in 0..3 {
        stream.write_all(request).await.expect("it is open");
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer[..12], b"HTTP/1.1 204");
        // The rest of the head, up to the empty line.
        let mut last = [0; 4];
        while &last != b"\r\n\r\n" {
            last.rotate_left(1);
            last[3] = stream.read_u8().await.expect("a whole head");
        }
    }
    let (client, url) = (reqwest::Client::new(), dapr.url(&format!("{BINDINGS}/box")));
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let metadata = json!({ "blobName": format!("b{number}") });
            let body = json!({ "operation": "create", "data": number, "metadata": metadata });
            tokio::spawn(client.post(&url).body(body.to_string()).send())
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("it does not panic").expect("an answer").status(), 200);
    }
    assert!((0..100).all(|number| store.blob(&format!("b{number}")).is_some()));
}

#[tokio::test]
async fn c45_a_call_gets_a_span_that_goes_on_into_the_binding() {
    let store = BlobStore::start().await;
    let configuration = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec: {tracing: {samplingRate: \"0.5\"}}\n";
    let setup = Setup::new()
        .file("box.yaml", store.component(&[]))
        .file("configuration.txt", configuration)
        .args(&["--config", "FOLDER/configuration.txt"]);
    let dapr = setup.start().await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = br#"{"operation":"create","data":1,"metadata":{"blobName":"traced"}}"#;
    let headers = [("traceparent", parent), ("tracestate", "a=b"), ("baggage", "k=v")];
    let answer = dapr.call(Method::POST, &format!("{BINDINGS}/box"), &headers, body).await;
    let answered = answer.header("traceparent").expect("a span").to_owned();
    let blob = store.blob("traced").expect("stored");
    let stored = blob.headers["x-ms-meta-traceparent"].to_str().expect("text").to_owned();
    for span in [&answered, &stored] {
        assert!(span.starts_with(&parent[..36]) && *span != parent, "the same trace, another span: {span}");
    }
    assert_eq!(blob.headers["x-ms-meta-baggage"], "k=v");

    let bad = dapr.call(Method::POST, &format!("{BINDINGS}/box"), &[("baggage", "none")], body).await;
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[tokio::test]
async fn c45_a_sampling_rate_of_zero_turns_spans_off() {
    let store = BlobStore::start().await;
    let configuration = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n  tracing:\n    samplingRate: \"${RATE}\"\n";
    let setup = Setup::new()
        .file("box.yaml", store.component(&[]))
        .file("configuration.txt", configuration)
        .args(&["--config", "FOLDER/configuration.txt"])
        .env("RATE", "0");
    let dapr = setup.start().await;
    let answer = dapr.create("box", json!(1), json!({ "blobName": "x" })).await;
    assert_eq!((answer.status, answer.header("traceparent")), (200, None));
    assert!(!store.blob("x").expect("stored").headers.contains_key("x-ms-meta-traceparent"));
}

#[tokio::test]
async fn garbage_on_the_port_disturbs_nobody() {
    let (dapr, _store) = dapr().await;
    let long_header = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(64 << 10));
    let half = b"POST /v1.0/bindings/box HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let mut kept = Vec::new();
    for bytes in [&b"\x00\x01\x02\xff\r\n\r\n"[..], b"AMQP\x00\x01\x00\x00", long_header.as_bytes(), half] {
        let mut stream = TcpStream::connect(("127.0.0.1", dapr.port)).await.expect("it listens");
        // It may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        kept.push(stream);
    }
    let mut answer = Vec::new();
    let mut refused = kept.remove(2);
    let read = tokio::time::timeout(DEADLINE, refused.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "an over-long head is answered and the connection closed");
    if !is_real_daprd("it may reset the connection first") {
        assert!(answer.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(dapr.bind("box", &json!({ "operation": "create", "data": 1 })).await.status, 200);
}
