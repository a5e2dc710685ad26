//! HTTP/1.1 at the least cost to the machine that is shared with what is measured: bytes as they are, no parser, no copy.
//!
//! It must not be taken for a client: it knows the messages that our programs, daprd and Spin send, and no others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// Room for a message at first.
const BUFFER_BYTES: usize = 4096;

/// One keep-alive connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Fails when nothing listens there.
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Sends a whole request, head and body, and returns the body of the answer (with its chunk sizes, if it has chunks).
    ///
    /// # Errors
    /// Fails when the answer is no 2xx, and when the connection ends within it.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        while !complete(&self.buffer) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection ended within a response".into());
            }
        }
        if !self.buffer.starts_with(b"HTTP/1.1 2") {
            return Err(String::from_utf8_lossy(&self.buffer).into_owned().into());
        }
        Ok(&self.buffer[head_length(&self.buffer).unwrap_or(0)..])
    }
}

/// Answers every request on every connection with the same bytes, and counts them: a peer that costs next to nothing.
///
/// # Errors
/// Fails when no more connections can be accepted.
pub async fn answer_all(
    listener: TcpListener,
    answer: &'static str,
    answered: Arc<AtomicU64>,
) -> Result<(), Failure> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answered = Arc::clone(&answered);
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(BUFFER_BYTES);
            while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
                if complete(&buffer) {
                    buffer.clear();
                    answered.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// Length of the head with the empty line at its end, if it is there.
fn head_length(message: &[u8]) -> Option<usize> {
    message.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

/// Whether a whole message is there: its body has a length, or ends with the last chunk, or is absent (RFC 9112, 6.3;
/// none that ends with the connection).
fn complete(message: &[u8]) -> bool {
    let Some(head_length) = head_length(message) else { return false };
    let head = String::from_utf8_lossy(&message[..head_length]);
    let mut body_length = 0;
    for (name, value) in head.split("\r\n").filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body_length = value.trim().parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return message.ends_with(b"0\r\n\r\n");
        }
    }
    message.len() >= head_length + body_length
}
