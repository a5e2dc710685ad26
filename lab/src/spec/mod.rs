//! What a lab is made of: plain data, no I/O. Every back end builds the same lab from the same [`LabSpec`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits;

/// One implementation of the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    /// A Wasm application written in Rust, run by a Spin host.
    SpinRust,
    /// A Wasm application written in TypeScript, run by a Spin host.
    SpinTs,
    /// A native Rust program on warp.
    WarpRust,
    /// A native TypeScript program on Express and Dapr's own SDK, run by Node.
    ExpressTs,
}

/// How `warp-rust` is made into a program; the other stacks come in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packaging {
    /// As cargo builds it: on the system's C library, with its symbols.
    Full,
    /// One file that needs nothing of the system, stripped: what a container from scratch holds.
    Static,
}

/// One deployment of a stack's artefact: what it does follows from the queue that Dapr reads for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sends each order on to the express or the standard queue.
    Distributor,
    /// Stores express orders.
    ReceiverExpress,
    /// Stores standard orders.
    ReceiverStandard,
}

/// How Dapr stands to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// One Dapr for each replica of the application, beside it.
    Sidecar,
    /// Dapr Shared: replicas of Dapr of their own, in front of the application's service.
    Shared,
}

/// Which program stores the blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobStore {
    /// Azurite, the reference.
    Azurite,
    /// Our own in-memory store.
    Native,
}

/// The engine settings of the Spin host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineProfile {
    /// The pooling values of Spin 3.6.3.
    Spin,
    /// What measuring shows to be best; never a verdict on Spin.
    Tuned,
}

/// Whether Dapr makes a span of each of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracing {
    /// Dapr without a Configuration: it passes the context of a caller on and makes no span.
    Off,
    /// Every trace is sampled. There is no collector: what sending spans costs is not in the figures.
    On,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order in which people see them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The one name of this value, in code, on the command line, in docs and reports.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { given: word.to_owned(), known: &[$($word),+] }),
                }
            }
        }
    };
}

pub mod cluster;
pub mod matrix;

pub use cluster::{BackendKind, ClusterSpec, DaprStrategy, Emulators, Pools, SpinShape};

words!(Stack {
    SpinRust = "spin-rust",
    SpinTs = "spin-ts",
    WarpRust = "warp-rust",
    ExpressTs = "express-ts",
});
words!(Packaging { Full = "full", Static = "static" });
words!(Role { Distributor = "distributor", ReceiverExpress = "receiver-express", ReceiverStandard = "receiver-standard" });
words!(Topology { Sidecar = "sidecar", Shared = "shared" });
words!(BlobStore { Azurite = "azurite", Native = "native" });
words!(Tracing { Off = "off", On = "on" });
words!(EngineProfile { Spin = "spin", Tuned = "tuned" });

/// A word that none of a list of values has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value '{given}', expected one of: {}", known.join(", "))]
pub struct UnknownWord {
    /// The word as it was given.
    pub given: String,
    /// The words that would have been understood.
    pub known: &'static [&'static str],
}

/// The stack of each role; coexistence is a lab whose roles differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stacks {
    /// The distributor's stack.
    pub distributor: Stack,
    /// The express receiver's stack.
    pub receiver_express: Stack,
    /// The standard receiver's stack.
    pub receiver_standard: Stack,
}

impl Stacks {
    /// All roles on one stack.
    pub const fn all(stack: Stack) -> Self {
        Self { distributor: stack, receiver_express: stack, receiver_standard: stack }
    }

    /// The stack of one role.
    pub const fn of(&self, role: Role) -> Stack {
        match role {
            Role::Distributor => self.distributor,
            Role::ReceiverExpress => self.receiver_express,
            Role::ReceiverStandard => self.receiver_standard,
        }
    }
}

impl FromStr for Stacks {
    type Err = StacksError;

    /// Reads `spin-rust` (every role) or `distributor=spin-rust,receiver-express=warp-rust,receiver-standard=warp-rust`.
    fn from_str(text: &str) -> Result<Self, StacksError> {
        if !text.contains('=') {
            return Ok(Self::all(text.parse()?));
        }
        let mut found: [Option<Stack>; 3] = [None; 3];
        for part in text.split(',') {
            let (role, stack) = part.split_once('=').ok_or_else(|| StacksError::NotAPair(part.to_owned()))?;
            let role: Role = role.trim().parse()?;
            let slot = &mut found[role as usize];
            if slot.replace(stack.trim().parse()?).is_some() {
                return Err(StacksError::Twice(role));
            }
        }
        let of = |role: Role| found[role as usize].ok_or(StacksError::Missing(role));
        Ok(Self {
            distributor: of(Role::Distributor)?,
            receiver_express: of(Role::ReceiverExpress)?,
            receiver_standard: of(Role::ReceiverStandard)?,
        })
    }
}

impl fmt::Display for Stacks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if Role::ALL.iter().all(|role| self.of(*role) == self.distributor) {
            return self.distributor.fmt(formatter);
        }
        let pairs: Vec<_> = Role::ALL.iter().map(|role| format!("{role}={}", self.of(*role))).collect();
        formatter.pad(&pairs.join(","))
    }
}

/// Why a text names no [`Stacks`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StacksError {
    /// A role or a stack that does not exist.
    #[error(transparent)]
    Unknown(#[from] UnknownWord),
    /// A part without `=`.
    #[error("'{0}' is not role=stack")]
    NotAPair(String),
    /// A role that is named twice.
    #[error("role {0} is named twice")]
    Twice(Role),
    /// A role that is not named.
    #[error("role {0} has no stack; name all three roles, or one stack for all")]
    Missing(Role),
}

/// A whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// The lab's name; several labs run on one machine under different names.
    pub name: String,
    /// The stack of each role.
    pub stacks: Stacks,
    /// How `warp-rust` is packaged.
    pub packaging: Packaging,
    /// How Dapr stands to the applications.
    pub topology: Topology,
    /// Replicas of the application, for each role.
    pub replicas: u32,
    /// Replicas of Dapr, for each role; in [`Topology::Sidecar`] there are as many as of the application.
    pub dapr_replicas: u32,
    /// Which program stores the blobs.
    pub blob: BlobStore,
    /// The engine settings of the Spin host.
    pub engine_profile: EngineProfile,
    /// Whether Dapr makes a span of each of its calls.
    pub tracing: Tracing,
    /// Whether the well-known ports are used (Service Bus 5672 and 5300, blobs 10000) instead of free ones.
    pub fixed_ports: bool,
    /// How long the broker locks a delivered message.
    pub lock_seconds: u32,
    /// Deliveries after which the broker dead-letters a message.
    pub max_delivery_count: u32,
    /// What runs the lab.
    pub backend: BackendKind,
    /// What only a lab on a cluster has; the local back end has no use for it.
    pub cluster: ClusterSpec,
}

impl Default for LabSpec {
    fn default() -> Self {
        Self {
            name: "main".to_owned(),
            stacks: Stacks::all(Stack::SpinRust),
            packaging: Packaging::Full,
            topology: Topology::Sidecar,
            replicas: 1,
            dapr_replicas: 1,
            blob: BlobStore::Azurite,
            engine_profile: EngineProfile::Spin,
            tracing: Tracing::Off,
            fixed_ports: false,
            lock_seconds: 60,
            max_delivery_count: 10,
            backend: BackendKind::Local,
            cluster: ClusterSpec::default(),
        }
    }
}

/// The queues of the lab, in the order in which an order meets them.
pub const QUEUES: [&str; 3] = ["q-order-ingress", "q-order-express", "q-order-standard"];

/// The containers in which orders end.
pub const OUTBOXES: [&str; 2] = ["express-outbox", "standard-outbox"];

/// The container that holds the generated orders.
pub const TEST_DATA: &str = "testdata";

/// The folder of the reports, which lies beside those of the labs.
pub const RUNS: &str = "runs";

/// Why settings describe no lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A name that could not be a folder's.
    #[error(
        "'{0}' cannot be a lab's name: it takes 1 to {max} of the characters a-z, 0-9 and '-', a letter or digit first, \
         and 'runs' is the folder of the reports",
        max = limits::NAME_CHARACTERS
    )]
    Name(String),
    /// A number outside of its range.
    #[error("{setting} is {given}, but must be from {least} to {most}")]
    Range {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        given: u32,
        /// The least that works.
        least: u32,
        /// The most that works.
        most: u32,
    },
    /// Dapr replicas of their own in a topology where Dapr stands beside each replica of the application.
    #[error(
        "{dapr_replicas} Dapr replicas for {replicas} of the application, but a sidecar stands beside each one"
    )]
    SidecarReplicas {
        /// Replicas of Dapr.
        dapr_replicas: u32,
        /// Replicas of the application.
        replicas: u32,
    },
    /// A setting of clusters for a lab of local processes.
    #[error("{setting} {given} is of a cluster; name one with --backend k3d, kind or kubernetes")]
    OnlyOnACluster {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        given: String,
    },
    /// Containers beside nodes that the lab did not make.
    #[error("emulators alongside need the network of a cluster that the lab makes: k3d or kind, not {0}")]
    NoNetwork(BackendKind),
    /// A daemonset has as many replicas as there are nodes.
    #[error("a daemonset has one Dapr on each node: it takes topology shared and no number of Dapr replicas")]
    Daemonset,
    /// A context for a cluster that has its own.
    #[error("--context is of the back end kubernetes; {0} makes a cluster with a context of its own")]
    ContextOfItsOwn(BackendKind),
}

impl LabSpec {
    /// Whether these settings describe a lab.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), SpecError> {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let named = self.name != RUNS
            && self.name.len() <= limits::NAME_CHARACTERS
            && self.name.bytes().next().is_some_and(letters)
            && self.name.bytes().all(|byte| letters(byte) || byte == b'-');
        if !named {
            return Err(SpecError::Name(self.name.clone()));
        }
        for (setting, given, least, most) in [
            ("replicas", self.replicas, 1, limits::REPLICAS),
            ("dapr-replicas", self.dapr_replicas, 1, limits::REPLICAS),
            // The range of Service Bus itself: PT5S to PT5M.
            ("lock-seconds", self.lock_seconds, 5, 300),
            ("max-delivery-count", self.max_delivery_count, 1, 2000),
        ] {
            if !(least..=most).contains(&given) {
                return Err(SpecError::Range { setting, given, least, most });
            }
        }
        if self.topology == Topology::Sidecar && self.dapr_replicas != self.replicas {
            let Self { dapr_replicas, replicas, .. } = *self;
            return Err(SpecError::SidecarReplicas { dapr_replicas, replicas });
        }
        self.validate_cluster()
    }

    fn validate_cluster(&self) -> Result<(), SpecError> {
        let Self { backend, cluster, .. } = self;
        if !backend.is_cluster() {
            let usual = ClusterSpec::default().rows();
            let given = cluster.rows().into_iter().zip(usual).find(|(given, usual)| given != usual);
            return match given {
                Some(((setting, given), _)) => Err(SpecError::OnlyOnACluster { setting, given }),
                None => Ok(()),
            };
        }
        if cluster.context.is_some() && *backend != BackendKind::Kubernetes {
            return Err(SpecError::ContextOfItsOwn(*backend));
        }
        if cluster.emulators == Emulators::Alongside && *backend == BackendKind::Kubernetes {
            return Err(SpecError::NoNetwork(*backend));
        }
        let shared_once = self.topology == Topology::Shared && self.dapr_replicas == 1;
        if cluster.dapr_strategy == DaprStrategy::Daemonset && !shared_once {
            return Err(SpecError::Daemonset);
        }
        Ok(())
    }

    /// What is different in `self`, in words: `topology sidecar instead of shared`.
    pub fn differences(&self, wanted: &Self) -> Vec<String> {
        let yes = |on: bool| if on { "on" } else { "off" }.to_owned();
        let mut rows = vec![
            ("stack", self.stacks.to_string(), wanted.stacks.to_string()),
            ("packaging", self.packaging.to_string(), wanted.packaging.to_string()),
            ("topology", self.topology.to_string(), wanted.topology.to_string()),
            ("replicas", self.replicas.to_string(), wanted.replicas.to_string()),
            ("dapr-replicas", self.dapr_replicas.to_string(), wanted.dapr_replicas.to_string()),
            ("blob", self.blob.to_string(), wanted.blob.to_string()),
            ("engine-profile", self.engine_profile.to_string(), wanted.engine_profile.to_string()),
            ("tracing", self.tracing.to_string(), wanted.tracing.to_string()),
            ("fixed-ports", yes(self.fixed_ports), yes(wanted.fixed_ports)),
            ("lock-seconds", self.lock_seconds.to_string(), wanted.lock_seconds.to_string()),
            (
                "max-delivery-count",
                self.max_delivery_count.to_string(),
                wanted.max_delivery_count.to_string(),
            ),
            ("backend", self.backend.to_string(), wanted.backend.to_string()),
        ];
        let clusters = self.cluster.rows().into_iter().zip(wanted.cluster.rows());
        rows.extend(clusters.map(|((setting, here), (_, there))| (setting, here, there)));
        rows.into_iter()
            .filter(|(_, here, there)| here != there)
            .map(|(setting, here, there)| format!("{setting} {here} instead of {there}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_one_for_all_or_one_for_each() {
        assert_eq!("warp-rust".parse(), Ok(Stacks::all(Stack::WarpRust)));
        let mixed: Stacks = "distributor=spin-rust,receiver-express=warp-rust, receiver-standard=warp-rust"
            .parse()
            .expect("stacks");
        assert_eq!(mixed.of(Role::Distributor), Stack::SpinRust);
        assert_eq!(mixed.of(Role::ReceiverStandard), Stack::WarpRust);
        assert_eq!(mixed.to_string().parse(), Ok(mixed));
    }

    #[test]
    fn stacks_that_leave_something_open_are_refused() {
        for (text, message) in [
            ("warp", "unknown value 'warp', expected one of: spin-rust, spin-ts, warp-rust, express-ts"),
            (
                "distributor=warp-rust",
                "role receiver-express has no stack; name all three roles, or one stack for all",
            ),
            ("distributor=warp-rust,x", "'x' is not role=stack"),
            ("distributor=warp-rust,distributor=warp-rust", "role distributor is named twice"),
            (
                "queue=warp-rust",
                "unknown value 'queue', expected one of: distributor, receiver-express, receiver-standard",
            ),
        ] {
            assert_eq!(text.parse::<Stacks>().expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn settings_are_checked() {
        let good = LabSpec::default();
        assert_eq!(good.validate(), Ok(()));
        for name in ["", "Main", "a/b", "-a", "..", RUNS, &"a".repeat(41)] {
            assert!(LabSpec { name: name.to_owned(), ..good.clone() }.validate().is_err(), "{name}");
        }
        assert!(LabSpec { replicas: 0, ..good.clone() }.validate().is_err());
        assert!(LabSpec { lock_seconds: 4, ..good.clone() }.validate().is_err());
        assert!(LabSpec { dapr_replicas: 2, ..good.clone() }.validate().is_err());
        assert_eq!(LabSpec { dapr_replicas: 2, topology: Topology::Shared, ..good }.validate(), Ok(()));
    }

    #[test]
    fn settings_of_a_cluster_are_checked_against_the_back_end() {
        let on = |backend| LabSpec { backend, cluster: ClusterSpec::of(backend), ..LabSpec::default() };
        for backend in BackendKind::ALL {
            assert_eq!(on(*backend).validate(), Ok(()), "{backend}");
        }
        let mut local = on(BackendKind::Local);
        local.cluster.spin_shape = SpinShape::Spinapp;
        let words = local.validate().expect_err("local has no SpinApp").to_string();
        assert_eq!(
            words,
            "spin-shape spinapp is of a cluster; name one with --backend k3d, kind or kubernetes"
        );
        let mut alongside = on(BackendKind::Kubernetes);
        alongside.cluster.emulators = Emulators::Alongside;
        assert_eq!(alongside.validate(), Err(SpecError::NoNetwork(BackendKind::Kubernetes)));
        let mut context = on(BackendKind::K3d);
        context.cluster.context = Some("mine".to_owned());
        assert_eq!(context.validate(), Err(SpecError::ContextOfItsOwn(BackendKind::K3d)));
        let mut daemonset = on(BackendKind::Kubernetes);
        daemonset.cluster.dapr_strategy = DaprStrategy::Daemonset;
        assert_eq!(daemonset.validate(), Err(SpecError::Daemonset));
        daemonset.topology = Topology::Shared;
        assert_eq!(daemonset.validate(), Ok(()));
        daemonset.dapr_replicas = 2;
        assert_eq!(daemonset.validate(), Err(SpecError::Daemonset));
    }

    #[test]
    fn differences_are_told_in_words() {
        let here = LabSpec::default();
        let wanted = LabSpec { blob: BlobStore::Native, ..LabSpec::default() };
        assert_eq!(here.differences(&wanted), ["blob azurite instead of native"]);
        assert!(here.differences(&here).is_empty());
    }
}
