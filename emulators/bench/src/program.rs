//! The program that is measured, as a child process, and what the kernel charged to it. It must not know which one it is.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::Failure;

/// A running program. Its stdin is a pipe from here; it is killed when dropped.
pub struct Program {
    name: String,
    child: Child,
    /// The process that does the work, where that is a child of the one that was started.
    worker: Option<u32>,
    /// Its line on stdout; null if it was not waited for.
    announced: Value,
}

impl Program {
    /// Starts a program of the lab and waits for the line in which it says where it listens.
    ///
    /// # Errors
    /// Fails when it cannot be started, or ends without that line.
    pub fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut program = Self::spawn(command, Stdio::piped())?;
        let stdout = program.child.stdout.take().ok_or("stdout is not piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        program.announced = serde_json::from_str(&line)
            .map_err(|_| format!("{} did not say where it listens, but {line:?}", program.name))?;
        Ok(program)
    }

    /// Starts a program whose stdout is not read: ask it whether it serves.
    ///
    /// # Errors
    /// Fails when it cannot be started.
    pub fn start_unread(command: &mut Command) -> Result<Self, Failure> {
        Self::spawn(command, Stdio::null())
    }

    fn spawn(command: &mut Command, stdout: Stdio) -> Result<Self, Failure> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::piped()).stdout(stdout).spawn();
        let child = child.map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name, child, worker: None, announced: Value::Null })
    }

    /// The address that it announced under this name of `listen`.
    ///
    /// # Errors
    /// Fails when it announced none.
    pub fn address(&self, listen: &str) -> Result<SocketAddr, Failure> {
        let address = self.announced["listen"][listen].as_str();
        let none = || format!("{} announced no address {listen}: {}", self.name, self.announced);
        Ok(address.ok_or_else(none)?.parse()?)
    }

    /// The process that does the work.
    pub fn id(&self) -> u32 {
        self.worker.unwrap_or(self.child.id())
    }

    /// From now on the program's first child is what is measured, as with `spin up`, which leaves the work to one.
    ///
    /// # Errors
    /// Fails when it has no child.
    pub fn measure_child(&mut self) -> Result<(), Failure> {
        let id = self.child.id();
        let children = read(&format!("/proc/{id}/task/{id}/children"))?;
        let child =
            children.split_whitespace().next().ok_or_else(|| format!("{} has no child", self.name))?;
        self.worker = Some(child.parse()?);
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// Fails when the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        Ok(self.child.try_wait()?)
    }

    /// Ends its stdin and waits for the program to end by that.
    ///
    /// # Errors
    /// Fails when it ends with anything but 0.
    pub fn stop(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", self.name).into()) }
    }

    /// User and system time of all its threads so far, from the scheduler's own clock (nanoseconds, not ticks).
    ///
    /// # Errors
    /// Fails where there is no `/proc`, or the program has ended.
    pub fn cpu_us(&self) -> Result<f64, Failure> {
        let tasks = format!("/proc/{}/task", self.id());
        let entries = fs::read_dir(&tasks).map_err(|error| format!("cannot read {tasks}: {error}"))?;
        // A thread may end while they are read.
        let nanoseconds = entries.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        Ok(nanoseconds.sum::<f64>() / 1e3)
    }

    /// The memory that it holds (resident set), in MiB.
    ///
    /// # Errors
    /// Fails where there is no `/proc`, or the program has ended.
    pub fn rss_mib(&self) -> Result<f64, Failure> {
        let status = read(&format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.ok_or_else(|| format!("{} has no VmRSS: it has ended", self.name))? / 1024.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            let _ = Command::new("kill").args(["-KILL", &worker.to_string()]).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a file of `/proc`.
pub(crate) fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| format!("cannot read {path}: {error}; benchmarks need Linux").into())
}
