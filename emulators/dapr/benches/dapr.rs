//! What a call of an output binding costs Dapr, what a delivery costs it, and what it costs when nobody calls:
//! `cargo build --release -p servicebus-emulator -p blob-emulator && cargo bench -p dapr-emulator`.
//!
//! Four processes share the machine: the load generator (this one), the release build of `dapr-emulator`, and a broker
//! and a blob store of this workspace, which stand beside this program in the target directory. CPU time is that of the
//! Dapr alone, from the scheduler's own clock. Nothing is asserted: figures are for reading, with the machine's load in
//! mind.
//!
//! Options after `--`: `--seconds N` for each row (default 5), `--connections N` (default 32), `--dapr PATH` of another
//! program, such as a real daprd. With `--hold queue|blobs` it prints Dapr's process id and loads that binding until it is
//! killed: for a profiler.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

type Failure = Box<dyn std::error::Error>;

/// An order with six items, 572 bytes.
const ORDER: &str = r#"{"orderId":17,"orderGuid":"7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11","description":"an order of the usual size, which has a line of words in it and six of the ten items that it may have","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"sku-0007-0013","quantity":1},{"orderItemId":2,"sku":"sku-0014-0026","quantity":2},{"orderItemId":3,"sku":"sku-0021-0039","quantity":3},{"orderItemId":4,"sku":"sku-0028-0052","quantity":4},{"orderItemId":5,"sku":"sku-0035-0065","quantity":5},{"orderItemId":6,"sku":"sku-0042-0078","quantity":6}]}"#;

/// The well-known account of the storage emulators.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Starts that are measured.
const STARTS: usize = 9;

struct Options {
    seconds: u64,
    connections: usize,
    dapr: PathBuf,
    hold: Option<String>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dapr = env!("CARGO_BIN_EXE_dapr-emulator").into();
    let mut options = Options { seconds: 5, connections: 32, dapr, hold: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse()?,
            "--connections" => options.connections = value()?.parse()?,
            "--dapr" => options.dapr = value()?.into(),
            "--hold" => options.hold = Some(value()?),
            // What cargo passes by itself.
            _ => {}
        }
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(bench(&options))
}

async fn bench(options: &Options) -> Result<(), Failure> {
    let (folder, config) = (tempfile::tempdir()?, tempfile::NamedTempFile::new()?);
    let queues = json!([{ "Name": "orders", "Properties": {} }]);
    let namespaces = json!([{ "Name": "sbemulatorns", "Queues": queues, "Topics": [] }]);
    std::fs::write(config.path(), json!({ "UserConfig": { "Namespaces": namespaces } }).to_string())?;
    let any = ["--listen", "127.0.0.1:0"];
    let broker = Peer::start(
        Command::new(beside("servicebus-emulator")?)
            .args(any)
            .args(["--http-listen", "127.0.0.1:0", "--config"])
            .arg(config.path()),
    )?;
    let store = Peer::start(Command::new(beside("blob-emulator")?).args(any))?;
    let broker_address = broker.at("amqp")?;
    write_components(folder.path(), &broker_address, &store.at("http")?)?;

    println!("machine load {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(Dapr::start(&options.dapr, folder.path(), &[]).await?.started);
    }
    starts.sort();
    let dapr = Dapr::start(&options.dapr, folder.path(), &[]).await?;
    println!(
        "exec to healthy: median {:.1} ms ({STARTS} starts); idle RSS {:.1} MB",
        starts[STARTS / 2].as_secs_f64() * 1e3,
        dapr.rss_mb()?
    );
    if let Some(binding) = &options.hold {
        println!("process {}", dapr.child.id());
        let request = request(binding, &json!({ "blobName": "17" }));
        load(&dapr.address(), &request, options.connections, Instant::now() + Duration::from_secs(3600))
            .await?;
    }
    println!(
        "{:<26} {:>5} {:>9} {:>8} {:>8} {:>8}",
        "output binding", "conns", "calls/s", "µs CPU", "p50 ms", "p99 ms"
    );
    let rows = [
        ("Service Bus", "queue", json!({})),
        ("Service Bus, scheduled", "queue", json!({ "ScheduledEnqueueTimeUtc": "2199-01-01T00:00:00.000Z" })),
        ("blob store", "blobs", json!({ "blobName": "17" })),
    ];
    let mut calls = 0;
    for (name, binding, metadata) in rows {
        let answered = measure(&dapr, name, &request(binding, &metadata), options).await?;
        calls += if binding == "queue" { answered } else { 0 };
    }
    let arrived = messages(&broker.at("http")?).await?;
    println!("RSS after {:.1} MB; {arrived} messages at the broker of {calls} calls", dapr.rss_mb()?);
    drop(dapr);
    // The messages of the first row wait in the queue.
    deliver(&broker_address, options).await
}

/// Lets an input binding take what is in the queue to an application that answers at once.
async fn deliver(broker: &str, options: &Options) -> Result<(), Failure> {
    let (folder, posts) = (tempfile::tempdir()?, Arc::new(AtomicU64::new(0)));
    let more = [("direction", "input"), ("maxActiveMessages", "100"), ("maxConcurrentHandlers", "0")];
    write_component(
        folder.path(),
        "queue",
        QUEUES,
        &[&queue(&connection_string(broker))[..], &more].concat(),
    )?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port().to_string();
    let _app = AbortOnDropHandle::new(tokio::spawn(app(listener, Arc::clone(&posts))));
    let flags = ["--app-port", &port, "--disable-init-endpoints", "config,subscribe"];
    let dapr = Dapr::start(&options.dapr, folder.path(), &flags).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (cpu_before, posts_before, begun) = (dapr.cpu_us()?, posts.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let (cpu, elapsed) = (dapr.cpu_us()? - cpu_before, begun.elapsed());
    let count = (posts.load(Ordering::Relaxed) - posts_before) as f64;
    println!(
        "input binding, 100 held: {:.0} messages/s, {:.1} µs CPU each",
        count / elapsed.as_secs_f64(),
        cpu / count
    );
    Ok(())
}

/// An application that answers every request with 200 and counts them.
async fn app(listener: TcpListener, posts: Arc<AtomicU64>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let posts = Arc::clone(&posts);
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(4096);
            while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
                if complete(&buffer) {
                    buffer.clear();
                    posts.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// A program of this workspace in the directory of this one's build.
fn beside(name: &str) -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).ok_or("this program stands in no target directory")?;
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is not there; build it: cargo build --release -p {name}", path.display()).into())
}

const QUEUES: &str = "bindings.azure.servicebusqueues";

fn connection_string(broker: &str) -> String {
    format!(
        "Endpoint=sb://{broker};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
         UseDevelopmentEmulator=true;"
    )
}

fn queue(connection_string: &str) -> [(&str, &str); 3] {
    [("connectionString", connection_string), ("queueName", "orders"), ("disableEntityManagement", "true")]
}

fn write_components(folder: &Path, broker: &str, store: &str) -> Result<(), Failure> {
    let (connection, endpoint) = (connection_string(broker), format!("http://{store}"));
    let output = [("direction", "output")];
    let blobs = [
        ("accountName", ACCOUNT),
        ("accountKey", ACCOUNT_KEY),
        ("endpoint", &*endpoint),
        ("containerName", "orders"),
    ];
    write_component(folder, "queue", QUEUES, &[&queue(&connection)[..], &output].concat())?;
    write_component(folder, "blobs", "bindings.azure.blobstorage", &[&blobs[..], &output].concat())
}

fn write_component(
    folder: &Path,
    name: &str,
    component_type: &str,
    metadata: &[(&str, &str)],
) -> Result<(), Failure> {
    let item = |(name, value): &(&str, &str)| json!({ "name": name, "value": value });
    let items: Vec<Value> = metadata.iter().map(item).collect();
    let component = json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": { "name": name },
        "spec": { "type": component_type, "version": "v1", "metadata": items },
    });
    // JSON is YAML.
    Ok(std::fs::write(folder.join(format!("{name}.yaml")), component.to_string())?)
}

fn request(binding: &str, metadata: &Value) -> Vec<u8> {
    let body = format!(r#"{{"operation":"create","data":{ORDER},"metadata":{metadata}}}"#);
    let head = format!(
        "POST /v1.0/bindings/{binding} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// Loads a binding, prints the row, and returns the number of calls, those that warmed it up among them.
async fn measure(dapr: &Dapr, name: &str, request: &[u8], options: &Options) -> Result<usize, Failure> {
    let connections = options.connections;
    let warm_up = Instant::now() + Duration::from_millis(500);
    let before = load(&dapr.address(), request, connections, warm_up).await?.len();
    let (cpu_before, begun) = (dapr.cpu_us()?, Instant::now());
    let until = begun + Duration::from_secs(options.seconds);
    let mut latencies = load(&dapr.address(), request, connections, until).await?;
    let (elapsed, cpu) = (begun.elapsed(), dapr.cpu_us()? - cpu_before);
    latencies.sort_unstable();
    let at = |share: f64| f64::from(latencies[((latencies.len() - 1) as f64 * share) as usize]) / 1e3;
    let count = latencies.len() as f64;
    println!(
        "{name:<26} {connections:>5} {:>9.0} {:>8.1} {:>8.2} {:>8.2}",
        count / elapsed.as_secs_f64(),
        cpu / count,
        at(0.5),
        at(0.99)
    );
    Ok(before + latencies.len())
}

/// Messages that the broker has accepted.
async fn messages(broker: &str) -> Result<u64, Failure> {
    let request = b"GET /_emulator/queues HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut connection = Connection::open(broker, request).await?;
    connection.exchange().await?;
    let body = connection.buffer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no body")? + 4;
    let queues: Value = serde_json::from_slice(&connection.buffer[body..])?;
    Ok(queues[0]["enqueued_total"].as_u64().ok_or("no count")?)
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
        if self.buffer.starts_with(b"HTTP/1.1 20") {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&self.buffer).into_owned().into())
    }
}

/// Whether a whole message is there: Dapr gives the length of each that has a body.
fn complete(message: &[u8]) -> bool {
    let Some(head) = message.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let lines = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let length = lines.split("\r\n").find_map(|line| line.strip_prefix("content-length:"));
    message.len() >= head + 4 + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

/// The Dapr that is measured. Killed when dropped.
struct Dapr {
    child: Child,
    port: u16,
    /// From the start of the process to the first 204 of its health.
    started: Duration,
}

impl Dapr {
    async fn start(program: &Path, components: &Path, more: &[&str]) -> Result<Self, Failure> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let begun = Instant::now();
        let child = Command::new(program)
            .args(["--app-id", "bench", "--dapr-listen-addresses", "127.0.0.1", "--dapr-grpc-port", "0"])
            .args(["--enable-metrics=false", "--dapr-http-port", &port.to_string(), "--resources-path"])
            .arg(components)
            .args(more)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut dapr = Self { child, port, started: Duration::ZERO };
        let health = b"GET /v1.0/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        while dapr.answers(health).await.is_err() {
            if let Some(status) = dapr.child.try_wait()? {
                return Err(format!("Dapr ended with {status}").into());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        dapr.started = begun.elapsed();
        Ok(dapr)
    }

    async fn answers(&self, request: &[u8]) -> Result<(), Failure> {
        Connection::open(&self.address(), request).await?.exchange().await
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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

impl Drop for Dapr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that printed where it listens. Killed when dropped.
struct Peer {
    child: Child,
    announced: Value,
}

impl Peer {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).env("RUST_LOG", "warn").spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        Ok(Self { child, announced: serde_json::from_str(&line)? })
    }

    fn at(&self, name: &str) -> Result<String, Failure> {
        Ok(self.announced["listen"][name].as_str().ok_or("no address announced")?.to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
