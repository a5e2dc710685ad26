//! A server of its own for each test, and a small client that signs and says exactly what is on the wire.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use blob_emulator::{BlobStore, Config, DEFAULT_ACCOUNT, DEFAULT_KEY, default_accounts};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

/// Longest wait for an answer; only a broken server comes near it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running store, stopped when it goes.
pub struct Server {
    pub address: SocketAddr,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with_memory_limit(64 << 20)
    }

    pub fn with_memory_limit(memory_limit_bytes: u64) -> Self {
        Self::with(Config { accounts: default_accounts(), memory_limit_bytes, data: None })
    }

    pub fn with(config: Config) -> Self {
        let (shutdown, (sender, receiver)) = (CancellationToken::new(), std::sync::mpsc::channel());
        let stop = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener =
                    blob_emulator::listen("127.0.0.1:0".parse().expect("an address")).expect("a port");
                sender.send(listener.local_addr().expect("bound")).expect("the test waits");
                let store = BlobStore::open(config).expect("a store");
                blob_emulator::serve(listener, store, stop).await.expect("the disk is well");
            });
        });
        let address = receiver.recv_timeout(PATIENCE).expect("the server listens");
        Self { address, shutdown, thread: Some(thread) }
    }

    /// A server with the container `box`.
    pub fn with_box() -> Self {
        let server = Self::start();
        assert_eq!(server.signed("PUT", "/box?restype=container", &[], b"").status, 201);
        server
    }

    /// Sends a request signed with the default account's key; `path` begins behind the account.
    pub fn signed(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let request =
            sign(Request::new(method, &format!("/{DEFAULT_ACCOUNT}{path}"), headers, body), DEFAULT_KEY);
        self.send(&request.bytes())
    }

    /// Puts a block blob.
    pub fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.signed("PUT", path, &[&[("x-ms-blob-type", "BlockBlob")], headers].concat(), body)
    }

    /// Puts a block.
    pub fn put_block(&self, path: &str, id: &str, body: &[u8]) -> Answer {
        let id = encoded(id);
        self.signed("PUT", &format!("{path}?comp=block&blockid={id}"), &[], body)
    }

    /// Puts a block list of these sources and ids.
    pub fn put_block_list(&self, path: &str, list: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let list: String = list.iter().map(|(source, id)| format!("<{source}>{id}</{source}>")).collect();
        let body = format!("<?xml version=\"1.0\"?><BlockList>{list}</BlockList>");
        self.signed("PUT", &format!("{path}?comp=blocklist"), headers, body.as_bytes())
    }

    /// Sends a request without credentials; `path` begins at the root.
    pub fn unsigned(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(&Request::new(method, path, headers, body).bytes())
    }

    /// Sends these bytes over a connection of their own and reads one answer.
    pub fn send(&self, bytes: &[u8]) -> Answer {
        self.connect().send(bytes)
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic in the server must fail the test that caused it.
            assert!(thread.join().is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}

pub struct Connection {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { stream, read: Vec::new() }
    }

    /// Sends a request, which may fail because the program is killed meanwhile; then there is no status.
    pub fn try_status(&mut self, bytes: &[u8]) -> Option<u16> {
        self.stream.write_all(bytes).ok()?;
        let mut read = Vec::new();
        // The answers to writes have no body.
        while !read.ends_with(b"\r\n\r\n") {
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            read.extend_from_slice(&buffer[..count]);
        }
        Some(Answer::of(&String::from_utf8_lossy(&read)).status)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Answer {
        self.stream.write_all(bytes).expect("the connection stands");
        let head_only = bytes.starts_with(b"HEAD ");
        self.answer(head_only)
    }

    /// Reads the next answer from the connection.
    pub fn answer(&mut self, head_only: bool) -> Answer {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at;
            }
            assert!(self.more() > 0, "closed before an answer: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        let rest = self.read.split_off(head_end + 4);
        self.read = rest;
        let mut answer = Answer::of(&head);
        if head_only || [204, 304].contains(&answer.status) {
            return answer;
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = self.chunks();
            return answer;
        }
        let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a number"));
        while self.read.len() < length {
            assert!(self.more() > 0, "closed within a body");
        }
        let rest = self.read.split_off(length);
        answer.body = std::mem::replace(&mut self.read, rest);
        answer
    }

    /// True when the server ends the connection, within the patience.
    pub fn is_ended(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let Some(line_end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") else {
                assert!(self.more() > 0, "closed within a body");
                continue;
            };
            let size = String::from_utf8_lossy(&self.read[..line_end]).into_owned();
            let size = usize::from_str_radix(&size, 16).expect("a chunk size");
            while self.read.len() < line_end + 2 + size + 2 {
                assert!(self.more() > 0, "closed within a body");
            }
            body.extend_from_slice(&self.read[line_end + 2..line_end + 2 + size]);
            self.read.drain(..line_end + 2 + size + 2);
            if size == 0 {
                return body;
            }
        }
    }

    fn more(&mut self) -> usize {
        let mut buffer = vec![0; 1 << 16];
        let read = self.stream.read(&mut buffer).expect("an answer in time");
        self.read.extend_from_slice(&buffer[..read]);
        read
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    fn of(head: &str) -> Self {
        let mut lines = head.lines();
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let pair =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self {
            status: status.expect("a status line"),
            headers: lines.filter_map(pair).collect(),
            body: Vec::new(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// All headers, in the order of their names.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Status and code, and that the XML body says the same code as the header.
    pub fn refusal(&self) -> (u16, &str) {
        let code = self.header("x-ms-error-code").unwrap_or_default();
        if !self.body.is_empty() {
            assert!(self.text().contains(&format!("<Error><Code>{code}</Code><Message>")), "{}", self.text());
            assert_eq!(self.header("content-type"), Some("application/xml"));
        }
        (self.status, code)
    }

    /// The texts of all elements of this name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let text = self.text();
        text.split(&open)
            .skip(1)
            .filter_map(|rest| rest.split_once(&close))
            .map(|(text, _)| text.into())
            .collect()
    }
}

/// A request as text, still open to be signed.
#[derive(Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { method: method.to_owned(), target: target.to_owned(), headers, body: body.to_vec() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method == "PUT" || !self.body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        [text.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// Signs a request with Shared Key, written from the documentation and not from the server's code.
pub fn sign(request: Request, key: &str) -> Request {
    sign_as(request, DEFAULT_ACCOUNT, key)
}

/// The same, for any account.
pub fn sign_as(request: Request, account: &str, key: &str) -> Request {
    let request =
        request.header("x-ms-date", "Thu, 01 Jan 2026 00:00:00 GMT").header("x-ms-version", "2025-11-05");
    let value = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let length = if request.body.is_empty() { String::new() } else { request.body.len().to_string() };
    let mut storage: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    storage.sort();
    let storage: String = storage.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut parameters: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| format!("\n{}:{}", name.to_lowercase(), decoded(value)))
        .collect();
    parameters.sort();
    let text = [
        request.method.as_str(),
        &value("content-encoding"),
        &value("content-language"),
        &length,
        &value("content-md5"),
        &value("content-type"),
        &value("date"),
        &value("if-modified-since"),
        &value("if-match"),
        &value("if-none-match"),
        &value("if-unmodified-since"),
        &value("range"),
        &format!("{storage}/{account}{path}{}", parameters.concat()),
    ]
    .join("\n");
    let authorization = format!("SharedKey {account}:{}", hmac_base64(key, &text));
    request.header("Authorization", &authorization)
}

/// The query of an account SAS, as "Create an account SAS" describes it, with the given fields over usable ones.
pub fn account_sas(fields: &[(&str, &str)]) -> String {
    let usable =
        [("sv", "2022-11-02"), ("ss", "b"), ("srt", "sco"), ("sp", "rwdlc"), ("se", "2100-01-01T00:00:00Z")];
    let mut all: BTreeMap<&str, &str> = usable.into_iter().collect();
    all.extend(fields.iter().copied());
    let value = |name: &str| all.get(name).copied().unwrap_or_default();
    let names = ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"];
    let mut text = format!("{DEFAULT_ACCOUNT}\n");
    names.iter().for_each(|name| text.push_str(&format!("{}\n", value(name))));
    if value("sv") >= "2020-12-06" {
        text.push_str(&format!("{}\n", value("ses")));
    }
    let mut pairs: Vec<String> =
        all.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.push(format!("sig={}", encoded(&hmac_base64(DEFAULT_KEY, &text))));
    pairs.join("&")
}

/// The query of a service SAS for a container (`/box`) or a blob (`/box/a`), as "Create a service SAS" describes it,
/// with the given fields over usable ones.
pub fn service_sas(resource: &str, fields: &[(&str, &str)]) -> String {
    let kind = if resource[1..].contains('/') { "b" } else { "c" };
    let usable = [("sv", "2022-11-02"), ("sr", kind), ("sp", "r"), ("se", "2100-01-01T00:00:00Z")];
    let mut all: BTreeMap<&str, &str> = usable.into_iter().collect();
    all.extend(fields.iter().copied());
    let value = |name: &str| all.get(name).copied().unwrap_or_default().to_owned();
    let signed_resource = format!("/blob/{DEFAULT_ACCOUNT}{resource}");
    let mut lines = vec![value("sp"), value("st"), value("se"), signed_resource, value("si")];
    lines.extend([value("sip"), value("spr"), value("sv")]);
    if *value("sv") >= *"2018-11-09" {
        lines.extend([value("sr"), String::new()]);
    }
    if *value("sv") >= *"2020-12-06" {
        lines.push(value("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(value));
    let mut pairs: Vec<String> =
        all.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.push(format!("sig={}", encoded(&hmac_base64(DEFAULT_KEY, &lines.join("\n")))));
    pairs.join("&")
}

fn hmac_base64(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64.decode(key).expect("base64")).expect("any length");
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

pub fn encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if unreserved(byte) { (byte as char).into() } else { format!("%{byte:02X}") })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).expect("a test sends UTF-8")
}
