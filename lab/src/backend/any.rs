//! The back end that a lab's settings name, chosen at run time. Nothing but the choice is here.

use tokio::sync::watch;

use super::kubernetes::KubernetesBackend;
use super::local::{LocalBackend, RealPrograms, leftovers};
use super::{
    AfterKill, Backend, Endpoints, Failure, LabError, Part, Progress, ReplicaEvent, ReplicaStatus, Scalable,
    Scaled, Usage,
};
use crate::cluster::installs::Timings;
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Any back end.
#[derive(Debug, Clone)]
pub(super) enum AnyBackend {
    Local(LocalBackend),
    Kubernetes(KubernetesBackend),
}

impl AnyBackend {
    /// The one of these settings. Must be called within a runtime.
    pub fn of(workspace: Workspace, spec: LabSpec) -> Result<Self, LabError> {
        Ok(match spec.backend.is_cluster() {
            true => {
                // Its only process is this one.
                leftovers::Record::new(&workspace.lab(&spec.name)).write(Vec::new)?;
                Self::Kubernetes(KubernetesBackend::new(workspace, spec))
            }
            false => Self::Local(LocalBackend::new(workspace, spec, RealPrograms::from_env())?),
        })
    }
}

macro_rules! each {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Self::Local($backend) => $call,
            Self::Kubernetes($backend) => $call,
        }
    };
}

impl Backend for AnyBackend {
    async fn up(&self) -> Result<(), LabError> {
        each!(self, backend => backend.up().await)
    }

    async fn down(&self) {
        each!(self, backend => backend.down().await);
    }

    fn endpoints(&self) -> Result<Endpoints, LabError> {
        each!(self, backend => backend.endpoints())
    }

    fn status(&self) -> Vec<ReplicaStatus> {
        each!(self, backend => backend.status())
    }

    async fn usage(&self) -> Result<Vec<Usage>, LabError> {
        each!(self, backend => backend.usage().await)
    }

    async fn kill(&self, part: Part, replica: u32, after: AfterKill) -> Result<(), LabError> {
        each!(self, backend => backend.kill(part, replica, after).await)
    }

    async fn restart(&self, part: Part, replica: u32) -> Result<(), LabError> {
        each!(self, backend => backend.restart(part, replica).await)
    }

    async fn scale(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        each!(self, backend => backend.scale(scalable, count).await)
    }

    fn replica_events(&self) -> Vec<ReplicaEvent> {
        each!(self, backend => backend.replica_events())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        each!(self, backend => backend.changes())
    }

    fn failure(&self) -> Option<Failure> {
        each!(self, backend => backend.failure())
    }

    fn progress(&self) -> Vec<Progress> {
        each!(self, backend => backend.progress())
    }

    fn timings(&self) -> Timings {
        each!(self, backend => backend.timings())
    }
}
