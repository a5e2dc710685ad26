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

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_support::{
    Connection, Durations, Failure, Load, Meter, Program, answer_all, option, print_machine_load,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// An order with six items, 572 bytes.
const ORDER: &str = r#"{"orderId":17,"orderGuid":"7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11","description":"an order of the usual size, which has a line of words in it and six of the ten items that it may have","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"sku-0007-0013","quantity":1},{"orderItemId":2,"sku":"sku-0014-0026","quantity":2},{"orderItemId":3,"sku":"sku-0021-0039","quantity":3},{"orderItemId":4,"sku":"sku-0028-0052","quantity":4},{"orderItemId":5,"sku":"sku-0035-0065","quantity":5},{"orderItemId":6,"sku":"sku-0042-0078","quantity":6}]}"#;

/// The well-known account of the storage emulators.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Starts that are measured.
const STARTS: usize = 9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let length = Duration::from_secs(option("--seconds")?.unwrap_or(5));
    let connections = option("--connections")?.unwrap_or(32);
    let program: PathBuf = option("--dapr")?.unwrap_or_else(|| env!("CARGO_BIN_EXE_dapr-emulator").into());
    let (folder, config) = (tempfile::tempdir()?, tempfile::NamedTempFile::new()?);
    let (broker, store) = start_peers(config.path())?;
    write_components(folder.path(), broker.address("amqp")?, store.address("http")?)?;

    print_machine_load()?;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        starts.push(Dapr::start(&program, folder.path(), &[]).await?.started);
    }
    let dapr = Dapr::start(&program, folder.path(), &[]).await?;
    println!(
        "exec to healthy: median {:.1} ms ({STARTS} starts); idle RSS {:.1} MB",
        Durations::new(starts)?.at_ms(0.5),
        dapr.program.rss_mib()?
    );
    let load = Load { program: &dapr.program, address: dapr.address, length, name_width: 26 };
    if let Some(binding) = option::<String>("--hold")? {
        println!("process {}", dapr.program.id());
        let request = request(&binding, &json!({ "blobName": "17" }));
        load.repeat(&request, connections, Duration::from_secs(3600)).await?;
    }
    load.print_heading("output binding", "calls/s");
    let rows = [
        ("Service Bus", "queue", json!({})),
        ("Service Bus, scheduled", "queue", json!({ "ScheduledEnqueueTimeUtc": "2199-01-01T00:00:00.000Z" })),
        ("blob store", "blobs", json!({ "blobName": "17" })),
    ];
    let mut calls = 0;
    for (name, binding, metadata) in rows {
        let answered = load.measure(name, &request(binding, &metadata), connections).await?;
        calls += if binding == "queue" { answered } else { 0 };
    }
    let arrived = messages(broker.address("http")?).await?;
    let rss_mib = dapr.program.rss_mib()?;
    println!("RSS after {rss_mib:.1} MB; {arrived} messages at the broker of {calls} calls");
    drop(dapr);
    // The messages of the first row wait in the queue.
    deliver(&program, broker.address("amqp")?, length).await
}

/// A broker with the queue `orders`, and a blob store.
fn start_peers(config: &Path) -> Result<(Program, Program), Failure> {
    let queues = json!([{ "Name": "orders", "Properties": {} }]);
    let namespaces = json!([{ "Name": "sbemulatorns", "Queues": queues, "Topics": [] }]);
    std::fs::write(config, json!({ "UserConfig": { "Namespaces": namespaces } }).to_string())?;
    let any = ["--listen", "127.0.0.1:0"];
    let broker = Program::start(
        Command::new(beside("servicebus-emulator")?)
            .args(any)
            .args(["--http-listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .env("RUST_LOG", "warn"),
    )?;
    let store = Program::start(Command::new(beside("blob-emulator")?).args(any).env("RUST_LOG", "warn"))?;
    Ok((broker, store))
}

/// Lets an input binding take what is in the queue to an application that answers at once.
async fn deliver(program: &Path, broker: SocketAddr, length: Duration) -> Result<(), Failure> {
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
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let _app = AbortOnDropHandle::new(tokio::spawn(answer_all(listener, answer, Arc::clone(&posts))));
    let flags = ["--app-port", &port, "--disable-init-endpoints", "config,subscribe"];
    let dapr = Dapr::start(program, folder.path(), &flags).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (meter, before) = (Meter::start(&dapr.program)?, posts.load(Ordering::Relaxed));
    tokio::time::sleep(length).await;
    let cost = meter.stop(usize::try_from(posts.load(Ordering::Relaxed) - before)?)?;
    println!(
        "input binding, 100 held: {:.0} messages/s, {:.1} µs CPU each",
        cost.per_second(),
        cost.cpu_us()
    );
    Ok(())
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

fn connection_string(broker: SocketAddr) -> String {
    format!(
        "Endpoint=sb://{broker};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
         UseDevelopmentEmulator=true;"
    )
}

fn queue(connection_string: &str) -> [(&str, &str); 3] {
    [("connectionString", connection_string), ("queueName", "orders"), ("disableEntityManagement", "true")]
}

fn write_components(folder: &Path, broker: SocketAddr, store: SocketAddr) -> Result<(), Failure> {
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

/// Messages that the broker has accepted.
async fn messages(broker: SocketAddr) -> Result<u64, Failure> {
    let mut connection = Connection::open(broker).await?;
    let answer = connection.exchange(b"GET /_emulator/queues HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let queues: Value = serde_json::from_slice(answer)?;
    Ok(queues[0]["enqueued_total"].as_u64().ok_or("the broker tells no enqueued_total")?)
}

/// The Dapr that is measured.
struct Dapr {
    program: Program,
    address: SocketAddr,
    /// From the start of the process to the first 204 of its health.
    started: Duration,
}

impl Dapr {
    /// Starts it as daprd is started, which announces nothing: its health says when it serves.
    async fn start(program: &Path, components: &Path, more: &[&str]) -> Result<Self, Failure> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let begun = Instant::now();
        let mut program = Program::start_unread(
            Command::new(program)
                .args(["--app-id", "bench", "--dapr-listen-addresses", "127.0.0.1", "--dapr-grpc-port", "0"])
                .args(["--enable-metrics=false", "--dapr-http-port", &address.port().to_string()])
                .arg("--resources-path")
                .arg(components)
                .args(more)
                .env("RUST_LOG", "warn"),
        )?;
        while !healthy(address).await {
            if let Some(status) = program.ended()? {
                return Err(format!("Dapr ended with {status}").into());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(Self { program, address, started: begun.elapsed() })
    }
}

async fn healthy(address: SocketAddr) -> bool {
    let Ok(mut connection) = Connection::open(address).await else { return false };
    connection.exchange(b"GET /v1.0/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.is_ok()
}
