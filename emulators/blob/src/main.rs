//! The program `blob-emulator`: flags in, addresses out. What it serves is in the library.

mod options;

use std::process::ExitCode;

use anyhow::Context as _;
use blob_emulator::{BlobStore, Config};
use clap::Parser as _;

use options::Args;

/// Exit code for a wrong flag or account list, as clap's own.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    program::init_logging();
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match run(&args, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(async {
        let shutdown =
            program::shutdown_token(args.stop_on_stdin_eof).context("failed to watch for signals")?;
        let wanted = args.address();
        let listener = blob_emulator::listen(wanted)
            .with_context(|| format!("failed to listen on {wanted}; choose another with --listen"))?;
        let address = listener.local_addr().context("failed to read the listening address")?;
        let store = BlobStore::open(config).context("failed to open the data directory")?;
        // The socket is open: a connection made from now on waits in the backlog and is answered.
        program::announce("blob-emulator", env!("CARGO_PKG_VERSION"), &[("http", address)])
            .context("failed to announce the address")?;
        Ok(blob_emulator::serve(listener, store, shutdown).await?)
    })
}
