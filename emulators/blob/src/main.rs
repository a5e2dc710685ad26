//! The program `blob-emulator`: flags in, addresses out. What it serves is in the library.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use blob_emulator::Account;
use clap::Parser;

/// Azure Blob Storage in memory: containers and block blobs over plain HTTP, path style.
///
/// Prints one JSON line with its address on stdout when it answers; logs go to stderr (RUST_LOG, LOG_FORMAT=json).
/// SIGTERM and SIGINT end it with 0 after what is in flight is finished; a wrong flag or account list ends it with 2,
/// anything else that fails with 1. Nothing is kept.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on; port 0 means any free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10000")]
    listen: SocketAddr,

    /// Accounts instead of devstoreaccount1: name:key1[:key2];name:key1[:key2];… with keys in base64. Prefer the
    /// environment: arguments can be read by everybody on the machine.
    #[arg(long, value_name = "LIST", env = "AZURITE_ACCOUNTS", hide_env_values = true)]
    accounts: Option<String>,

    /// Most MiB that all blobs together may take.
    #[arg(long, value_name = "MIB", default_value_t = blob_emulator::limits::DEFAULT_MEMORY_LIMIT_MIB)]
    memory_limit_mib: u64,

    /// Stop when stdin ends, as a supervisor's death makes it end.
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

/// Exit code for a wrong flag or account list, as clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    program::init_logging();
    let accounts = match args.accounts.as_deref().map(blob_emulator::parse_accounts) {
        None => blob_emulator::default_accounts(),
        Some(Ok(accounts)) => accounts,
        Some(Err(error)) => {
            eprintln!("error: cannot use --accounts or AZURITE_ACCOUNTS: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match run(&args, accounts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, accounts: Vec<Account>) -> anyhow::Result<()> {
    let memory_limit_bytes = args.memory_limit_mib.saturating_mul(1 << 20);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let shutdown =
            program::shutdown_token(args.stop_on_stdin_eof).context("failed to watch for signals")?;
        let listener = blob_emulator::listen(args.listen)
            .with_context(|| format!("failed to listen on {}; choose another with --listen", args.listen))?;
        let address = listener.local_addr().context("failed to read the listening address")?;
        // The socket is open: a connection made from now on waits in the backlog and is answered.
        program::announce("blob-emulator", env!("CARGO_PKG_VERSION"), &[("http", address)])
            .context("failed to announce the address")?;
        blob_emulator::serve(listener, blob_emulator::Config { accounts, memory_limit_bytes }, shutdown)
            .await;
        Ok(())
    })
}
