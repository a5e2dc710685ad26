//! Instances: one for each request, several at once, bounded, and none can harm another.

use crate::http::request;
use crate::support::{Host, Setup};
use crate::upstream::Upstream;

/// As Spin has it, and tuned, which only spin-host has.
fn profiles() -> [Setup; 2] {
    [calling(), calling().arguments(&["--engine-profile", "tuned"]).own()]
}

fn calling() -> Setup {
    Setup::probe("allowed_outbound_hosts = [\"http://*:*\"]")
}

fn is_empty_500(host: &Host, path: &str) -> bool {
    let answer = host.get(path);
    answer.status == 500 && answer.body.is_empty()
}

#[test]
fn a13_every_request_gets_a_fresh_instance() {
    for setup in profiles() {
        let host = setup.start();
        for _ in 0..5 {
            assert_eq!(host.get("/counter").text(), "1");
        }
    }
}

#[test]
fn a12_a_trap_fails_its_own_request_only() {
    let host = Setup::probe("").start();
    assert!(is_empty_500(&host, "/trap"));
    assert_eq!(host.get("/counter").text(), "1");
    host.says("request failed component=\"probe\" error=\"the guest failed");
    if !host.setup.is_judged() {
        assert_eq!(host.stop().matches("ERROR").count(), 1, "one line says it");
    }
}

#[test]
fn a12_a_trap_after_the_head_cuts_the_body_off() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("POST", "/trap-late", &[("transfer-encoding", "chunked")], b""));
    let begun = connection.read_until("part of it");
    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    connection.write(b"0\r\n\r\n");
    connection.ends();
    assert_eq!(host.get("/counter").status, 200);
    host.says("the guest failed after its response had begun");
}

/// Without a length, the cut is not seen: wasmtime ends the body of a guest that is gone, also in Spin.
#[test]
fn a12_a_trap_after_the_head_of_a_body_without_length_ends_the_body() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("POST", "/trap-late?chunked", &[("transfer-encoding", "chunked")], b""));
    connection.read_until("part of it");
    connection.write(b"0\r\n\r\n");
    let rest = connection.read_until("0\r\n\r\n");
    assert!(rest.ends_with("\r\n0\r\n\r\n") || rest == "0\r\n\r\n", "{rest:?}");
    host.says("the guest failed after its response had begun");
}

#[test]
fn a12_a_guest_without_a_response_is_a_500() {
    let host = Setup::probe("").start();
    assert!(is_empty_500(&host, "/no-response"));
    host.says("the guest ended without a response");
}

#[test]
fn a12_header_fields_over_the_limit_fail() {
    let host = Setup::probe("").start();
    let answer = host.get("/big-header?200000");
    assert!(answer.status == 500 || answer.text().contains("Error"), "{answer:?}");
    assert_eq!(answer.header("x-big"), None);
    assert_eq!(host.get("/counter").status, 200);
}

#[test]
fn a25_memory_is_limited_where_asked() {
    let host = Setup::probe("").arguments(&["--max-instance-memory", "16777216"]).start();
    assert_eq!(host.get("/memory?4").text(), "allocated");
    assert!(is_empty_500(&host, "/memory?64"));
    host.says("memory limit reached component=\"probe\" limit_bytes=16777216");
    assert_eq!(Setup::probe("").start().get("/memory?64").text(), "allocated", "no limit unless asked");
}

#[test]
fn a14_more_instances_than_the_pool_has_are_refused_and_not_waited_for() {
    let upstream = Upstream::start();
    let host = calling().environment("SPIN_MAX_INSTANCE_COUNT", "2").start();
    std::thread::scope(|scope| {
        let held: Vec<_> =
            (0..2).map(|_| scope.spawn(|| host.get(&format!("/fetch?{}", upstream.url("/held"))))).collect();
        upstream.wait_for_requests(2);
        assert!(is_empty_500(&host, "/counter"));
        assert_eq!(host.get("/.well-known/spin/health").status, 200);
        upstream.release();
        for answer in held {
            assert_eq!(answer.join().expect("no panic").text(), "200 hello");
        }
    });
    assert_eq!(host.get("/counter").status, 200);
    host.says("no instance could be made");
}

#[test]
fn a14_guests_that_wait_hold_up_nobody() {
    for setup in profiles() {
        let upstream = Upstream::start();
        let host = setup.start();
        std::thread::scope(|scope| {
            let held: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| host.get(&format!("/fetch?{}", upstream.url("/held")))))
                .collect();
            upstream.wait_for_requests(100);
            assert_eq!(host.get("/counter").text(), "1");
            upstream.release();
            for answer in held {
                assert_eq!(answer.join().expect("no panic").text(), "200 hello");
            }
        });
    }
}
