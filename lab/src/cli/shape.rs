//! The arguments that say what a lab is made of.

use std::io::{self, IsTerminal};

use clap::Args;

use crate::backend::{LabError, kubernetes};
use crate::spec::{
    BackendKind, BlobStore, ClusterSpec, DaprStrategy, Emulators, EngineProfile, LabSpec, Packaging, Pools,
    SpinShape, Stacks, Topology, Tracing,
};

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
    /// Whether Dapr makes a span of each of its calls: off or on.
    #[arg(long, value_name = "TRACING", default_value = "off")]
    tracing: Tracing,
    /// The well-known ports: Service Bus on 5672 and 5300, blobs on 10000.
    #[arg(long)]
    fixed_ports: bool,
    /// How long the broker locks a delivered message.
    #[arg(long, value_name = "SECONDS", default_value_t = LabSpec::default().lock_seconds)]
    lock_seconds: u32,
    /// Deliveries after which the broker dead-letters a message.
    #[arg(long, value_name = "N", default_value_t = LabSpec::default().max_delivery_count)]
    max_delivery_count: u32,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// What runs the lab, and what only a cluster has.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// What runs the lab: local, k3d, kind, or kubernetes, which is the cluster of the current kubeconfig context.
    /// Without it local.
    #[arg(long, value_name = "BACKEND", env = "LAB_BACKEND")]
    pub backend: Option<BackendKind>,
    /// The kubeconfig context of the back end kubernetes; without it the current one.
    #[arg(long, value_name = "NAME", env = "LAB_CONTEXT")]
    pub context: Option<String>,
    /// On a cluster, which object a Spin application is: deployment, or spinapp, which needs the Spin operator.
    #[arg(long, value_name = "SHAPE", env = "LAB_SPIN_SHAPE")]
    pub spin_shape: Option<SpinShape>,
    /// On a cluster, which nodes run what: uniform, or mixed, where nodes labelled pool=wasm run Wasm and pool=classic the rest.
    #[arg(long, value_name = "POOLS", env = "LAB_POOLS")]
    pub pools: Option<Pools>,
    /// On a cluster, how Dapr Shared is placed: deployment, or daemonset, which is one on each node.
    #[arg(long, value_name = "STRATEGY")]
    pub dapr_strategy: Option<DaprStrategy>,
    /// On a cluster, where broker and blob store run: alongside its nodes, or in-cluster.
    #[arg(long, value_name = "WHERE")]
    pub emulators: Option<Emulators>,
    /// Change the cluster of the back end kubernetes without asking.
    #[arg(long, short, env = "LAB_YES", value_parser = clap::builder::FalseyValueParser::new())]
    pub yes: bool,
}

impl ClusterArgs {
    /// Agrees that a lab changes a cluster which it did not make: by `--yes`, or by who sits there and is asked. Where nobody can be
    /// asked, nobody has agreed.
    ///
    /// # Errors
    /// Names the cluster that nobody has agreed to.
    #[expect(clippy::print_stderr, reason = "a question stays on its line")]
    pub(super) fn agree(&self, spec: &LabSpec) -> Result<(), LabError> {
        match kubernetes::ask(spec, self.yes) {
            Err(LabError::NotAsked { context, server }) if io::stdin().is_terminal() => {
                eprint!("start the lab in context '{context}' ({server}), which it did not make? [y/N] ");
                let mut answer = String::new();
                // Who cannot be read has not agreed.
                match io::stdin().read_line(&mut answer).map(|_| answer.trim().to_owned()).as_deref() {
                    Ok("y" | "yes") => Ok(()),
                    _ => Err(LabError::NotAsked { context, server }),
                }
            }
            asked => asked,
        }
    }

    /// What was asked for, by the names of the flags.
    pub(super) fn flags(&self) -> [(&'static str, Option<String>); 6] {
        [
            ("backend", self.backend.map(|backend| backend.to_string())),
            ("context", self.context.clone()),
            ("spin-shape", self.spin_shape.map(|shape| shape.to_string())),
            ("pools", self.pools.map(|pools| pools.to_string())),
            ("dapr-strategy", self.dapr_strategy.map(|strategy| strategy.to_string())),
            ("emulators", self.emulators.map(|emulators| emulators.to_string())),
        ]
    }

    /// What was asked for, and of `spec` what was left open; of another back end its usual settings.
    pub(super) fn over(&self, spec: LabSpec) -> LabSpec {
        let backend = self.backend.unwrap_or(spec.backend);
        let usual = if backend == spec.backend { spec.cluster } else { ClusterSpec::of(backend) };
        let cluster = ClusterSpec {
            context: self.context.clone().or(usual.context),
            spin_shape: self.spin_shape.unwrap_or(usual.spin_shape),
            pools: self.pools.unwrap_or(usual.pools),
            dapr_strategy: self.dapr_strategy.unwrap_or(usual.dapr_strategy),
            emulators: self.emulators.unwrap_or(usual.emulators),
        };
        LabSpec { backend, cluster, ..spec }
    }
}

impl ShapeArgs {
    /// The lab of that name and shape.
    pub(super) fn spec(&self, name: &str) -> LabSpec {
        let dapr_replicas = match self.topology {
            Topology::Sidecar => self.dapr_replicas.unwrap_or(self.replicas),
            Topology::Shared => self.dapr_replicas.unwrap_or(1),
        };
        self.cluster.over(LabSpec {
            name: name.to_owned(),
            stacks: self.stack,
            packaging: self.packaging,
            topology: self.topology,
            replicas: self.replicas,
            dapr_replicas,
            blob: self.blob,
            engine_profile: self.engine_profile,
            tracing: self.tracing,
            fixed_ports: self.fixed_ports,
            lock_seconds: self.lock_seconds,
            max_delivery_count: self.max_delivery_count,
            ..LabSpec::default()
        })
    }
}
