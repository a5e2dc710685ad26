//! The clock and the recorder under `/_emulator/`.

use super::support::Server;

#[test]
fn the_clock_is_the_one_that_the_recorder_uses() {
    let server = Server::with_box();
    let clock = || {
        let answer = server.unsigned("GET", "/_emulator/clock", &[], b"");
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        document["unix_us"].as_u64().expect("microseconds")
    };
    assert_eq!(server.unsigned("PUT", "/_emulator/recorder", &[], b"{}").status, 204);
    let before = clock();
    server.put("/box/a/%C3%BC", &[], b"1234");
    server.put("/box/b", &[], b"12");
    let after = clock();
    // A refused write is no write.
    server.put("/box/b", &[("If-None-Match", "*")], b"12");
    let answer = server.unsigned("GET", "/_emulator/recorder", &[], b"");
    assert_eq!(answer.header("x-recorder-dropped"), Some("0"));
    let text = answer.text();
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<_> = rows.iter().map(|row| (row["blob"].as_str(), row["bytes"].as_u64())).collect();
    assert_eq!(names, [(Some("a/ü"), Some(4)), (Some("b"), Some(2))]);
    assert!(rows.iter().all(|row| row["container"] == "box"));
    let instants: Vec<_> = rows.iter().filter_map(|row| row["written_us"].as_u64()).collect();
    assert!(before <= instants[0] && instants[0] <= instants[1] && instants[1] <= after);
}

#[test]
fn the_recorder_is_off_until_started_and_forgets_when_stopped_or_started_again() {
    let server = Server::with_box();
    let rows = || server.unsigned("GET", "/_emulator/recorder", &[], b"").text().lines().count();
    server.put("/box/a", &[], b"x");
    assert_eq!(rows(), 0);
    server.unsigned("PUT", "/_emulator/recorder", &[], b"");
    server.put("/box/a", &[], b"x");
    assert_eq!(rows(), 1);
    server.unsigned("PUT", "/_emulator/recorder", &[], b"{}");
    assert_eq!(rows(), 0);
    server.put("/box/a", &[], b"x");
    assert_eq!(server.unsigned("DELETE", "/_emulator/recorder", &[], b"").status, 204);
    assert_eq!(rows(), 0);
}

#[test]
fn many_rows_are_streamed_whole() {
    let server = Server::with_box();
    server.unsigned("PUT", "/_emulator/recorder", &[], b"");
    let name = "x".repeat(500);
    let mut connection = server.connect();
    for number in 0..400 {
        let path = format!("/devstoreaccount1/box/{name}{number}");
        let request = super::support::Request::new("PUT", &path, &[("x-ms-blob-type", "BlockBlob")], b"x");
        let signed = super::support::sign(request, blob_emulator::DEFAULT_KEY);
        assert_eq!(connection.send(&signed.bytes()).status, 201);
    }
    let text = server.unsigned("GET", "/_emulator/recorder", &[], b"").text();
    assert_eq!(text.lines().count(), 400);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn other_routes_methods_and_settings_are_refused() {
    let server = Server::start();
    for (method, path, body, status) in [
        ("GET", "/_emulator/queues", &b""[..], 404),
        ("POST", "/_emulator/clock", b"", 405),
        ("POST", "/_emulator/recorder", b"{}", 405),
        ("PUT", "/_emulator/recorder", b"{\"record_key\":\"orderId\"}", 400),
        ("PUT", "/_emulator/recorder", b"garbage", 400),
        ("PUT", "/_emulator/recorder", &[b' '; 5000], 413),
    ] {
        assert_eq!(server.unsigned(method, path, &[], body).status, status, "{method} {path}");
    }
}
