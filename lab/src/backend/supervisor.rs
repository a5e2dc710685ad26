//! The supervisor: the process that is parent of a lab and answers on its control socket until the lab ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore, watch};

use super::any::AnyBackend;
use super::control::{Connection, Reply, Request, Seen};
use super::local::leftovers;
use super::{Backend, LabError, LabState, with_causes};
use crate::limits;
use crate::paths::{LabFiles, Workspace};
use crate::spec::LabSpec;

/// What a supervisor is started with.
#[derive(Debug, Clone)]
pub struct SuperviseOptions {
    /// The workspace whose artefacts are run.
    pub workspace: Workspace,
    /// The lab.
    pub spec: LabSpec,
    /// Whether the lab ends when stdin does: another process holds the other end of it.
    pub stop_on_stdin_eof: bool,
}

/// How far the lab is.
#[derive(Debug, Clone)]
enum Phase {
    Starting,
    Ready,
    /// With the reply that says why, to everyone who asks.
    Failed(Reply),
    Stopping,
}

struct Supervisor {
    backend: AnyBackend,
    spec: LabSpec,
    phase: watch::Sender<Phase>,
    stop: Notify,
}

/// Runs a lab until it is told to stop, by signal, by the control socket, or by the end of stdin. Prints one line on
/// stdout when the control socket answers.
///
/// # Errors
/// Fails when there is such a lab already, or when a file, a port or the socket cannot be had. A lab whose parts do not
/// start is no error here: it is told to those who watch.
pub async fn supervise(options: SuperviseOptions) -> Result<(), LabError> {
    let SuperviseOptions { workspace, spec, stop_on_stdin_eof } = options;
    spec.validate()?;
    // A session of its own: neither the terminal's Ctrl-C nor its end is meant for it.
    let _ = nix::unistd::setsid();
    let files = workspace.lab(&spec.name);
    let _lock = lock(&files, &spec).await?;
    let left = leftovers::clean(&files).await;
    if left > 0 {
        tracing::info!(processes = left, "ended what an earlier supervisor left behind");
    }
    let listener = listen(&files)?;
    let opened = AnyBackend::of(workspace, spec.clone());
    announce(&files).map_err(|source| file("announce", files.socket().to_owned(), source))?;
    let backend = match opened {
        Ok(backend) => backend,
        Err(error) => {
            tracing::error!("{error}");
            tell_failure(&listener, &error).await;
            return Err(error);
        }
    };
    let phase = watch::Sender::new(Phase::Starting);
    let supervisor = Arc::new(Supervisor { backend, spec, phase, stop: Notify::new() });
    let serving = tokio::spawn(serve(listener, Arc::clone(&supervisor)));
    let stdin_ended = stdin_end(stop_on_stdin_eof);
    supervisor.live(stdin_ended).await?;
    serving.abort();
    // The socket's file would only mislead; the next supervisor removes it if this one cannot.
    let _ = fs::remove_file(files.socket());
    Ok(())
}

fn file(operation: &'static str, path: PathBuf, source: io::Error) -> LabError {
    LabError::File { operation, path, source }
}

/// Takes the lab's lock, which says that its supervisor lives. Who only looks holds it for a moment.
async fn lock(files: &LabFiles, spec: &LabSpec) -> Result<File, LabError> {
    let path = files.lock();
    fs::create_dir_all(files.folder()).map_err(|source| file("create", files.folder().to_owned(), source))?;
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.map_err(|source| file("open", path.clone(), source))?;
    let started = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if started.elapsed() < limits::SUPERVISOR_START / 2 => {
                tokio::time::sleep(limits::PROBE_INTERVAL).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(LabError::AlreadyRunning { name: spec.name.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(file("lock", path, source)),
        }
    }
}

/// The control socket, which only this user can open.
fn listen(files: &LabFiles) -> Result<UnixListener, LabError> {
    let socket = files.socket();
    let failed = |source| file("listen on", socket.to_owned(), source);
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    UnixListener::bind(socket).map_err(failed)
}

fn announce(files: &LabFiles) -> io::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let line = serde_json::json!({ "program": "lab", "version": version, "control": files.socket() });
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Answers the one who started this with the reason why nothing was started.
async fn tell_failure(listener: &UnixListener, error: &LabError) {
    let told = async {
        let (stream, _) = listener.accept().await?;
        let mut connection = Connection::of(stream);
        connection.receive::<Request>().await?;
        connection.send(&reply_of(error)).await
    };
    // If nobody comes, nobody wants to know.
    let _ = tokio::time::timeout(limits::SUPERVISOR_START, told).await;
}

/// Is notified at the end of stdin; never, if that means nothing.
fn stdin_end(wanted: bool) -> Arc<Notify> {
    let ended = Arc::new(Notify::new());
    if wanted {
        let notify = Arc::clone(&ended);
        // A thread of its own: a blocking read on the runtime would hold up its end.
        std::thread::spawn(move || {
            let mut byte = [0];
            while matches!(io::stdin().lock().read(&mut byte), Ok(1)) {}
            notify.notify_one();
        });
    }
    ended
}

/// An error as the control socket tells it.
fn reply_of(error: &LabError) -> Reply {
    match error {
        LabError::Failed(failure) => Reply::Failed { failure: failure.clone() },
        LabError::NotReady { seconds, waiting, .. } => {
            Reply::NotReady { seconds: *seconds, waiting: waiting.clone() }
        }
        LabError::Api(error) => Reply::Api { error: error.clone() },
        LabError::Stopped { .. } => Reply::Stopped,
        other => Reply::Refused { message: with_causes(other), hint: other.hint(), exit: other.exit() },
    }
}

impl Supervisor {
    /// From the start of the lab to its end.
    async fn live(&self, stdin_ended: Arc<Notify>) -> Result<(), LabError> {
        let signals = |kind| signal(kind).map_err(|source| file("watch for", "signals".into(), source));
        let (mut terminate, mut interrupt) =
            (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let told_to_stop = async {
            let cause = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = self.stop.notified() => "asked to",
                () = stdin_ended.notified() => "the end of stdin",
            };
            tracing::info!(cause, "stopping");
        };
        tokio::pin!(told_to_stop);
        tokio::select! {
            failed = self.run() => {
                tracing::error!("{failed}");
                let starting = matches!(*self.phase.borrow(), Phase::Starting);
                self.phase.send_replace(Phase::Failed(reply_of(&failed)));
                // A lab that never was is taken down; one that was stays to be looked at.
                if !starting {
                    told_to_stop.await;
                }
            }
            () = &mut told_to_stop => {
                self.phase.send_replace(Phase::Stopping);
            }
        }
        self.backend.down().await;
        // Those who wait for the end are answered before the process ends.
        self.phase.send_replace(Phase::Stopping);
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Ends only with a failure.
    async fn run(&self) -> LabError {
        if let Err(error) = self.backend.up().await {
            return error;
        }
        tracing::info!("ready");
        self.phase.send_replace(Phase::Ready);
        let mut changes = self.backend.changes();
        loop {
            if let Some(failure) = self.backend.failure() {
                return LabError::Failed(Box::new(failure));
            }
            if changes.changed().await.is_err() {
                return LabError::Stopped { name: self.spec.name.clone() };
            }
        }
    }

    async fn answer(&self, request: Request, connection: &mut Connection) -> io::Result<()> {
        let reply = match request {
            Request::Spec => Reply::Spec { spec: self.spec.clone() },
            Request::Watch => return self.watch(connection).await,
            Request::Outcome => self.outcome(|phase| !matches!(phase, Phase::Starting | Phase::Ready)).await,
            Request::State => self.state().await,
            Request::View => self.view(),
            Request::Status => Reply::Status { resources: self.backend.status() },
            Request::Usage => match self.backend.usage().await {
                Ok(usage) => Reply::Usage { usage },
                Err(error) => reply_of(&error),
            },
            Request::Kill { part, replica, after } => done(self.backend.kill(part, replica, after).await),
            Request::Restart { part, replica } => done(self.backend.restart(part, replica).await),
            Request::Scale { scalable, count } => match self.backend.scale(scalable, count).await {
                Ok(scaled) => Reply::Scaled { scaled },
                Err(error) => reply_of(&error),
            },
            Request::ReplicaEvents => Reply::ReplicaEvents { events: self.backend.replica_events() },
            Request::Down => {
                self.stop.notify_one();
                // The connection closes when the supervisor ends, and that is the answer.
                return connection.send(&Reply::Done).await;
            }
        };
        connection.send(&reply).await
    }

    /// Waits until the lab's phase fulfils a condition, and gives the reply that it stands for.
    async fn outcome(&self, over: impl Fn(&Phase) -> bool) -> Reply {
        let mut phase = self.phase.subscribe();
        let phase = phase.wait_for(|phase| over(phase)).await.map(|phase| phase.clone());
        match phase {
            Ok(Phase::Failed(reply)) => reply,
            Ok(Phase::Ready | Phase::Starting) => Reply::Ready,
            Ok(Phase::Stopping) | Err(_) => Reply::Stopped,
        }
    }

    async fn state(&self) -> Reply {
        match self.outcome(|phase| !matches!(phase, Phase::Starting)).await {
            Reply::Ready => match self.lab_state() {
                Ok(state) => Reply::State { state: Box::new(state) },
                Err(error) => reply_of(&error),
            },
            other => other,
        }
    }

    fn lab_state(&self) -> Result<LabState, LabError> {
        let (endpoints, timings) = (self.backend.endpoints()?, self.backend.timings());
        Ok(LabState { spec: self.spec.clone(), endpoints, timings })
    }

    fn view(&self) -> Reply {
        let failure = match &*self.phase.borrow() {
            Phase::Failed(reply) => Some(reply.clone()),
            Phase::Starting | Phase::Ready | Phase::Stopping => None,
        };
        match self.lab_state() {
            Ok(state) => {
                let resources = self.backend.status();
                Reply::View { seen: Box::new(Seen { state, resources, failure }) }
            }
            Err(error) => reply_of(&error),
        }
    }

    /// Tells what gets ready, until all is or nothing will.
    async fn watch(&self, connection: &mut Connection) -> io::Result<()> {
        let (mut changes, mut phase) = (self.backend.changes(), self.phase.subscribe());
        let mut told: Vec<String> = Vec::new();
        loop {
            for progress in self.backend.progress() {
                if !told.contains(&progress.resource) {
                    told.push(progress.resource.clone());
                    connection.send(&Reply::Progress { progress }).await?;
                }
            }
            if !matches!(*phase.borrow_and_update(), Phase::Starting) {
                return connection.send(&self.outcome(|_| true).await).await;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                changed = phase.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }
}

fn done(result: Result<(), LabError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(error) => reply_of(&error),
    }
}

async fn serve(listener: UnixListener, supervisor: Arc<Supervisor>) {
    let places = Arc::new(Semaphore::new(limits::CONTROL_CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(limits::FILE_POLL).await;
                continue;
            }
        };
        let supervisor = Arc::clone(&supervisor);
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &supervisor).await {
                tracing::debug!(%error, "a control connection broke");
            }
        });
    }
}

/// One question, one answer.
async fn converse(stream: UnixStream, supervisor: &Supervisor) -> io::Result<()> {
    let mut connection = Connection::of(stream);
    match connection.receive::<Request>().await? {
        Some(request) => supervisor.answer(request, &mut connection).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{CallError, ClusterError};
    use crate::exit::Exit;

    /// It was told as a wrong setting, without the line that installs the program.
    #[test]
    fn what_stops_a_supervisor_ends_the_command_as_it_would_without_one() {
        let missing: LabError = ClusterError::Call(CallError::Missing { program: "helm" }).into();
        let (hint, exit) = (missing.hint(), missing.exit());
        assert_eq!(exit, Exit::ProgramMissing);
        let told = super::super::lab::refusal("main", reply_of(&missing));
        assert_eq!(told.to_string(), "'helm' is needed and is not installed");
        assert_eq!((told.hint(), told.exit()), (hint, exit));
    }
}
