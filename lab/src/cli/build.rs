//! `lab build`: what a lab needs, into `dist/`.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::build::{self, Artefact, Step};
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::spec::{BlobStore, Packaging, Role, Stacks};

/// Build what a lab needs, in release, into dist/. What has not changed is left alone.
#[derive(Debug, Clone, Args)]
pub(super) struct BuildArgs {
    /// The stack, one for all roles or one for each.
    #[arg(long, value_name = "STACK", env = "LAB_STACK", default_value = "spin-rust")]
    stack: Stacks,
    /// How warp-rust is packaged: full, or static, which is one stripped file that needs nothing of the system.
    #[arg(long, value_name = "PACKAGING", default_value = "full")]
    packaging: Packaging,
    /// The blob store; both without it.
    #[arg(long, value_name = "STORE", env = "LAB_BLOB")]
    blob: Option<BlobStore>,
    /// Everything: every stack, every store, every packaging.
    #[arg(long)]
    all: bool,
}

/// What is in `dist/` now.
#[derive(Debug, Serialize)]
struct Built {
    dist: std::path::PathBuf,
    artefacts: Vec<BuiltArtefact>,
}

#[derive(Debug, Serialize)]
struct BuiltArtefact {
    name: &'static str,
    /// Of Azurite, which is many files, nothing.
    bytes: Option<u64>,
}

impl Built {
    fn text(&self) -> String {
        let mut text = format!("{}:\n", self.dist.display());
        for BuiltArtefact { name, bytes } in &self.artefacts {
            let size = bytes.map_or_else(String::new, |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
            text.push_str(format!("  {name:<20} {size:>9}").trim_end());
            text.push('\n');
        }
        text
    }
}

pub(super) fn run(args: &BuildArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    let wanted = args.wanted();
    ensure(&workspace, &wanted, output)?;
    let size = |artefact: &Artefact| {
        let file = std::fs::metadata(workspace.artefact(artefact.name()));
        BuiltArtefact { name: artefact.name(), bytes: file.ok().map(|file| file.len()) }
    };
    let built = Built { dist: workspace.dist(), artefacts: wanted.iter().map(size).collect() };
    output.result(&built, || built.text());
    Ok(Exit::Ok)
}

/// Builds what is missing, and tells each step and its time.
pub(super) fn ensure(
    workspace: &Workspace,
    wanted: &BTreeSet<Artefact>,
    output: Output,
) -> Result<(), CliError> {
    build::build(workspace, wanted, |step| match step {
        Step::Waiting => output.note("waiting for another build"),
        Step::Fresh(_) => {}
        Step::Started { command, .. } => output.note(&format!("building: {command}")),
        Step::Done { what, took } => output.note(&format!("built {what} in {:.1} s", took.as_secs_f64())),
    })?;
    Ok(())
}

impl BuildArgs {
    fn wanted(&self) -> BTreeSet<Artefact> {
        if self.all {
            return Artefact::ALL.into();
        }
        let stacks = Role::ALL.iter().map(|role| self.stack.of(*role));
        let mut wanted = Artefact::of_parts(stacks, self.packaging, self.blob);
        if self.blob.is_none() {
            wanted.extend([Artefact::Azurite, Artefact::BlobEmulator]);
        }
        wanted
    }
}
