//! A cluster that somebody else has made, reached through a context of the user's kubeconfig. It is looked at, never changed.

use std::path::PathBuf;

use kube::config::Kubeconfig;

use super::installs::Planned;
use super::limits;
use super::{Cluster, ClusterError, Registry, ready};

/// A context of the user's kubeconfig.
#[derive(Debug, Clone)]
pub struct Current {
    kubeconfig: PathBuf,
    context: String,
    registry: Option<Registry>,
}

impl Current {
    /// The context of this name, or the current one, of the file that `KUBECONFIG` names, or of `~/.kube/config`. The registry
    /// is where images go, under the two names that it has outside of the cluster and within.
    ///
    /// # Errors
    /// Fails where the file cannot be read or has no such context.
    pub fn find(context: Option<&str>, registry: Option<Registry>) -> Result<Self, ClusterError> {
        let kubeconfig = match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube/config"),
        };
        Self::find_in(kubeconfig, context, registry)
    }

    /// The same in a certain file.
    ///
    /// # Errors
    /// Fails where the file cannot be read or has no such context.
    pub fn find_in(
        kubeconfig: PathBuf,
        context: Option<&str>,
        registry: Option<Registry>,
    ) -> Result<Self, ClusterError> {
        let no_context = |source| ClusterError::NoContext { context: context.map(str::to_owned), source };
        let read = Kubeconfig::read_from(&kubeconfig).map_err(|error| no_context(Some(Box::new(error))))?;
        let name = context.map(str::to_owned).or(read.current_context).ok_or_else(|| no_context(None))?;
        if !read.contexts.iter().any(|known| known.name == name) {
            return Err(no_context(None));
        }
        Ok(Self { kubeconfig, context: name, registry })
    }

    /// The context's name, for the question whether it may be used.
    pub fn context(&self) -> &str {
        &self.context
    }

    pub(super) fn planned(&self) -> Cluster {
        Cluster {
            name: self.context.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            registry: self.registry.clone(),
            network: None,
            label: format!("spin-lab.cluster={}", self.context),
            nodes: Vec::new(),
        }
    }

    pub(super) fn plan(&self) -> Vec<Planned> {
        let seconds = limits::CLUSTER_READY.as_secs();
        let Self { context, .. } = self;
        vec![Planned::Does(format!(
            "waits at most {seconds} s until a node of context {context} is Ready, CoreDNS is available and the default service account is there"
        ))]
    }

    pub(super) async fn ensure(&self) -> Result<Cluster, ClusterError> {
        let planned = self.planned();
        let nodes = ready::wait(&planned, &self.kubeconfig, 1, limits::CLUSTER_READY).await?;
        Ok(Cluster { nodes, ..planned })
    }
}
