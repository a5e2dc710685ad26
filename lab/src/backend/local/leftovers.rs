//! The record of a lab's processes, and the end of those that outlived their supervisor.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::backend::LabError;
use crate::limits;
use crate::paths::LabFiles;
use crate::process::{group_lives, identity};

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

    /// Whether it, or a process that it started and that outlived it, runs. (Its number cannot be given to another process
    /// as long as its group lives.)
    fn is_alive(&self) -> bool {
        identity(self.pid).map_or_else(|| group_lives(self.pid), |identity| identity == self.identity)
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

/// The file that says which processes there are. Each resource's task writes it when it has started one, so writes come
/// at the same time; they are done one after the other, and each asks anew which processes there are.
#[derive(Debug)]
pub(in crate::backend) struct Record {
    path: PathBuf,
    writing: Mutex<()>,
}

impl Record {
    pub fn new(files: &LabFiles) -> Self {
        Self { path: files.children(), writing: Mutex::default() }
    }

    /// Writes down this process and its children, by name and number.
    pub fn write(&self, children: impl FnOnce() -> Vec<(String, u32)>) -> Result<(), LabError> {
        let failed = |source| LabError::File { operation: "write", path: self.path.clone(), source };
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let supervisor = Member::of("supervisor".to_owned(), std::process::id())
            .ok_or_else(|| failed(io::Error::other("this process is not in the system's list")))?;
        let children = children().into_iter().filter_map(|(name, pid)| Member::of(name, pid)).collect();
        let text = serde_json::to_vec_pretty(&Members { supervisor, children })
            .map_err(|error| failed(error.into()))?;
        // In one step, so that nobody reads half of it.
        let new = self.path.with_extension("json.new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path)).map_err(failed)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Workspace;

    /// Two tasks wrote the same temporary file, and one of them found it gone.
    #[test]
    fn resources_that_start_at_the_same_time_are_all_written_down() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Workspace::at(folder.path()).lab("main");
        fs::create_dir_all(files.folder()).expect("a folder");
        let record = Record::new(&files);
        let started = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (record, started) = (&record, &started);
                scope.spawn(move || {
                    started.lock().expect("no panic").push((format!("part-{number}"), std::process::id()));
                    record.write(|| started.lock().expect("no panic").clone()).expect("it can be written");
                });
            }
        });
        assert_eq!(read(&files).expect("it can be read").children.len(), 8);
    }

    /// `spin up` is killed with its parent; the trigger that it started is not.
    #[test]
    fn what_a_part_started_and_left_behind_is_found_and_ended() {
        use std::os::unix::process::CommandExt as _;
        let script = "sleep 60 >/dev/null 2>&1 &";
        let mut leader =
            std::process::Command::new("sh").args(["-c", script]).process_group(0).spawn().expect("a shell");
        let pid = leader.id();
        let member = Member { name: "part".to_owned(), pid, identity: "gone".to_owned() };
        leader.wait().expect("it ends");
        assert!(member.is_alive(), "its child runs");
        killpg(member.pid(), Signal::SIGKILL).expect("its group is there");
        let started = Instant::now();
        while member.is_alive() {
            assert!(started.elapsed() < limits::STOP_GRACE, "it is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_number_that_is_another_process_by_now_is_nobody() {
        let own = Member::of("part".to_owned(), std::process::id()).expect("this process");
        assert!(own.is_alive());
        assert!(!Member { identity: "another".to_owned(), ..own }.is_alive());
    }
}
