//! What one blob costs the store: CPU per PUT and per GET at 32 connections with 0, 10,000 and 100,000 blobs stored.
//!
//! It starts the release binary as a program and reads the CPU time and memory that the kernel charged to it, so the
//! load generator on the same cores disturbs rates but not these figures. Run: `cargo bench -p blob-emulator`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 64_000;
const BODY_BYTES: usize = 700;
const STORED: [usize; 3] = [0, 10_000, 100_000];
const ACCOUNT: &str = blob_emulator::DEFAULT_ACCOUNT;

fn main() {
    let mut server = Server::start();
    println!(
        "start to first answer {:.1} ms, {:.1} MiB idle; {CONNECTIONS} connections, {BODY_BYTES}-byte blobs, \
         SharedKey",
        server.started_ms,
        server.rss_mib()
    );
    println!(
        "{:>10} {:>10} {:>10} {:>12} {:>10} {:>10}",
        "stored", "PUT µs", "PUT/s", "GET µs", "GET/s", "RSS MiB"
    );
    let mut stored = 0;
    for target in STORED {
        if target > stored {
            server.run("PUT", stored, target - stored);
            stored = target;
        }
        // Names of their own that are written over and over: the number of stored blobs stays what it is.
        let put = server.run("PUT", usize::MAX, REQUESTS);
        let get = server.run("GET", usize::MAX, REQUESTS);
        println!(
            "{:>10} {:>10.1} {:>10.0} {:>12.1} {:>10.0} {:>10.1}",
            target,
            put.cpu_us,
            put.per_second,
            get.cpu_us,
            get.per_second,
            server.rss_mib()
        );
    }
    server.list_all();
    server.stop();
}

struct Server {
    process: Child,
    address: SocketAddr,
    started_ms: f64,
}

struct Measured {
    cpu_us: f64,
    per_second: f64,
}

impl Server {
    fn start() -> Self {
        let begin = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_blob-emulator"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the announce line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let address = line["listen"]["http"].as_str().expect("an address").parse().expect("an address");
        let server = Self { process, address, started_ms: 0.0 };
        let status = Connection::open(address).send(&request("PUT", "/bench?restype=container", b""));
        assert_eq!(status, 201, "the container was not created");
        Self { started_ms: begin.elapsed().as_secs_f64() * 1e3, ..server }
    }

    /// Sends `count` requests over all connections. Names begin at number `first`; with `usize::MAX` they are 1,000
    /// names apart from the others.
    fn run(&mut self, method: &'static str, first: usize, count: usize) -> Measured {
        let (address, next) = (self.address, AtomicUsize::new(0));
        // Signed before the clock starts: what is measured is the server, and the generator shares its cores.
        let body = vec![b'x'; BODY_BYTES];
        let content: &[u8] = if method == "PUT" { &body } else { b"" };
        let name = |number: usize| match first {
            usize::MAX => format!("/bench/own-{}", number % 1000),
            first => format!("/bench/{:08}", first + number),
        };
        let distinct = if first == usize::MAX { 1000.min(count) } else { count };
        let requests: Vec<Vec<u8>> =
            (0..distinct).map(|number| request(method, &name(number), content)).collect();
        let expected = if method == "PUT" { 201 } else { 200 };
        let (cpu, begin) = (self.cpu_us(), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| {
                    let mut connection = Connection::open(address);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            break;
                        }
                        let status = connection.send(&requests[number % distinct]);
                        assert_eq!(status, expected, "request {number}");
                    }
                });
            }
        });
        let elapsed = begin.elapsed().as_secs_f64();
        Measured { cpu_us: (self.cpu_us() - cpu) / count as f64, per_second: count as f64 / elapsed }
    }

    fn list_all(&self) {
        let mut connection = Connection::open(self.address);
        let begin = Instant::now();
        let (mut pages, mut marker) = (0, String::new());
        while pages < 2 {
            let query = format!("/bench?restype=container&comp=list&marker={marker}");
            assert_eq!(connection.send(&request("GET", &query, b"")), 200);
            let text = String::from_utf8_lossy(&connection.body).into_owned();
            marker = text
                .split("<NextMarker>")
                .nth(1)
                .and_then(|rest| rest.split('<').next())
                .unwrap_or("")
                .into();
            pages += 1;
        }
        println!("a list of 10,000 blobs in two pages: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    }

    /// User and system time of the program so far, from the scheduler's own clock (nanoseconds, not ticks).
    fn cpu_us(&self) -> f64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        let time = |task: std::io::Result<std::fs::DirEntry>| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        std::fs::read_dir(tasks).expect("this bench needs Linux").filter_map(time).sum::<f64>() / 1e3
    }

    fn rss_mib(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    }

    fn stop(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

/// One keep-alive connection, one request at a time.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, buffer: vec![0; 1 << 16], body: Vec::new() }
    }

    /// Sends a request, reads the whole answer, returns its status.
    fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).expect("the connection stands");
        let mut answer = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer).expect("the connection stands");
            assert!(read > 0, "the connection was closed");
            answer.extend_from_slice(&self.buffer[..read]);
            let Some(head_end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
            while answer.len() < head_end + 4 + length {
                let read = self.stream.read(&mut self.buffer).expect("the connection stands");
                assert!(read > 0, "the connection was closed");
                answer.extend_from_slice(&self.buffer[..read]);
            }
            self.body = answer.split_off(head_end + 4);
            return head.get(9..12).and_then(|status| status.parse().ok()).expect("a status line");
        }
    }
}

/// A request signed with Shared Key, as the Go SDK under Dapr sends it.
fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let length = if body.is_empty() { String::new() } else { body.len().to_string() };
    let storage_headers = format!("x-ms-blob-type:BlockBlob\nx-ms-date:{date}\nx-ms-version:2025-11-05\n");
    let mut parameters: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| format!("\n{}", pair.replacen('=', ":", 1)))
        .collect();
    parameters.sort();
    let content_type = if body.is_empty() { "" } else { "application/json" };
    let text = format!(
        "{method}\n\n\n{length}\n\n{content_type}\n\n\n\n\n\n\n{storage_headers}/{ACCOUNT}/{ACCOUNT}{path}{}",
        parameters.concat()
    );
    let key = BASE64.decode(blob_emulator::DEFAULT_KEY).expect("the well-known key");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(text.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let kind = if body.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let head = format!(
        "{method} /{ACCOUNT}{target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: {}\r\n\
         Accept: application/xml\r\nx-ms-blob-type: BlockBlob\r\nx-ms-date: {date}\r\nx-ms-version: 2025-11-05\r\n\
         Authorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
