//! The handle to a running lab: every verb goes to its supervisor over the control socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::control::{self, Connection, Progress, Reply, Request, Seen};
use super::kubernetes::{self, record};
use super::launch;
use super::local::leftovers::{self, Members};
use super::slots::{self, Slot};
use super::{
    AfterKill, Endpoints, LabError, LabState, Part, ReplicaEvent, ReplicaStatus, Scalable, Scaled, Usage,
};
use crate::cluster::installs::Timings;
use crate::limits;
use crate::logs::{self, LogLine};
use crate::paths::{LabFiles, Workspace};
use crate::process::Lifeline;
use crate::spec::LabSpec;

/// How long a lab lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody stops it.
    Detached,
    /// Until this process ends, however it does, or until the last clone of the [`Lab`] is dropped.
    WithThisProcess,
}

/// How a lab is started.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The workspace whose artefacts are run.
    pub workspace: Workspace,
    /// The program `lab`, which becomes the supervisor.
    pub program: PathBuf,
    /// How long the lab lives.
    pub lifetime: Lifetime,
    /// Whether it waits until few enough labs of tests are alive.
    pub one_of_a_few: bool,
    /// Whether a cluster that somebody else made may be changed; else it is asked about. `LAB_YES` says so, too.
    pub yes: bool,
}

impl StartOptions {
    /// The running program as supervisor if it is `lab`, else the built one.
    ///
    /// # Errors
    /// Fails outside of a workspace.
    pub fn new(lifetime: Lifetime) -> Result<Self, LabError> {
        let workspace = Workspace::find()?;
        let built = workspace.artefact("lab");
        let program = std::env::current_exe()
            .ok()
            .filter(|program| program.file_name().is_some_and(|name| name == "lab"))
            .unwrap_or(built);
        let one_of_a_few = lifetime == Lifetime::WithThisProcess;
        let yes = std::env::var_os("LAB_YES").is_some_and(|value| !value.is_empty() && value != "0");
        Ok(Self { workspace, program, lifetime, one_of_a_few, yes })
    }
}

/// A running lab.
#[derive(Debug, Clone)]
pub struct Lab {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: LabState,
    files: LabFiles,
    _lifeline: Option<Lifeline>,
    _slot: Option<Slot>,
}

impl Lab {
    /// Starts a lab of what `lab build` has built, and waits until it is ready.
    ///
    /// # Errors
    /// Says which part failed, with the end of its log; a lab of that name that is running is left alone.
    pub async fn start(spec: &LabSpec, lifetime: Lifetime) -> Result<Self, LabError> {
        Self::start_with(spec, StartOptions::new(lifetime)?, |_| ()).await
    }

    /// [`Lab::start`] with all options; `progress` is told of each part that is ready.
    ///
    /// # Errors
    /// As [`Lab::start`].
    pub async fn start_with(
        spec: &LabSpec,
        options: StartOptions,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self, LabError> {
        spec.validate()?;
        let files = options.workspace.lab(&spec.name);
        if control::ask(files.socket(), &Request::Spec).await.is_ok() {
            return Err(LabError::AlreadyRunning { name: spec.name.clone() });
        }
        kubernetes::ask(spec, options.yes)?;
        let slot = match options.one_of_a_few {
            true => Some(slots::take().await?),
            false => None,
        };
        let lifeline = launch::start(spec, &files, &options).await?;
        let control = |source| LabError::Control { operation: "start", name: spec.name.clone(), source };
        match Request::Watch.bound(watch(&files, &mut progress)).await {
            Ok(Some(Reply::Ready)) => {}
            Ok(None) => return Err(launch::ended(&spec.name, &files)),
            failed => {
                // Nothing of it is left when this is told.
                down(&spec.name, &files).await?;
                let reply = failed.map_err(control)?;
                return Err(refusal(&spec.name, reply.unwrap_or(Reply::Stopped)));
            }
        }
        let state = state_of(&spec.name, &files).await?;
        Ok(Self { shared: Arc::new(Shared { state, files, _lifeline: lifeline, _slot: slot }) })
    }

    /// A lab that is running; waits until it is ready.
    ///
    /// # Errors
    /// Fails where none of that name is running in this workspace.
    pub async fn attach(name: &str) -> Result<Self, LabError> {
        Self::attach_in(&Workspace::find()?, name).await
    }

    /// A lab that is running in a certain workspace.
    ///
    /// # Errors
    /// As [`Lab::attach`].
    pub async fn attach_in(workspace: &Workspace, name: &str) -> Result<Self, LabError> {
        LabSpec { name: name.to_owned(), ..LabSpec::default() }.validate()?;
        let files = workspace.lab(name);
        let state = state_of(name, &files).await?;
        Ok(Self { shared: Arc::new(Shared { state, files, _lifeline: None, _slot: None }) })
    }

    /// The settings that it was started from.
    pub fn spec(&self) -> &LabSpec {
        &self.shared.state.spec
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec().name
    }

    /// Where its parts answer. They keep their addresses as long as the lab lives, through restarts.
    pub fn endpoints(&self) -> &Endpoints {
        &self.shared.state.endpoints
    }

    /// How long each step of its start took.
    pub fn timings(&self) -> &Timings {
        &self.shared.state.timings
    }

    /// Its folder: logs and generated files.
    pub fn folder(&self) -> &Path {
        self.shared.files.folder()
    }

    /// Every part.
    ///
    /// # Errors
    /// Fails where the lab has ended.
    pub async fn status(&self) -> Result<Vec<ReplicaStatus>, LabError> {
        match self.ask("read the status of", Request::Status).await? {
            Reply::Status { resources } => Ok(resources),
            other => Err(refusal(self.name(), other)),
        }
    }

    /// What each part has used of the machine since the lab started.
    ///
    /// # Errors
    /// Fails where the lab has ended.
    pub async fn usage(&self) -> Result<Vec<Usage>, LabError> {
        match self.ask("read the usage of", Request::Usage).await? {
            Reply::Usage { usage } => Ok(usage),
            other => Err(refusal(self.name(), other)),
        }
    }

    /// Kills one replica, counted from 1, without warning; returns when it is dead.
    ///
    /// # Errors
    /// Fails where there is no such replica.
    pub async fn kill(&self, part: Part, replica: u32, after: AfterKill) -> Result<(), LabError> {
        self.done("kill a part of", Request::Kill { part, replica, after }).await
    }

    /// Stops one replica in order and starts it again; starts it if it is down. Returns when it is ready.
    ///
    /// # Errors
    /// Fails where there is no such replica, or where it does not get ready.
    pub async fn restart(&self, part: Part, replica: u32) -> Result<(), LabError> {
        self.done("restart a part of", Request::Restart { part, replica }).await
    }

    /// Starts or stops replicas until there are `count`; returns when the new ones are ready and the others have finished what
    /// was in flight.
    ///
    /// # Errors
    /// Fails where Dapr cannot be scaled on its own, or where a replica does not get ready.
    pub async fn scale(&self, scalable: Scalable, count: u32) -> Result<Scaled, LabError> {
        match self.ask("scale", Request::Scale { scalable, count }).await? {
            Reply::Scaled { scaled } => Ok(scaled),
            other => Err(refusal(self.name(), other)),
        }
    }

    /// When replicas of applications and of Dapr became ready and ceased to be, oldest first.
    ///
    /// # Errors
    /// Fails where the lab has ended.
    pub async fn replica_events(&self) -> Result<Vec<ReplicaEvent>, LabError> {
        match self.ask("read the replicas of", Request::ReplicaEvents).await? {
            Reply::ReplicaEvents { events } => Ok(events),
            other => Err(refusal(self.name(), other)),
        }
    }

    /// The lines that the named resources have logged, of all without names, in order of time.
    ///
    /// # Errors
    /// Fails where there is no log of that name.
    pub fn logs(&self, resources: &[String]) -> Result<Vec<LogLine>, LabError> {
        logs::read(&self.shared.files, resources)
    }

    /// Stops the lab in order: what is in flight is settled. Returns when nothing of it is left. A supervisor that does
    /// not answer, or does not end in time, is killed.
    ///
    /// # Errors
    /// Fails where the supervisor cannot be killed.
    pub async fn down(&self) -> Result<(), LabError> {
        down(self.name(), &self.shared.files).await.map(drop)
    }

    /// Ends the lab at once; what is in flight is not settled. Returns when nothing of it is left.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub async fn down_now(&self) -> Result<(), LabError> {
        down_now(self.name(), &self.shared.files).await
    }

    /// [`Lab::down`], then removes its folder: for a test that has passed.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub async fn down_and_forget(self) -> Result<(), LabError> {
        self.down().await?;
        let path = self.shared.files.folder().to_owned();
        std::fs::remove_dir_all(&path).map_err(|source| LabError::File { operation: "remove", path, source })
    }

    /// Kills the supervisor without warning, as a crash of the machine's owner would, and tells what it was parent of.
    ///
    /// # Errors
    /// Fails where the lab has no record of its members.
    pub async fn crash(&self) -> Result<Remains, LabError> {
        let members = leftovers::read(&self.shared.files)?;
        members.kill_supervisor();
        Ok(Remains { members })
    }

    /// Waits until the lab fails or is stopped, and tells which.
    pub async fn ended(&self) -> LabError {
        match self.ask("watch", Request::Outcome).await {
            Ok(reply) => refusal(self.name(), reply),
            Err(error) => error,
        }
    }

    async fn ask(&self, operation: &'static str, request: Request) -> Result<Reply, LabError> {
        ask(operation, self.name(), &self.shared.files, &request).await
    }

    async fn done(&self, operation: &'static str, request: Request) -> Result<(), LabError> {
        match self.ask(operation, request).await? {
            Reply::Done => Ok(()),
            other => Err(refusal(self.name(), other)),
        }
    }
}

/// What was left when a supervisor was killed.
#[derive(Debug)]
pub struct Remains {
    members: Members,
}

impl Remains {
    /// The parts that are still alive.
    pub fn alive(&self) -> Vec<String> {
        self.members.alive()
    }

    /// Waits until nothing is left.
    ///
    /// # Errors
    /// After `within`, gives the parts that are still alive.
    pub async fn gone(&self, within: Duration) -> Result<(), Vec<String>> {
        let started = Instant::now();
        loop {
            let alive = self.alive();
            if alive.is_empty() {
                return Ok(());
            }
            if started.elapsed() > within {
                return Err(alive);
            }
            tokio::time::sleep(limits::PROBE_INTERVAL).await;
        }
    }
}

/// A lab as it is at one moment: on its way, ready or failed.
#[derive(Debug)]
pub struct View {
    /// What it was started from, and where it answers.
    pub state: LabState,
    /// Every part.
    pub resources: Vec<ReplicaStatus>,
    /// Why it is of no use any more, if that is so.
    pub failure: Option<LabError>,
}

impl View {
    /// Looks at a lab; waits for nothing.
    ///
    /// # Errors
    /// Fails where none of that name is running in this workspace. That a part failed is no error.
    pub async fn of(workspace: &Workspace, name: &str) -> Result<Self, LabError> {
        LabSpec { name: name.to_owned(), ..LabSpec::default() }.validate()?;
        match ask("look at", name, &workspace.lab(name), &Request::View).await? {
            Reply::View { seen } => {
                let Seen { state, resources, failure } = *seen;
                Ok(Self { state, resources, failure: failure.map(|reply| refusal(name, reply)) })
            }
            other => Err(refusal(name, other)),
        }
    }
}

/// The names of the labs that are running in a workspace; a supervisor that hangs is one too.
pub fn running_labs(workspace: &Workspace) -> Vec<String> {
    let mut names = Vec::new();
    let folders = std::fs::read_dir(workspace.labs()).into_iter().flatten().flatten();
    for folder in folders {
        let Ok(name) = folder.file_name().into_string() else { continue };
        if launch::is_alive(&workspace.lab(&name)) {
            names.push(name);
        }
    }
    names.sort();
    names
}

/// How a lab came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There was none.
    Before,
    /// What was in flight is settled.
    InOrder,
    /// Its supervisor hung.
    Killed,
}

/// Stops a lab, if there is one. What a killed supervisor left behind is ended too.
pub(crate) async fn down(name: &str, files: &LabFiles) -> Result<Ended, LabError> {
    let was_running = launch::is_alive(files);
    // No other answer tells anything: a supervisor may be gone before it is read.
    let reply = control::ask(files.socket(), &Request::Down).await;
    let hangs = reply.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut);
    let within = match (hangs, files.cluster_record().exists()) {
        (true, _) => Duration::ZERO,
        (false, true) => limits::CLUSTER_DOWN,
        (false, false) => limits::DOWN,
    };
    if !gone(files, within).await {
        down_now(name, files).await?;
        record::clean(files).await?;
        return Ok(Ended::Killed);
    }
    let left = leftovers::clean(files).await > 0;
    let left_on_a_cluster = record::clean(files).await?;
    Ok(if was_running || left || left_on_a_cluster { Ended::InOrder } else { Ended::Before })
}

/// Ends a lab at once: its supervisor first, then what that was parent of.
async fn down_now(name: &str, files: &LabFiles) -> Result<(), LabError> {
    leftovers::read(files)?.kill_supervisor();
    if !gone(files, limits::KILLED).await {
        let words = format!("it lives on; log: {}", files.log("supervisor").display());
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, words);
        return Err(LabError::Control { operation: "kill", name: name.to_owned(), source });
    }
    leftovers::clean(files).await;
    Ok(())
}

/// Whether the supervisor has ended within a time.
async fn gone(files: &LabFiles, within: Duration) -> bool {
    let started = Instant::now();
    while launch::is_alive(files) {
        if started.elapsed() >= within {
            return false;
        }
        tokio::time::sleep(limits::PROBE_INTERVAL).await;
    }
    true
}

/// Tells what gets ready; gives the reply that ends it, `None` where the supervisor has ended without one.
async fn watch(files: &LabFiles, progress: &mut impl FnMut(Progress)) -> std::io::Result<Option<Reply>> {
    let mut connection = Connection::open(files.socket()).await?;
    connection.send(&Request::Watch).await?;
    loop {
        match connection.receive().await? {
            Some(Reply::Progress { progress: step }) => progress(step),
            last => return Ok(last),
        }
    }
}

async fn ask(
    operation: &'static str,
    name: &str,
    files: &LabFiles,
    request: &Request,
) -> Result<Reply, LabError> {
    control::ask(files.socket(), request).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            LabError::NotRunning { name: name.to_owned() }
        }
        _ => LabError::Control { operation, name: name.to_owned(), source },
    })
}

async fn state_of(name: &str, files: &LabFiles) -> Result<LabState, LabError> {
    // One that hangs is found out by a question that waits for nothing.
    match ask("attach to", name, files, &Request::Spec).await? {
        Reply::Spec { .. } => {}
        other => return Err(refusal(name, other)),
    }
    match ask("attach to", name, files, &Request::State).await? {
        Reply::State { state } => Ok(*state),
        other => Err(refusal(name, other)),
    }
}

/// The error that a reply stands for, where it is not the one that was hoped for.
pub(super) fn refusal(name: &str, reply: Reply) -> LabError {
    let name = name.to_owned();
    match reply {
        Reply::Failed { failure } => LabError::Failed(failure),
        Reply::NotReady { seconds, waiting } => LabError::NotReady { name, seconds, waiting },
        Reply::Api { error } => error.into(),
        Reply::Refused { message, hint, exit } => LabError::Told { message, hint, exit },
        Reply::Stopped => LabError::Stopped { name },
        other => LabError::Control {
            operation: "understand",
            name,
            source: std::io::Error::other(format!("an answer to another question came: {other:?}")),
        },
    }
}
