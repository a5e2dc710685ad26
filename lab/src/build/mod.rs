//! The one build step: builds what is asked for and has changed, and puts it into `dist/`, where everything else finds
//! it. It knows which sources an artefact is made of; it does not know what a lab does with it.

mod arch;
mod cargo;
mod digest;
mod npm;
pub mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::backend::kubernetes;
use crate::paths::Workspace;
use crate::spec::{BlobStore, LabSpec, Packaging, Role, Stack};
use tools::ToolError;

pub use arch::Arch;

/// Something that a lab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artefact {
    /// The command itself, as supervisor and relay.
    Lab,
    /// The broker.
    ServicebusEmulator,
    /// Dapr.
    DaprEmulator,
    /// The fast blob store.
    BlobEmulator,
    /// The reference blob store, from npm.
    Azurite,
    /// The Spin host.
    SpinHost,
    /// The Spin application in Rust.
    SpinRust,
    /// The Spin application in TypeScript.
    SpinTs,
    /// The native application.
    WarpRust,
    /// The native application in TypeScript, as one file that Node runs.
    ExpressTs,
    /// A program as one static, stripped file that needs nothing of the system, for this or for another machine.
    Static(Program, Arch),
}

/// A program that can be built static.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The native application.
    WarpRust,
    /// The broker.
    ServicebusEmulator,
    /// The fast blob store.
    BlobEmulator,
    /// Dapr.
    DaprEmulator,
}

impl Program {
    /// Its name: of the program and of its package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WarpRust => "warp-rust",
            Self::ServicebusEmulator => "servicebus-emulator",
            Self::BlobEmulator => "blob-emulator",
            Self::DaprEmulator => "dapr-emulator",
        }
    }
}

impl Artefact {
    /// Everything that a lab on this machine can run.
    pub const ALL: [Self; 11] = [
        Self::Lab,
        Self::ServicebusEmulator,
        Self::DaprEmulator,
        Self::BlobEmulator,
        Self::Azurite,
        Self::SpinHost,
        Self::SpinRust,
        Self::SpinTs,
        Self::WarpRust,
        Self::ExpressTs,
        Self::Static(Program::WarpRust, Arch::HOST),
    ];

    /// What a lab needs: the programs themselves, or what its images hold.
    pub fn of(spec: &LabSpec) -> BTreeSet<Self> {
        if spec.backend.is_cluster() {
            let mut wanted = kubernetes::image_plan(spec).artefacts();
            wanted.insert(Self::Lab);
            return wanted;
        }
        let stacks = Role::ALL.iter().map(|role| spec.stacks.of(*role));
        Self::of_parts(stacks, spec.packaging, Some(spec.blob))
    }

    /// What these stacks need, with a blob store or without.
    pub fn of_parts(
        stacks: impl Iterator<Item = Stack>,
        packaging: Packaging,
        blob: Option<BlobStore>,
    ) -> BTreeSet<Self> {
        let mut wanted = BTreeSet::from([Self::Lab, Self::ServicebusEmulator, Self::DaprEmulator]);
        for stack in stacks {
            match stack {
                Stack::SpinRust => wanted.extend([Self::SpinHost, Self::SpinRust]),
                Stack::SpinTs => wanted.extend([Self::SpinHost, Self::SpinTs]),
                Stack::WarpRust => wanted.extend([Self::of_warp(packaging)]),
                Stack::ExpressTs => wanted.extend([Self::ExpressTs]),
            }
        }
        match blob {
            Some(BlobStore::Azurite) => wanted.extend([Self::Azurite]),
            Some(BlobStore::Native) => wanted.extend([Self::BlobEmulator]),
            None => {}
        }
        wanted
    }

    /// The native Rust application in that packaging.
    pub const fn of_warp(packaging: Packaging) -> Self {
        match packaging {
            Packaging::Full => Self::WarpRust,
            Packaging::Static => Self::Static(Program::WarpRust, Arch::HOST),
        }
    }

    /// Its name; of a file, the one in `dist/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::ServicebusEmulator => "servicebus-emulator",
            Self::DaprEmulator => "dapr-emulator",
            Self::BlobEmulator => "blob-emulator",
            Self::Azurite => "azurite",
            Self::SpinHost => "spin-host",
            Self::SpinRust => "spin-rust.wasm",
            Self::SpinTs => "spin-ts.wasm",
            Self::WarpRust => "warp-rust",
            Self::ExpressTs => "express-ts.cjs",
            Self::Static(program, arch) => static_name(program, arch),
        }
    }

    /// The folder of its sources.
    const fn folder(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::ServicebusEmulator => "emulators/servicebus",
            Self::DaprEmulator => "emulators/dapr",
            Self::BlobEmulator => "emulators/blob",
            Self::Azurite => "emulators/azurite",
            Self::SpinHost => "emulators/spin-host",
            Self::SpinRust => "apps/spin/rust",
            Self::SpinTs => "apps/spin/typescript",
            Self::WarpRust | Self::Static(Program::WarpRust, _) => "apps/native/warp",
            Self::ExpressTs => "apps/native/express",
            Self::Static(Program::ServicebusEmulator, _) => Self::ServicebusEmulator.folder(),
            Self::Static(Program::BlobEmulator, _) => Self::BlobEmulator.folder(),
            Self::Static(Program::DaprEmulator, _) => Self::DaprEmulator.folder(),
        }
    }

    /// Whether npm builds it, from a package of the workspace in `apps/`.
    const fn is_typescript(self) -> bool {
        matches!(self, Self::SpinTs | Self::ExpressTs)
    }

    /// The digest of what it is built from.
    fn digest(self, workspace: &Workspace) -> Result<String, BuildError> {
        let own: &[&str] = &[self.folder()];
        let shared: &[&str] = if self.is_typescript() { &npm::SHARED } else { &[] };
        digest::of_sources(workspace.root(), &[own, shared].concat())
    }

    /// What is there once it is built.
    fn result(self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Azurite => {
                workspace.root().join("emulators/azurite/node_modules/azurite/dist/src/blob/main.js")
            }
            _ => workspace.artefact(self.name()),
        }
    }
}

/// Of this machine's architecture a plain name, of another one with the architecture in it.
const fn static_name(program: Program, arch: Arch) -> &'static str {
    let own = matches!((arch, Arch::HOST), (Arch::Amd64, Arch::Amd64) | (Arch::Arm64, Arch::Arm64));
    match (program, own, arch) {
        (Program::WarpRust, true, _) => "warp-rust-static",
        (Program::WarpRust, _, Arch::Amd64) => "warp-rust-static-amd64",
        (Program::WarpRust, _, Arch::Arm64) => "warp-rust-static-arm64",
        (Program::ServicebusEmulator, true, _) => "servicebus-emulator-static",
        (Program::ServicebusEmulator, _, Arch::Amd64) => "servicebus-emulator-static-amd64",
        (Program::ServicebusEmulator, _, Arch::Arm64) => "servicebus-emulator-static-arm64",
        (Program::BlobEmulator, true, _) => "blob-emulator-static",
        (Program::BlobEmulator, _, Arch::Amd64) => "blob-emulator-static-amd64",
        (Program::BlobEmulator, _, Arch::Arm64) => "blob-emulator-static-arm64",
        (Program::DaprEmulator, true, _) => "dapr-emulator-static",
        (Program::DaprEmulator, _, Arch::Amd64) => "dapr-emulator-static-amd64",
        (Program::DaprEmulator, _, Arch::Arm64) => "dapr-emulator-static-arm64",
    }
}

/// What a build tells while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Another build holds the lock.
    Waiting,
    /// These have not changed.
    Fresh(Vec<&'static str>),
    /// A command starts.
    Started {
        /// What is built.
        what: String,
        /// The command line.
        command: String,
    },
    /// It has ended well.
    Done {
        /// What was built.
        what: String,
        /// How long it took.
        took: Duration,
    },
}

/// Why something could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A tool is missing or too old.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A command failed; what it had to say is on stderr.
    #[error("failed to build {what}: `{command}` ended with {status}")]
    Failed {
        /// What was to be built.
        what: String,
        /// The command line.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A command ended well and left nothing behind.
    #[error("failed to build {what}: `{command}` made no such file")]
    Nothing {
        /// What was to be built.
        what: &'static str,
        /// The command line.
        command: String,
    },
    /// A file could not be read or written.
    #[error("failed to {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A manifest could not be understood.
    #[error("failed to read {}", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
}

impl BuildError {
    /// A command that helps, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tool(error) => Some(error.hint()),
            _ => None,
        }
    }
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File { operation, path, source }
}

/// From what each artefact in `dist/` was built.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    sources: BTreeMap<String, String>,
}

impl Manifest {
    fn path(workspace: &Workspace) -> PathBuf {
        workspace.dist().join("manifest.json")
    }

    /// What cannot be read says nothing, and then everything is built.
    fn read(workspace: &Workspace) -> Self {
        let text = fs::read(Self::path(workspace)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, workspace: &Workspace) -> Result<(), BuildError> {
        let path = Self::path(workspace);
        let text = serde_json::to_vec_pretty(self).map_err(|error| file("write", &path)(error.into()))?;
        fs::write(&path, text).map_err(file("write", &path))
    }
}

/// Builds what is wanted and not fresh. One build at a time: others wait.
///
/// # Errors
/// Names the tool that is missing or the command that failed; nothing half-built is left in `dist/`.
pub fn build(
    workspace: &Workspace,
    wanted: &BTreeSet<Artefact>,
    mut tell: impl FnMut(Step),
) -> Result<(), BuildError> {
    let dist = workspace.dist();
    fs::create_dir_all(&dist).map_err(file("create", &dist))?;
    if wanted.contains(&Artefact::Azurite) {
        tools::node(&tools::AZURITE)?;
    }
    if wanted.iter().any(|artefact| artefact.is_typescript()) {
        tools::node(&tools::TYPESCRIPT)?;
    }
    let _lock = lock(&dist.join(".lock"), &mut tell)?;
    let mut manifest = Manifest::read(workspace);
    let mut stale = BTreeMap::new();
    let mut fresh = Vec::new();
    for artefact in wanted {
        let digest = artefact.digest(workspace)?;
        let known = manifest.sources.get(artefact.name()) == Some(&digest);
        if known && artefact.result(workspace).exists() {
            fresh.push(artefact.name());
        } else {
            stale.insert(*artefact, digest);
        }
    }
    if !fresh.is_empty() {
        tell(Step::Fresh(fresh));
    }
    let mut builder = Builder { workspace, manifest: &mut manifest, tell: &mut tell };
    builder.host_programs(&stale)?;
    for (artefact, digest) in &stale {
        match artefact {
            Artefact::SpinRust => builder.guest(digest)?,
            Artefact::Static(program, arch) => builder.static_program(*program, *arch, digest)?,
            Artefact::Azurite => builder.azurite(digest)?,
            Artefact::SpinTs | Artefact::ExpressTs => builder.typescript(*artefact, digest)?,
            _ => {}
        }
    }
    let of_spin_ts = [Artefact::SpinHost, Artefact::SpinTs];
    if wanted.contains(&Artefact::SpinTs) && of_spin_ts.iter().any(|part| stale.contains_key(part)) {
        builder.compile_spin_ts()?;
    }
    Ok(())
}

fn lock(path: &Path, tell: &mut impl FnMut(Step)) -> Result<File, BuildError> {
    let lock = File::options().create(true).truncate(false).write(true).open(path);
    let lock = lock.map_err(file("open", path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => tell(Step::Waiting),
        Err(TryLockError::Error(error)) => return Err(file("lock", path)(error)),
    }
    lock.lock().map_err(file("lock", path))?;
    Ok(lock)
}

struct Builder<'a, F: FnMut(Step)> {
    workspace: &'a Workspace,
    manifest: &'a mut Manifest,
    tell: &'a mut F,
}

impl<F: FnMut(Step)> Builder<'_, F> {
    /// The command by itself, as `cargo lab` builds it; everything else of the host's workspace in one go, so that cargo uses
    /// every core. (Cargo compiles a crate once for each set of features, and what is built together shares them: with
    /// the others, the command and most of what it stands on would be compiled a second time.)
    fn host_programs(&mut self, stale: &BTreeMap<Artefact, String>) -> Result<(), BuildError> {
        let programs = stale.iter().filter(|(artefact, _)| {
            let another_way =
                matches!(artefact, Artefact::Azurite | Artefact::SpinRust | Artefact::Static(..));
            !another_way && !artefact.is_typescript()
        });
        let (lab, others): (Vec<_>, Vec<_>) = programs.partition(|(artefact, _)| **artefact == Artefact::Lab);
        self.together(&lab)?;
        self.together(&others)
    }

    fn together(&mut self, programs: &[(&Artefact, &String)]) -> Result<(), BuildError> {
        if programs.is_empty() {
            return Ok(());
        }
        tools::cargo()?;
        let names: Vec<_> = programs.iter().map(|(artefact, _)| artefact.name()).collect();
        let mut args = vec!["build", "--release"];
        args.extend(names.iter().flat_map(|name| ["--package", name]));
        let command = cargo::Cargo::new(self.workspace.root(), &args);
        let built = self.run(&names.join(", "), &command)?;
        for (artefact, digest) in programs {
            let made = built.iter().find(|path| path.file_name().is_some_and(|name| name == artefact.name()));
            self.install(**artefact, made, digest, &command)?;
        }
        Ok(())
    }

    fn guest(&mut self, digest: &str) -> Result<(), BuildError> {
        const TARGET: &str = "wasm32-wasip1";
        tools::cargo()?;
        self.add_target(TARGET)?;
        let manifest = self.workspace.root().join(Artefact::SpinRust.folder()).join("Cargo.toml");
        let manifest = manifest.display().to_string();
        let args = ["build", "--release", "--target", TARGET, "--manifest-path", &manifest];
        let command = cargo::Cargo::new(self.workspace.root(), &args);
        let built = self.run(Artefact::SpinRust.name(), &command)?;
        let made = built.iter().find(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        self.install(Artefact::SpinRust, made, digest, &command)
    }

    /// One by one: what cargo builds together shares its features, and an image would depend on what else was asked for.
    fn static_program(&mut self, program: Program, arch: Arch, digest: &str) -> Result<(), BuildError> {
        tools::cargo()?;
        let target = arch.musl_target();
        self.add_target(target)?;
        // A linker that the toolchain brings along links for every machine; the one of this machine may not.
        let linker = format!("target.{target}.linker=\"rust-lld\"");
        let mut args = vec!["build", "--release", "--package", program.name(), "--target", target];
        args.extend(["--config", "profile.release.strip=true"]);
        if arch != Arch::HOST || !cfg!(target_os = "linux") {
            args.extend(["--config", &linker]);
        }
        let artefact = Artefact::Static(program, arch);
        let command = cargo::Cargo::new(self.workspace.root(), &args);
        let built = self.run(artefact.name(), &command)?;
        let made = built.iter().find(|path| path.file_name().is_some_and(|name| name == program.name()));
        self.install(artefact, made, digest, &command)
    }

    fn add_target(&mut self, target: &str) -> Result<(), BuildError> {
        if tools::has_target(target) {
            return Ok(());
        }
        let command = cargo::Cargo::tool("rustup", self.workspace.root(), &["target", "add", target]);
        self.run(&format!("target {target}"), &command).map(drop)
    }

    fn azurite(&mut self, digest: &str) -> Result<(), BuildError> {
        tools::npm(&tools::AZURITE)?;
        let folder = self.workspace.root().join(Artefact::Azurite.folder());
        let command = cargo::Cargo::tool("npm", &folder, &["ci", "--no-audit", "--no-fund"]);
        self.run(Artefact::Azurite.name(), &command)?;
        if !Artefact::Azurite.result(self.workspace).exists() {
            return Err(BuildError::Nothing { what: Artefact::Azurite.name(), command: command.to_string() });
        }
        self.remember(Artefact::Azurite, digest)
    }

    /// A package of the workspace in `apps/`; the packages that it stands on are installed first, if they are not yet.
    fn typescript(&mut self, artefact: Artefact, digest: &str) -> Result<(), BuildError> {
        let apps = self.workspace.root().join(npm::FOLDER);
        if !npm::is_installed(&apps)? {
            tools::npm(&tools::TYPESCRIPT)?;
            let command = cargo::Cargo::tool("npm", &apps, &["ci", "--no-audit", "--no-fund"]);
            self.run("packages of the TypeScript stacks", &command)?;
        }
        let folder = self.workspace.root().join(artefact.folder());
        let command = cargo::Cargo::tool("node", &folder, &["build.mjs"]);
        self.run(artefact.name(), &command)?;
        let made = folder.join("build").join(artefact.name());
        self.install(artefact, Some(&made).filter(|made| made.exists()), digest, &command)
    }

    /// Lets the host compile the component, of which it keeps what comes of it: some 7 s of CPU, which each of three
    /// hosts would spend at once when a lab starts. With nothing on stdin it ends when it could serve.
    fn compile_spin_ts(&mut self) -> Result<(), BuildError> {
        let host = self.workspace.artefact(Artefact::SpinHost.name());
        let args =
            ["--from", "apps/spin/typescript/spin.toml", "--listen", "127.0.0.1:0", "--stop-on-stdin-eof"];
        let command = cargo::Cargo::program("spin-host", host, self.workspace.root(), &args);
        self.run("machine code of spin-ts.wasm", &command).map(drop)
    }

    fn run(&mut self, what: &str, command: &cargo::Cargo) -> Result<Vec<PathBuf>, BuildError> {
        (self.tell)(Step::Started { what: what.to_owned(), command: command.to_string() });
        let started = Instant::now();
        let built = command.run(what)?;
        (self.tell)(Step::Done { what: what.to_owned(), took: started.elapsed() });
        Ok(built)
    }

    /// Puts a file into `dist/` in one step: who runs the old one is not disturbed.
    fn install(
        &mut self,
        artefact: Artefact,
        made: Option<&PathBuf>,
        digest: &str,
        command: &cargo::Cargo,
    ) -> Result<(), BuildError> {
        let nothing = || BuildError::Nothing { what: artefact.name(), command: command.to_string() };
        let made = made.ok_or_else(nothing)?;
        let target = self.workspace.artefact(artefact.name());
        let new = self.workspace.artefact(&format!(".{}.new", artefact.name()));
        fs::copy(made, &new).map_err(file("copy", made))?;
        fs::rename(&new, &target).map_err(file("write", &target))?;
        self.remember(artefact, digest)
    }

    fn remember(&mut self, artefact: Artefact, digest: &str) -> Result<(), BuildError> {
        self.manifest.sources.insert(artefact.name().to_owned(), digest.to_owned());
        self.manifest.write(self.workspace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Stacks;

    #[test]
    fn a_native_lab_pays_for_no_wasm_and_a_wasm_lab_for_no_native_program() {
        let warp =
            LabSpec { stacks: Stacks::all(Stack::WarpRust), blob: BlobStore::Native, ..LabSpec::default() };
        let wanted = Artefact::of(&warp);
        assert!(!wanted.contains(&Artefact::SpinHost) && !wanted.contains(&Artefact::Azurite));
        assert!(wanted.contains(&Artefact::WarpRust) && wanted.contains(&Artefact::BlobEmulator));
        let wanted = Artefact::of(&LabSpec::default());
        assert!(wanted.contains(&Artefact::SpinRust) && wanted.contains(&Artefact::Azurite));
        assert!(!wanted.contains(&Artefact::WarpRust) && !wanted.contains(&Artefact::BlobEmulator));
    }

    #[test]
    fn a_second_build_waits_for_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".lock");
        let first = lock(&path, &mut |step| panic!("nobody else builds: {step:?}")).expect("the lock");
        let (waits, told) = std::sync::mpsc::channel();
        let second = std::thread::spawn(move || lock(&path, &mut |step| drop(waits.send(step))).map(drop));
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(Step::Waiting));
        drop(first);
        second.join().expect("a thread").expect("the lock");
    }
}
