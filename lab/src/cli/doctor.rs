//! `lab doctor`: what this machine lacks, and the command that helps.

use clap::Args;
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::build::tools::{self, ToolError};
use crate::exit::Exit;

/// Check what building and running need. Ends with 3 if something is missing that everything needs.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    /// What it is needed for.
    needed_for: &'static str,
    ok: bool,
    /// Whether the lab cannot run at all without it.
    blocker: bool,
    message: String,
    fix: Option<String>,
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    findings: Vec<Finding>,
}

pub(super) fn run(_: &DoctorArgs, output: Output) -> Result<Exit, CliError> {
    let diagnosis = Diagnosis { findings: examine() };
    let blocked = diagnosis.findings.iter().any(|finding| finding.blocker && !finding.ok);
    output.result(&diagnosis, || text(&diagnosis));
    Ok(if blocked { Exit::DoctorFoundBlocker } else { Exit::Ok })
}

fn examine() -> Vec<Finding> {
    let everything = "every build";
    let node = "Azurite, the default blob store of `lab up`, and the stacks spin-ts and express-ts";
    vec![
        of_tool("cargo", everything, true, tools::cargo()),
        of_tool("cc", everything, true, tools::c_compiler()),
        wasm_target(),
        of_tool("node", node, false, tools::node(&tools::ANY)),
        of_tool("npm", node, false, tools::npm(&tools::ANY)),
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

fn wasm_target() -> Finding {
    const TARGET: &str = "wasm32-wasip1";
    let ok = tools::has_target(TARGET);
    let message = if ok { "installed" } else { "not installed; `lab build` adds it" };
    Finding {
        name: TARGET,
        needed_for: "the stack spin-rust",
        ok,
        blocker: false,
        message: message.to_owned(),
        fix: (!ok).then(|| format!("rustup target add {TARGET}")),
    }
}

/// A real program that takes a stand-in's place, if one is named.
fn real_program(name: &'static str, variable: &'static str, stand_in: &str) -> Finding {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty()).map(std::path::PathBuf::from);
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

fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        let mark = if finding.ok { "✓" } else { "✗" };
        text.push_str(&format!("{mark} {:<14} {}\n", finding.name, finding.message));
        if !finding.ok {
            text.push_str(&format!("  needed for {}\n", finding.needed_for));
        }
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("  hint: {fix}\n"));
        }
    }
    text
}
