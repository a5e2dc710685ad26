//! Why a cluster could not be had, and what to do about it.

use std::path::PathBuf;

use super::call::CallError;
use super::versions::VersionsError;
use super::wasm::CannotRun;
use crate::exit::Exit;

/// Why a cluster could not be made, reached or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// An external program.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The versions.
    #[error(transparent)]
    Versions(#[from] VersionsError),
    /// A file could not be read or written.
    #[error("failed to {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file of `k3d/` is not as it must be.
    #[error("{} is no configuration of a cluster", path.display())]
    Template {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A Wasm application needs another Spin than the nodes have.
    #[error(transparent)]
    CannotRun(#[from] CannotRun),
    /// The user's kubeconfig names no such context, or cannot be read.
    #[error("no context {} in the kubeconfig", context.as_deref().map_or("is current".to_owned(), |name| format!("'{name}'")))]
    NoContext {
        /// The context that was asked for.
        context: Option<String>,
        /// What is wrong with the file, if something is.
        #[source]
        source: Option<Box<kube::config::KubeconfigError>>,
    },
    /// The cluster refuses who asks.
    #[error("cluster '{cluster}' refuses this user: {answer}")]
    Refused {
        /// The cluster.
        cluster: String,
        /// What it answered.
        answer: String,
    },
    /// The cluster is there but did not become ready.
    #[error("cluster '{cluster}' was not ready after {seconds} s; last seen: {last}")]
    NotReady {
        /// The cluster.
        cluster: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was missing last.
        last: String,
    },
    /// It failed while it was being made; it was removed again.
    #[error("cluster '{cluster}' could not be made and was removed again; logs of its nodes and its events: {}", logs.display())]
    Undone {
        /// The cluster.
        cluster: String,
        /// The folder of what was saved before.
        logs: PathBuf,
        /// Why it failed.
        #[source]
        source: Box<ClusterError>,
    },
    /// No checksum is known for what the own node image is built of.
    #[error("no checksum of shim {shim} for {architecture} stands in k3d/versions.toml")]
    NoChecksum {
        /// The shim's version.
        shim: String,
        /// The architecture.
        architecture: &'static str,
    },
}

impl ClusterError {
    /// The exit code with which a command ends that met this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Call(CallError::Missing { .. }) => Exit::ProgramMissing,
            Self::Call(_) | Self::File { .. } => Exit::StartFailed,
            Self::Versions(_)
            | Self::CannotRun(_)
            | Self::Template { .. }
            | Self::NoContext { .. }
            | Self::NoChecksum { .. } => Exit::Usage,
            Self::Refused { .. } => Exit::Unavailable,
            Self::NotReady { .. } => Exit::NotReady,
            Self::Undone { source, .. } => source.exit(),
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Call(error) => error.hint(),
            Self::CannotRun(error) => Some(error.hint()),
            Self::NoContext { .. } => Some("kubectl config get-contexts, then --context NAME".to_owned()),
            Self::Refused { .. } => Some("log in to the cluster again, then: kubectl get nodes".to_owned()),
            Self::NotReady { .. } => {
                Some("kubectl get nodes,pods --all-namespaces; or start anew: cargo lab down".to_owned())
            }
            Self::Undone { source, .. } => {
                source.hint().or_else(|| Some("cargo lab doctor --backend k3d".to_owned()))
            }
            Self::NoChecksum { .. } => Some(
                "download the archive, compare it with the release page, and write its sha256sum there"
                    .to_owned(),
            ),
            Self::Versions(_) | Self::File { .. } | Self::Template { .. } => None,
        }
    }
}
