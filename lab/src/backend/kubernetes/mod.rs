//! The lab on a cluster: the same verbs as the local back end, carried out by a cluster's own controllers. Manifests are pure data
//! ([`manifests`]); the rest applies them, waits, diagnoses, forwards ports, follows logs and reads counters.
//!
//! A lab is a namespace and a RuntimeClass of its own ([ADR 0006](../../../docs/adr/0006-a-lab-is-a-namespace.md)); what it
//! needs beside them, the cluster itself and Dapr's control plane, is [`crate::cluster`]'s business. No other module speaks to an
//! API server.

mod apply;
pub mod beside;
mod client;
mod diagnose;
mod dry_run;
mod facts;
mod forward;
mod ground;
mod logs;
pub mod manifests;
mod names;
mod object;
mod pods;
pub(crate) mod record;
mod scale;
mod start;
mod status;
mod usage;
mod wait;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::dry_run::{DryRunError, dry_run};
pub use self::facts::image_plan;
pub use self::names::dapr_words;

use self::beside::Containers;
use self::client::Reached;
use self::facts::InRegistry;
use self::forward::{Forward, Target as ForwardTarget};
use self::logs::LogFollowers;
use self::names::{Replicated, ports};
use self::pods::Pods;
use self::record::Record;
use self::usage::Counted;
use super::{
    AfterKill, Backend, BlobEndpoint, Endpoints, Failure, LabError, Part, Progress, ReplicaEvent,
    ReplicaStatus, Scalable, Scaled, Stage, Usage, settings,
};
use crate::cluster::Cluster;
use crate::cluster::installs::Timings;
use crate::limits;
use crate::paths::{LabFiles, Workspace};
use crate::process::ReservedPort;
use crate::spec::{BackendKind, LabSpec, Role};

/// A lab on a cluster.
#[derive(Debug, Clone)]
pub struct KubernetesBackend {
    house: Arc<House>,
}

/// How long a start waits for what may yet come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For all pods to be ready.
    pub ready: Duration,
    /// For a node that has room for a pod.
    pub node: Duration,
    /// For what a pod or a container is made of.
    pub made: Duration,
    /// For a webhook to answer.
    pub webhook: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ready: limits::PODS_READY,
            node: limits::UNSCHEDULABLE,
            made: limits::NOT_CREATED,
            webhook: limits::WEBHOOK,
        }
    }
}

/// Whether a lab may be started where its settings say: a cluster that the lab did not make is changed only by one who says so.
///
/// # Errors
/// Names the cluster that nobody has agreed to.
pub fn ask(spec: &LabSpec, yes: bool) -> Result<(), LabError> {
    if spec.backend != BackendKind::Kubernetes || yes {
        return Ok(());
    }
    let (config, context) = client::kubeconfig(None, spec.cluster.context.as_deref())?;
    let server = client::server_of(&config, &context);
    Err(LabError::NotAsked { context, server })
}

/// What everything of one lab has in common.
#[derive(Debug)]
struct House {
    workspace: Workspace,
    files: LabFiles,
    spec: LabSpec,
    patience: Patience,
    opened: Instant,
    changes: watch::Sender<u64>,
    failure: Mutex<Option<Failure>>,
    cluster: OnceLock<Cluster>,
    reached: OnceLock<Reached>,
    /// Set once the namespace is the lab's: before, nothing there is its to remove.
    taken: OnceLock<()>,
    images: OnceLock<InRegistry>,
    endpoints: OnceLock<Endpoints>,
    dapr_version: OnceLock<String>,
    /// The emulators, where they are beside the cluster.
    containers: OnceLock<Arc<Containers>>,
    pods: Arc<Pods>,
    counted: Counted,
    forwards: Mutex<Vec<Forward>>,
    /// What was killed and is not to come back by itself.
    down: Mutex<BTreeSet<String>>,
    /// Which pods hold the broker's and the blob store's state, once the lab is ready.
    stores: OnceLock<BTreeMap<String, (String, u32)>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    log_followers: Mutex<Option<Arc<Mutex<tokio::task::JoinSet<()>>>>>,
    scaling: tokio::sync::Mutex<()>,
    /// How long each step of the start took, of those that are done.
    timings: Mutex<Timings>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KubernetesBackend {
    /// Starts nothing and asks nobody.
    pub fn new(workspace: Workspace, spec: LabSpec) -> Self {
        Self::with(workspace, spec, Patience::default())
    }

    /// The same with bounds of its own.
    pub fn with(workspace: Workspace, spec: LabSpec, patience: Patience) -> Self {
        let files = workspace.lab(&spec.name);
        Self {
            house: Arc::new(House {
                workspace,
                files,
                spec,
                patience,
                opened: Instant::now(),
                changes: watch::Sender::new(0),
                failure: Mutex::default(),
                cluster: OnceLock::new(),
                reached: OnceLock::new(),
                taken: OnceLock::new(),
                images: OnceLock::new(),
                endpoints: OnceLock::new(),
                dapr_version: OnceLock::new(),
                containers: OnceLock::new(),
                pods: Arc::default(),
                counted: Counted::default(),
                forwards: Mutex::default(),
                down: Mutex::default(),
                stores: OnceLock::new(),
                tasks: Mutex::default(),
                log_followers: Mutex::default(),
                scaling: tokio::sync::Mutex::default(),
                timings: Mutex::default(),
            }),
        }
    }
}

impl Backend for KubernetesBackend {
    async fn up(&self) -> Result<(), LabError> {
        match tokio::time::timeout(limits::CLUSTER_LAB_READY, self.house.start()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LabError::NotReady {
                name: self.house.spec.name.clone(),
                seconds: limits::CLUSTER_LAB_READY.as_secs(),
                waiting: "the cluster".to_owned(),
            }),
        }
    }

    async fn down(&self) {
        self.house.end().await;
    }

    fn endpoints(&self) -> Result<Endpoints, LabError> {
        let waiting = || LabError::Refused("the lab has no addresses before it is ready".to_owned());
        self.house.endpoints.get().cloned().ok_or_else(waiting)
    }

    fn status(&self) -> Vec<ReplicaStatus> {
        self.house.status()
    }

    async fn usage(&self) -> Result<Vec<Usage>, LabError> {
        let house = &self.house;
        let mut usage = house.counted.fresh(&house.reached()?.client, &house.spec.name, &house.pods).await?;
        if let Some(containers) = house.containers.get() {
            usage.extend(containers.usage().await?);
        }
        Ok(usage)
    }

    async fn kill(&self, part: Part, replica: u32, after: AfterKill) -> Result<(), LabError> {
        self.kill_one(part, replica, after).await
    }

    async fn restart(&self, part: Part, replica: u32) -> Result<(), LabError> {
        self.restart_one(part, replica).await
    }

    async fn scale(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        self.scale_to(scalable, count).await
    }

    fn replica_events(&self) -> Vec<ReplicaEvent> {
        self.house.pods.history()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.house.changes.subscribe()
    }

    fn failure(&self) -> Option<Failure> {
        locked(&self.house.failure).clone()
    }

    fn progress(&self) -> Vec<Progress> {
        self.house.progress()
    }

    fn timings(&self) -> Timings {
        locked(&self.house.timings).clone()
    }
}

impl House {
    fn reached(&self) -> Result<&Reached, LabError> {
        let not_yet = || LabError::Refused("the lab is not on its cluster yet".to_owned());
        self.reached.get().ok_or_else(not_yet)
    }

    /// Keeps up with the lab's pods for as long as it lives.
    fn watch(self: &Arc<Self>, client: &kube::Client) {
        let namespace = names::namespace(&self.spec.name);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let mut followers = LogFollowers::new(&self.files);
        *locked(&self.log_followers) = Some(followers.tasks());
        let (house, client) = (Arc::downgrade(self), client.clone());
        let task = tokio::spawn(async move {
            let stream = watcher(api, watcher::Config::default().labels(names::PART));
            let mut events = std::pin::pin!(kube::runtime::WatchStreamExt::default_backoff(stream));
            let mut listed = Vec::new();
            while let Some(event) = events.next().await {
                let Some(house) = house.upgrade() else { return };
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(pod)) => {
                        listed.extend(pod.metadata.name.clone());
                        house.pods.applied(pod);
                    }
                    Ok(Event::InitDone) => house.pods.all_are(&listed),
                    Ok(Event::Apply(pod)) => house.pods.applied(pod),
                    Ok(Event::Delete(pod)) => {
                        house.pods.deleted(pod.metadata.name.as_deref().unwrap_or_default());
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the watch of the lab's pods broke and is taken up again")
                    }
                }
                followers.follow(&client, &namespace, &house.pods.pods(), &house.pods.replicas());
                house.check_stores();
                house.changed();
            }
        });
        locked(&self.tasks).push(task);
        for name in self.containers.get().map(|containers| containers.names()).into_iter().flatten() {
            locked(&self.tasks).push(tokio::spawn(follow(Arc::downgrade(self), name)));
        }
        locked(&self.tasks).push(tokio::spawn(keep_counting(Arc::downgrade(self))));
    }

    /// A store that is not the one that it was has lost what it held.
    fn check_stores(&self) {
        let Some(stores) = self.stores.get() else { return };
        let replicas = self.pods.replicas();
        for (name, (uid, restarts)) in stores {
            let same =
                replicas.iter().any(|now| now.name == *name && now.uid == *uid && now.restarts == *restarts);
            if !same {
                self.fail(name, STORE_ENDED);
            }
        }
    }

    fn fail(&self, resource: &str, what: &str) {
        let log = self.files.log(resource);
        let failure = Failure {
            resource: resource.to_owned(),
            stage: Stage::Later,
            what: what.to_owned(),
            probe: None,
            last_status: None,
            elapsed_ms: u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            log_tail: crate::logs::tail(&log, limits::LOG_TAIL_LINES),
            log,
            hint: Some(super::error::named("down", &self.spec.name)),
        };
        locked(&self.failure).get_or_insert(failure);
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// The addresses of this machine that lead into the lab.
    fn open_addresses(&self, client: &kube::Client) -> Result<(), LabError> {
        let fixed = |port: u16| self.spec.fixed_ports.then_some(port);
        let beside =
            |port: &u16| self.containers.get().and_then(|containers| containers.here.get(port).copied());
        let open = |of: Replicated, port: u16, here: Option<u16>| {
            if let Some(address) = beside(&port) {
                return Ok(address);
            }
            let reserved = here.map_or_else(ReservedPort::any, ReservedPort::this);
            let reserved =
                reserved.map_err(|taken| LabError::Refused(format!("{taken} ({})", taken.source)))?;
            let target = ForwardTarget { of, port };
            let opened = forward::forward(client, &self.spec.name, &self.pods, target, reserved);
            let forward = opened.map_err(|source| LabError::File {
                operation: "listen for",
                path: of.name(1).into(),
                source,
            })?;
            let address = forward.address;
            locked(&self.forwards).push(forward);
            Ok::<_, LabError>(address)
        };
        let broker = Replicated::One(Part::Broker);
        let amqp = open(broker, ports::AMQP, fixed(ports::AMQP))?;
        let http = open(broker, ports::BROKER_HTTP, fixed(ports::BROKER_HTTP))?;
        let blob = open(Replicated::One(Part::Blob), ports::BLOB, fixed(ports::BLOB))?;
        let lab_dapr = open(Replicated::LabDapr, ports::DAPR_HTTP, None)?;
        let (mut apps, mut dapr) = (BTreeMap::new(), BTreeMap::new());
        for role in Role::ALL.iter().copied() {
            let port = names::app_port(self.spec.stacks.of(role));
            let app = open(Replicated::Many(Part::App(role)), port, None)?;
            apps.insert(role, format!("http://{app}"));
            let sidecar = open(Replicated::Many(Part::Dapr(role)), ports::DAPR_HTTP, None)?;
            dapr.insert(role, format!("http://{sidecar}"));
        }
        let endpoints = Endpoints {
            servicebus_amqp: amqp,
            servicebus_http: format!("http://{http}"),
            servicebus_connection_string: settings::connection_string(amqp),
            blob: BlobEndpoint {
                store: self.spec.blob,
                url: settings::blob_url(blob),
                account: settings::ACCOUNT.to_owned(),
                key: settings::ACCOUNT_KEY.to_owned(),
            },
            lab_dapr: format!("http://{lab_dapr}"),
            apps,
            dapr,
        };
        let _ = self.endpoints.set(endpoints);
        Ok(())
    }

    /// Dapr first, then applications, then the rest with the namespace, so that what is in flight is settled.
    async fn end(&self) {
        locked(&self.forwards).clear();
        if let (Some(reached), Some(())) = (self.reached.get(), self.taken.get()) {
            for tier in [Tier::Dapr, Tier::Applications] {
                if let Err(error) = self.stop_tier(&reached.client, tier).await {
                    tracing::warn!(cause = %error, "a part did not stop in order");
                }
            }
            if let Err(error) = self.leave(&reached.client).await {
                tracing::error!(cause = %error, "the lab could not be removed from its cluster");
            }
        }
        let followers = locked(&self.log_followers).take();
        if let Some(followers) = followers {
            let mut followers = std::mem::take(&mut *locked(&followers));
            let all = async { while followers.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(limits::STOP_GRACE, all).await;
        }
        for task in locked(&self.tasks).drain(..) {
            task.abort();
        }
    }

    /// Removes the lab from its cluster, and from one that it did not make what labs have installed there, where it is the last.
    async fn leave(&self, client: &kube::Client) -> Result<(), LabError> {
        apply::remove(client, &self.spec.name).await?;
        // A cluster of the lab's own is still there, and with it the record.
        if self.spec.backend == BackendKind::Kubernetes {
            if let Some(cluster) = self.cluster.get() {
                ground::remove_installs(&self.workspace, &self.spec.name, cluster).await?;
            }
            Record::remove(&self.files);
        }
        Ok(())
    }

    /// Deletes the controllers of a tier and waits until their pods are gone.
    async fn stop_tier(&self, client: &kube::Client, tier: Tier) -> Result<(), LabError> {
        let namespace = names::namespace(&self.spec.name);
        let is_dapr = |label: &str| label.ends_with("-dapr");
        let of_tier = |label: &str| match tier {
            Tier::Dapr => is_dapr(label),
            Tier::Applications => !is_dapr(label) && label != "servicebus" && label != "blob",
        };
        let there = || -> Vec<String> {
            self.pods.pods().iter().map(wait::label_of).filter(|label| of_tier(label)).collect()
        };
        for label in there().into_iter().collect::<BTreeSet<_>>() {
            apply::delete_controller(client, &namespace, &label).await?;
        }
        let mut changes = self.changes.subscribe();
        let gone = async { while !there().is_empty() && changes.changed().await.is_ok() {} };
        let waited = tokio::time::timeout(limits::STOP_GRACE * 4, gone).await;
        waited.map_err(|_| LabError::NotReady {
            name: self.spec.name.clone(),
            seconds: (limits::STOP_GRACE * 4).as_secs(),
            waiting: format!("the end of {}", there().join(", ")),
        })
    }

    fn is_down(&self, part: Part, replica: u32) -> bool {
        locked(&self.down).contains(&Replicated::Many(part).name(replica))
    }

    fn remember_down(&self, part: Part, replica: u32) {
        locked(&self.down).insert(Replicated::Many(part).name(replica));
    }

    fn forget_down(&self, part: Part, replica: u32) {
        locked(&self.down).remove(&Replicated::Many(part).name(replica));
    }
}

/// What is wrong with a lab whose broker or blob store is not the one that it was.
const STORE_ENDED: &str = "ended, and what it held is lost";

/// Follows an emulator beside the cluster until it ends, which is the end of the lab.
async fn follow(house: Weak<House>, name: &'static str) {
    let following = {
        let Some(house) = house.upgrade() else { return };
        let Some(containers) = house.containers.get().cloned() else { return };
        let log = house.files.log(name);
        async move { containers.follow(name, &log).await }
    };
    following.await;
    if let Some(house) = house.upgrade() {
        house.fail(name, STORE_ENDED);
        house.changed();
    }
}

/// What is stopped together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    Dapr,
    Applications,
}

/// Between two looks at the counters: what a pod used after its last look is lost with it.
const COUNTING: Duration = Duration::from_secs(5);

async fn keep_counting(house: Weak<House>) {
    loop {
        tokio::time::sleep(COUNTING).await;
        let Some(house) = house.upgrade() else { return };
        let Ok(reached) = house.reached() else { continue };
        if let Err(error) = house.counted.read(&reached.client, &house.spec.name, &house.pods).await {
            tracing::debug!(cause = %error, "counters could not be read");
        }
    }
}
