//! `lab supervise`: the process that `lab up` starts and that is parent of a lab. Not for people.

use std::path::PathBuf;

use clap::Args;

use super::error::CliError;
use crate::backend::{SuperviseOptions, supervise};
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Be the parent of a lab.
#[derive(Debug, Clone, Args)]
pub(super) struct SuperviseArgs {
    /// The workspace.
    #[arg(long, value_name = "FOLDER")]
    root: PathBuf,
    /// The lab, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_spec)]
    spec: LabSpec,
    /// End when stdin does.
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

fn parse_spec(json: &str) -> Result<LabSpec, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

pub(super) async fn run(args: SuperviseArgs) -> Result<Exit, CliError> {
    program::init_logging();
    let SuperviseArgs { root, spec, stop_on_stdin_eof } = args;
    supervise(SuperviseOptions { workspace: Workspace::at(root), spec, stop_on_stdin_eof }).await?;
    Ok(Exit::Ok)
}
