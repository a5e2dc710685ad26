//! What one blob costs the store: CPU per PUT and per GET at 32 connections with 0 to 1,000,000 blobs stored, and how
//! many PUTs a second are on the disk before they are answered, with `--data`.
//!
//! It starts the release binary as a program and reads the CPU time and memory that the kernel charged to it, so the
//! load generator on the same cores disturbs rates but not these figures. Run: `cargo bench -p blob-emulator`.

use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bench_support::{Connection, Cost, Failure, Meter, Program};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::runtime::{Builder, Runtime};

const CONNECTIONS: usize = 32;
const REQUESTS: usize = 64_000;
const BODY_BYTES: usize = 700;
const STORED: [usize; 4] = [0, 10_000, 100_000, 1_000_000];
/// With so many, all of them are listed.
const LISTED: usize = 10_000;
/// Writes with a sync, to know the disk.
const SYNCS: u32 = 200;
/// Signed requests that the generator holds at once.
const FILLED_AT_ONCE: usize = 100_000;
/// PUTs with `--data`, and over how many connections: all that wait at the moment share a sync.
const DURABLE_REQUESTS: usize = 16_000;
const DURABLE_CONNECTIONS: [usize; 3] = [1, 32, 128];
/// Names that are written over and over: the number of stored blobs stays what it is.
const OWN_NAMES: usize = 1000;
const ACCOUNT: &str = blob_emulator::DEFAULT_ACCOUNT;

fn main() -> Result<(), Failure> {
    runtime()?.block_on(bench())
}

/// For the thread that asks.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn bench() -> Result<(), Failure> {
    let begun = Instant::now();
    let server = start(&[])?;
    let container = request("PUT", "/bench?restype=container", b"");
    Connection::open(server.address("http")?).await?.exchange(&container).await?;
    println!(
        "start to first answer {:.1} ms, {:.1} MiB idle; {CONNECTIONS} connections, {BODY_BYTES}-byte blobs, \
         SharedKey",
        begun.elapsed().as_secs_f64() * 1e3,
        server.rss_mib()?
    );
    println!(
        "{:>10} {:>10} {:>10} {:>12} {:>10} {:>10}",
        "stored", "PUT µs", "PUT/s", "GET µs", "GET/s", "RSS MiB"
    );
    let (body, own) = (vec![b'x'; BODY_BYTES], |number| format!("/bench/own-{number}"));
    let puts: Vec<_> = (0..OWN_NAMES).map(|number| request("PUT", &own(number), &body)).collect();
    let gets: Vec<_> = (0..OWN_NAMES).map(|number| request("GET", &own(number), b"")).collect();
    let mut stored = 0;
    for target in STORED {
        while stored < target {
            let name = |number| format!("/bench/{number:08}");
            let next = target.min(stored + FILLED_AT_ONCE);
            let more: Vec<_> = (stored..next).map(|number| request("PUT", &name(number), &body)).collect();
            measure(&server, &more, next - stored, CONNECTIONS)?;
            stored = next;
        }
        let put = measure(&server, &puts, REQUESTS, CONNECTIONS)?;
        let get = measure(&server, &gets, REQUESTS, CONNECTIONS)?;
        println!(
            "{:>10} {:>10.1} {:>10.0} {:>12.1} {:>10.0} {:>10.1}",
            target,
            put.cpu_us(),
            put.per_second(),
            get.cpu_us(),
            get.per_second(),
            server.rss_mib()?
        );
        if target == LISTED {
            list_all(&server).await?;
        }
    }
    durable(&puts).await
}

fn start(arguments: &[&str]) -> Result<Program, Failure> {
    let program = env!("CARGO_BIN_EXE_blob-emulator");
    Program::start(
        Command::new(program).args(["--listen", "127.0.0.1:0", "--stop-on-stdin-eof"]).args(arguments),
    )
}

/// PUTs that are answered when they are on the disk, and what one plain write with a sync takes there.
async fn durable(puts: &[Vec<u8>]) -> Result<(), Failure> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let probe = std::fs::File::create(directory.path().join("probe"))?;
    let begun = Instant::now();
    for _ in 0..SYNCS {
        (&probe).write_all(&[0; BODY_BYTES])?;
        probe.sync_data()?;
    }
    println!(
        "--data, on a disk that takes {:.0} µs for a write with its sync",
        begun.elapsed().as_secs_f64() * 1e6 / f64::from(SYNCS)
    );
    let data = directory.path().join("data");
    let data = data.to_str().ok_or("the folder is no UTF-8")?;
    let server = start(&["--data", data])?;
    let container = request("PUT", "/bench?restype=container", b"");
    Connection::open(server.address("http")?).await?.exchange(&container).await?;
    for connections in DURABLE_CONNECTIONS {
        let count = DURABLE_REQUESTS * connections.min(CONNECTIONS) / CONNECTIONS;
        let put = measure(&server, puts, count, connections)?;
        println!(
            "{connections:>5} connections: {:>7.0} durable PUT/s, {:>5.1} µs of CPU",
            put.per_second(),
            put.cpu_us()
        );
    }
    server.stop()?;
    let begun = Instant::now();
    let server = start(&["--data", data])?;
    println!("started again in {:.1} ms, {:.1} MiB", begun.elapsed().as_secs_f64() * 1e3, server.rss_mib()?);
    Ok(())
}

/// Sends `count` requests over all connections, from the first to the last and again. They are signed already: what is
/// measured is the server, and the generator shares its cores. Each connection has a thread of its own: from one thread
/// requests come in batches, and cost the server half as much.
fn measure(
    server: &Program,
    requests: &[Vec<u8>],
    count: usize,
    connections: usize,
) -> Result<Cost, Failure> {
    let (address, sent) = (server.address("http")?, AtomicUsize::new(0));
    let exchange_all = async || {
        let mut connection = Connection::open(address).await?;
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok::<_, Failure>(());
            }
            connection.exchange(&requests[number % requests.len()]).await?;
        }
    };
    let meter = Meter::start(server)?;
    std::thread::scope(|scope| {
        let one = || runtime()?.block_on(exchange_all());
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no connection panics"))
    })?;
    meter.stop(count)
}

async fn list_all(server: &Program) -> Result<(), Failure> {
    let mut connection = Connection::open(server.address("http")?).await?;
    let begun = Instant::now();
    let mut marker = String::new();
    for _ in 0..2 {
        let path = format!("/bench?restype=container&comp=list&marker={marker}");
        let page = connection.exchange(&request("GET", &path, b"")).await?;
        let page = String::from_utf8_lossy(page);
        let next = page.split("<NextMarker>").nth(1).and_then(|rest| rest.split('<').next());
        marker = next.unwrap_or_default().to_owned();
    }
    println!("a list of 10,000 blobs in two pages: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
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
