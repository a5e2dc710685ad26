//! A small client that says exactly what is on the wire.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longest wait for anything; only a broken host comes near it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, read to the end of its connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body has its end: all of its length, or the last chunk.
    pub whole: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The bytes of a request for one answer.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: app.test\r\nconnection: close\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

pub struct Connection(TcpStream);

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the connection stands");
    }

    /// Reads until what was read holds this, and gives all of it.
    pub fn read_until(&mut self, wanted: &str) -> String {
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if text.contains(wanted) {
                return text;
            }
            let length = self.0.read(&mut buffer).expect("more in time");
            assert!(length > 0, "ended before {wanted:?}: {text}");
            read.extend_from_slice(&buffer[..length]);
        }
    }

    /// Waits for the end of the connection, before which nothing more may come.
    pub fn ends(self) {
        let rest = self.remainder();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads the one answer of the connection.
    pub fn answer(self) -> Answer {
        parse(&self.remainder())
    }

    /// Reads the one answer of the connection, if it is answered before it is closed.
    pub fn answer_if_any(self) -> Option<Answer> {
        let bytes = self.remainder();
        (!bytes.is_empty()).then(|| parse(&bytes))
    }

    fn remainder(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end in time: {error}; so far {:?}", String::from_utf8_lossy(&bytes)),
        }
        bytes
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("ended before an answer: {:?}", String::from_utf8_lossy(bytes));
    });
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
    let pair =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut answer =
        Answer { status, headers: lines.filter_map(pair).collect(), body: Vec::new(), whole: true };
    let rest = &bytes[end + 4..];
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.whole) = unchunked(rest);
    } else {
        let length = answer.header("content-length").map(|length| length.parse().expect("a number"));
        answer.whole = length.is_none_or(|length: usize| rest.len() == length);
        answer.body = rest.to_vec();
    }
    answer
}

fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line_end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line_end]).into_owned();
        let size = usize::from_str_radix(&size, 16).expect("a chunk's size");
        let chunk = &rest[line_end + 2..];
        if size == 0 {
            return (body, true);
        }
        let Some(whole) = chunk.get(..size + 2) else { break };
        body.extend_from_slice(&whole[..size]);
        rest = &chunk[size + 2..];
    }
    (body, false)
}
