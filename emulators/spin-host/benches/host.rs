//! Speed of the host as a program: `cargo bench -p spin-host`, after `cargo lab build --stack spin-rust`.
//!
//! Three processes share the machine: the load generator (this one), the release build of `spin-host` with the
//! spin-rust application, and a stand-in for Dapr that answers every request with 204. CPU time is that of `spin-host`
//! alone. Nothing is asserted: figures are for reading, with the machine's load in mind.
//!
//! Options after `--`: `--seconds N` for each row (default 4), `--app PATH` of a spin.toml, `--profile spin|tuned`.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error>;

const ORDER: &str = r#"{"orderId":17,"orderGuid":"7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11","description":"an order","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"sku-1","quantity":3},{"orderItemId":2,"sku":"sku-2","quantity":1},{"orderItemId":3,"sku":"sku-3","quantity":7}]}"#;

struct Options {
    seconds: u64,
    app: PathBuf,
    profiles: Vec<String>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        seconds: 4,
        app: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/spin/rust/spin.toml"),
        profiles: vec!["spin".to_owned(), "tuned".to_owned()],
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "dapr-stand-in" => return runtime()?.block_on(dapr_stand_in()),
            "--seconds" => options.seconds = value()?.parse()?,
            "--app" => options.app = value()?.into(),
            "--profile" => options.profiles = vec![value()?],
            // What cargo passes by itself.
            _ => {}
        }
    }
    runtime()?.block_on(bench(&options))
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn bench(options: &Options) -> Result<(), Failure> {
    let cache = tempfile::tempdir()?;
    let dapr = Program::start(Command::new(std::env::current_exe()?).arg("dapr-stand-in"))?;
    println!("machine load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    for profile in &options.profiles {
        let start = || {
            Program::start(
                Command::new(env!("CARGO_BIN_EXE_spin-host"))
                    .env("RUST_LOG", "warn")
                    .arg("--from")
                    .arg(&options.app)
                    .args(["--listen", "127.0.0.1:0", "--engine-profile", profile, "--cache-dir"])
                    .arg(cache.path())
                    .arg("--variable")
                    .arg(format!("dapr_url=http://{}", dapr.address)),
            )
        };
        // The first start compiles.
        drop(start()?);
        println!("\n--engine-profile {profile}");
        let mut starts = Vec::new();
        for _ in 0..9 {
            let begun = Instant::now();
            let host = start()?;
            Connection::open(&host.address, &get("/healthz")).await?.exchange().await?;
            starts.push(begun.elapsed());
        }
        starts.sort();
        println!("exec to first 200, warm cache: median {:.1} ms (9 starts)", starts[4].as_secs_f64() * 1e3);
        let host = start()?;
        println!("idle RSS {:.1} MB", host.rss_mb()?);
        println!(
            "{:<22} {:>5} {:>9} {:>8} {:>8} {:>8}",
            "request", "conns", "req/s", "µs CPU", "p50 ms", "p99 ms"
        );
        for (name, request) in
            [("GET /healthz", get("/healthz")), ("order call (1 POST)", post("/q-order-ingress"))]
        {
            for connections in [1, 8, 32] {
                measure(&host, name, &request, connections, Duration::from_secs(options.seconds)).await?;
            }
        }
        println!("RSS after {:.1} MB", host.rss_mb()?);
    }
    Ok(())
}

async fn measure(
    host: &Program,
    name: &str,
    request: &[u8],
    connections: usize,
    length: Duration,
) -> Result<(), Failure> {
    let warm_up = Instant::now() + Duration::from_millis(500);
    load(&host.address, request, connections, warm_up).await?;
    let (cpu_before, begun) = (host.cpu_us()?, Instant::now());
    let mut latencies = load(&host.address, request, connections, begun + length).await?;
    let (elapsed, cpu) = (begun.elapsed(), host.cpu_us()? - cpu_before);
    latencies.sort_unstable();
    let at = |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]) / 1e3;
    let count = latencies.len() as f64;
    println!(
        "{name:<22} {connections:>5} {:>9.0} {:>8.1} {:>8.2} {:>8.2}",
        count / elapsed.as_secs_f64(),
        cpu / count,
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// Sends one request after the other over each connection until the instant; returns all latencies in microseconds.
async fn load(
    address: &str,
    request: &[u8],
    connections: usize,
    until: Instant,
) -> Result<Vec<u32>, Failure> {
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(address, request).await?;
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                connection.exchange().await.map_err(|error| error.to_string())?;
                latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok::<_, String>(latencies)
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

fn post(path: &str) -> Vec<u8> {
    let mut request =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let _ = write!(request, "content-length: {}\r\n\r\n{ORDER}", ORDER.len());
    request.into_bytes()
}

/// One keep-alive connection that sends the same request again and again.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str, request: &[u8]) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: request.to_vec(), buffer: Vec::with_capacity(4096) })
    }

    async fn exchange(&mut self) -> Result<(), Failure> {
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        while !complete(&self.buffer) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection ended within a response".into());
            }
        }
        if self.buffer.starts_with(b"HTTP/1.1 2") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&self.buffer).into_owned().into())
    }
}

/// Whether a whole message is there: its length is given, or it ends with the last chunk.
fn complete(message: &[u8]) -> bool {
    let Some(head) = message.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    match content_length(&message[..head]) {
        Some(length) => message.len() >= head + 4 + length,
        None => message.starts_with(b"HTTP/1.1 204") || message.ends_with(b"0\r\n\r\n"),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value?.trim().parse().ok()
}

/// Answers every request with 204, as Dapr does for a binding without an answer.
async fn dapr_stand_in() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"listen":{{"http":"{}"}}}}"#, listener.local_addr()?);
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(4096);
            while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
                let head = buffer.windows(4).position(|window| window == b"\r\n\r\n");
                let whole = head.is_some_and(|head| {
                    let length = content_length(&buffer[..head]);
                    length.map_or(buffer.ends_with(b"0\r\n\r\n"), |length| buffer.len() >= head + 4 + length)
                });
                if whole {
                    buffer.clear();
                    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// A child process that printed where it listens. Killed when dropped.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let announced: serde_json::Value = serde_json::from_str(&line).map_err(
            |_| "the program ended at once; build the application first: cargo lab build --stack spin-rust",
        )?;
        let address = announced["listen"]["http"].as_str().ok_or("no address announced")?.to_owned();
        Ok(Self { child, address })
    }

    /// CPU time of all threads so far.
    fn cpu_us(&self) -> Result<f64, Failure> {
        let mut nanoseconds = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let times = std::fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += times.split(' ').next().unwrap_or("0").parse::<f64>()?;
        }
        Ok(nanoseconds / 1e3)
    }

    fn rss_mb(&self) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
