//! Where a cluster comes from: k3d, kind, or a context that the user has. It makes the cluster, waits until it can take
//! pods, and removes it; what runs in it is not its business.
//!
//! Everything is decided as data first ([`Provider::planned`], [`Provider::plan`]), so that a dry run needs no engine. What is
//! in the cluster is asked through its API; the programs `k3d`, `kind` and `docker` do only what they alone can.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod call;
pub mod charts;
mod config;
mod current;
mod error;
mod evidence;
pub mod foreign;
pub mod installs;
mod k3d;
mod kind;
pub mod limits;
mod provider;
mod ready;
pub mod versions;
pub mod wasm;

pub use call::{Call, CallError, install};
pub use current::Current;
pub use error::ClusterError;
pub use provider::{Own, OwnKind, Provider};

use crate::paths::Workspace;
use versions::Versions;

/// Who makes the objects of a lab; also the owner of the fields that are applied.
pub const MANAGER: &str = "spin-lab";

/// The label by which everything of a lab is found, its namespace first.
pub const LAB: &str = "spin-lab/lab";

/// What a cluster is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The workspace.
    pub workspace: Workspace,
    /// The lab's name.
    pub lab: String,
    /// Nodes beside the first.
    pub agents: u32,
    /// Whether there is a pool of nodes for Wasm and one for the rest.
    pub mixed_pools: bool,
    /// The image of nodes that run Wasm.
    pub node_image: NodeImage,
    /// How long k3d or kind may take to make or start a cluster.
    pub made_within: Duration,
    /// How long it may take from then on until the cluster can take pods.
    pub ready_within: Duration,
    /// A folder with the charts by name, and their manifests by file name, for machines that reach no repository: `LAB_CHARTS`.
    pub charts: Option<PathBuf>,
    /// The versions.
    pub versions: Versions,
}

impl Settings {
    /// The settings of a lab: one node beside the first, all alike, from the image that `LAB_NODE_IMAGE` says (`published`,
    /// `own`, or an image's name), else the published one.
    ///
    /// # Errors
    /// Fails where the workspace's versions cannot be read.
    pub fn new(workspace: Workspace, lab: &str) -> Result<Self, ClusterError> {
        let versions = Versions::read(&workspace)?;
        let lab = lab.to_owned();
        let of = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Ok(Self {
            workspace,
            lab,
            agents: 1,
            mixed_pools: false,
            node_image: of("LAB_NODE_IMAGE")
                .map_or(NodeImage::Published, |word| NodeImage::of(&word.to_string_lossy())),
            made_within: limits::CLUSTER_CREATED,
            ready_within: limits::CLUSTER_READY,
            charts: of("LAB_CHARTS").map(PathBuf::from),
            versions,
        })
    }
}

/// The image of nodes that run Wasm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeImage {
    /// The one that the shim's project publishes.
    Published,
    /// Built from `k3d/node/Dockerfile`.
    Own,
    /// Any other.
    Named(String),
}

impl NodeImage {
    fn of(word: &str) -> Self {
        match word {
            "published" => Self::Published,
            "own" => Self::Own,
            image => Self::Named(image.to_owned()),
        }
    }
}

/// A cluster that applications can be deployed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name, as the program that made it knows it; of a foreign cluster the context's.
    pub name: String,
    /// The file with which it is reached; of this lab alone, unless the cluster is foreign.
    pub kubeconfig: PathBuf,
    /// The context in that file.
    pub context: String,
    /// Where images go; `None` where nobody said it for a foreign cluster.
    pub registry: Option<Registry>,
    /// The network of the engine that its nodes are on, for containers beside them; `None` for a foreign cluster.
    pub network: Option<String>,
    /// The label, `key=value`, of every container and volume beside the cluster that goes when it does.
    pub label: String,
    /// Its nodes; empty before it has been ensured.
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// Whether somebody else has made it.
    pub fn is_foreign(&self) -> bool {
        self.network.is_none()
    }
}

/// One registry under two names: from outside and from the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// `host:port` to which the lab pushes.
    pub push_host: String,
    /// `host:port` that a manifest names and the nodes know.
    pub pull_host: String,
}

/// One node, as the cluster tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `containerd://2.1.5`.
    pub container_runtime: String,
    /// `v1.35.2+k3s1`.
    pub kubelet: String,
    /// The pool that its label names.
    pub pool: Option<String>,
}

impl Node {
    /// Whether it can pull an OCI artefact whose layers are no layers of a file system. Older versions of containerd fail at
    /// unpacking it, "mismatched image rootfs and manifest layers": `getLayers` in its `image.go` takes every layer for one of files
    /// before 1.6.25, and in 1.7 before 1.7.7. Of another runtime, or of a version that cannot be read, it is believed.
    pub fn pulls_artefacts(&self) -> bool {
        let Some(version) = self.container_runtime.strip_prefix("containerd://") else { return true };
        let mut numbers = version
            .trim_start_matches('v')
            .split(|character: char| !character.is_ascii_digit())
            .map_while(|digits| digits.parse::<u32>().ok());
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(1), Some(6), Some(patch)) => patch >= 25,
            (Some(1), Some(7), Some(patch)) => patch >= 7,
            (Some(1), Some(minor), Some(_)) => minor > 7,
            (Some(0), ..) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_containerd_pulls_no_artefacts() {
        let node = |runtime: &str| Node {
            name: "n".to_owned(),
            architecture: "amd64".to_owned(),
            container_runtime: runtime.to_owned(),
            kubelet: "v1.33.13".to_owned(),
            pool: None,
        };
        for old in [
            "containerd://1.6.20~ds1",
            "containerd://1.7.6",
            "containerd://1.5.9-k3s1",
            "containerd://v1.6.24",
        ] {
            assert!(!node(old).pulls_artefacts(), "{old}");
        }
        for able in [
            "containerd://1.6.25",
            "containerd://1.7.7-k3s1",
            "containerd://2.0.5-k3s1",
            "containerd://1.8.0",
            "cri-o://1.30.0",
            "containerd://",
            "",
        ] {
            assert!(node(able).pulls_artefacts(), "{able}");
        }
    }

    #[test]
    fn a_node_image_is_one_of_two_words_or_a_name() {
        assert_eq!(NodeImage::of("published"), NodeImage::Published);
        assert_eq!(NodeImage::of("own"), NodeImage::Own);
        assert_eq!(NodeImage::of("me/node:1"), NodeImage::Named("me/node:1".to_owned()));
    }
}
