//! The settings that only a cluster has: where it is, and which shapes the parts of a lab take on it. Plain data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::UnknownWord;

/// What runs a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// Processes of this machine.
    Local,
    /// A k3d cluster that the lab makes.
    K3d,
    /// A kind cluster that the lab makes.
    Kind,
    /// The cluster of a kubeconfig context, which somebody else made.
    Kubernetes,
}

impl BackendKind {
    /// Whether the lab is on a cluster.
    pub const fn is_cluster(self) -> bool {
        !matches!(self, Self::Local)
    }

    /// Where the emulators are when nothing is said: beside the nodes' containers where the lab made those.
    pub const fn usual_emulators(self) -> Emulators {
        match self {
            Self::Local | Self::Kubernetes => Emulators::InCluster,
            Self::K3d | Self::Kind => Emulators::Alongside,
        }
    }
}

/// Which object a Spin application is on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpinShape {
    /// A Deployment with a RuntimeClass.
    Deployment,
    /// SpinKube's SpinApp, of which the Spin operator makes a Deployment.
    Spinapp,
}

/// Which nodes run what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pools {
    /// Every node runs everything.
    Uniform,
    /// Nodes with the label `pool=wasm` run Wasm, those with `pool=classic` the rest.
    Mixed,
}

/// How the replicas of Dapr Shared are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaprStrategy {
    /// As many as are asked for, wherever there is room.
    Deployment,
    /// One on each node.
    Daemonset,
}

/// Where the broker and the blob store of a lab on a cluster run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emulators {
    /// As containers beside the cluster's nodes, on their network.
    Alongside,
    /// As Deployments in the lab's namespace.
    InCluster,
}

words!(BackendKind { Local = "local", K3d = "k3d", Kind = "kind", Kubernetes = "kubernetes" });
words!(SpinShape { Deployment = "deployment", Spinapp = "spinapp" });
words!(Pools { Uniform = "uniform", Mixed = "mixed" });
words!(DaprStrategy { Deployment = "deployment", Daemonset = "daemonset" });
words!(Emulators { Alongside = "alongside", InCluster = "in-cluster" });

/// What only a lab on a cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSpec {
    /// The kubeconfig context; the current one where it is none. A cluster that the lab makes has its own.
    pub context: Option<String>,
    /// Which object a Spin application is.
    pub spin_shape: SpinShape,
    /// Which nodes run what.
    pub pools: Pools,
    /// How the replicas of Dapr Shared are placed.
    pub dapr_strategy: DaprStrategy,
    /// Where broker and blob store run.
    pub emulators: Emulators,
}

impl Default for ClusterSpec {
    /// As for the current context; see [`ClusterSpec::of`].
    fn default() -> Self {
        Self::of(BackendKind::Local)
    }
}

impl ClusterSpec {
    /// What a back end has when nothing is said.
    pub const fn of(backend: BackendKind) -> Self {
        Self {
            context: None,
            spin_shape: SpinShape::Deployment,
            pools: Pools::Uniform,
            dapr_strategy: DaprStrategy::Deployment,
            emulators: backend.usual_emulators(),
        }
    }

    /// The settings by name, as people see them.
    pub(crate) fn rows(&self) -> [(&'static str, String); 5] {
        [
            ("context", self.context.clone().unwrap_or_else(|| "(current)".to_owned())),
            ("spin-shape", self.spin_shape.to_string()),
            ("pools", self.pools.to_string()),
            ("dapr-strategy", self.dapr_strategy.to_string()),
            ("emulators", self.emulators.to_string()),
        ]
    }
}
