//! The record of a lab's processes, and the end of those that outlived their supervisor.

use std::fs;
use std::io;
use std::time::Instant;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::backend::LabError;
use crate::limits;
use crate::paths::LabFiles;
use crate::process::identity;

/// The processes of a lab, as its supervisor last wrote them down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    supervisor: Member,
    children: Vec<Member>,
}

/// One process; the number alone could be another one's by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    name: String,
    pid: u32,
    identity: String,
}

impl Member {
    fn of(name: String, pid: u32) -> Option<Self> {
        Some(Self { name, pid, identity: identity(pid)? })
    }

    fn is_alive(&self) -> bool {
        identity(self.pid).as_ref() == Some(&self.identity)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid).unwrap_or_default())
    }
}

impl Members {
    /// Kills the supervisor, and nothing else.
    pub fn kill_supervisor(&self) {
        if self.supervisor.is_alive() {
            // It may have ended in between, which is what is wanted.
            let _ = kill(self.supervisor.pid(), Signal::SIGKILL);
        }
    }

    /// The names of those that run.
    pub fn alive(&self) -> Vec<String> {
        let all = std::iter::once(&self.supervisor).chain(&self.children);
        all.filter(|member| member.is_alive()).map(|member| member.name.clone()).collect()
    }
}

/// Writes down the children of this process.
pub(crate) fn write(files: &LabFiles, children: impl Iterator<Item = (String, u32)>) -> Result<(), LabError> {
    let path = files.children();
    let failed = |source| LabError::File { operation: "write", path: path.clone(), source };
    let supervisor = Member::of("supervisor".to_owned(), std::process::id())
        .ok_or_else(|| failed(io::Error::other("this process is not in the system's list")))?;
    let children = children.filter_map(|(name, pid)| Member::of(name, pid)).collect();
    let text =
        serde_json::to_vec_pretty(&Members { supervisor, children }).map_err(|error| failed(error.into()))?;
    // In one step, so that nobody reads half of it.
    let new = path.with_extension("json.new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(failed)
}

/// Reads what was last written down.
///
/// # Errors
/// Fails where nothing was, or where it cannot be understood.
pub(crate) fn read(files: &LabFiles) -> Result<Members, LabError> {
    let path = files.children();
    let read = fs::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
    read.map_err(|source| LabError::File { operation: "read", path, source })
}

/// Ends what is left of a lab whose supervisor is gone; gives how many there were. What our own programs have in
/// flight is finished, as they end by themselves; the rest is killed.
pub(crate) async fn clean(files: &LabFiles) -> usize {
    let Ok(members) = read(files) else { return 0 };
    let left: Vec<&Member> = members.children.iter().filter(|member| member.is_alive()).collect();
    for (signal, grace) in [(Signal::SIGTERM, limits::STOP_GRACE), (Signal::SIGKILL, limits::STOP_GRACE)] {
        let started = Instant::now();
        for member in left.iter().filter(|member| member.is_alive()) {
            // It may have ended in between, which is what is wanted.
            let _ = killpg(member.pid(), signal);
        }
        while left.iter().any(|member| member.is_alive()) && started.elapsed() < grace {
            tokio::time::sleep(limits::PROBE_INTERVAL).await;
        }
    }
    // Gone, so that the record of processes that ended long ago is not read again.
    let _ = fs::remove_file(files.children());
    left.len()
}
