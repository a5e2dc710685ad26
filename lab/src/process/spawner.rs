//! The thread that starts every child. On Linux a child that is to die with its parent dies with the *thread* that
//! started it, so that thread must live as long as the process does: no pool's, no runtime's.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;

use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::sync::oneshot;

use super::{Announces, Child};

/// How a child ends when its parent is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    /// Its stdin is a pipe from the parent, and it ends when that closes: `--stop-on-stdin-eof`.
    WithStdin,
    /// The kernel kills it, where the kernel can; elsewhere whoever starts the lab next does.
    BySignal,
    /// The same with SIGTERM, which the program passes on to children of its own: killed, it would leave them behind.
    ByPassedSignal,
}

/// A program to be started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments; they can be read by every user of the machine, so no secrets.
    pub args: Vec<String>,
    /// Its environment beyond the few variables of ours that every child gets.
    pub env: Vec<(String, String)>,
    /// The folder in which it runs.
    pub cwd: PathBuf,
    /// How it ends when its parent is killed.
    pub dies: Dies,
    /// How it announces itself.
    pub announces: Announces,
    /// The file to which its stdout and stderr are added.
    pub log: PathBuf,
}

/// Variables that children inherit: what finding programs, temporary folders, caches and log settings needs. Not
/// `RUST_BACKTRACE`: with it a real Spin makes 7 % fewer orders a second.
const INHERITED: [&str; 11] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LOG_FORMAT",
    "NO_COLOR",
    "PATH",
    "RUST_LOG",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
];

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<tokio::process::Child>>,
}

/// Starts children on its one thread.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: mpsc::Sender<Job>,
}

impl Spawner {
    /// Starts the thread; it lives until the last clone is dropped. Must be called within a runtime.
    ///
    /// # Errors
    /// Fails when the system gives no thread.
    pub fn new() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _within = runtime.enter();
            for mut job in queue {
                // Whoever asked may have given up; then the child is dropped, and killed by that.
                let _ = job.reply.send(job.command.spawn());
            }
        })?;
        Ok(Self { jobs })
    }

    /// Starts a program as leader of a process group of its own.
    ///
    /// # Errors
    /// Fails when its log cannot be opened or the system does not start it.
    pub async fn spawn(&self, program: &Program) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&program.log)?;
        let mut command = Command::new(&program.path);
        command
            .args(&program.args)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&program.cwd)
            .process_group(0)
            .stdin(match program.dies {
                Dies::WithStdin => Stdio::piped(),
                Dies::BySignal | Dies::ByPassedSignal => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(true);
        match program.dies {
            Dies::WithStdin => {}
            Dies::BySignal => die_with_parent(&mut command, Signal::SIGKILL),
            Dies::ByPassedSignal => die_with_parent(&mut command, Signal::SIGTERM),
        }
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children has ended");
        self.jobs.send(Job { command, reply }).map_err(|_| gone())?;
        Child::new(started.await.map_err(|_| gone())??, log, program.announces)
    }
}

/// Asks the kernel to send the child a signal when the thread that starts it ends.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "between fork and exec the child asks for its parent's death signal")]
fn die_with_parent(command: &mut Command, signal: Signal) {
    use nix::errno::Errno;
    use nix::sys::prctl;
    use nix::unistd::{Pid, getppid};
    let parent = Pid::this();
    // SAFETY: only system calls that are safe between fork and exec; nothing is allocated and no lock is taken.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(signal)?;
            // The parent may have died before the call above.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _signal: Signal) {}
