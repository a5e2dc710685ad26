//! Speed of the host as a program, beside a real Spin where `LAB_SPIN_BIN` names one: `cargo bench -p spin-host`, after
//! `cargo lab build --stack spin-rust` (and `--stack spin-ts` for `--app apps/spin/typescript/spin.toml`).
//!
//! Three processes share the machine: the load generator (this one), the host with the application, and a stand-in for
//! Dapr that answers every request with 204. CPU time is that of the host alone. The hosts take turns, round by round,
//! and the median of the rounds is shown: what else the machine does meets all of them alike. Nothing is asserted:
//! figures are for reading, with the machine's load in mind.
//!
//! Options after `--`: `--seconds N` for each row (default 2), `--rounds N` (default 5), `--app PATH` of a spin.toml,
//! `--idle N`: only start so many hosts and show the memory that they hold.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_support::{
    Connection, Durations, Failure, Load, Meter, Program, answer_all, option, print_machine_load,
};
use tokio::net::TcpListener;
use tokio::time::sleep;

const ORDER: &str = r#"{"orderId":17,"orderGuid":"7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11","description":"an order","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"sku-1","quantity":3},{"orderItemId":2,"sku":"sku-2","quantity":1},{"orderItemId":3,"sku":"sku-3","quantity":7}]}"#;

/// The argument with which this program is the stand-in for Dapr.
const STAND_IN: &str = "dapr-stand-in";

/// Starts that are measured in each round.
const STARTS: usize = 3;

/// Load before each row, not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// Longest start: a real Spin compiles a TypeScript application for half a minute when it meets it first.
const START: Duration = Duration::from_secs(180);

/// Pause between two attempts to reach a host that starts.
const POLL: Duration = Duration::from_millis(1);

/// Requests that are measured: what they are called, whether they are order calls, and how many at a time.
const ROWS: [(&str, bool, usize); 5] = [
    ("GET /healthz", false, 8),
    ("GET /healthz", false, 32),
    ("order call", true, 1),
    ("order call", true, 8),
    ("order call", true, 32),
];

/// Who runs the application.
enum Host {
    /// This crate's program with an engine profile, and what reports call it.
    Own(&'static str, &'static str),
    /// A real Spin.
    Spin(PathBuf),
}

impl Host {
    fn name(&self) -> &str {
        match self {
            Self::Own(_, name) => name,
            Self::Spin(_) => "Spin",
        }
    }
}

/// What all hosts are started with.
struct Setting {
    app: PathBuf,
    dapr_url: String,
    cache: tempfile::TempDir,
}

/// One row of one round.
struct Figures {
    per_second: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    if std::env::args().nth(1).as_deref() == Some(STAND_IN) {
        return dapr_stand_in().await;
    }
    // Cargo runs a benchmark in its package's folder; people name files from the workspace's.
    let app: PathBuf = option("--app")?.unwrap_or_else(|| "apps/spin/rust/spin.toml".into());
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(app);
    let dapr = Program::start(Command::new(std::env::current_exe()?).arg(STAND_IN))?;
    let dapr_url = format!("dapr_url=http://{}", dapr.address("http")?);
    let setting = Setting { app: app.canonicalize()?, dapr_url, cache: tempfile::tempdir()? };
    let mut hosts = vec![Host::Own("spin", "spin-host"), Host::Own("tuned", "spin-host tuned, not Spin")];
    hosts.extend(std::env::var_os("LAB_SPIN_BIN").map(|path| Host::Spin(path.into())));
    print_machine_load()?;
    println!("{}", setting.app.display());
    if let Some(count) = option("--idle")? {
        return idle(&setting, &hosts, count).await;
    }
    measure(&setting, &hosts, option("--rounds")?.unwrap_or(5), option("--seconds")?.unwrap_or(2)).await
}

async fn measure(setting: &Setting, hosts: &[Host], rounds: usize, seconds: u64) -> Result<(), Failure> {
    for host in hosts {
        // The first start compiles.
        drop(setting.start(host).await?);
    }
    let mut starts: Vec<Vec<Duration>> = hosts.iter().map(|_| Vec::new()).collect();
    let mut memory: Vec<Vec<(f64, f64)>> = hosts.iter().map(|_| Vec::new()).collect();
    let mut rows: Vec<Vec<Vec<Figures>>> =
        hosts.iter().map(|_| ROWS.iter().map(|_| Vec::new()).collect()).collect();
    for round in 0..rounds {
        // The order turns as well.
        for at in (0..hosts.len()).map(|place| (place + round) % hosts.len()) {
            for _ in 0..STARTS {
                starts[at].push(setting.start(&hosts[at]).await?.2);
            }
            let (program, address, _) = setting.start(&hosts[at]).await?;
            let before = program.rss_mib()?;
            let load =
                Load { program: &program, address, length: Duration::from_secs(seconds), name_width: 0 };
            for (row, (_, is_order, connections)) in ROWS.iter().enumerate() {
                let request = if *is_order { post("/q-order-ingress") } else { get("/healthz") };
                rows[at][row].push(one_row(&load, &request, *connections).await?);
            }
            memory[at].push((before, program.rss_mib()?));
        }
    }
    for (at, host) in hosts.iter().enumerate() {
        println!("\n{}", host.name());
        let starts = Durations::new(std::mem::take(&mut starts[at]))?;
        println!(
            "exec to first 200, warm cache: median {:.1} ms, worst {:.1} ms",
            starts.at_ms(0.5),
            starts.at_ms(1.0)
        );
        let (idle, after) =
            (median(memory[at].iter().map(|one| one.0)), median(memory[at].iter().map(|one| one.1)));
        println!("RSS idle {idle:.1} MB, after {after:.1} MB");
        println!(
            "{:<14} {:>5} {:>9} {:>8} {:>8} {:>8} {:>9}",
            "request", "conns", "per s", "µs CPU", "p50 ms", "p99 ms", "to Spin"
        );
        for (row, (name, _, connections)) in ROWS.iter().enumerate() {
            let of = |host: usize, what: fn(&Figures) -> f64| median(rows[host][row].iter().map(what));
            let spin = hosts.iter().position(|host| matches!(host, Host::Spin(_)));
            let ratio = spin.map_or_else(String::new, |spin| {
                format!("{:.2}", of(at, |one| one.per_second) / of(spin, |one| one.per_second))
            });
            println!(
                "{name:<14} {connections:>5} {:>9.0} {:>8.1} {:>8.2} {:>8.2} {ratio:>9}",
                of(at, |one| one.per_second),
                of(at, |one| one.cpu_us),
                of(at, |one| one.p50_ms),
                of(at, |one| one.p99_ms),
            );
        }
    }
    Ok(())
}

async fn one_row(load: &Load<'_>, request: &[u8], connections: usize) -> Result<Figures, Failure> {
    load.repeat(request, connections, WARM_UP).await?;
    let meter = Meter::start(load.program)?;
    let measured = load.repeat(request, connections, load.length).await?;
    let cost = meter.stop(measured.count())?;
    Ok(Figures {
        per_second: cost.per_second(),
        cpu_us: cost.cpu_us(),
        p50_ms: measured.at_ms(0.5),
        p99_ms: measured.at_ms(0.99),
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Starts so many of each host, asks each for one answer, and shows what they hold together.
async fn idle(setting: &Setting, hosts: &[Host], count: usize) -> Result<(), Failure> {
    for host in hosts {
        drop(setting.start(host).await?);
        let mut programs = Vec::new();
        for _ in 0..count {
            programs.push(setting.start(host).await?.0);
        }
        let each = programs.iter().map(Program::rss_mib).collect::<Result<Vec<_>, _>>()?;
        println!("{}: {count} idle hold {:.0} MB (sum of RSS)", host.name(), each.iter().sum::<f64>());
    }
    Ok(())
}

impl Setting {
    /// Starts a host and waits for its first 200; also gives how long that took. With `RUST_BACKTRACE` a Spin would look
    /// for its stack at every error that it passes over.
    async fn start(&self, host: &Host) -> Result<(Program, std::net::SocketAddr, Duration), Failure> {
        match host {
            Host::Own(profile, _) => self.start_own(profile).await,
            Host::Spin(path) => self.start_spin(path).await,
        }
    }

    async fn start_own(&self, profile: &str) -> Result<(Program, std::net::SocketAddr, Duration), Failure> {
        let begun = Instant::now();
        let program = Program::start(
            Command::new(env!("CARGO_BIN_EXE_spin-host"))
                .env("RUST_LOG", "warn")
                .env_remove("RUST_BACKTRACE")
                .arg("--from")
                .arg(&self.app)
                .args(["--listen", "127.0.0.1:0", "--engine-profile", profile, "--cache-dir"])
                .arg(self.cache.path())
                .args(["--variable", &self.dapr_url]),
        )
        .map_err(|error| format!("{error}; is it built? cargo lab build --stack spin-rust"))?;
        let address = program.address("http")?;
        Connection::open(address).await?.exchange(&get("/healthz")).await?;
        Ok((program, address, begun.elapsed()))
    }

    /// Spin says where it serves for people only, so it is given a port that was free a moment ago.
    async fn start_spin(&self, path: &Path) -> Result<(Program, std::net::SocketAddr, Duration), Failure> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let begun = Instant::now();
        let mut program = Program::start_unread(
            Command::new(path)
                .env("HOME", self.cache.path())
                .env("XDG_CACHE_HOME", self.cache.path())
                .env("RUST_LOG", "warn")
                .env_remove("RUST_BACKTRACE")
                .arg("up")
                .arg("--from")
                .arg(&self.app)
                .arg("--state-dir")
                .arg(self.cache.path().join("state"))
                .args(["--quiet", "--listen", &address.to_string(), "--variable", &self.dapr_url]),
        )?;
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && connection.exchange(&get("/healthz")).await.is_ok()
            {
                break;
            }
            if program.ended()?.is_some() || begun.elapsed() > START {
                return Err(format!("{} does not serve {}", path.display(), self.app.display()).into());
            }
            sleep(POLL).await;
        }
        let elapsed = begun.elapsed();
        program.measure_child()?;
        Ok((program, address, elapsed))
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

fn post(path: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{ORDER}",
        ORDER.len()
    )
    .into_bytes()
}

/// Answers every request with 204, as Dapr does for a binding without an answer.
async fn dapr_stand_in() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"listen":{{"http":"{}"}}}}"#, listener.local_addr()?);
    answer_all(listener, "HTTP/1.1 204 No Content\r\n\r\n", Arc::default()).await
}
