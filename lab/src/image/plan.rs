//! Which images a lab needs: plain data, before anything is built.

use std::collections::BTreeSet;
use std::fmt;

use super::image_of::Image;
use super::{ImageError, recipe, spin};
use crate::build::{Arch, Artefact, Program};
use crate::paths::Workspace;
use crate::spec::{BlobStore, LabSpec, Packaging, Role, Stack};

/// How a Spin application is put into an image. The containerd shim runs both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpinImage {
    /// As `spin registry push` does: an OCI artefact, which the shim compiles once for each node.
    #[default]
    Artefact,
    /// As files from scratch, which every containerd can pull, and which the shim compiles at each start.
    Scratch,
}

/// What an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The Spin application in Rust, as an OCI artefact.
    SpinRust,
    /// The same from scratch.
    SpinRustScratch,
    /// The Spin application in TypeScript, as an OCI artefact.
    SpinTs,
    /// The same from scratch.
    SpinTsScratch,
    /// The native application in Rust with the C library that it was built on.
    WarpRust,
    /// The same as one static file from scratch.
    WarpRustStatic,
    /// The native application in TypeScript with Node.
    ExpressTs,
    /// The broker, from scratch.
    ServicebusEmulator,
    /// The fast blob store, from scratch.
    BlobEmulator,
    /// The reference blob store with Node.
    Azurite,
    /// Our Dapr, from scratch: for containers without a cluster.
    DaprEmulator,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 11] = [
        Self::SpinRust,
        Self::SpinRustScratch,
        Self::SpinTs,
        Self::SpinTsScratch,
        Self::WarpRust,
        Self::WarpRustStatic,
        Self::ExpressTs,
        Self::ServicebusEmulator,
        Self::BlobEmulator,
        Self::Azurite,
        Self::DaprEmulator,
    ];

    /// What a stack's application is deployed as.
    pub const fn of_app(stack: Stack, packaging: Packaging, spin: SpinImage) -> Self {
        match (stack, packaging, spin) {
            (Stack::SpinRust, _, SpinImage::Artefact) => Self::SpinRust,
            (Stack::SpinRust, _, SpinImage::Scratch) => Self::SpinRustScratch,
            (Stack::SpinTs, _, SpinImage::Artefact) => Self::SpinTs,
            (Stack::SpinTs, _, SpinImage::Scratch) => Self::SpinTsScratch,
            (Stack::WarpRust, Packaging::Full, _) => Self::WarpRust,
            (Stack::WarpRust, Packaging::Static, _) => Self::WarpRustStatic,
            (Stack::ExpressTs, ..) => Self::ExpressTs,
        }
    }

    /// What stores the blobs.
    pub const fn of_blob(store: BlobStore) -> Self {
        match store {
            BlobStore::Azurite => Self::Azurite,
            BlobStore::Native => Self::BlobEmulator,
        }
    }

    /// Its name in a registry and of its folder in `dist/images/`.
    pub const fn repository(self) -> &'static str {
        match self {
            Self::SpinRust => "spin-lab/spin-rust",
            Self::SpinRustScratch => "spin-lab/spin-rust-scratch",
            Self::SpinTs => "spin-lab/spin-ts",
            Self::SpinTsScratch => "spin-lab/spin-ts-scratch",
            Self::WarpRust => "spin-lab/warp-rust",
            Self::WarpRustStatic => "spin-lab/warp-rust-static",
            Self::ExpressTs => "spin-lab/express-ts",
            Self::ServicebusEmulator => "spin-lab/servicebus-emulator",
            Self::BlobEmulator => "spin-lab/blob-emulator",
            Self::Azurite => "spin-lab/azurite",
            Self::DaprEmulator => "spin-lab/dapr-emulator",
        }
    }

    /// The ports on which it serves in its container, the one for its clients first.
    pub const fn ports(self) -> &'static [u16] {
        match self {
            // The shim's own default, which SpinKube's Service takes for granted.
            Self::SpinRust | Self::SpinRustScratch | Self::SpinTs | Self::SpinTsScratch => &[80],
            Self::WarpRust | Self::WarpRustStatic | Self::ExpressTs => &[3000],
            Self::ServicebusEmulator => &[5672, 5300],
            Self::BlobEmulator | Self::Azurite => &[10000],
            Self::DaprEmulator => &[3500],
        }
    }

    /// Whether it is a Wasm application, which only a node with the shim runs.
    pub const fn is_wasm(self) -> bool {
        matches!(self, Self::SpinRust | Self::SpinRustScratch | Self::SpinTs | Self::SpinTsScratch)
    }

    /// The program that the image holds as one static file.
    pub(super) const fn static_program(self) -> Option<Program> {
        match self {
            Self::WarpRustStatic => Some(Program::WarpRust),
            Self::ServicebusEmulator => Some(Program::ServicebusEmulator),
            Self::BlobEmulator => Some(Program::BlobEmulator),
            Self::DaprEmulator => Some(Program::DaprEmulator),
            _ => None,
        }
    }

    /// What has to be built before the image can be made.
    pub fn artefacts(self, arches: &[Arch]) -> Vec<Artefact> {
        if let Some(program) = self.static_program() {
            return arches.iter().map(|arch| Artefact::Static(program, *arch)).collect();
        }
        match self {
            Self::SpinRust => vec![Artefact::SpinHost, Artefact::SpinRust],
            Self::SpinRustScratch => vec![Artefact::SpinRust],
            Self::SpinTs => vec![Artefact::SpinHost, Artefact::SpinTs],
            Self::SpinTsScratch => vec![Artefact::SpinTs],
            Self::WarpRust => vec![Artefact::WarpRust],
            Self::ExpressTs => vec![Artefact::ExpressTs],
            _ => vec![Artefact::Azurite],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.repository().trim_start_matches("spin-lab/"))
    }
}

/// The images of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What they hold.
    pub parts: BTreeSet<Part>,
    /// The architectures that they are for. What is Wasm is for every one.
    pub arches: Vec<Arch>,
}

impl Plan {
    /// The applications of every role, the broker and the blob store; Dapr comes from its own registry.
    pub fn of(spec: &LabSpec, spin: SpinImage, arches: &[Arch]) -> Self {
        let apps = Role::ALL.iter().map(|role| Part::of_app(spec.stacks.of(*role), spec.packaging, spin));
        let emulators = [Part::ServicebusEmulator, Part::of_blob(spec.blob)];
        Self { parts: apps.chain(emulators).collect(), arches: arches.to_vec() }
    }

    /// Every image that there is.
    pub fn all(arches: &[Arch]) -> Self {
        Self { parts: Part::ALL.into(), arches: arches.to_vec() }
    }

    /// What has to be built first.
    pub fn artefacts(&self) -> BTreeSet<Artefact> {
        self.parts.iter().flat_map(|part| part.artefacts(&self.arches)).collect()
    }

    /// Makes the images of what is in `dist/`, in the order of the parts.
    ///
    /// # Errors
    /// Names the file that is missing, or the image that this machine cannot make.
    pub fn assemble(&self, workspace: &Workspace) -> Result<Vec<Image>, ImageError> {
        self.parts.iter().map(|part| assemble(*part, workspace, &self.arches)).collect()
    }
}

fn assemble(part: Part, workspace: &Workspace, arches: &[Arch]) -> Result<Image, ImageError> {
    match part {
        Part::SpinRust | Part::SpinTs => spin::artefact(part, workspace),
        Part::SpinRustScratch | Part::SpinTsScratch => spin::scratch(part, workspace, arches),
        _ => recipe::assemble(part, workspace, arches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Stacks;

    #[test]
    fn a_lab_needs_its_applications_its_broker_and_its_blob_store() {
        let spec = LabSpec {
            stacks: "distributor=spin-rust,receiver-express=warp-rust,receiver-standard=warp-rust"
                .parse()
                .expect("stacks"),
            packaging: Packaging::Static,
            blob: BlobStore::Native,
            ..LabSpec::default()
        };
        let plan = Plan::of(&spec, SpinImage::Scratch, &[Arch::Amd64, Arch::Arm64]);
        let expected =
            [Part::SpinRustScratch, Part::WarpRustStatic, Part::ServicebusEmulator, Part::BlobEmulator];
        assert_eq!(plan.parts, expected.into());
        let artefacts = plan.artefacts();
        assert!(artefacts.contains(&Artefact::Static(Program::BlobEmulator, Arch::Arm64)), "{artefacts:?}");
        assert!(!artefacts.contains(&Artefact::SpinHost), "who writes no artefact pays for no wasmtime");
        assert_eq!(artefacts.iter().filter(|artefact| **artefact == Artefact::SpinRust).count(), 1);
    }

    #[test]
    fn a_native_lab_has_no_wasm_image_and_a_spin_lab_no_native_application() {
        for stack in Stack::ALL {
            let spec = LabSpec { stacks: Stacks::all(*stack), ..LabSpec::default() };
            let plan = Plan::of(&spec, SpinImage::Artefact, &[Arch::HOST]);
            let wasm = matches!(stack, Stack::SpinRust | Stack::SpinTs);
            assert_eq!(plan.parts.iter().any(|part| part.is_wasm()), wasm, "{stack}");
            assert_eq!(plan.parts.len(), 3, "{stack}: {:?}", plan.parts);
        }
    }

    #[test]
    fn every_image_has_a_repository_of_its_own() {
        let names: BTreeSet<_> = Part::ALL.iter().map(|part| part.repository()).collect();
        assert_eq!(names.len(), Part::ALL.len());
    }
}
