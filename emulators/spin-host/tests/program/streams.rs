//! Bodies pass through piece by piece, in both directions, and are never held whole.

use crate::http::request;
use crate::support::{Host, Setup};

const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

#[test]
fn a11_each_piece_of_a_body_comes_back_before_the_next_is_sent() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("POST", "/echo", &[CHUNKED], b""));
    for piece in ["first", "second", "third"] {
        connection.write(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
        connection.read_until(piece);
    }
    connection.write(b"0\r\n\r\n");
    connection.read_until("0\r\n\r\n");
}

/// 100 MiB each way, of which host and guest together keep a small part.
#[test]
fn a11_large_bodies_take_no_memory() {
    const BYTES: usize = 100 << 20;
    let host = Setup::probe("").start();
    assert_eq!(host.get("/stream?1").body.len(), 64 << 10);
    let before = peak_kib(&host);
    let uploaded = host.send(&request("POST", "/upload", &[], &vec![b'x'; BYTES]));
    assert_eq!(uploaded.text(), BYTES.to_string());
    assert_eq!(host.get("/stream?1600").body.len(), BYTES);
    let grown = peak_kib(&host) - before;
    assert!(grown < 24 << 10, "{grown} KiB more");
}

/// Most memory that the process has had; with Spin, that of the child that runs the trigger.
#[cfg(target_os = "linux")]
fn peak_kib(host: &Host) -> u64 {
    let mut id = host.id().to_string();
    if host.setup.is_judged() {
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("the process runs");
        id = children.split_whitespace().next().expect("a child").to_owned();
    }
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Only Linux tells another process.
#[cfg(not(target_os = "linux"))]
fn peak_kib(_: &Host) -> u64 {
    0
}

#[test]
fn a11_a_body_that_breaks_off_is_an_error_of_the_guest() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("POST", "/upload", &[CHUNKED], b""));
    connection.write(b"5\r\nfirst\r\nnot a size\r\n");
    let answer = connection.answer();
    assert!(answer.status == 400, "{answer:?}");
    assert_eq!(host.get("/counter").status, 200);
}

#[test]
fn a11_a_client_that_goes_is_noticed_by_the_guest() {
    let host = Setup::probe("").start();
    let mut connection = host.connect();
    connection.write(&request("GET", "/stream?1000000", &[], b""));
    connection.read_until("xxxx");
    drop(connection);
    host.wait_for("the client has gone");
    assert_eq!(host.get("/counter").text(), "1");
}

/// A guest that writes without end to clients that do not read waits for them; what it has written is not piled up.
#[cfg(target_os = "linux")]
#[test]
fn a11_a_client_that_does_not_read_is_waited_for() {
    let host = Setup::probe("").start();
    assert_eq!(host.get("/counter").text(), "1");
    let before = peak_kib(&host);
    let connections: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = host.connect();
            connection.write(&request("GET", "/stream?1000000", &[], b""));
            connection.read_until("xxxx");
            connection
        })
        .collect();
    // A whole upload passes meanwhile, in which a host that did not wait would have read on from the guests.
    assert_eq!(
        host.send(&request("POST", "/upload", &[], &vec![b'x'; 16 << 20])).text(),
        (16 << 20).to_string()
    );
    let grown = peak_kib(&host) - before;
    assert!(grown < 64 << 10, "{grown} KiB more");
    drop(connections);
}
