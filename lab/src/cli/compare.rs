//! `lab compare`: two reports side by side.

use clap::Args;

use super::{CliError, Output};
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::report::{self, CompareError, LoadError};
use crate::spec::RUNS;

/// Compare two reports: the ratio of each figure, and whether they differ where there are runs enough to say.
///
/// Takes two runs, or two matrices. Of matrices with three runs or more of a combination it tells an interval. Refuses reports of
/// machines that differ.
#[derive(Debug, Clone, Args)]
pub(super) struct CompareArgs {
    /// The first: a name in .lab/runs, or the path of a report.json, a matrix.json or their folder.
    #[arg(value_name = "RUN")]
    first: String,
    /// The second, whose figures are told as multiples of the first one's.
    #[arg(value_name = "RUN")]
    second: String,
}

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareFailure {
    /// A report cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// They cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
}

impl CompareFailure {
    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Load(LoadError::NoRun { .. }) => "the runs of this workspace: ls .lab/runs",
            Self::Load(LoadError::Read { .. }) => return None,
            Self::Load(_) => "measure again: the report's command stands at its end",
            Self::Compare(CompareError::Machines { .. }) => "measure both on one machine",
            Self::Compare(CompareError::Kinds { .. }) => {
                "the runs of a matrix are listed at the end of matrix.html"
            }
            Self::Compare(CompareError::Profiles { .. }) => "measure both with the same --profile and --rate",
            Self::Compare(CompareError::Nothing { .. }) => "compare reports that have rows in common",
        };
        Some(hint.to_owned())
    }
}

pub(super) fn run(args: &CompareArgs, output: Output) -> Result<Exit, CliError> {
    let runs = Workspace::find()?.labs().join(RUNS);
    let read = |run: &str| report::load(&runs, run).map_err(CompareFailure::from);
    let (first, second) = (read(&args.first)?, read(&args.second)?);
    let comparison = report::compare(&first, &second).map_err(CompareFailure::from)?;
    output.result(&comparison, || comparison.text());
    Ok(Exit::Ok)
}
