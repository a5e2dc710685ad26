//! The tools that building and running need from the machine, and what to do where one is missing or too old.

use std::io;
use std::path::PathBuf;
use std::process::Command;

/// The least Node that Azurite and its lock file work with.
pub const NODE_LEAST: u32 = 18;

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
    #[error("node {found} is too old: Azurite needs {NODE_LEAST} or newer")]
    NodeTooOld {
        /// The version that was found.
        found: String,
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
            Self::Missing { tool: "node" | "npm", .. } | Self::NodeTooOld { .. } => {
                let install = package("nodejs npm", "brew install node");
                format!("{install}   # or do without Azurite: --blob native")
            }
            Self::Missing { tool, .. } => format!("install {tool}"),
        }
    }
}

fn package(debian: &str, macos: &str) -> String {
    if cfg!(target_os = "macos") { macos.to_owned() } else { format!("sudo apt-get install --yes {debian}") }
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

/// npm's version.
///
/// # Errors
/// Fails where it is missing.
pub fn npm() -> Result<String, ToolError> {
    version("npm", "--version")
}

/// Node's version.
///
/// # Errors
/// Fails where it is missing or too old.
pub fn node() -> Result<String, ToolError> {
    let found = version("node", "--version")?;
    match major(&found) {
        Some(major) if major >= NODE_LEAST => Ok(found),
        _ => Err(ToolError::NodeTooOld { found }),
    }
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
        for tool in ["cargo", "cc", "node", "npm"] {
            let error = ToolError::Missing { tool, source: io::Error::other("not there") };
            assert!(!error.hint().starts_with("install"), "{tool}");
        }
        assert!(ToolError::NodeTooOld { found: "v12.0.0".to_owned() }.hint().contains("--blob native"));
    }

    #[test]
    fn a_tool_that_does_not_exist_is_missing() {
        assert!(matches!(version("no-such-tool-anywhere", "--version"), Err(ToolError::Missing { .. })));
        assert!(!has_target("no-such-target"));
    }
}
