//! The files from which k3d and kind make a cluster: those of `k3d/`, with what differs from one lab to the next filled in as
//! data. It decides names and ports and writes nothing.

use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::limits;
use super::versions::{NodeImages, NodeVersion};
use super::{ClusterError, NodeImage, Registry, Settings};

/// What a cluster is called, and where its registry answers. Two checkouts may have labs of one name, so names carry a part of
/// a digest; ports follow from names, so that the second `up` finds what the first has made and a dry run tells the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The cluster.
    pub(super) cluster: String,
    /// The container of its registry.
    pub(super) registry: String,
    /// The port of the loopback interface on which the registry answers.
    pub(super) port: u16,
}

/// Port of a registry within its network.
const REGISTRY_PORT: u16 = 5000;

impl Names {
    pub(super) fn of(settings: &Settings) -> Self {
        let digest = Sha256::digest(format!("{}\0{}", settings.workspace.root().display(), settings.lab));
        let hash: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
        // "lab-", the lab's name as far as there is room, a hyphen, the digest.
        let room = limits::CLUSTER_NAME_CHARACTERS - "lab-".len() - 1 - hash.len();
        let name: String = settings.lab.chars().take(room).collect();
        let cluster = format!("lab-{}-{hash}", name.trim_end_matches('-'));
        let place = digest.iter().rev().take(2).fold(0_u16, |place, byte| (place << 8) | u16::from(*byte));
        let port = limits::PORTS.start + place % (limits::PORTS.end - limits::PORTS.start);
        Self { registry: format!("{cluster}-registry"), cluster, port }
    }

    pub(super) fn registry(&self) -> Registry {
        Registry {
            push_host: format!("localhost:{}", self.port),
            pull_host: format!("{}:{REGISTRY_PORT}", self.registry),
        }
    }
}

/// The label of a node's pool.
pub(super) const POOL: &str = "pool";

/// The k3d cluster of a lab: `k3d/cluster.yaml`, filled in.
pub(super) fn k3d(settings: &Settings, names: &Names) -> Result<String, ClusterError> {
    let mut cluster = template(settings, "cluster.yaml")?;
    let node = settings.node("k3d")?;
    let mut labels = Vec::new();
    if settings.mixed_pools {
        // The agents that the file makes are the classic pool; the other one needs another image, and is added afterwards.
        labels.push(json!({ "label": format!("{POOL}=classic"), "nodeFilters": ["agent:*"] }));
    }
    let image = match (settings.mixed_pools, &node.base_without_shim) {
        (true, base) => base,
        (false, _) => &node.image,
    };
    for (pointer, value) in [
        ("/metadata/name", json!(names.cluster)),
        ("/agents", json!(settings.agents)),
        ("/image", json!(image)),
        ("/registries/create/name", json!(names.registry)),
        ("/registries/create/hostPort", json!(names.port.to_string())),
        ("/options/k3s/nodeLabels", json!(labels)),
    ] {
        set(&mut cluster, pointer, value);
    }
    written(settings, "cluster.yaml", &cluster)
}

/// The kind cluster of a lab: `k3d/kind.yaml`, filled in. `hosts` is the folder in which containerd looks up registries.
pub(super) fn kind(settings: &Settings, names: &Names, hosts: &Path) -> Result<String, ClusterError> {
    let mut cluster = template(settings, "kind.yaml")?;
    let node = settings.node("kind")?;
    let mounts = json!([{
        "hostPath": hosts.display().to_string(), "containerPath": "/etc/containerd/certs.d", "readOnly": true
    }]);
    let one = |role: &str, image: &str, pool: Option<&str>| {
        let mut one = json!({ "role": role, "image": image, "extraMounts": mounts });
        if let Some(pool) = pool {
            set(&mut one, "/labels", json!({ POOL: pool }));
        }
        one
    };
    let (image, base) = (node.image.as_str(), node.base_without_shim.as_str());
    let mut nodes = Vec::new();
    if settings.mixed_pools {
        nodes.push(one("control-plane", base, None));
        nodes.extend((0..settings.agents).map(|_| one("worker", base, Some("classic"))));
        nodes.push(one("worker", image, Some("wasm")));
    } else {
        nodes.push(one("control-plane", image, None));
        nodes.extend((0..settings.agents).map(|_| one("worker", image, None)));
    }
    set(&mut cluster, "/name", json!(names.cluster));
    set(&mut cluster, "/nodes", json!(nodes));
    written(settings, "kind.yaml", &cluster)
}

/// What containerd of a kind node has to know of the registry: it speaks HTTP. The file's place below `hosts`, and its content.
pub(super) fn kind_registry(names: &Names) -> (String, String) {
    let Registry { pull_host, .. } = names.registry();
    (
        format!("{pull_host}/hosts.toml"),
        format!("[host.\"http://{pull_host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"),
    )
}

/// A node image, and the same without the shim.
pub(super) struct NodeChoice {
    /// With the shim.
    pub(super) image: String,
    /// Without: of the classic pool.
    pub(super) base_without_shim: String,
}

impl Settings {
    fn images(&self, program: &'static str) -> Result<&NodeImages, ClusterError> {
        self.versions.nodes.get(program).ok_or_else(|| self.lacks(&format!("nodes.{program}")))
    }

    /// The error that `k3d/versions.toml` lacks something.
    pub(super) fn lacks(&self, what: &str) -> ClusterError {
        let path = self.workspace.cluster_files().join("versions.toml");
        ClusterError::Template { path, source: format!("it has no {what}").into() }
    }

    /// What is known of the node image; nothing of one that only the user knows.
    pub(super) fn node_version(&self, program: &'static str) -> Result<Option<&NodeVersion>, ClusterError> {
        let images = self.images(program)?;
        Ok(match &self.node_image {
            NodeImage::Published => Some(&images.published),
            NodeImage::Own => Some(&images.own),
            NodeImage::Named(_) => None,
        })
    }

    pub(super) fn node(&self, program: &'static str) -> Result<NodeChoice, ClusterError> {
        let image = match (&self.node_image, self.node_version(program)?) {
            (NodeImage::Named(image), _) => image.clone(),
            (_, known) => known.map(|known| known.image.clone()).unwrap_or_default(),
        };
        let base = self.images(program)?.own.base.clone();
        let base = base.ok_or_else(|| self.lacks(&format!("nodes.{program}.own.base")))?;
        Ok(NodeChoice { image, base_without_shim: base })
    }
}

fn template(settings: &Settings, name: &str) -> Result<Value, ClusterError> {
    let path = settings.workspace.cluster_files().join(name);
    let text = std::fs::read_to_string(&path).map_err(|source| ClusterError::File {
        operation: "read",
        path: path.clone(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| ClusterError::Template { path, source: Box::new(error) })
}

fn written(settings: &Settings, name: &str, value: &Value) -> Result<String, ClusterError> {
    let path = settings.workspace.cluster_files().join(name);
    let text = serde_saphyr::to_string(value)
        .map_err(|error| ClusterError::Template { path: path.clone(), source: Box::new(error) })?;
    // k3d replaces what looks like a variable by what the environment holds.
    if text.contains('$') {
        return Err(ClusterError::Template { path, source: "it must not hold a dollar sign".into() });
    }
    Ok(text)
}

/// Sets a value at a path of keys, which are made where they are missing.
fn set(value: &mut Value, pointer: &str, to: Value) {
    let mut at = value;
    for key in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = to;
}
