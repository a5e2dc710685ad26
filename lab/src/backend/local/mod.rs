//! The lab as processes of this machine. Plan, files and command lines are plain data; this module brings them to life
//! and gives the verbs of [`Backend`] to the supervisor, in which alone it runs.

mod alone;
mod command;
mod files;
pub(crate) mod leftovers;
mod plan;
mod relays;
mod resource;
mod scale;
mod versions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use alone::LoneApp;
pub use command::RealPrograms;
use command::{Addresses, Command, Peers, Setting};
use plan::{Kind, STOP_TIERS};
use resource::{Life, Resource, Snapshot, State, Verb};
use versions::Versions;

use super::{
    AfterKill, Backend, BlobEndpoint, Endpoints, Failure, LabError, Part, Progress, ReplicaEvent,
    ReplicaStatus, Scalable, Scaled, Target, Usage, settings,
};
use crate::clock;
use crate::limits;
use crate::paths::{LabFiles, Workspace};
use crate::process::{self, PortTaken, ReservedPort, Spawner};
use crate::spec::{LabSpec, Role, Topology};

/// The well-known ports: what the originals listen on.
mod well_known {
    /// AMQP of the Service Bus emulator.
    pub const AMQP: u16 = 5672;
    /// HTTP of the Service Bus emulator.
    pub const BROKER_HTTP: u16 = 5300;
    /// Azurite's blobs.
    pub const BLOB: u16 = 10000;
}

/// A lab of local processes.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    house: Arc<House>,
}

/// What all resources of a lab have in common.
#[derive(Debug)]
struct House {
    setting: Setting,
    spawner: Spawner,
    resources: Mutex<Vec<Arc<Resource>>>,
    changes: watch::Sender<u64>,
    failure: Mutex<Option<Failure>>,
    starting: watch::Sender<bool>,
    opened: Instant,
    record: leftovers::Record,
    /// When replicas became ready and ceased to be, oldest first.
    history: Mutex<VecDeque<ReplicaEvent>>,
    versions: Versions,
    /// CPU seconds of resources that are no part of the lab any more, by name.
    retired: Mutex<BTreeMap<String, f64>>,
    /// Held while replicas are added or taken away.
    scaling: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalBackend {
    /// Takes the ports and writes the files; starts nothing. Must be called within a runtime.
    ///
    /// # Errors
    /// Fails when a port is taken or a file cannot be written.
    pub fn new(workspace: Workspace, spec: LabSpec, real: RealPrograms) -> Result<Self, LabError> {
        let files = workspace.lab(&spec.name);
        let spawner = Spawner::new().map_err(|source| LabError::Supervisor {
            name: spec.name.clone(),
            program: "spawner".into(),
            source,
        })?;
        let record = leftovers::Record::new(&files);
        let versions = Versions::ask(&workspace, &real);
        let house = Arc::new(House {
            setting: Setting { workspace, files, spec, real },
            spawner,
            resources: Mutex::default(),
            changes: watch::Sender::new(0),
            failure: Mutex::default(),
            starting: watch::Sender::new(true),
            opened: Instant::now(),
            record,
            history: Mutex::default(),
            versions,
            retired: Mutex::default(),
            scaling: tokio::sync::Mutex::default(),
        });
        let mut lives = Vec::new();
        for kind in plan::resources(&house.setting.spec) {
            lives.push(house.add(kind)?);
        }
        let at = |kind| house.find(kind).map(|resource| resource.at.main).ok_or_else(|| no_such(kind));
        files::write(&house.setting.files, &house.setting.spec, at(Kind::Broker)?, at(Kind::Blob)?)?;
        house.record.write(Vec::new)?;
        for life in lives {
            tokio::spawn(life.live());
        }
        relays::keep_told(&house);
        tokio::spawn(sample_usage(Arc::downgrade(&house)));
        Ok(Self { house })
    }

    fn resource(&self, part: Part, replica: u32) -> Result<Arc<Resource>, LabError> {
        self.house.find(Kind::of(part, replica)).ok_or_else(|| {
            let name = Kind::of(part, replica);
            let known: Vec<_> = self.house.all().iter().map(|resource| resource.name.clone()).collect();
            LabError::Refused(format!("there is no {name}; there are: {}", known.join(", ")))
        })
    }

    async fn until_ready(&self, resource: &Resource, starts: u32) -> Result<(), LabError> {
        let settled = tokio::time::timeout(limits::VERB, resource.settled_after(starts)).await;
        match settled {
            Ok(State::Ready) => Ok(()),
            Ok(_) => match self.failure() {
                Some(failure) => Err(LabError::Failed(Box::new(failure))),
                None => Err(LabError::Refused(format!("{} was stopped while it started", resource.name))),
            },
            Err(_) => Err(LabError::NotReady {
                name: self.house.setting.spec.name.clone(),
                seconds: limits::VERB.as_secs(),
                waiting: format!("{} ({})", resource.name, resource.snapshot().state.as_str()),
            }),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn no_such(kind: Kind) -> LabError {
    LabError::Refused(format!("there is no {kind}"))
}

impl Backend for LocalBackend {
    async fn up(&self) -> Result<(), LabError> {
        let mut changes = self.house.changes.subscribe();
        let all_ready = async {
            loop {
                if let Some(failure) = self.failure() {
                    return Err(LabError::Failed(Box::new(failure)));
                }
                if self.house.all_snapshots().iter().all(|(_, now)| now.state == State::Ready) {
                    return Ok(());
                }
                if changes.changed().await.is_err() {
                    return Err(LabError::Stopped { name: self.house.setting.spec.name.clone() });
                }
            }
        };
        let outcome = tokio::time::timeout(limits::LAB_READY, all_ready).await;
        self.house.starting.send_replace(false);
        outcome.unwrap_or_else(|_| {
            let snapshots = self.house.all_snapshots();
            let waiting = snapshots.iter().filter(|(_, now)| now.state != State::Ready);
            let waiting: Vec<_> = waiting
                .map(|(resource, now)| format!("{} ({})", resource.name, now.state.as_str()))
                .collect();
            Err(LabError::NotReady {
                name: self.house.setting.spec.name.clone(),
                seconds: limits::LAB_READY.as_secs(),
                waiting: waiting.join(", "),
            })
        })
    }

    async fn down(&self) {
        self.house.starting.send_replace(false);
        for tier in STOP_TIERS {
            let stopping: Vec<_> = self
                .house
                .all()
                .into_iter()
                .filter(|resource| tier(resource.kind))
                .map(|resource| tokio::spawn(async move { resource.order(Verb::Stop).await }))
                .collect();
            for task in stopping {
                // A task that panicked has dropped its child, which kills it.
                let _ = task.await;
            }
        }
    }

    fn endpoints(&self) -> Result<Endpoints, LabError> {
        let house = &self.house;
        let spec = &house.setting.spec;
        let at = |kind| house.find(kind).map(|resource| resource.at).ok_or_else(|| no_such(kind));
        let broker = at(Kind::Broker)?;
        let mut apps = BTreeMap::new();
        let mut dapr = BTreeMap::new();
        for role in Role::ALL.iter().copied() {
            apps.insert(role, format!("http://{}", at(plan::app_front(spec, role, 1))?.main));
            dapr.insert(role, format!("http://{}", at(plan::dapr_front(spec, role, 1))?.main));
        }
        Ok(Endpoints {
            servicebus_amqp: broker.main,
            servicebus_http: format!("http://{}", broker.second),
            servicebus_connection_string: settings::connection_string(broker.main),
            blob: BlobEndpoint {
                store: spec.blob,
                url: settings::blob_url(at(Kind::Blob)?.main),
                account: settings::ACCOUNT.to_owned(),
                key: settings::ACCOUNT_KEY.to_owned(),
            },
            lab_dapr: format!("http://{}", at(Kind::LabDapr)?.main),
            apps,
            dapr,
        })
    }

    fn status(&self) -> Vec<ReplicaStatus> {
        let row = |(resource, now): (Arc<Resource>, Snapshot)| {
            let (program, real) = self.house.setting.program_of(resource.kind);
            ReplicaStatus {
                name: resource.name.clone(),
                program: program.to_owned(),
                version: self.house.versions.of_program(program, real),
                real,
                state: now.state.as_str().to_owned(),
                endpoint: Some(match resource.kind {
                    Kind::Broker => resource.at.main.to_string(),
                    _ => format!("http://{}", resource.at.main),
                }),
                restarts: now.restarts(),
                age_seconds: now.started.map_or(0.0, |started| started.elapsed().as_secs_f64()),
                log: self.house.setting.files.log(&resource.name).display().to_string(),
                image_bytes: None,
            }
        };
        self.house.all_snapshots().into_iter().map(row).collect()
    }

    async fn usage(&self) -> Result<Vec<Usage>, LabError> {
        self.house.sample();
        let mut retired = locked(&self.house.retired).clone();
        let mut usage = Vec::new();
        for resource in self.house.all() {
            let used = resource.usage();
            let cpu_seconds = used.cpu_seconds + retired.remove(&resource.name).unwrap_or(0.0);
            usage.push(Usage { name: resource.name.clone(), cpu_seconds, rss_bytes: used.rss_bytes });
        }
        // What was used stays used when the one who used it is gone.
        let gone = |(name, cpu_seconds)| Usage { name, cpu_seconds, rss_bytes: 0 };
        usage.extend(retired.into_iter().map(gone));
        Ok(usage)
    }

    async fn kill(&self, part: Part, replica: u32, after: AfterKill) -> Result<(), LabError> {
        self.resource(part, replica)?.order(Verb::Kill(after)).await;
        Ok(())
    }

    async fn restart(&self, part: Part, replica: u32) -> Result<(), LabError> {
        let resource = self.resource(part, replica)?;
        let starts = resource.snapshot().starts;
        resource.order(Verb::Restart).await;
        self.until_ready(&resource, starts).await
    }

    async fn scale(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        self.scale_to(scalable, count).await
    }

    fn replica_events(&self) -> Vec<ReplicaEvent> {
        locked(&self.house.history).iter().copied().collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.house.changes.subscribe()
    }

    fn failure(&self) -> Option<Failure> {
        locked(&self.house.failure).clone()
    }

    fn progress(&self) -> Vec<Progress> {
        let mut steps = self.house.all_snapshots();
        steps.retain(|(_, now)| now.state == State::Ready);
        let opened = self.house.opened;
        let mut steps: Vec<Progress> = steps
            .into_iter()
            .map(|(resource, now)| {
                let ready_after = now.ready_after.unwrap_or_default();
                let ready_at = now.started.map(|started| started + ready_after).unwrap_or(opened);
                Progress {
                    program: self.house.setting.program_of(resource.kind).0.to_owned(),
                    resource: resource.name.clone(),
                    ready_ms: millis(ready_after),
                    lab_ms: millis(ready_at.saturating_duration_since(opened)),
                }
            })
            .collect();
        steps.sort_by_key(|step| step.lab_ms);
        steps
    }
}

impl House {
    /// A resource with its ports; it lives when its [`Life`] is spawned.
    fn add(self: &Arc<Self>, kind: Kind) -> Result<Life, LabError> {
        let fixed = |port: u16| if self.setting.spec.fixed_ports { Some(port) } else { None };
        let wanted = match kind {
            Kind::Broker => vec![fixed(well_known::AMQP), fixed(well_known::BROKER_HTTP)],
            Kind::Blob => vec![fixed(well_known::BLOB)],
            Kind::Dapr(..) | Kind::LabDapr => vec![None; 3],
            _ => vec![None],
        };
        let mut ports = Vec::new();
        for port in wanted {
            let reserved = port.map_or_else(ReservedPort::any, ReservedPort::this);
            ports.push(reserved.map_err(|taken| port_taken(kind, &self.setting.files, &taken))?);
        }
        let addresses: Vec<_> = ports.iter().map(ReservedPort::address).collect();
        let main = addresses.first().copied().ok_or_else(|| no_such(kind))?;
        let other = |index: usize| addresses.get(index).copied().unwrap_or(main);
        let at = Addresses { main, second: other(1), third: other(2) };
        let (resource, orders) = Resource::new(kind, ports, at);
        let resource = Arc::new(resource);
        locked(&self.resources).push(Arc::clone(&resource));
        self.changed();
        Ok(Life { resource, house: Arc::clone(self), orders })
    }

    fn remove(&self, resource: &Arc<Resource>) {
        *locked(&self.retired).entry(resource.name.clone()).or_default() += resource.usage().cpu_seconds;
        locked(&self.resources).retain(|other| !Arc::ptr_eq(other, resource));
        self.changed();
    }

    fn all(&self) -> Vec<Arc<Resource>> {
        locked(&self.resources).clone()
    }

    fn all_snapshots(&self) -> Vec<(Arc<Resource>, Snapshot)> {
        self.all()
            .into_iter()
            .map(|resource| {
                let snapshot = resource.snapshot();
                (resource, snapshot)
            })
            .collect()
    }

    fn find(&self, kind: Kind) -> Option<Arc<Resource>> {
        locked(&self.resources).iter().find(|resource| resource.kind == kind).cloned()
    }

    /// Changes what can be seen of a resource, and wakes whoever watches.
    fn show(&self, resource: &Resource, change: impl FnOnce(&mut Snapshot)) {
        let was_ready = resource.state() == State::Ready;
        resource.change(change);
        let ready = resource.state() == State::Ready;
        if ready != was_ready {
            self.remember(resource.kind, ready);
        }
        self.changed();
    }

    fn remember(&self, kind: Kind, ready: bool) {
        let (role, target, replica) = match kind {
            Kind::App(role, replica) => (role, Target::App, replica),
            Kind::Dapr(role, replica) => (role, Target::Dapr, replica),
            _ => return,
        };
        let mut history = locked(&self.history);
        if history.len() == limits::REPLICA_EVENTS {
            // The oldest that a later one overtook: the only event of a replica that never failed is worth more.
            let later = |index: usize, old: &ReplicaEvent| {
                history.iter().skip(index + 1).any(|new| (new.of, new.replica) == (old.of, old.replica))
            };
            let overtaken = history.iter().enumerate().position(|(index, old)| later(index, old));
            history.remove(overtaken.unwrap_or(0));
        }
        let of = Scalable { role, target };
        history.push_back(ReplicaEvent { at_us: clock::now_us(), of, replica, ready });
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes the first failure that ends the lab; what fails after it fails because of it.
    fn fail(&self, failure: Failure) {
        locked(&self.failure).get_or_insert(failure);
        self.changed();
    }

    fn is_starting(&self) -> bool {
        *self.starting.borrow()
    }

    /// Waits for what a resource needs. Once the lab was ready, only for the stores, since the rest comes and goes; and a new
    /// sidecar for its application, which is as new.
    async fn ready_for(&self, resource: &Resource) {
        let mut needs = resource.kind.needs(&self.setting.spec);
        if !self.is_starting() {
            let new = resource.snapshot().starts == 0 && self.setting.spec.topology == Topology::Sidecar;
            needs.retain(|need| match need {
                Kind::Broker | Kind::Blob => true,
                _ => new && matches!(need, Kind::App(..)),
            });
        }
        let mut changes = self.changes.subscribe();
        loop {
            let ready = |need: &Kind| {
                self.find(*need).is_none_or(|resource| resource.snapshot().state == State::Ready)
            };
            if needs.iter().all(ready) {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn command_of(&self, resource: &Resource) -> Command {
        let spec = &self.setting.spec;
        let other = match resource.kind {
            Kind::App(role, replica) => Some(plan::dapr_front(spec, role, replica)),
            Kind::Dapr(role, replica) => Some(plan::app_front(spec, role, replica)),
            _ => None,
        };
        let other = other.and_then(|kind| self.find(kind)).map(|peer| peer.at.main);
        self.setting.command(resource.kind, resource.at, Peers { other })
    }

    /// Writes down which processes there are, for whoever cleans up after a supervisor that was killed.
    fn record(&self) {
        let pid = |(resource, now): (Arc<Resource>, Snapshot)| {
            now.child.map(|child| (resource.name.clone(), child.pid()))
        };
        let children = || self.all_snapshots().into_iter().filter_map(pid).collect();
        if let Err(error) = self.record.write(children) {
            tracing::warn!(cause = ?std::error::Error::source(&error), "{error}");
        }
    }

    fn sample(&self) {
        for groups in [false, true] {
            let mut running = self.all_snapshots();
            running.retain(|(_, now)| now.child.is_some() && now.has_children == groups);
            let pid = |now: &Snapshot| now.child.as_ref().map_or(0, |child| child.pid());
            let pids: Vec<u32> = running.iter().map(|(_, now)| pid(now)).collect();
            if pids.is_empty() {
                continue;
            }
            let samples = process::sample(&pids, groups);
            for (resource, now) in running {
                if let Some(sample) = samples.get(&pid(&now)) {
                    resource.sampled(*sample);
                }
            }
        }
    }
}

fn port_taken(kind: Kind, files: &LabFiles, taken: &PortTaken) -> LabError {
    let port = taken.port;
    LabError::Failed(Box::new(Failure {
        resource: kind.to_string(),
        stage: super::Stage::Start,
        what: format!("cannot be started: {taken} ({})", taken.source),
        probe: None,
        last_status: None,
        elapsed_ms: 0,
        log_tail: Vec::new(),
        log: files.log(&kind.to_string()),
        hint: Some(match cfg!(target_os = "linux") {
            true => {
                format!("ss --listening --tcp --processes 'sport = :{port}'   # or leave --fixed-ports out")
            }
            false => format!("lsof -nP -iTCP:{port} -sTCP:LISTEN   # or leave --fixed-ports out"),
        }),
    }))
}

/// Keeps samples, so that little is lost of what a process used before it was killed.
async fn sample_usage(house: std::sync::Weak<House>) {
    let mut ticks = tokio::time::interval(limits::USAGE_SAMPLE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match house.upgrade() {
            Some(house) => house.sample(),
            None => return,
        }
    }
}
