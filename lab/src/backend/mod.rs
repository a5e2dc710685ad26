//! What runs a lab, behind one trait: the same verbs for local processes and for a cluster.
//!
//! Everything above this module speaks of roles, replicas and endpoints; no process, pid or pod leaves it. A lab lives
//! in a supervisor process that owns a [`Backend`]; everyone else holds a [`Lab`], which speaks the same verbs over
//! the supervisor's control socket.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cluster::installs::Timings;
use crate::limits;
use crate::spec::{BlobStore, LabSpec, Role, Topology};

mod any;
mod control;
mod error;
pub mod kubernetes;
mod lab;
mod launch;
pub mod local;
mod settings;
mod slots;
mod supervisor;

pub use control::Progress;
use error::with_causes;
pub use error::{ApiError, Failure, LabError, Stage};
pub(crate) use lab::{Ended, down};
pub use lab::{Lab, Lifetime, Remains, StartOptions, View, running_labs};
pub use supervisor::{SuperviseOptions, supervise};

/// Where the parts of a running lab answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// AMQP of the broker.
    pub servicebus_amqp: SocketAddr,
    /// HTTP of the broker: health, clock, recorder, queues.
    pub servicebus_http: String,
    /// A connection string that every official SDK takes.
    pub servicebus_connection_string: String,
    /// The blob store.
    pub blob: BlobEndpoint,
    /// Dapr's HTTP API for the lab itself (app id `lab`).
    pub lab_dapr: String,
    /// The application of each role, as its Dapr reaches it.
    pub apps: BTreeMap<Role, String>,
    /// Dapr's HTTP API for each role, as its application reaches it.
    pub dapr: BTreeMap<Role, String>,
}

/// Where blobs are, and the key to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobEndpoint {
    /// Which program it is.
    pub store: BlobStore,
    /// `http://host:port/account`.
    pub url: String,
    /// The account's name.
    pub account: String,
    /// The account's key, base64; the emulators' well-known one.
    pub key: String,
}

/// One part of a running lab, as `lab status` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaStatus {
    /// The resource's name: `servicebus`, `blob`, `distributor-1`, `distributor-dapr-1`, `service-distributor`, …
    pub name: String,
    /// The program that runs: `servicebus-emulator`, `daprd`, …
    pub program: String,
    /// Its version, where it tells one.
    pub version: Option<String>,
    /// Whether it is our stand-in or the real thing.
    pub real: bool,
    /// `waiting`, `starting`, `ready`, `stopping`, `restarting`, `failed`, `stopped`.
    pub state: String,
    /// Its address, once known.
    pub endpoint: Option<String>,
    /// Times it was started again.
    pub restarts: u32,
    /// Seconds since it was last started.
    pub age_seconds: f64,
    /// Where its log is.
    pub log: String,
    /// What a node keeps of its image, bytes; `None` for what runs without one, and for images that are not the lab's.
    pub image_bytes: Option<u64>,
}

impl ReplicaStatus {
    /// What it is a replica of.
    pub fn component(&self) -> &str {
        component(&self.name)
    }
}

/// A part's name without the number of its replica: `distributor-dapr-3` is of `distributor-dapr`.
pub fn component(part: &str) -> &str {
    match part.rsplit_once('-') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            name
        }
        _ => part,
    }
}

/// What one part has used of the machine since it started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The resource's name, as in [`ReplicaStatus::name`].
    pub name: String,
    /// CPU seconds, user and system, of all its past and present incarnations.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
}

/// A part of the lab that can be killed or restarted; with a replica number, counted from 1, it is one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The application of a role.
    App(Role),
    /// Dapr of a role; in the sidecar topology replica k is the sidecar of the application's replica k.
    Dapr(Role),
    /// The broker; what it holds is lost with it.
    Broker,
    /// The blob store; what it holds is lost with it.
    Blob,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(role) => write!(formatter, "{role}"),
            Self::Dapr(role) => write!(formatter, "{role}-dapr"),
            Self::Broker => formatter.write_str("servicebus"),
            Self::Blob => formatter.write_str("blob"),
        }
    }
}

/// What there may be more or fewer of, for each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Replicas of the application (with their sidecars, where Dapr is one).
    App,
    /// Replicas of Dapr; only where Dapr is shared.
    Dapr,
}

/// Replicas that can be counted on their own: the application of a role, or its Dapr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scalable {
    /// Of which role.
    pub role: Role,
    /// Of what.
    pub target: Target,
}

impl Scalable {
    /// Everything that can be scaled, in the order in which people see it.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |role: &Role| [Target::App, Target::Dapr].map(|target| Self { role: *role, target });
        Role::ALL.iter().flat_map(of)
    }

    /// Whether it has a number of its own in a topology, and may have this one.
    ///
    /// # Errors
    /// Says what is to be scaled instead, or to how many.
    pub fn check(self, topology: Topology, count: u32) -> Result<(), LabError> {
        match (self.target, topology) {
            (Target::Dapr, Topology::Sidecar) => Err(LabError::Refused(format!(
                "{self} cannot be scaled on its own: a sidecar stands beside each application; scale {}",
                self.role
            ))),
            _ if (1..=limits::REPLICAS).contains(&count) => Ok(()),
            _ => Err(LabError::Refused(format!("replicas must be from 1 to {}", limits::REPLICAS))),
        }
    }

    /// One of its replicas.
    pub const fn part(self) -> Part {
        match self.target {
            Target::App => Part::App(self.role),
            Target::Dapr => Part::Dapr(self.role),
        }
    }
}

impl fmt::Display for Scalable {
    /// As its replicas are called, without their numbers: `distributor`, `distributor-dapr`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.part().fmt(formatter)
    }
}

impl FromStr for Scalable {
    type Err = UnknownScalable;

    fn from_str(name: &str) -> Result<Self, UnknownScalable> {
        Self::all()
            .find(|scalable| scalable.to_string() == name)
            .ok_or_else(|| UnknownScalable { given: name.to_owned() })
    }
}

/// A name of nothing that can be scaled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{given}' cannot be scaled, only: {}", Scalable::all().map(|known| known.to_string()).collect::<Vec<_>>().join(", "))]
pub struct UnknownScalable {
    /// The name as it was given.
    pub given: String,
}

/// What an order to scale has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scaled {
    /// What was scaled: `distributor`, `distributor-dapr`, …
    pub resource: String,
    /// Replicas before.
    pub from: u32,
    /// Replicas since.
    pub to: u32,
    /// When it was ordered, by the lab's clock: microseconds since the Unix epoch.
    pub ordered_us: u64,
    /// From the order until all was as ordered, milliseconds.
    pub took_ms: f64,
    /// What was started, in the order in which it became ready.
    pub started: Vec<StartedReplica>,
    /// What was stopped.
    pub stopped: Vec<String>,
}

/// One replica on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartedReplica {
    /// The resource's name, as in [`ReplicaStatus::name`].
    pub name: String,
    /// From the order until it was ready, milliseconds.
    pub ready_after_ms: f64,
    /// Its cold start: from the start of its process until it was ready, milliseconds.
    pub cold_start_ms: f64,
}

/// A change in the life of one replica of an application or of Dapr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEvent {
    /// When, by the lab's clock: microseconds since the Unix epoch.
    pub at_us: u64,
    /// What it is a replica of.
    pub of: Scalable,
    /// Its number, from 1.
    pub replica: u32,
    /// Whether it is ready from now on, or is not.
    pub ready: bool,
}

/// What becomes of a part after [`Backend::kill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterKill {
    /// Its restart policy decides, as after a crash.
    Policy,
    /// It stays down until it is restarted by [`Backend::restart`].
    StayDown,
}

/// The verbs of a back end. Whoever holds one is the parent of everything that the lab is made of.
///
/// Every verb returns when its effect can be seen: `up` when all is ready, `kill` when the part is dead, `restart` and
/// `scale` when what they started is ready.
pub trait Backend: Send + Sync + 'static {
    /// Starts everything and waits until all of it is ready.
    fn up(&self) -> impl Future<Output = Result<(), LabError>> + Send;

    /// Stops everything in order, so that what is in flight is settled. Idempotent.
    fn down(&self) -> impl Future<Output = ()> + Send;

    /// Where the parts answer; fails until the lab is ready.
    fn endpoints(&self) -> Result<Endpoints, LabError>;

    /// Every resource, in the order in which people see them.
    fn status(&self) -> Vec<ReplicaStatus>;

    /// What each resource has used of the machine. On a cluster it waits until that has been looked at anew, up to
    /// [`limits::USAGE_FRESH`](crate::limits::USAGE_FRESH).
    fn usage(&self) -> impl Future<Output = Result<Vec<Usage>, LabError>> + Send;

    /// Kills one replica without warning, as `kill -9` does.
    fn kill(
        &self,
        part: Part,
        replica: u32,
        after: AfterKill,
    ) -> impl Future<Output = Result<(), LabError>> + Send;

    /// Stops one replica in order and starts it again at its first address; starts it if it is down.
    fn restart(&self, part: Part, replica: u32) -> impl Future<Output = Result<(), LabError>> + Send;

    /// Starts or stops replicas until there are `count`, all of them at once. What is stopped finishes what is in flight. One
    /// order at a time: a second one waits.
    fn scale(&self, scalable: Scalable, count: u32) -> impl Future<Output = Result<Scaled, LabError>> + Send;

    /// When replicas became ready and ceased to be, oldest first; of a lab that lives long, the latest
    /// [`limits::REPLICA_EVENTS`](crate::limits::REPLICA_EVENTS).
    fn replica_events(&self) -> Vec<ReplicaEvent>;

    /// Changes its value whenever the state of a resource changes, and holds the failure that ended the lab, if one has.
    fn changes(&self) -> watch::Receiver<u64>;

    /// The failure of a resource that nothing starts again; the lab is of no use after it.
    fn failure(&self) -> Option<Failure>;

    /// The resources that are ready by now, in the order in which they became so.
    fn progress(&self) -> Vec<Progress>;

    /// How long each step of [`Self::up`] took, of those that are done; empty where the parts are all that there is to wait for.
    fn timings(&self) -> Timings {
        Timings::default()
    }
}

/// The settings that a running lab has, for those who attach to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabState {
    /// What it was started from.
    pub spec: LabSpec,
    /// Where it answers.
    pub endpoints: Endpoints,
    /// How long each step of its start took.
    pub timings: Timings,
}
