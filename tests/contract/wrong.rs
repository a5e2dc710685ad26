//! Applications that do not keep the contract: the suite finds each case that they break.

use std::net::SocketAddr;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::dapr::Dapr;
use crate::stage::{Stage, Verdict};
use crate::wire;

/// Answers every request with this status, and never asks Dapr.
async fn always(status: u16) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, status));
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

async fn answer(stream: TcpStream, status: u16) {
    let mut stream = BufReader::new(stream);
    while !matches!(wire::read_request(&mut stream).await, Ok(None)) {
        let answer = format!("HTTP/1.1 {status} always\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn played(status: u16) -> Vec<Verdict> {
    let (app, _serving) = always(status).await;
    Stage { app, dapr: Dapr::start().await }.play(&[]).await
}

#[tokio::test]
async fn no_case_is_kept_by_an_application_that_does_nothing() {
    let (agrees, refuses) = tokio::join!(played(200), played(500));
    let kept: Vec<_> = agrees
        .iter()
        .zip(&refuses)
        .filter(|(one, other)| one.outcome.is_ok() && other.outcome.is_ok())
        .map(|(one, _)| &one.name)
        .collect();
    assert!(kept.is_empty(), "cases that cannot fail: {kept:#?}");
}
