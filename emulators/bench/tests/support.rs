//! That a benchmark is told when what it measures is not there, refuses, or ends badly: no figure of a broken program.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bench_support::{Connection, Durations, Failure, Load, Meter, Program, answer_all};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const REQUEST: &[u8] = b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody";

fn shell(script: &str) -> Result<Program, Failure> {
    Program::start(Command::new("sh").args(["-c", script]))
}

/// A server that answers one request with these pieces, each written when the one before it has been sent, and closes.
async fn answering(pieces: &'static [&'static str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.set_nodelay(true).expect("a socket");
        let mut request = vec![0; REQUEST.len()];
        stream.read_exact(&mut request).await.expect("the request");
        for piece in pieces {
            stream.write_all(piece.as_bytes()).await.expect("the client reads");
            tokio::task::yield_now().await;
        }
    });
    address
}

async fn exchange(pieces: &'static [&'static str]) -> Result<String, Failure> {
    let mut connection = Connection::open(answering(pieces).await).await?;
    Ok(String::from_utf8(connection.exchange(REQUEST).await?.to_vec())?)
}

#[test]
fn a_program_says_where_it_listens_and_ends_with_its_stdin() {
    let program =
        shell(r#"echo '{"listen":{"http":"127.0.0.1:7"}}'; read line; exit 0"#).expect("it announces");
    assert_eq!(program.address("http").expect("announced").to_string(), "127.0.0.1:7");
    let error = program.address("amqp").expect_err("not announced");
    assert!(error.to_string().contains("amqp"), "{error}");
    assert!(program.rss_mib().expect("it runs") > 0.0);
    program.stop().expect("it ends with 0");
}

#[test]
fn a_program_that_ends_badly_is_a_failure() {
    let silent = shell("exit 3").err().expect("it announced nothing");
    assert!(silent.to_string().contains("did not say where it listens"), "{silent}");
    let program = shell(r#"echo '{}'; cat; exit 3"#).expect("it announces");
    let error = program.stop().expect_err("it ended with 3");
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    let missing = Program::start(&mut Command::new("no-such-program")).err().expect("there is none");
    assert!(missing.to_string().contains("no-such-program"), "{missing}");
}

#[test]
fn the_cpu_time_of_a_program_is_read() {
    let program = shell(r#"echo '{}'; while :; do :; done"#).expect("it announces");
    let meter = Meter::start(&program).expect("it runs");
    let before = program.cpu_us().expect("it runs");
    while program.cpu_us().expect("it runs") < before + 1e3 {}
    let cost = meter.stop(10).expect("it runs");
    assert!(cost.cpu_us() >= 100.0, "a tenth of a millisecond for each of ten, not {}", cost.cpu_us());
}

#[test]
fn durations_are_told_by_their_share() {
    let durations = [5, 1, 4, 2, 3].map(Duration::from_millis);
    let durations = Durations::new(durations.to_vec()).expect("some");
    assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| durations.at_ms(share)), [1.0, 3.0, 4.0, 5.0]);
    assert!(Durations::new(Vec::new()).is_err(), "no figure of nothing");
}

#[tokio::test]
async fn an_answer_is_read_to_its_end() {
    let sized = &["HTTP/1.1 200 OK\r\nContent-", "Length: 4\r\n\r\nbo", "dy"];
    assert_eq!(exchange(sized).await.expect("2xx"), "body");
    let chunked = &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n", "0\r\n\r\n"];
    assert_eq!(exchange(chunked).await.expect("2xx"), "4\r\nbody\r\n0\r\n\r\n");
    assert_eq!(exchange(&["HTTP/1.1 204 No Content\r\n\r\n"]).await.expect("2xx"), "");
}

#[tokio::test]
async fn a_refusal_and_half_an_answer_are_failures() {
    let refused = exchange(&["HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"]).await;
    assert!(refused.expect_err("404").to_string().ends_with("no"));
    let half = exchange(&["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo"]).await;
    assert!(half.expect_err("two bytes are missing").to_string().contains("ended within a response"));
}

#[tokio::test]
async fn every_request_of_a_load_is_answered_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let answered = Arc::new(AtomicU64::new(0));
    tokio::spawn(answer_all(listener, "HTTP/1.1 204 No Content\r\n\r\n", Arc::clone(&answered)));
    let (program, length) = (shell("echo '{}'; cat").expect("it announces"), Duration::from_millis(20));
    let load = Load { program: &program, address, length, name_width: 8 };
    let durations = load.repeat(REQUEST, 8, length).await.expect("all are answered");
    assert_eq!(durations.count() as u64, answered.load(Ordering::Relaxed));
    let address = answering(&["HTTP/1.1 500 Oh\r\n\r\n"]).await;
    let refused = Load { address, ..load }.repeat(REQUEST, 1, length).await.err().expect("a refusal ends it");
    assert!(refused.to_string().contains("500"), "{refused}");
}
