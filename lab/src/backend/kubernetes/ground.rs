//! What a lab on a cluster stands on: the cluster itself, and what is installed on it.

use super::facts;
use crate::backend::{ApiError, LabError, with_causes};
use crate::cluster::foreign;
use crate::cluster::{Cluster, ClusterError, Current, Provider, Settings};
use crate::paths::Workspace;
use crate::spec::{BackendKind, LabSpec, Pools};

/// What a lab asks of where its cluster comes from.
///
/// # Errors
/// Fails where the workspace's versions cannot be read.
pub fn settings_of(workspace: &Workspace, spec: &LabSpec) -> Result<Settings, ClusterError> {
    let mut settings = Settings::new(workspace.clone(), &spec.name)?;
    settings.mixed_pools = spec.cluster.pools == Pools::Mixed;
    Ok(settings)
}

/// Where the cluster of a lab comes from.
///
/// # Errors
/// Fails where the kubeconfig cannot be read or has no such context.
pub fn provider(settings: &Settings, spec: &LabSpec) -> Result<Provider, ClusterError> {
    Ok(match spec.backend {
        BackendKind::K3d => Provider::k3d(settings.clone()),
        BackendKind::Kind => Provider::kind(settings.clone()),
        BackendKind::Kubernetes | BackendKind::Local => {
            Provider::Current(Current::find(spec.cluster.context.as_deref(), facts::registry())?)
        }
    })
}

/// Removes what labs have installed on a cluster that none of them made, unless there is another lab on it.
///
/// # Errors
/// Says what could not be removed.
pub async fn remove_installs(workspace: &Workspace, lab: &str, cluster: &Cluster) -> Result<(), LabError> {
    let settings = Settings::new(workspace.clone(), lab)?;
    for chart in foreign::remove(&settings, cluster).await? {
        tracing::info!(chart, "removed what a lab had installed");
    }
    Ok(())
}

/// The error of something that a lab stands on.
pub fn failed(operation: &str, error: &dyn std::error::Error, hint: Option<String>) -> LabError {
    let (operation, cause) = (operation.to_owned(), with_causes(error));
    ApiError { operation, object: String::new(), cause, hint, unreachable: false }.into()
}
