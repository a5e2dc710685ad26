//! Which component answers, and what it is told about the request.

use crate::guest::probe;
use crate::http::request;
use crate::support::Setup;

/// A manifest with these routes to the probe, `{}` being nothing but the probe's component.
fn routes(routes: &[&str]) -> Setup {
    let mut text = "spin_manifest_version = 2\n[application]\nname = \"routes\"\n".to_owned();
    for route in routes {
        text.push_str(&format!("[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"probe\"\n"));
    }
    let extra = "[[trigger.http]]\nid = \"fixed\"\nroute = \"/fixed\"\nstatic_response = { status_code = 201, headers \
                 = { x-kind = \"static\" }, body = \"hi\" }\n";
    let source = probe().module.display().to_string();
    Setup::manifest(&format!("{text}{extra}[component.probe]\nsource = {source:?}\n"))
}

/// A manifest with these routes to the probe, which describes the request whatever the path.
fn everywhere(routes: &[&str]) -> Setup {
    let mut text = "spin_manifest_version = 2\n[application]\nname = \"routes\"\n".to_owned();
    for route in routes {
        text.push_str(&format!("[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"probe\"\n"));
    }
    let source = probe().module.display().to_string();
    Setup::manifest(&format!(
        "{text}[component.probe]\nsource = {source:?}\nenvironment = {{ ALWAYS = \"request\" }}\n"
    ))
}

/// The value of a field as the guest saw it.
fn field<'a>(described: &'a str, name: &str) -> Option<&'a str> {
    described.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a07_the_most_specific_route_answers_and_no_route_is_404() {
    let host = routes(&["/a/...", "/a/:x/request", "/a/b/request", "/exact/request"]).start();
    for (path, matched) in [
        ("/a/request", "/a/..."),
        ("/a/y/request", "/a/:x/request"),
        ("/a/b/request", "/a/b/request"),
        ("/exact/request", "/exact/request"),
    ] {
        let answer = host.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(field(&answer.text(), "spin-matched-route"), Some(matched), "{path}");
    }
    for path in ["/", "/b", "/exact/request/more", "/exact", "/fixed/more"] {
        let answer = host.get(path);
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
}

/// The tables of Spin's own tests (`crates/routes/src/lib.rs`), each path with the route that answers and its path info.
#[test]
fn a07_paths_are_found_as_spin_finds_them() {
    type Cases<'a> = &'a [(&'a str, Option<(&'a str, &'a str)>)];
    let tables: &[(&[&str], Cases)] = &[
        (
            &["/foo", "/bar"],
            &[
                ("/foo", Some(("/foo", ""))),
                ("/foo/", Some(("/foo", ""))),
                ("//foo//", Some(("/foo", ""))),
                ("/bar", Some(("/bar", ""))),
                ("/foo/bar", None),
                ("/fo", None),
                ("/FOO", None),
                ("/foo%2f", None),
                ("/", None),
            ],
        ),
        (
            &["/foo/...", "/..."],
            &[
                ("/foo", Some(("/foo/...", ""))),
                ("/foo/", Some(("/foo/...", "/"))),
                ("/foo/bar", Some(("/foo/...", "/bar"))),
                ("/foo/bar/", Some(("/foo/...", "/bar/"))),
                ("/foo/a.b/c", Some(("/foo/...", "/a.b/c"))),
                ("/food", Some(("/...", "/food"))),
                ("/", Some(("/...", "/"))),
            ],
        ),
        (
            &["/:id/x", "/a/x", "/a/..."],
            &[
                ("/b/x", Some(("/:id/x", ""))),
                ("/a/x", Some(("/a/x", ""))),
                ("/a/y", Some(("/a/...", "/y"))),
                ("/a", Some(("/a/...", ""))),
                ("/b.c/x", Some(("/:id/x", ""))),
                ("/b/y", None),
            ],
        ),
        (
            &["/file/:name.json"],
            &[("/file/a.json", Some(("/file/:name.json", ""))), ("/file/a.b.json", None)],
        ),
    ];
    for (given, cases) in tables {
        for reversed in [false, true] {
            let mut given = given.to_vec();
            if reversed {
                given.reverse();
            }
            let host = everywhere(&given).start();
            for (path, expected) in *cases {
                let answer = host.get(path);
                let told = answer.text();
                let found = field(&told, "spin-matched-route").zip(field(&told, "spin-path-info"));
                assert_eq!(found, *expected, "{path} with {given:?}");
                assert_eq!(answer.status, if expected.is_some() { 200 } else { 404 }, "{path}");
            }
        }
    }
}

#[test]
fn a07_a_static_response_needs_no_component() {
    let answer = routes(&["/request"]).start().get("/fixed");
    assert_eq!((answer.status, answer.text().as_str()), (201, "hi"));
    assert_eq!(answer.header("x-kind"), Some("static"));
}

#[test]
fn a08_the_host_answers_the_well_known_paths_itself() {
    let host = Setup::probe("").start();
    let health = host.get("/.well-known/spin/health");
    assert_eq!((health.status, health.text().as_str()), (200, "OK"));
    let info: serde_json::Value =
        serde_json::from_slice(&host.get("/.well-known/spin/info").body).expect("JSON");
    assert_eq!(info, serde_json::json!({ "name": "probe-app", "version": "1.2.3" }));
    let other = host.get("/.well-known/spin/request");
    assert_eq!((other.status, other.body.len()), (404, 0), "not the component's");
}

#[test]
fn a09_the_guest_is_told_method_uri_and_route() {
    let host = routes(&["/base/:path_segment/..."]).start();
    let answer = host.send(&request("PATCH", "/base/end/x/request?key=value", &[("x-own", "1")], b"body"));
    let told = answer.text();
    let first = told.lines().next().expect("a line");
    let uri = "PATCH Some(Scheme::Http) Some(\"app.test\") Some(\"/base/end/x/request?key=value\")";
    assert_eq!(first, uri);
    let client = field(&told, "spin-client-addr").expect("the client's address");
    assert!(client.starts_with("127.0.0.1:"), "{client}");
    for (name, value) in [
        ("spin-path-info", "/x/request"),
        ("spin-full-url", "http://app.test/base/end/x/request?key=value"),
        ("spin-matched-route", "/base/:path_segment/..."),
        ("spin-base-path", "/"),
        ("spin-raw-component-route", "/base/:path_segment/..."),
        ("spin-component-route", "/base/:path_segment"),
        ("spin-path-match-path-segment", "end"),
        ("x-own", "1"),
        ("content-length", "4"),
    ] {
        assert_eq!(field(&told, name), Some(value), "{name}");
    }
    assert_eq!(told.lines().filter(|line| line.starts_with("spin-")).count(), 8, "no others: {told}");
}

#[test]
fn a09_a_clients_own_spin_fields_stay_before_the_hosts() {
    let host = Setup::probe("").start();
    let told = host.send(&request("GET", "/request", &[("spin-path-info", "mine")], b"")).text();
    assert_eq!(field(&told, "spin-path-info"), Some("mine | /request"));
}

#[test]
fn a10_every_method_reaches_the_guest() {
    let host = Setup::probe("").start();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CUSTOM"] {
        let answer = host.send(&request(method, "/request", &[], b""));
        assert!(answer.text().starts_with(method), "{method}: {}", answer.text());
    }
    let head = host.send(&request("HEAD", "/request", &[], b""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(host.send(&request("OPTIONS", "/status?405", &[], b"")).status, 405, "Dapr's probe");
}

#[test]
fn a10_status_and_fields_of_the_guest_reach_the_client() {
    let host = Setup::probe("").start();
    for status in [200, 201, 204, 404, 503, 599] {
        assert_eq!(host.get(&format!("/status?{status}")).status, status);
    }
    let big = host.get("/big-header?100000");
    assert_eq!(big.header("x-big").map(str::len), Some(100_000));
}

#[test]
fn a09_a_request_without_host_fails_at_the_component_only() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(b"GET /request HTTP/1.0\r\n\r\n");
    // Spin closes the connection without a word.
    let expected = if host.setup.is_judged() { None } else { Some(500) };
    assert_eq!(connection.answer_if_any().map(|answer| answer.status), expected);
    assert_eq!(host.send(b"GET /.well-known/spin/health HTTP/1.0\r\n\r\n").status, 200);
    host.says("the request has no `Host` header");
}

#[test]
fn a09_a_field_that_is_not_utf8_fails_the_request() {
    let host = Setup::probe("").start();
    let answer =
        host.send(b"GET /request HTTP/1.1\r\nhost: a\r\nx-binary: \xff\r\nconnection: close\r\n\r\n");
    assert_eq!((answer.status, answer.body.len()), (500, 0));
    host.says("the value of header `x-binary` is not UTF-8");
}

#[test]
fn a07_the_later_of_two_equal_routes_wins_and_it_is_said() {
    let host = routes(&["/twice/request", "/twice/request"]).start();
    assert_eq!(host.get("/twice/request").status, 200);
    host.says("the route is given twice");
}
