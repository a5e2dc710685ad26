//! That wasmtime is compiled once: the crates beneath it have the same features whatever is built beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The crates beneath wasmtime with their features, when these packages of the workspace are built together.
fn beneath_wasmtime(packages: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--no-dedupe", "--edges", "normal", "--prefix", "depth", "--format", " {p}|{f}"]);
    cargo.args(packages.iter().flat_map(|package| ["--package", package]));
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    let mut path = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()) {
        let (depth, rest) = line.split_once(' ').expect("a depth first");
        let (package, features) = rest.split_once('|').expect("features last");
        path.truncate(depth.parse().expect("a number"));
        path.push(package.to_owned());
        if path.iter().any(|package| package.starts_with("wasmtime") || package.starts_with("wit-component"))
        {
            found.entry(package.to_owned()).or_default().insert(features.to_owned());
        }
    }
    found
}

#[test]
fn wasmtime_is_the_same_whatever_is_built_beside_it() {
    let alone = beneath_wasmtime(&["spin-host"]);
    assert!(alone.len() > 100, "the tree was read: {}", alone.len());
    let beside = beneath_wasmtime(&[
        "spin-host",
        "bench-support",
        "dapr-emulator",
        "servicebus-emulator",
        "blob-emulator",
        "warp-rust",
    ]);
    let differ: Vec<String> = alone
        .iter()
        .filter(|(package, features)| beside.get(*package) != Some(features))
        .map(|(package, features)| {
            format!("{package}: {features:?} alone, {:?} together", beside.get(package))
        })
        .collect();
    assert!(differ.is_empty(), "name these features in this package's Cargo.toml:\n{}", differ.join("\n"));
}
