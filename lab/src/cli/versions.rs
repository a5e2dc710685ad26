//! `lab versions`: of what a lab on a cluster is made, and whether the built Wasm applications fit it.

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::LabError;
use crate::cluster::ClusterError;
use crate::cluster::versions::Versions;
use crate::exit::Exit;
use crate::paths::Workspace;

/// Show the versions of what a lab on a cluster is made of: k3d/versions.toml.
#[derive(Debug, Clone, Args)]
pub(super) struct VersionsArgs {}

#[derive(Debug, Serialize)]
struct Shown {
    /// The version of this program.
    lab: String,
    /// What `k3d/versions.toml` has.
    #[serde(flatten)]
    versions: Versions,
}

pub(super) fn run(_: &VersionsArgs, output: Output) -> Result<Exit, CliError> {
    let versions =
        Versions::read(&Workspace::find()?).map_err(|error| LabError::from(ClusterError::from(error)))?;
    let shown = Shown { lab: env!("CARGO_PKG_VERSION").to_owned(), versions };
    output.result(&shown, || text(&shown));
    Ok(Exit::Ok)
}

fn text(shown: &Shown) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(["lab", &shown.lab, ""]);
    for row in shown.versions.rows() {
        table.add_row(row);
    }
    format!("{}\n", table.trim_fmt())
}
