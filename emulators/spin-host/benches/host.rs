//! Speed of the host as a program: `cargo bench -p spin-host`, after `cargo lab build --stack spin-rust`.
//!
//! Three processes share the machine: the load generator (this one), the release build of `spin-host` with the
//! spin-rust application, and a stand-in for Dapr that answers every request with 204. CPU time is that of `spin-host`
//! alone. Nothing is asserted: figures are for reading, with the machine's load in mind.
//!
//! Options after `--`: `--seconds N` for each row (default 4), `--app PATH` of a spin.toml, `--profile spin|tuned`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_support::{Connection, Durations, Failure, Load, Program, answer_all, option, print_machine_load};
use tokio::net::TcpListener;

const ORDER: &str = r#"{"orderId":17,"orderGuid":"7f9c24e5-2c1b-4b6a-9f43-0a8f5d0d7c11","description":"an order","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"sku-1","quantity":3},{"orderItemId":2,"sku":"sku-2","quantity":1},{"orderItemId":3,"sku":"sku-3","quantity":7}]}"#;

/// The argument with which this program is the stand-in for Dapr.
const STAND_IN: &str = "dapr-stand-in";

/// Starts that are measured.
const STARTS: usize = 9;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    if std::env::args().nth(1).as_deref() == Some(STAND_IN) {
        return dapr_stand_in().await;
    }
    let seconds = option("--seconds")?.unwrap_or(4);
    let app: PathBuf = option("--app")?
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/spin/rust/spin.toml"));
    let profiles = option("--profile")?.map_or(vec!["spin".to_owned(), "tuned".to_owned()], |one| vec![one]);
    let cache = tempfile::tempdir()?;
    let dapr = Program::start(Command::new(std::env::current_exe()?).arg(STAND_IN))?;
    let dapr_url = format!("dapr_url=http://{}", dapr.address("http")?);
    print_machine_load()?;
    for profile in profiles {
        let start = || {
            Program::start(
                Command::new(env!("CARGO_BIN_EXE_spin-host"))
                    .env("RUST_LOG", "warn")
                    .arg("--from")
                    .arg(&app)
                    .args(["--listen", "127.0.0.1:0", "--engine-profile", &profile, "--cache-dir"])
                    .arg(cache.path())
                    .args(["--variable", &dapr_url]),
            )
            .map_err(|error| format!("{error}; is it built? cargo lab build --stack spin-rust"))
        };
        // The first start compiles.
        drop(start()?);
        println!("\n--engine-profile {profile}");
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let begun = Instant::now();
            let host = start()?;
            Connection::open(host.address("http")?).await?.exchange(&get("/healthz")).await?;
            starts.push(begun.elapsed());
        }
        let median_ms = Durations::new(starts)?.at_ms(0.5);
        println!("exec to first 200, warm cache: median {median_ms:.1} ms ({STARTS} starts)");
        measure(&start()?, Duration::from_secs(seconds)).await?;
    }
    Ok(())
}

/// Memory before and after, and between them a row for each request and number of connections.
async fn measure(host: &Program, length: Duration) -> Result<(), Failure> {
    println!("idle RSS {:.1} MB", host.rss_mib()?);
    let load = Load { program: host, address: host.address("http")?, length, name_width: 22 };
    load.print_heading("request", "req/s");
    for (name, request) in
        [("GET /healthz", get("/healthz")), ("order call (1 POST)", post("/q-order-ingress"))]
    {
        for connections in [1, 8, 32] {
            load.measure(name, &request, connections).await?;
        }
    }
    println!("RSS after {:.1} MB", host.rss_mib()?);
    Ok(())
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
