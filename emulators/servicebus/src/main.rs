//! The program `servicebus-emulator`: flags in, [`servicebus_emulator::serve`], exit code out.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use servicebus_emulator::config::NamespaceConfig;
use servicebus_emulator::limits::{MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES_MAX};
use servicebus_emulator::{Listeners, Options, serve};
use tokio::net::TcpListener;

/// Azure Service Bus queues and topics over AMQP 1.0, for development and tests.
///
/// Takes the official emulator's place: the same Config.json, the same connection strings
/// (Endpoint=sb://localhost;SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;).
/// When it answers, it prints one JSON line with its addresses. It ends with 0 on SIGTERM or SIGINT, with 2 when a flag
/// or the config file is wrong, with 1 when anything else fails.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Address for AMQP; port 0 means any free one.
    #[arg(long, default_value = "127.0.0.1:5672", value_name = "ADDR")]
    listen: SocketAddr,

    /// Address for HTTP (health, clock, recorder, queues); port 0 means any free one. Without it, port
    /// EMULATOR_HTTP_PORT of 127.0.0.1, else 5300.
    #[arg(long, value_name = "ADDR")]
    http_listen: Option<SocketAddr>,

    /// The official emulator's name for the HTTP port.
    #[arg(long, env = "EMULATOR_HTTP_PORT", hide = true)]
    emulator_http_port: Option<u16>,

    /// Entities, in the format of the official emulator's Config.json. Without it there are queue.1 and topic.1
    /// with four subscriptions, as the official emulator ships them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the config file, say what is in it, and end: 0 when it can be used, 2 when not.
    #[arg(long, requires = "config")]
    check_config: bool,

    /// Record messages from the start, under this top-level JSON field of their bodies.
    #[arg(long, value_name = "FIELD")]
    record_key: Option<String>,

    /// The largest message that is accepted, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_MESSAGE_BYTES, value_parser = message_bytes)]
    max_message_bytes: usize,

    /// Threads that serve connections. One is the cheapest for a message; more help many busy connections.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    worker_threads: u16,

    /// End when stdin ends: for a supervisor that holds the other end.
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

fn message_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "not a number of bytes".to_owned())?;
    if (1..=MAX_MESSAGE_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("not between 1 and {MAX_MESSAGE_BYTES_MAX}"))
}

/// Exit code for a wrong flag or config file, as clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    program::init_logging();
    let namespace =
        match flags.config.as_deref().map_or_else(|| Ok(NamespaceConfig::default()), NamespaceConfig::load) {
            Ok(namespace) => namespace,
            Err(error) => {
                eprintln!("error: {:#}", anyhow::Error::new(error));
                return ExitCode::from(USAGE);
            }
        };
    if flags.check_config {
        println!("{} queues and {} topics can be served", namespace.queues.len(), namespace.topics.len());
        return ExitCode::SUCCESS;
    }
    match run(flags, namespace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags, namespace: NamespaceConfig) -> anyhow::Result<()> {
    for name in ["ACCEPT_EULA", "SQL_WAIT_INTERVAL", "SQL_SERVER", "MSSQL_SA_PASSWORD"] {
        if std::env::var_os(name).is_some() {
            tracing::debug!(name, "this variable of the official emulator is not needed here");
        }
    }
    let mut runtime = match flags.worker_threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(flags.worker_threads.into()).enable_all().build()?;
    runtime.block_on(async {
        const DEFAULT_HTTP_PORT: u16 = 5300;
        let port = flags.emulator_http_port.unwrap_or(DEFAULT_HTTP_PORT);
        let http_listen = flags.http_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
        let listeners =
            Listeners { amqp: bind(flags.listen, "--listen").await?, http: bind(http_listen, "--http-listen").await? };
        let addresses = [("amqp", listeners.amqp.local_addr()?), ("http", listeners.http.local_addr()?)];
        let shutdown = program::shutdown_token(flags.stop_on_stdin_eof)?;
        let (queues, topics) = (namespace.queues.len(), namespace.topics.len());
        let options =
            Options { namespace, max_message_bytes: flags.max_message_bytes, record_key: flags.record_key };
        // Bound sockets take connections from now on, so both lines are true.
        tracing::info!(amqp = %addresses[0].1, http = %addresses[1].1, queues, topics, "Emulator Service is Successfully Up!");
        program::announce("servicebus-emulator", env!("CARGO_PKG_VERSION"), &addresses)?;
        serve(listeners, options, shutdown).await;
        Ok(())
    })
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; choose another address with {flag} (port 0 takes any free one)")
    })
}
