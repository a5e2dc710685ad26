//! What every program of the lab does alike: log to stderr, say on stdout where it listens, stop when told.
//!
//! It must not know any protocol, any flag, or which program it is part of.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

/// Sends log lines to stderr: text for a person, JSON with `LOG_FORMAT=json`; the filter is `RUST_LOG`, else `info`.
pub fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if std::env::var("LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// Prints the one line that says that this program answers, and where:
/// `{"program":"blob-emulator","version":"0.1.0","listen":{"http":"127.0.0.1:40123"}}`.
///
/// Call it only when a request to these addresses would be served.
///
/// # Errors
/// Fails when stdout is closed.
pub fn announce(program: &str, version: &str, listen: &[(&str, SocketAddr)]) -> std::io::Result<()> {
    let listen: serde_json::Map<_, _> =
        listen.iter().map(|(name, address)| ((*name).to_owned(), address.to_string().into())).collect();
    let line = serde_json::json!({ "program": program, "version": version, "listen": listen });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Returns a token that is cancelled by the first SIGTERM or SIGINT and, with `stop_on_stdin_eof`, when stdin
/// ends. The last is how a supervisor that was killed takes its children with it: they hold a pipe from it as stdin.
///
/// # Errors
/// Fails when the signal handlers cannot be installed.
pub fn shutdown_token(stop_on_stdin_eof: bool) -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        let cause = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(cause, "stopping");
        cancelled.cancel();
    });
    if stop_on_stdin_eof {
        let cancelled = token.clone();
        // A thread of its own: a blocking read on the runtime would hold up its end.
        std::thread::Builder::new().name("stdin-eof".to_owned()).spawn(move || {
            let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            tracing::info!(cause = "end of stdin", error = ?ended.err(), "stopping");
            cancelled.cancel();
        })?;
    }
    Ok(token)
}
