//! What things of a lab are called on a cluster: namespaces, labels, ports. Each name stands here once and is built as data.

use std::collections::BTreeMap;

use crate::backend::Part;
pub use crate::cluster::{LAB, MANAGER};
use crate::spec::{BlobStore, DaprStrategy, LabSpec, Role, SpinShape, Stack, Topology};

/// The label that says what a pod is a replica of.
pub const PART: &str = "spin-lab/part";

/// The annotation of the namespace that says which checkout's lab it is.
pub const WORKSPACE: &str = "spin-lab/workspace";

/// The annotation of a pod template that changes with a file that the pod reads.
pub const CONFIG: &str = "spin-lab/config";

/// The label of nodes, for `--pools mixed`.
pub const POOL: &str = "pool";

/// The account under which applications and Dapr run.
pub const ACCOUNT: &str = "lab";

/// The containerd runtime that the shim is.
pub const HANDLER: &str = "spin";

/// The namespace of Dapr's control plane.
pub const DAPR_SYSTEM: &str = "dapr-system";

/// The name of the Spin operator's executor in a lab's namespace.
pub const EXECUTOR: &str = "containerd-shim-spin";

/// The container of Dapr in a pod, as the injector calls it.
pub const DAPRD: &str = "daprd";

/// The container of the application in a pod. The Spin operator calls it like the SpinApp.
pub const APP: &str = "app";

/// Ports, all TCP.
pub mod ports {
    /// AMQP of the broker.
    pub const AMQP: u16 = 5672;
    /// HTTP of the broker.
    pub const BROKER_HTTP: u16 = 5300;
    /// Blobs.
    pub const BLOB: u16 = 10000;
    /// HTTP of Dapr.
    pub const DAPR_HTTP: u16 = 3500;
    /// gRPC of Dapr.
    pub const DAPR_GRPC: u16 = 50001;
    /// Where Dapr's replicas call each other.
    pub const DAPR_INTERNAL: u16 = 50002;
    /// What the Services of applications answer on.
    pub const SERVICE: u16 = 80;
    /// What the shim listens on.
    pub const WASM: u16 = 80;
    /// What native applications listen on, as no root.
    pub const NATIVE: u16 = 8080;
}

/// The namespace of a lab.
pub fn namespace(lab: &str) -> String {
    format!("{MANAGER}-{lab}")
}

/// The labels that everything of a lab has.
pub fn labels(lab: &str) -> BTreeMap<String, String> {
    let managed = ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    BTreeMap::from([managed, (LAB.to_owned(), lab.to_owned())])
}

/// The selector that finds everything of a lab.
pub fn selector(lab: &str) -> String {
    format!("app.kubernetes.io/managed-by={MANAGER},{LAB}={lab}")
}

/// What runs a role's application.
pub const fn is_wasm(stack: Stack) -> bool {
    matches!(stack, Stack::SpinRust | Stack::SpinTs)
}

/// Where the Dapr of a role runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaprPlace {
    /// A container that Dapr's injector adds to the application's pod.
    Injected,
    /// A container of the application's pod that takes nothing from its environment, since the shim gives none
    /// to a native container beside a Wasm one.
    Beside,
    /// Pods of their own.
    Own,
}

/// Where the Dapr of a role runs in a lab.
pub fn dapr_place(spec: &LabSpec, role: Role) -> DaprPlace {
    match (spec.topology, is_wasm(spec.stacks.of(role)), spec.cluster.spin_shape) {
        (Topology::Shared, ..) => DaprPlace::Own,
        (Topology::Sidecar, false, _) => DaprPlace::Injected,
        (Topology::Sidecar, true, SpinShape::Deployment) => DaprPlace::Beside,
        // A SpinApp has no field for a second container.
        (Topology::Sidecar, true, SpinShape::Spinapp) => DaprPlace::Own,
    }
}

/// The same in words; of the lab's own Dapr, without a role, too.
pub fn dapr_words(spec: &LabSpec, role: Option<Role>) -> &'static str {
    let Some(role) = role else { return "the lab's own, in a pod of its own" };
    match (dapr_place(spec, role), spec.topology, spec.cluster.dapr_strategy) {
        (DaprPlace::Injected, ..) => "sidecar that Dapr's injector adds",
        (DaprPlace::Beside, ..) => {
            "sidecar of arguments and files: the shim gives no environment to a container beside a Spin one"
        }
        (DaprPlace::Own, Topology::Sidecar, _) => {
            "in a pod of its own, one for each application: a SpinApp has no room for a sidecar"
        }
        (DaprPlace::Own, Topology::Shared, DaprStrategy::Deployment) => "shared, as a deployment",
        (DaprPlace::Own, Topology::Shared, DaprStrategy::Daemonset) => {
            "shared, as a daemonset: one on each node"
        }
    }
}

/// The port on which a role's application listens in its pod.
pub const fn app_port(stack: Stack) -> u16 {
    if is_wasm(stack) { ports::WASM } else { ports::NATIVE }
}

/// What a pod with this label and a container of this name is a replica of; `None` for what the lab does not know.
pub fn part_of(label: &str, container: &str) -> Option<Replicated> {
    let role = |name: &str| Role::ALL.iter().copied().find(|role| role.as_str() == name);
    match (label, container) {
        ("servicebus", _) => Some(Replicated::One(Part::Broker)),
        ("blob", _) => Some(Replicated::One(Part::Blob)),
        ("lab-dapr", _) => Some(Replicated::LabDapr),
        (label, container) => match label.strip_suffix("-dapr").and_then(role) {
            Some(role) => Some(Replicated::Many(Part::Dapr(role))),
            None => role(label).map(|role| match container {
                DAPRD => Replicated::Many(Part::Dapr(role)),
                _ => Replicated::Many(Part::App(role)),
            }),
        },
    }
}

/// What a container is a replica of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Replicated {
    /// Of a part that there is once.
    One(Part),
    /// The lab's own Dapr.
    LabDapr,
    /// Of a part with numbered replicas.
    Many(Part),
}

impl Replicated {
    /// The resource's name with the replica's number.
    pub fn name(self, replica: u32) -> String {
        match self {
            Self::One(part) => part.to_string(),
            Self::LabDapr => "lab-dapr".to_owned(),
            Self::Many(part) => format!("{part}-{replica}"),
        }
    }
}

/// The program of the blob store.
pub const fn blob_program(blob: BlobStore) -> &'static str {
    match blob {
        BlobStore::Azurite => "azurite",
        BlobStore::Native => "blob-emulator",
    }
}
