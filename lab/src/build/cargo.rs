//! Commands that build: run in the open, with an environment that does not depend on how the lab itself was started.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{BuildError, ToolError};

/// A command line and the folder in which it runs.
#[derive(Debug)]
pub(super) struct Cargo {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
}

/// A line of cargo's messages; the others say nothing about files.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Variables with cargo's prefix that a build may depend on; the rest is what `cargo run` and `cargo test` set for the
/// process that they start, and would make cargo build things again.
const CARGO_KEPT: [&str; 2] = ["CARGO_HOME", "CARGO_TARGET_DIR"];

impl Cargo {
    pub fn new(folder: &Path, args: &[&str]) -> Self {
        Self::tool("cargo", folder, args)
    }

    pub fn tool(name: &'static str, folder: &Path, args: &[&str]) -> Self {
        Self::program(name, PathBuf::from(name), folder, args)
    }

    /// A program that is not looked for in the path.
    pub fn program(name: &'static str, program: PathBuf, folder: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        Self { name, program, args, folder: folder.to_owned() }
    }

    /// Runs it; of cargo, gives the files that it says are up to date now. Its stderr is ours.
    pub fn run(&self, what: &str) -> Result<Vec<PathBuf>, BuildError> {
        let is_cargo = self.name == "cargo";
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped());
        if is_cargo {
            command.arg("--message-format=json-render-diagnostics");
        }
        for (name, _) in std::env::vars_os() {
            let cargos = name.to_str().is_some_and(|name| name == "CARGO" || name.starts_with("CARGO_"));
            if cargos && !CARGO_KEPT.iter().any(|kept| name == *kept) {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn().map_err(|source| ToolError::Missing { tool: self.name, source })?;
        let mut files = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str::<Message>(&line) {
                    Ok(message) if message.reason == "compiler-artifact" => {
                        files.extend(message.executable);
                        files.extend(message.filenames);
                    }
                    Ok(_) => {}
                    // What other tools print is for people.
                    Err(_) => eprintln!("{line}"),
                }
            }
        }
        let status = child.wait().map_err(|source| ToolError::Missing { tool: self.name, source })?;
        match status.success() {
            true => Ok(files),
            false => Err(BuildError::Failed { what: what.to_owned(), command: self.to_string(), status }),
        }
    }
}

impl fmt::Display for Cargo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.args.join(" "))
    }
}
