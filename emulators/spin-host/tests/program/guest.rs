//! The guests, built once per test run: the probe as the module that the compiler makes and as a component, and one
//! that needs more.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const TARGET: &str = "wasm32-wasip1";

/// What a manifest can name as `source`.
#[derive(Debug)]
pub struct Probe {
    /// A core module for WASI preview 1.
    pub module: PathBuf,
    /// A component for WASI 0.2, made from it.
    pub component: PathBuf,
    /// Another guest, which imports Redis: a core module.
    pub needy: PathBuf,
}

/// Builds the probe; quick when nothing changed.
pub fn probe() -> &'static Probe {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    PROBE.get_or_init(|| {
        let directory = scratch().join("spin-host-probe");
        build(&directory);
        let module = directory.join(TARGET).join("release/probe.wasm");
        let component = directory.join("probe.component.wasm");
        let bytes = componentize(&std::fs::read(&module).expect("cargo has built it"));
        if std::fs::read(&component).ok().as_ref() != Some(&bytes) {
            // Of another probe; entries that nobody asks for any more would pile up.
            let _ = std::fs::remove_dir_all(cache());
            std::fs::write(&component, bytes).expect("the directory is ours");
        }
        let needy = directory.join(TARGET).join("release/examples/needy.wasm");
        Probe { module, component, needy }
    })
}

/// Where the probe stays compiled for the next run.
pub fn cache() -> PathBuf {
    scratch().join("spin-host-cache")
}

/// What the next run can use again: within cargo's target directory.
fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn build(target_directory: &Path) {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/probe/Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--lib",
        "--examples",
        "--release",
        "--locked",
        "--target",
        TARGET,
        "--manifest-path",
    ]);
    cargo.arg(manifest).arg("--target-dir").arg(target_directory).stdin(Stdio::null());
    // What cargo set for this test, and flags for this machine's processor, are not for the guest.
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| name.starts_with("CARGO_") && name != "CARGO_HOME");
        if ours || name == "RUSTFLAGS" {
            cargo.env_remove(name);
        }
    }
    let built = cargo.output().expect("cargo starts");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "no probe; is the target there? rustup target add {TARGET}\n{said}");
}

/// Makes a module a component, as `spin registry push` does.
fn componentize(module: &[u8]) -> Vec<u8> {
    use wasi_preview1_component_adapter_provider as adapter;
    let encoder = wit_component::ComponentEncoder::default().module(module).expect("a module");
    let name = adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
    let mut encoder =
        encoder.adapter(name, adapter::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER).expect("an adapter");
    encoder.encode().expect("a component")
}
