//! What a command tells when it fails: what, why, and what to do, in this order, each once.

use super::bench::BenchError;
use super::compare::CompareFailure;
use crate::backend::LabError;
use crate::backend::kubernetes::DryRunError;
use crate::build::BuildError;
use crate::exit::Exit;
use crate::image::ImageError;
use crate::paths::NoWorkspace;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// Something could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// An image could not be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A dry run.
    #[error(transparent)]
    DryRun(Box<DryRunError>),
    /// A run.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A comparison.
    #[error(transparent)]
    Compare(#[from] CompareFailure),
    /// The relay.
    #[error("failed to serve on {address}")]
    Service {
        /// Where it should have listened.
        address: std::net::SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Stdout; a broken pipe ends the command and is no failure.
    #[error("failed to write to stdout")]
    Stdout(#[source] std::io::Error),
    /// The runtime.
    #[error("failed to start the runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<DryRunError> for CliError {
    fn from(error: DryRunError) -> Self {
        Self::DryRun(Box::new(error))
    }
}

impl From<NoWorkspace> for CliError {
    fn from(error: NoWorkspace) -> Self {
        Self::Lab(error.into())
    }
}

impl CliError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Build(_) | Self::Image(_) => Exit::BuildFailed,
            Self::Lab(error) => error.exit(),
            Self::DryRun(_) | Self::Compare(_) => Exit::Usage,
            Self::Bench(error) => error.exit(),
            Self::Service { .. } | Self::Stdout(_) | Self::Runtime(_) => Exit::StartFailed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Build(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Lab(error) => error.hint(),
            Self::DryRun(_) => None,
            Self::Bench(error) => error.hint(),
            Self::Compare(error) => error.hint(),
            Self::Service { .. } => Some("choose another address with --listen".to_owned()),
            Self::Stdout(_) | Self::Runtime(_) => None,
        }
    }

    #[expect(clippy::print_stderr, reason = "the command line is what prints")]
    pub(super) fn print(&self) {
        eprintln!("error: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            eprintln!("caused by: {error}");
            cause = error.source();
        }
        if let Some(hint) = self.hint() {
            eprintln!("hint: {hint}");
        }
    }
}
