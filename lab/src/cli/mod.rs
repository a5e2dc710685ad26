//! One file a command: arguments, the call into the library, words for people. No logic that a test would want to reach.
//!
//! Results go to stdout, as text or as JSON; progress and errors go to stderr.

pub mod bench;
mod build;
mod compare;
mod doctor;
mod down;
mod error;
mod logs;
mod matrix;
mod orders;
mod progress;
mod scale;
mod service;
mod shape;
mod status;
mod supervise;
mod up;
mod versions;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::error::CliError;
use crate::backend::{LabError, running_labs};
use crate::build::Artefact;
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::report::Gate;

/// A local lab that sends orders through Service Bus, Dapr and WebAssembly or native services into blobs, and measures it.
#[derive(Debug, Parser)]
#[command(name = "lab", version, arg_required_else_help = true)]
struct Cli {
    /// How results are written to stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "LAB_FORMAT")]
    format: Format,
    /// No progress on stderr.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs; the schemas are in lab/schemas.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::BuildArgs),
    Up(up::UpArgs),
    Down(down::DownArgs),
    Status(status::StatusArgs),
    Scale(scale::ScaleArgs),
    Logs(logs::LogsArgs),
    Orders(orders::OrdersArgs),
    Bench(bench::BenchArgs),
    Compare(compare::CompareArgs),
    Doctor(doctor::DoctorArgs),
    Versions(versions::VersionsArgs),
    Service(service::ServiceArgs),
    #[command(hide = true)]
    Supervise(supervise::SuperviseArgs),
}

/// Parses the command line, carries it out and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match run(cli) {
        Ok(exit) => exit,
        // Who reads no further, as `head` does, has what was wanted.
        Err(CliError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(error) => {
            error.print();
            error.exit()
        }
    };
    exit.into()
}

fn run(cli: Cli) -> Result<Exit, CliError> {
    // A relay passes bytes on and waits; a second thread would only cost wake-ups.
    let mut runtime = match cli.command {
        Command::Service(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(CliError::Runtime)?;
    let outcome = runtime.block_on(dispatch(cli));
    // A blocking read that is still waiting must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(cli: Cli) -> Result<Exit, CliError> {
    let output = Output { format: cli.format, quiet: cli.quiet };
    match cli.command {
        Command::Build(args) => build::run(&args, output),
        Command::Up(args) => up::run(&args, output).await,
        Command::Down(args) => down::run(&args, output).await,
        Command::Status(args) => status::run(&args, output).await,
        Command::Scale(args) => scale::run(&args, output).await,
        Command::Logs(args) => logs::run(&args).await,
        Command::Orders(args) => run_orders(&args, output).await,
        Command::Bench(args) => run_bench(&args, output).await,
        Command::Compare(args) => compare::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output).await,
        Command::Versions(args) => versions::run(&args, output),
        Command::Service(args) => service::run(args).await,
        Command::Supervise(args) => supervise::run(args).await,
    }
}

async fn run_orders(args: &orders::OrdersArgs, output: Output) -> Result<Exit, CliError> {
    let orders::OrdersCommand::Generate(args) = &args.command;
    let generated = orders::generate(args).await?;
    output.result(&generated.manifest, || generated.text());
    Ok(Exit::Ok)
}

async fn run_bench(args: &bench::BenchArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    if args.matrix.is_none() {
        args.spec().validate().map_err(LabError::from)?;
    }
    args.profile()?;
    let gate = args.gate.as_deref().map(Gate::read).transpose().map_err(bench::BenchError::from)?;
    let mut args = args.clone();
    if !running_labs(&workspace).contains(&args.lab) {
        // Once for all labs of this command, and before anything is built.
        args.cluster.agree(&args.spec())?;
        args.cluster.yes = true;
    }
    let args = &args;
    if let Some(axes) = &args.matrix {
        build::ensure(&workspace, &matrix::artefacts(args, axes)?, output)?;
        let display = Arc::new(progress::Display::new(output.quiet));
        let Some(outcome) =
            matrix::run(args, axes, gate.as_ref(), &display, &mut Interrupts::watch()).await?
        else {
            return Ok(Exit::Interrupted);
        };
        output.result(&outcome.report, || outcome.text());
        return Ok(outcome.exit());
    }
    build::ensure(&workspace, &Artefact::of(&args.spec()), output)?;
    let display = Arc::new(progress::Display::new(output.quiet));
    let mut interrupts = Interrupts::watch();
    let Some(outcome) = bench::bench(args, gate.as_ref(), display, &mut interrupts).await? else {
        return Ok(Exit::Interrupted);
    };
    output.result(&outcome.report, || outcome.text());
    Ok(outcome.exit())
}

/// Ctrl-C and SIGTERM, from when this is made. Where the system lets nobody wait for them, they end the process as they
/// always do.
struct Interrupts(Option<(Signal, Signal)>);

impl Interrupts {
    fn watch() -> Self {
        let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        Self(match signals {
            (Ok(interrupt), Ok(terminate)) => Some((interrupt, terminate)),
            _ => None,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) {
        let Some((interrupt, terminate)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
}

/// Writes to stdout, all of it. Unlike `print!` it survives that nobody reads any more.
fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
struct Output {
    format: Format,
    quiet: bool,
}

impl Output {
    /// The one result of a command. Whether somebody reads it changes nothing of how the command ends.
    fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let written = match self.format {
            Format::Text => write_out(&text()),
            Format::Json => match serde_json::to_string_pretty(value) {
                Ok(json) => write_out(&format!("{json}\n")),
                Err(error) => Err(error.into()),
            },
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.note(&format!("the result could not be written: {error}"));
            }
            _ => {}
        }
    }

    /// A line about what goes on.
    #[expect(clippy::print_stderr, reason = "the command line is what prints")]
    fn note(self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
