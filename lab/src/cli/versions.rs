//! `lab versions`: of what a lab on a cluster is made, and whether the built Wasm applications fit it.

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::LabError;
use crate::build::Artefact;
use crate::cluster::ClusterError;
use crate::cluster::versions::Versions;
use crate::cluster::wasm::Guest;
use crate::exit::Exit;
use crate::paths::Workspace;

/// Show the versions of what a lab on a cluster is made of: k3d/versions.toml.
#[derive(Debug, Clone, Args)]
pub(super) struct VersionsArgs {}

/// One built Wasm application.
#[derive(Debug, Serialize)]
struct BuiltGuest {
    /// Its file in `dist/`.
    file: String,
    /// The Rust SDK that it was written with, if it tells one.
    sdk: Option<String>,
    /// Why the published node of k3d cannot run it; nothing if it can.
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// The version of this program.
    lab: String,
    /// What `k3d/versions.toml` has.
    #[serde(flatten)]
    versions: Versions,
    /// The Wasm applications that are built.
    guests: Vec<BuiltGuest>,
}

pub(super) fn run(_: &VersionsArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    let versions = Versions::read(&workspace).map_err(|error| LabError::from(ClusterError::from(error)))?;
    let guests = guests(&workspace, &versions);
    let shown = Shown { lab: env!("CARGO_PKG_VERSION").to_owned(), versions, guests };
    output.result(&shown, || text(&shown));
    Ok(Exit::Ok)
}

/// What is known of the Wasm applications that are built; one that is not, or is no Wasm, is not shown.
fn guests(workspace: &Workspace, versions: &Versions) -> Vec<BuiltGuest> {
    let node = versions.nodes.get("k3d").map(|images| &images.published);
    let shown = |artefact: Artefact| {
        let guest = Guest::read(&std::fs::read(workspace.artefact(artefact.name())).ok()?).ok()?;
        let checked = node.map(|node| guest.check(artefact.name(), &versions.sdks, node));
        let refused = checked.and_then(Result::err).map(|error| error.to_string());
        Some(BuiltGuest { file: artefact.name().to_owned(), sdk: guest.sdk, refused })
    };
    [Artefact::SpinRust, Artefact::SpinTs].into_iter().filter_map(shown).collect()
}

fn text(shown: &Shown) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(["lab", &shown.lab, ""]);
    for row in shown.versions.rows() {
        table.add_row(row);
    }
    for guest in &shown.guests {
        let sdk = guest.sdk.as_ref().map_or("built".to_owned(), |sdk| format!("spin-sdk {sdk}"));
        let fits = guest.refused.as_deref().unwrap_or("runs on the published node of k3d");
        table.add_row([&guest.file, &sdk, fits]);
    }
    format!("{}\n", table.trim_fmt())
}
