//! The arguments that say what a lab is made of.

use clap::Args;

use crate::spec::{BlobStore, EngineProfile, LabSpec, Packaging, Stacks, Topology};

/// What the lab is made of.
#[derive(Debug, Clone, Args)]
pub(super) struct ShapeArgs {
    /// The stack, one for all roles or one for each: spin-rust, spin-ts, warp-rust, express-ts, or
    /// distributor=spin-rust,receiver-express=warp-rust,receiver-standard=warp-rust.
    #[arg(long, value_name = "STACK", env = "LAB_STACK", default_value = "spin-rust")]
    stack: Stacks,
    /// How warp-rust is packaged: full, or static, which is one stripped file that needs nothing of the system.
    #[arg(long, value_name = "PACKAGING", default_value = "full")]
    packaging: Packaging,
    /// How Dapr stands to the applications: sidecar or shared.
    #[arg(long, value_name = "TOPOLOGY", env = "LAB_TOPOLOGY", default_value = "sidecar")]
    topology: Topology,
    /// Replicas of the application for each role.
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: u32,
    /// Replicas of Dapr for each role; with sidecars there are as many as of the application.
    #[arg(long, value_name = "N")]
    dapr_replicas: Option<u32>,
    /// Which program stores the blobs: azurite, or native, which needs no Node.
    #[arg(long, value_name = "STORE", env = "LAB_BLOB", default_value = "azurite")]
    blob: BlobStore,
    /// The Spin host's engine settings: spin, or tuned, with which no verdict on Spin can be drawn.
    #[arg(long, value_name = "PROFILE", default_value = "spin")]
    engine_profile: EngineProfile,
    /// The well-known ports: Service Bus on 5672 and 5300, blobs on 10000.
    #[arg(long)]
    fixed_ports: bool,
    /// How long the broker locks a delivered message.
    #[arg(long, value_name = "SECONDS", default_value_t = LabSpec::default().lock_seconds)]
    lock_seconds: u32,
    /// Deliveries after which the broker dead-letters a message.
    #[arg(long, value_name = "N", default_value_t = LabSpec::default().max_delivery_count)]
    max_delivery_count: u32,
}

impl ShapeArgs {
    /// The lab of that name and shape.
    pub(super) fn spec(&self, name: &str) -> LabSpec {
        let dapr_replicas = match self.topology {
            Topology::Sidecar => self.dapr_replicas.unwrap_or(self.replicas),
            Topology::Shared => self.dapr_replicas.unwrap_or(1),
        };
        LabSpec {
            name: name.to_owned(),
            stacks: self.stack,
            packaging: self.packaging,
            topology: self.topology,
            replicas: self.replicas,
            dapr_replicas,
            blob: self.blob,
            engine_profile: self.engine_profile,
            fixed_ports: self.fixed_ports,
            lock_seconds: self.lock_seconds,
            max_delivery_count: self.max_delivery_count,
        }
    }
}
