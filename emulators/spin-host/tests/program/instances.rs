//! Instances: one for each request, several at once, bounded, and none can harm another.

use std::time::Instant;

use crate::guest::probe;
use crate::http::{PATIENCE, request};
use crate::support::{Host, Setup, manifest};
use crate::upstream::Upstream;

const PROFILES: [&str; 2] = ["spin", "tuned"];

fn profile(name: &str) -> Setup {
    Setup::probe("allowed_outbound_hosts = [\"http://*:*\"]").arguments(&["--engine-profile", name])
}

fn is_empty_500(host: &Host, path: &str) -> bool {
    let answer = host.get(path);
    answer.status == 500 && answer.body.is_empty()
}

#[test]
fn every_request_gets_a_fresh_instance() {
    for name in PROFILES {
        let host = profile(name).start();
        for _ in 0..5 {
            assert_eq!(host.get("/counter").text(), "1", "{name}");
        }
    }
}

#[test]
fn modules_and_components_are_run_alike() {
    for source in [&probe().module, &probe().component] {
        let host = Setup::manifest(&manifest(source, "")).start();
        assert_eq!(host.get("/counter").text(), "1", "{source:?}");
    }
}

#[test]
fn the_profile_is_said() {
    assert!(profile("spin").start().wait_for("wasmtime 48").contains("engine_profile=\"spin\" pooling=true"));
    let tuned = profile("tuned").start().wait_for("wasmtime 48");
    assert!(tuned.contains("engine_profile=\"spin-host tuned, not Spin\""), "{tuned}");
    let without = profile("spin").arguments(&["--disable-pooling"]).start();
    assert!(without.wait_for("wasmtime 48").contains("pooling=false"));
    assert_eq!(without.get("/counter").text(), "1");
}

#[test]
fn a_trap_fails_its_own_request_only() {
    let host = Setup::probe("").start();
    assert!(is_empty_500(&host, "/trap"));
    assert_eq!(host.get("/counter").text(), "1");
    let said = host.stop();
    let line = said.lines().find(|line| line.contains("ERROR")).expect("one line says it");
    assert!(line.contains("component=\"probe\"") && line.contains("the guest failed"), "{line}");
    assert_eq!(said.matches("ERROR").count(), 1, "{said}");
}

#[test]
fn a_trap_after_the_head_cuts_the_body_off() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("POST", "/trap-late", &[("transfer-encoding", "chunked")], b""));
    let begun = connection.read_until("part of it");
    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    connection.write(b"0\r\n\r\n");
    connection.ends();
    assert_eq!(host.get("/counter").status, 200);
    assert!(host.stop().contains("the guest failed after its response had begun"));
}

#[test]
fn a_guest_without_a_response_is_a_500() {
    let host = Setup::probe("").start();
    assert!(is_empty_500(&host, "/no-response"));
    assert!(host.stop().contains("the guest ended without a response"));
}

#[test]
fn header_fields_over_the_limit_fail() {
    let host = Setup::probe("").start();
    let answer = host.get("/big-header?200000");
    assert!(answer.status == 500 || answer.text().contains("Error"), "{answer:?}");
    assert_eq!(answer.header("x-big"), None);
    assert_eq!(host.get("/counter").status, 200);
}

#[test]
fn memory_is_limited_where_asked() {
    let host = Setup::probe("").arguments(&["--max-instance-memory", "16777216"]).start();
    assert_eq!(host.get("/memory?4").text(), "allocated");
    assert!(is_empty_500(&host, "/memory?32"));
    assert!(host.stop().contains("memory limit reached component=\"probe\" limit_bytes=16777216"));
    assert_eq!(Setup::probe("").start().get("/memory?32").text(), "allocated", "no limit unless asked");
}

#[test]
fn more_instances_than_the_pool_has_are_refused_and_not_waited_for() {
    let upstream = Upstream::start();
    let host = profile("spin").environment("SPIN_MAX_INSTANCE_COUNT", "2").start();
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
    assert!(host.stop().contains("no instance could be made"));
}

#[test]
fn guests_that_wait_hold_up_nobody() {
    for name in PROFILES {
        let upstream = Upstream::start();
        let host = profile(name).start();
        std::thread::scope(|scope| {
            let held: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| host.get(&format!("/fetch?{}", upstream.url("/held")))))
                .collect();
            upstream.wait_for_requests(100);
            assert_eq!(host.get("/counter").text(), "1", "{name}");
            upstream.release();
            for answer in held {
                assert_eq!(answer.join().expect("no panic").text(), "200 hello", "{name}");
            }
        });
    }
}

#[test]
fn guests_that_compute_hold_up_nobody() {
    for name in PROFILES {
        let host = profile(name).start();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // More than there are threads; they compute until the host is killed.
        let busy: Vec<_> = (0..cores * 2)
            .map(|_| {
                let mut connection = host.connect();
                connection.write(&request("GET", "/compute?0", &[], b""));
                connection
            })
            .collect();
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(host.get("/counter").text(), "1", "{name}");
        }
        assert!(begun.elapsed() < PATIENCE, "{name}");
        drop(busy);
    }
}
