//! The exit codes of the command `lab`: one table, which `docs/exit-codes.md` repeats and a test compares.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Done.
    Ok,
    /// The command line, a setting or a configuration file is wrong; nothing was started, or it was stopped again.
    Usage,
    /// `lab doctor` found something that stops the lab from running.
    DoctorFoundBlocker,
    /// A part of the lab could not be started, or ended before it was ready.
    StartFailed,
    /// A part of the lab runs but was not ready in time.
    NotReady,
    /// A part of the lab failed after it had been ready.
    ResourceFailed,
    /// The lab is not running, or its back end does not answer.
    Unavailable,
    /// Something could not be built.
    BuildFailed,
    /// A program that the back end needs is not installed.
    ProgramMissing,
    /// A run is invalid, an order was lost, altered or left over, or a threshold was not met.
    ChecksFailed,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted,
}

impl Exit {
    /// Every way to end, in the order of the codes.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::Usage,
        Self::DoctorFoundBlocker,
        Self::StartFailed,
        Self::NotReady,
        Self::ResourceFailed,
        Self::Unavailable,
        Self::BuildFailed,
        Self::ProgramMissing,
        Self::ChecksFailed,
        Self::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Usage => 2,
            Self::DoctorFoundBlocker => 3,
            Self::StartFailed => 10,
            Self::NotReady => 11,
            Self::ResourceFailed => 12,
            Self::Unavailable => 13,
            Self::BuildFailed => 14,
            Self::ProgramMissing => 15,
            Self::ChecksFailed => 100,
            Self::Interrupted => 130,
        }
    }

    /// One sentence for the table.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "Done.",
            Self::Usage => {
                "The command line, a setting or a configuration file is wrong; nothing was started, or it was stopped again."
            }
            Self::DoctorFoundBlocker => "`lab doctor` found something that stops the lab from running.",
            Self::StartFailed => "A part of the lab could not be started, or ended before it was ready.",
            Self::NotReady => "A part of the lab runs but was not ready in time.",
            Self::ResourceFailed => "A part of the lab failed after it had been ready.",
            Self::Unavailable => "The lab is not running, or its back end does not answer.",
            Self::BuildFailed => "Something could not be built.",
            Self::ProgramMissing => "A program that the back end needs is not installed.",
            Self::ChecksFailed => {
                "A run is invalid, an order was lost, altered or left over, or a threshold was not met."
            }
            Self::Interrupted => "Interrupted by Ctrl-C or SIGTERM.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_code() {
        let rows: Vec<String> =
            Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
        let document = include_str!("../docs/exit-codes.md");
        let listed: Vec<&str> =
            document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Code")).collect();
        let listed: Vec<&str> = listed.into_iter().filter(|line| !line.starts_with("| ---")).collect();
        assert_eq!(rows, listed, "docs/exit-codes.md must repeat the table of exit.rs");
    }
}
