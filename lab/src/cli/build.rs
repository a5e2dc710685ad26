//! `lab build`: what a lab needs, into `dist/`; and as images, into `dist/images/`.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::build::{self, Arch, Artefact, Step};
use crate::exit::Exit;
use crate::image::{self, Image, Part, Plan, SpinImage};
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
    /// Also as OCI images, each a layout in a folder of dist/images/.
    #[arg(long)]
    images: bool,
    /// The architectures of the images that hold static programs, amd64, arm64 or both; this machine's without it. Images
    /// with libraries of this machine are for this machine, those of Spin applications for every one.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "images", default_value = Arch::HOST.as_str())]
    #[arg(hide_default_value = true)]
    arch: Vec<Arch>,
}

/// What is in `dist/` now.
#[derive(Debug, Serialize)]
struct Built {
    dist: std::path::PathBuf,
    artefacts: Vec<BuiltArtefact>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<BuiltImage>,
}

#[derive(Debug, Serialize)]
struct BuiltImage {
    /// Its name in a registry, and in `dist/images/`.
    repository: &'static str,
    digest: String,
    /// The architectures; none for what is Wasm.
    arches: Vec<&'static str>,
    /// What a node keeps of it, layers as they are stored.
    bytes: u64,
}

impl From<&Image> for BuiltImage {
    fn from(image: &Image) -> Self {
        let arches = image.platforms.iter().filter_map(|platform| platform.arch);
        Self {
            repository: image.repository,
            digest: image.digest().to_string(),
            arches: arches.map(Arch::as_str).collect(),
            bytes: image.bytes(),
        }
    }
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
        for BuiltImage { repository, digest, arches, bytes } in &self.images {
            let (size, arches) = (format!("{:.1} MB", *bytes as f64 / 1e6), arches.join(","));
            text.push_str(format!("  {repository:<30} {size:>9}  {digest}  {arches}").trim_end());
            text.push('\n');
        }
        text
    }
}

pub(super) fn run(args: &BuildArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    let plan = args.images.then(|| args.plan());
    let mut wanted = args.wanted();
    wanted.extend(plan.iter().flat_map(Plan::artefacts));
    ensure(&workspace, &wanted, output)?;
    let images = match plan {
        Some(plan) => write(&plan, &workspace)?,
        None => Vec::new(),
    };
    let size = |artefact: &Artefact| {
        let file = std::fs::metadata(workspace.artefact(artefact.name()));
        BuiltArtefact { name: artefact.name(), bytes: file.ok().map(|file| file.len()) }
    };
    let built = Built { dist: workspace.dist(), artefacts: wanted.iter().map(size).collect(), images };
    output.result(&built, || built.text());
    Ok(Exit::Ok)
}

fn write(plan: &Plan, workspace: &Workspace) -> Result<Vec<BuiltImage>, CliError> {
    let mut written = Vec::new();
    for image in plan.assemble(workspace)? {
        image::layout::write(&image, &workspace.images().join(image.repository))?;
        written.push(BuiltImage::from(&image));
    }
    Ok(written)
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
    /// Spin applications both ways: which one a cluster takes is its matter.
    fn plan(&self) -> Plan {
        if self.all {
            return Plan::all(&self.arch);
        }
        let stacks = Role::ALL.iter().map(|role| self.stack.of(*role));
        let apps = stacks.flat_map(|stack| {
            [SpinImage::Artefact, SpinImage::Scratch].map(|spin| Part::of_app(stack, self.packaging, spin))
        });
        let stores = match self.blob {
            Some(store) => vec![store],
            None => BlobStore::ALL.to_vec(),
        };
        let stores = stores.into_iter().map(Part::of_blob);
        let parts = apps.chain(stores).chain([Part::ServicebusEmulator]).collect();
        Plan { parts, arches: self.arch.clone() }
    }

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
