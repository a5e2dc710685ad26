//! What every build needs, and what labs of this machine's processes need.

use std::path::PathBuf;

use super::Finding;
use crate::build::tools::{self, ToolError};
use crate::cluster::versions::Version;

const EVERY_BUILD: &str = "every build";
const NODE: &str = "Azurite, the default blob store of `lab up`, and the stacks spin-ts and express-ts";

/// What every build needs, and what single stacks do.
pub(super) fn build() -> Vec<Finding> {
    vec![
        cargo(),
        of_tool("cc", EVERY_BUILD, true, tools::c_compiler()),
        wasm_target(),
        of_tool("node", NODE, false, tools::node(&tools::ANY)),
        of_tool("npm", NODE, false, tools::npm(&tools::ANY)),
        python(),
        go(),
    ]
}

/// Real programs in place of stand-ins.
pub(super) fn run() -> Vec<Finding> {
    vec![
        real_program("daprd", "LAB_DAPRD_BIN", "dapr-emulator"),
        real_program("spin", "LAB_SPIN_BIN", "spin-host"),
    ]
}

fn of_tool(
    name: &'static str,
    needed_for: &'static str,
    blocker: bool,
    version: Result<String, ToolError>,
) -> Finding {
    let (ok, message, fix) = match version {
        Ok(version) => (true, version, None),
        Err(error) => (false, error.to_string(), Some(error.hint())),
    };
    Finding { name, needed_for, ok, blocker, message, fix }
}

/// Cargo, which has the version of its compiler.
fn cargo() -> Finding {
    const LEAST: &str = env!("CARGO_PKG_RUST_VERSION");
    not_older(of_tool("cargo", EVERY_BUILD, true, tools::cargo()), LEAST, "rustup update stable")
}

fn go() -> Finding {
    let found = of_tool("go", "the official SDKs of Go in `make test`", false, tools::go());
    not_older(found, &format!("1.{}", tools::GO_MINOR_LEAST), &tools::go_install())
}

/// A tool that was found, unless its version is older than the least that helps.
fn not_older(found: Finding, least: &str, fix: &str) -> Finding {
    let old = match (Version::find(&found.message), least.parse()) {
        (Some(version), Ok(least)) => found.ok && version < least,
        _ => false,
    };
    if !old {
        return found;
    }
    let message = format!("{} is too old: {least} or newer is needed", found.message);
    Finding { ok: false, message, fix: Some(fix.to_owned()), ..found }
}

fn wasm_target() -> Finding {
    const TARGET: &str = "wasm32-wasip1";
    let installed = tools::has_target(TARGET);
    let (ok, message, fix) = match (installed, tools::rustup()) {
        (true, _) => (true, "installed".to_owned(), None),
        (false, Ok(_)) => (
            false,
            "not installed; `lab build` adds it".to_owned(),
            Some(format!("rustup target add {TARGET}")),
        ),
        (false, Err(error)) => (false, format!("not installed, and {error}"), Some(error.hint())),
    };
    Finding { name: TARGET, needed_for: "the stack spin-rust", ok, blocker: false, message, fix }
}

/// Python with the module that makes its environments, which Debian packs apart.
fn python() -> Finding {
    let needed_for = "the official SDKs of Python in `make test`";
    of_tool("python3", needed_for, false, tools::python())
}

/// A real program that takes a stand-in's place, if one is named.
fn real_program(name: &'static str, variable: &'static str, stand_in: &str) -> Finding {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let (ok, message, fix) = match path {
        None => (true, format!("{variable} is not set: {stand_in} stands in"), None),
        Some(path) if path.is_file() => (true, format!("{variable} is {}", path.display()), None),
        Some(path) => {
            let message = format!("{variable} is {}, which is no file", path.display());
            (false, message, Some(format!("unset {variable}")))
        }
    };
    Finding { name, needed_for: "a real program in place of a stand-in", ok, blocker: !ok, message, fix }
}
