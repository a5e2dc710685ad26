//! A running child: its end, its announcement, its stdin, and how it is stopped.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::watch;

use super::Announces;
use crate::limits;

/// A child that was started; it is killed when this is dropped.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    started: Instant,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    announced: watch::Receiver<Option<Vec<SocketAddr>>>,
}

impl Child {
    pub(super) fn new(mut child: tokio::process::Child, log: File, announces: Announces) -> io::Result<Self> {
        let pid = child.id().ok_or_else(|| io::Error::other("the child has no number"))?;
        let stdin = tokio::sync::Mutex::new(child.stdin.take());
        let stdout = child.stdout.take();
        let (announce, announced) = watch::channel(None);
        if let Some(stdout) = stdout {
            tokio::spawn(read_stdout(stdout, log, announces, announce));
        }
        let (end, exit) = watch::channel(None);
        tokio::spawn(async move {
            // Waiting for a child of ours does not fail; if it did, nobody could say how it ended.
            if let Ok(status) = child.wait().await {
                end.send_replace(Some(status));
            }
        });
        Ok(Self { pid, started: Instant::now(), stdin, exit, announced })
    }

    /// The number of the process, and of the group that it leads.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits until it has announced itself; for ever if it never does.
    pub async fn announces(&self) -> Vec<SocketAddr> {
        let mut announced = self.announced.clone();
        let addresses = announced.wait_for(Option::is_some).await.map(|addresses| addresses.clone());
        match addresses {
            Ok(addresses) => addresses.unwrap_or_default(),
            // Its stdout is closed: it will announce nothing any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for its end.
    pub async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::default(),
        }
    }

    /// Writes to its stdin, if that is a pipe.
    ///
    /// # Errors
    /// Fails when it has closed its stdin, or ended.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match &mut *self.stdin.lock().await {
            Some(stdin) => stdin.write_all(bytes).await,
            None => Err(io::Error::other("the child's stdin is no pipe")),
        }
    }

    /// Asks it and its own children to end, and kills them after `grace`.
    pub async fn stop(&self, grace: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        // Too late is too late, and in time it may have left children behind: what is left is killed either way.
        let _ = tokio::time::timeout(grace, self.ended()).await;
        self.kill().await
    }

    /// Kills it and its own children, and waits for its end.
    pub async fn kill(&self) -> ExitStatus {
        self.signal(Signal::SIGKILL);
        self.ended().await
    }

    /// To the whole group: it may have children of its own, and they may outlive it.
    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid) {
            // The only way to fail is that the group is gone.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// Adds stdout to the log, beside what the child writes to stderr itself, and looks for its announcement.
async fn read_stdout(
    stdout: ChildStdout,
    mut log: File,
    announces: Announces,
    announced: watch::Sender<Option<Vec<SocketAddr>>>,
) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stdout).take(limits::STDOUT_LINE_BYTES as u64);
        if !matches!(bounded.read_until(b'\n', &mut line).await, Ok(read) if read > 0) {
            return;
        }
        // A full disk must not stop the child: it loses this line.
        let _ = log.write_all(&line);
        if announced.borrow().is_none()
            && let Ok(text) = std::str::from_utf8(&line)
            && let Some(addresses) = announces.addresses(text.trim())
        {
            announced.send_replace(Some(addresses));
        }
    }
}
