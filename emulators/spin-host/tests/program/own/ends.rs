//! How the program ends: what is in flight is finished, for a bounded time, with exit code 0.

use std::net::TcpStream;
use std::time::Instant;

use crate::http::{PATIENCE, request};
use crate::upstream::Upstream;

#[test]
fn a21_a_signal_ends_it_with_0_though_connections_are_open() {
    for signal in ["-TERM", "-INT"] {
        let host = super::probe("").start();
        let mut idle = host.connect();
        idle.write(b"GET /counter HTTP/1.1\r\nhost: a\r\n\r\n");
        idle.read_until("\r\n\r\n");
        let silent = host.connect();
        host.signal(signal);
        let (status, said) = host.ended();
        assert!(status.success(), "{signal}: {said}");
        assert!(!said.contains("not everything in flight was finished"), "{signal}: {said}");
        drop((idle, silent));
    }
}

#[test]
fn a21_what_is_in_flight_is_finished_and_nothing_new_is_taken() {
    let upstream = Upstream::start();
    let host = super::probe("allowed_outbound_hosts = [\"http://*:*\"]").start();
    let mut connection = host.connect();
    connection.write(&request("GET", &format!("/fetch?{}", upstream.url("/held")), &[], b""));
    upstream.wait_for_requests(1);
    host.signal("-TERM");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(&host.address).is_ok() {
        assert!(Instant::now() < deadline, "it still takes connections");
        std::thread::yield_now();
    }
    upstream.release();
    let answer = connection.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "200 hello"));
    let (status, said) = host.ended();
    assert!(status.success(), "{said}");
}

#[test]
fn a21_a_guest_without_an_end_does_not_hold_up_the_end() {
    for profile in ["spin", "tuned"] {
        let host = super::probe("").arguments(&["--engine-profile", profile]).start();
        let mut connection = host.connect();
        connection.write(&request("GET", "/compute?0", &[], b""));
        // The guest runs once another request was answered after it.
        assert_eq!(host.get("/counter").status, 200);
        host.signal("-TERM");
        let (status, said) = host.ended();
        assert!(status.success(), "{profile}: {said}");
        assert!(said.contains("not everything in flight was finished"), "{profile}: {said}");
    }
}

#[test]
fn a21_the_end_of_stdin_ends_it_where_asked() {
    let mut host = super::probe("").arguments(&["--stop-on-stdin-eof"]).start();
    drop(host.stdin());
    let (status, said) = host.ended();
    assert!(status.success(), "{said}");
    let mut host = super::probe("").start();
    drop(host.stdin());
    assert_eq!(host.get("/counter").status, 200, "only where asked");
}
