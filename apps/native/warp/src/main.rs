//! The program `warp-rust`: arguments, a listening socket, an orderly end.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use hyper::Uri;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use warp::Filter;
use warp_rust::{app, dapr::Dapr};

/// Distributes and stores orders through Dapr: distributor and receivers in one program, by the route that Dapr calls.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on; port 0 means any free one, and the first line on stdout tells which
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Where Dapr's HTTP API is
    #[arg(long, env = "DAPR_URL", default_value = "http://localhost:3500", value_parser = dapr_url)]
    dapr_url: String,
    /// Stop when stdin ends, for a supervisor that holds the other end
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

/// An address to which a path can be added.
fn dapr_url(text: &str) -> Result<String, &'static str> {
    let uri = text.parse::<Uri>().ok();
    let has_host = uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
    if has_host { Ok(text.to_owned()) } else { Err("expected a URL such as http://localhost:3500") }
}

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    init_logging();
    let listener = listen(arguments.listen).with_context(|| {
        format!("failed to listen on {}; choose another address with --listen", arguments.listen)
    })?;
    let address = listener.local_addr().context("failed to read the listening address")?;
    let stop = stop_token(arguments.stop_on_stdin_eof).context("failed to install signal handlers")?;
    let routes = app::routes(Dapr::new(&arguments.dapr_url)).recover(app::refused);
    announce(address).context("failed to write to stdout")?;
    warp::serve(routes).incoming(listener).graceful(stop.cancelled_owned()).run().await;
    Ok(())
}

/// Log lines go to stderr, without what warp calls an error of the server: a client that broke its connection off, or one
/// that a stop cancelled before its first request. What became of an order is told by whoever sent it.
fn init_logging() {
    let filter =
        Targets::new().with_default(LevelFilter::INFO).with_target("warp::server::run", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Connections inherit the option from the listening socket: an answer is never held back for an acknowledgement.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn announce(address: SocketAddr) -> std::io::Result<()> {
    let line = serde_json::json!({
        "program": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "listen": { "http": address },
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// A token that is cancelled by SIGTERM, SIGINT and, if asked for, by the end of stdin.
fn stop_token(on_stdin_eof: bool) -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, token) = (signal(kind)?, token.clone());
        tokio::spawn(async move {
            signal.recv().await;
            token.cancel();
        });
    }
    if on_stdin_eof {
        let token = token.clone();
        // A thread of its own: a blocking read on the runtime would hold up its end.
        std::thread::Builder::new().name("stdin-eof".to_owned()).spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            token.cancel();
        })?;
    }
    Ok(token)
}
