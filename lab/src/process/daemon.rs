//! A process that may outlive the one that starts it: the supervisor.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// The end of a pipe that a daemon watches: when the last process that has it ends, the daemon does.
#[derive(Debug)]
pub struct Lifeline {
    _pipe: std::process::ChildStdin,
}

/// A daemon that was started and has said its first line.
#[derive(Debug)]
pub struct Daemon {
    /// Set if it was started with one.
    pub lifeline: Option<Lifeline>,
}

impl Daemon {
    /// Starts a program whose stderr goes to `log`, and waits until it prints its first line on stdout.
    ///
    /// # Errors
    /// Fails when it cannot be started. `Ok(None)` says that it ended, or printed nothing `within` the time; in the
    /// latter case it is killed.
    pub async fn start(
        program: &Path,
        args: &[String],
        log: File,
        with_lifeline: bool,
        within: Duration,
    ) -> io::Result<Option<Self>> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(if with_lifeline { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let mut line = String::new();
        let said = match child.stdout.take() {
            Some(stdout) => tokio::time::timeout(within, BufReader::new(stdout).read_line(&mut line)).await,
            None => Ok(Ok(0)),
        };
        if !matches!(said, Ok(Ok(bytes)) if bytes > 0) {
            child.kill().await?;
            return Ok(None);
        }
        let lifeline = match child.stdin.take() {
            // A descriptor of the system, so that it belongs to no runtime.
            Some(stdin) => Some(Lifeline { _pipe: stdin.into_owned_fd()?.into() }),
            None => None,
        };
        // From here on the runtime reaps it whenever it ends, as long as this process lives.
        Ok(Some(Self { lifeline }))
    }
}
