//! Starts the supervisor of a lab: the same program again, as a process that may outlive this one.

use std::fs::{self, File, TryLockError};

use super::{LabError, Lifetime, StartOptions};
use crate::limits;
use crate::logs;
use crate::paths::LabFiles;
use crate::process::{Daemon, Lifeline};
use crate::spec::LabSpec;

/// Starts it and waits until its control socket answers.
pub(super) async fn start(
    spec: &LabSpec,
    files: &LabFiles,
    options: &StartOptions,
) -> Result<Option<Lifeline>, LabError> {
    if is_alive(files) {
        return Err(LabError::AlreadyRunning { name: spec.name.clone() });
    }
    let with_lifeline = options.lifetime == Lifetime::WithThisProcess;
    let log = open_log(files)?;
    let failed =
        |source| LabError::Supervisor { name: spec.name.clone(), program: options.program.clone(), source };
    let settings = serde_json::to_string(spec).map_err(|error| failed(error.into()))?;
    let root = options.workspace.root().display().to_string();
    let mut args = vec!["supervise".to_owned(), "--root".to_owned(), root, "--spec".to_owned(), settings];
    if with_lifeline {
        args.push("--stop-on-stdin-eof".to_owned());
    }
    let within = limits::SUPERVISOR_START;
    let daemon = Daemon::start(&options.program, &args, log, with_lifeline, within).await.map_err(failed)?;
    match daemon {
        Some(daemon) => Ok(daemon.lifeline),
        None => Err(ended(&spec.name, files)),
    }
}

/// An empty log for the supervisor; the logs of earlier labs of that name are removed.
fn open_log(files: &LabFiles) -> Result<File, LabError> {
    let folder = files.logs();
    let failed = |path| move |source| LabError::File { operation: "write", path, source };
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(failed(folder.clone()))?;
    }
    fs::create_dir_all(&folder).map_err(failed(folder.clone()))?;
    let path = files.log("supervisor");
    File::create(&path).map_err(failed(path))
}

/// The error of a supervisor that ended early.
pub(super) fn ended(name: &str, files: &LabFiles) -> LabError {
    let log = files.log("supervisor");
    let log_tail = logs::tail(&log, limits::LOG_TAIL_LINES);
    LabError::SupervisorEnded { name: name.to_owned(), log, log_tail }
}

/// Whether a supervisor lives: it holds the lab's lock as long as it does.
pub(super) fn is_alive(files: &LabFiles) -> bool {
    let Ok(lock) = File::open(files.lock()) else { return false };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}
