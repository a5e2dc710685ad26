//! `lab doctor`: what this machine lacks, and the command that helps.

use clap::{Args, ValueEnum};

use super::Output;
use super::error::CliError;
use crate::cluster::OwnKind;
use crate::doctor::{Diagnosis, For};
use crate::exit::Exit;

/// Check what building and running need. Ends with 3 if something is missing that everything needs.
#[derive(Debug, Clone, Args)]
pub(super) struct DoctorArgs {
    /// What the lab is to run on.
    #[arg(long, value_enum, env = "LAB_BACKEND", default_value_t = Backend::Local)]
    backend: Backend,
    /// Name of the lab: each has a port of its own for its registry.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// Processes of this machine.
    Local,
    /// A k3d cluster that the lab makes.
    K3d,
    /// A kind cluster that the lab makes.
    Kind,
    /// The cluster of the current kubeconfig context.
    Kubernetes,
}

impl From<Backend> for For {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Local => Self::Local,
            Backend::K3d => Self::Own(OwnKind::K3d),
            Backend::Kind => Self::Own(OwnKind::Kind),
            Backend::Kubernetes => Self::Kubernetes,
        }
    }
}

pub(super) async fn run(args: &DoctorArgs, output: Output) -> Result<Exit, CliError> {
    let diagnosis = Diagnosis::examine(args.backend.into(), &args.lab).await;
    output.result(&diagnosis, || diagnosis.text());
    Ok(if diagnosis.is_blocked() { Exit::DoctorFoundBlocker } else { Exit::Ok })
}
