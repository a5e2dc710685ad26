//! Guests that behave badly: each is bounded, reported once, and others are served on.

use std::time::Instant;

use super::probe;
use crate::http::{PATIENCE, request};
use crate::support::Host;
use crate::upstream::Upstream;

const PROFILES: [&str; 2] = ["spin", "tuned"];

/// The one line of the log that reports it.
fn reported_once(said: &str, words: &str) {
    assert_eq!(said.matches(words).count(), 1, "{words}: {said}");
}

fn is_empty_500(host: &Host, path: &str) -> bool {
    let answer = host.get(path);
    answer.status == 500 && answer.body.is_empty()
}

#[test]
fn a14_guests_that_compute_hold_up_nobody() {
    for name in PROFILES {
        let host = probe("").arguments(&["--engine-profile", name]).start();
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

#[test]
fn a25_a_guest_that_computes_for_ever_is_ended_where_asked() {
    for name in PROFILES {
        let limits = ["--engine-profile", name, "--request-timeout", "300ms"];
        let host = probe("").arguments(&limits).start();
        assert!(is_empty_500(&host, "/compute?0"), "{name}");
        assert_eq!(host.get("/counter").text(), "1", "{name}");
        let said = host.stop();
        reported_once(&said, "it ran for longer than --request-timeout 300ms");
        assert_eq!(said.matches("component=\"probe\" error=").count(), 1, "{said}");
    }
}

#[test]
fn a25_a_guest_that_waits_for_ever_is_ended_where_asked() {
    let upstream = Upstream::start();
    let host = probe("allowed_outbound_hosts = [\"http://*:*\"]").arguments(&["--request-timeout", "300ms"]);
    let host = host.start();
    assert!(is_empty_500(&host, &format!("/fetch?{}", upstream.url("/held"))));
    reported_once(&host.stop(), "it ran for longer than --request-timeout 300ms");
}

#[test]
fn a25_a_body_that_takes_too_long_is_cut_off_where_asked() {
    let host = probe("").arguments(&["--request-timeout", "1"]).start();
    let mut connection = host.connect();
    connection.write(&request("GET", "/stream?1000000", &[], b""));
    let answer = connection.answer();
    assert!(answer.status == 200 && answer.body.len() < 1_000_000 << 16, "{} bytes", answer.body.len());
    assert_eq!(host.get("/counter").text(), "1");
    let said = host.stop();
    reported_once(&said, "it ran for longer than --request-timeout 1s");
    reported_once(&said, "WARN");
}

#[test]
fn a25_a_guest_that_asks_again_and_again_for_memory_is_reported_once() {
    let host = probe("").arguments(&["--max-instance-memory", "16777216"]).start();
    assert!(is_empty_500(&host, "/eat"));
    assert_eq!(host.get("/counter").text(), "1");
    let said = host.stop();
    reported_once(&said, "memory limit reached component=\"probe\" limit_bytes=16777216");
    reported_once(&said, "request failed");
}

/// 32-bit memory ends at 4 GiB by itself; this much of the machine's is given back with the instance.
#[cfg(target_os = "linux")]
#[test]
fn a25_memory_of_a_guest_that_ate_goes_back_with_it() {
    let host = probe("").arguments(&["--max-instance-memory", "268435456"]).start();
    assert!(is_empty_500(&host, "/eat"));
    let resident = std::fs::read_to_string(format!("/proc/{}/statm", host.id())).expect("the process runs");
    let pages: u64 =
        resident.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("a number");
    assert!(pages * 4 < 96 << 10, "{} KiB are kept", pages * 4);
}

#[test]
fn a14_more_outbound_requests_than_there_is_room_for_are_refused_and_clients_are_served() {
    let upstream = Upstream::start();
    let setup = probe("allowed_outbound_hosts = [\"http://*:*\"]");
    // So many files that 32 exchanges are half of them.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
    let of_host = setup.command();
    command.arg(of_host.get_program()).args(of_host.get_args()).env_clear();
    command.current_dir(setup.directory.path());
    for pipe in [std::process::Command::stdin, std::process::Command::stdout, std::process::Command::stderr] {
        pipe(&mut command, std::process::Stdio::piped());
    }
    let host = Host::start(command, setup);
    let flood = format!("/flood?500*{}", upstream.url("/held"));
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| host.get(&flood).text());
        upstream.wait_for_requests(32);
        host.wait_for_many("flooding: ", 468);
        assert_eq!(host.get("/counter").text(), "1", "clients are served meanwhile");
        upstream.release();
        let outcomes = flooding.join().expect("no panic");
        assert!(
            outcomes.contains("32 200\n") && outcomes.contains("468 Http(ErrorCode::ConnectionLimitReached)"),
            "{outcomes}"
        );
    });
    assert_eq!(host.get(&format!("/fetch?{}", upstream.url("/"))).text(), "200 hello", "there is room again");
    reported_once(&host.stop(), "too many outbound requests at a time");
}

#[test]
fn a19_a_component_that_calls_itself_without_end_is_stopped() {
    let host = probe("allowed_outbound_hosts = [\"http://*.spin.internal\"]").start();
    let fetch = |url: &str| host.get(&format!("/fetch?{url}")).text();
    let mut url = "http://probe.spin.internal/request".to_owned();
    assert!(fetch(&url).starts_with("200 GET"));
    // Each call unwraps one layer of the URL.
    for _ in 0..40 {
        url = format!("http://probe.spin.internal/fetch?{url}");
    }
    let outcome = fetch(&url);
    assert!(outcome.contains("LoopDetected"), "{outcome}");
    reported_once(&host.stop(), "too long a chain");
}

#[test]
fn a18_a_secure_host_is_an_error_of_the_guest_and_said_once() {
    let host = probe("allowed_outbound_hosts = [\"*://*:*\"]").start();
    let tls = host.get("/fetch?https://127.0.0.1:1/").text();
    assert!(tls.contains("TlsProtocolError"), "{tls}");
    reported_once(&host.stop(), "spin-host does not speak TLS to other hosts");
}
