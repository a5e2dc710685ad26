//! Why a lab could not be had, and what to do about it. Every variant has an exit code and, where there is one, a
//! command that helps; both are decided here so that no command words them twice.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterError;
use crate::exit::Exit;
use crate::paths::NoWorkspace;
use crate::spec::SpecError;

/// At which point of its life a resource failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It refused its settings or a file that it was given.
    Settings,
    /// It could not be started, or ended before it was ready.
    Start,
    /// It runs but did not become ready in time.
    Ready,
    /// It was ready and ended later.
    Later,
}

/// The failure of one resource, with everything that a person needs to see why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The resource's name.
    pub resource: String,
    /// At which point it failed.
    pub stage: Stage,
    /// What happened, in words: `ended with exit status 2`.
    pub what: String,
    /// The probe that was waited for, if one was.
    pub probe: Option<String>,
    /// What the probe saw last.
    pub last_status: Option<String>,
    /// Milliseconds since the resource was started.
    pub elapsed_ms: u64,
    /// The last lines of its log.
    pub log_tail: Vec<String>,
    /// Where its log is.
    pub log: PathBuf,
    /// What to do, where that is known.
    pub hint: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed_ms as f64 / 1000.0;
        write!(formatter, "{} {} ({seconds:.2} s after its start", self.resource, self.what)?;
        if let Some(probe) = &self.probe {
            write!(formatter, "; waited for {probe}")?;
        }
        if let Some(status) = &self.last_status {
            write!(formatter, "; last seen: {status}")?;
        }
        write!(formatter, "); log: {}", self.log.display())?;
        for line in &self.log_tail {
            write!(formatter, "\n  {}│ {line}", self.resource)?;
        }
        Ok(())
    }
}

/// What a cluster would not do, or why it could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("failed to {operation}{}{object}: {cause}", if object.is_empty() { "" } else { " " })]
pub struct ApiError {
    /// The verb: `apply`, `reach the cluster`, …
    pub operation: String,
    /// What it was done to: `Deployment distributor`; empty where the verb says it all.
    pub object: String,
    /// The cluster's answer, or why there was none.
    pub cause: String,
    /// What to do, where that is known.
    pub hint: Option<String>,
    /// Whether the cluster did not answer, or let nobody in.
    pub unreachable: bool,
}

/// Why a lab could not be started, reached or changed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The settings describe no lab.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no workspace here.
    #[error(transparent)]
    NoWorkspace(#[from] NoWorkspace),
    /// The cluster could not be had.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// No lab of this name is running.
    #[error("no lab named '{name}' is running")]
    NotRunning {
        /// The lab's name.
        name: String,
    },
    /// A lab of this name is running, and the caller wanted one of its own.
    #[error("a lab named '{name}' is already running")]
    AlreadyRunning {
        /// The lab's name.
        name: String,
    },
    /// A lab of this name is running with other settings.
    #[error("lab '{name}' is running with other settings: {differences}")]
    OtherSettings {
        /// The lab's name.
        name: String,
        /// `topology sidecar instead of shared, …`
        differences: String,
    },
    /// A file of the lab could not be read or written.
    #[error("failed to {operation} {}", path.display())]
    File {
        /// The verb: `write`, `lock`, …
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The supervisor could not be started.
    #[error("failed to start the supervisor of lab '{name}' ({})", program.display())]
    Supervisor {
        /// The lab's name.
        name: String,
        /// The program that should have been it.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The supervisor ended before it answered.
    #[error("the supervisor of lab '{name}' ended before it answered; log: {}{}", log.display(), tail(log_tail))]
    SupervisorEnded {
        /// The lab's name.
        name: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        log_tail: Vec<String>,
    },
    /// The supervisor answers no more, or something that nobody understands.
    #[error("failed to {operation} lab '{name}' through its supervisor")]
    Control {
        /// The verb that was asked for.
        operation: &'static str,
        /// The lab's name.
        name: String,
        /// What went wrong on the control socket.
        #[source]
        source: std::io::Error,
    },
    /// A resource failed.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// The lab was not ready in time, and no single resource is to blame.
    #[error("lab '{name}' was not ready after {seconds} s; not ready: {waiting}")]
    NotReady {
        /// The lab's name.
        name: String,
        /// How long it was waited for.
        seconds: u64,
        /// The resources that were not ready.
        waiting: String,
    },
    /// A cluster would not do something, or could not be asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A cluster that somebody else made would be changed.
    #[error(
        "the lab would be started in context '{context}' ({server}), which this lab did not make; nobody said that it may"
    )]
    NotAsked {
        /// The context.
        context: String,
        /// Its API server.
        server: String,
    },
    /// The verb makes no sense for this lab.
    #[error("{0}")]
    Refused(String),
    /// What a supervisor told of any other failure.
    #[error("{message}")]
    Told {
        /// The failure and its causes.
        message: String,
        /// What to do, where that is known.
        hint: Option<String>,
        /// How a command ends that is told of it.
        exit: Exit,
    },
    /// No slot for a test's lab became free.
    #[error(
        "no lab of another test ended within {seconds} s; at most {slots} are alive at a time on this machine"
    )]
    NoSlot {
        /// How long it was waited for.
        seconds: u64,
        /// How many labs may be alive.
        slots: usize,
    },
    /// The lab was stopped while it was being waited for.
    #[error("lab '{name}' was stopped")]
    Stopped {
        /// The lab's name.
        name: String,
    },
}

/// An error and its causes in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

fn tail(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  supervisor│ {line}")).collect()
}

/// A command for the lab of this name, as it can be pasted.
pub(super) fn named(command: &str, name: &str) -> String {
    match name {
        "main" => format!("cargo lab {command}"),
        _ => format!("cargo lab {command} --lab {name}"),
    }
}

impl LabError {
    /// The exit code with which a command ends that met this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Spec(_)
            | Self::NoWorkspace(_)
            | Self::OtherSettings { .. }
            | Self::NotAsked { .. }
            | Self::Refused(_) => Exit::Usage,
            Self::Cluster(error) => error.exit(),
            Self::Told { exit, .. } => *exit,
            Self::Api(error) if error.unreachable => Exit::Unavailable,
            Self::Api(_) => Exit::StartFailed,
            Self::Failed(failure) => match failure.stage {
                Stage::Settings => Exit::Usage,
                Stage::Start => Exit::StartFailed,
                Stage::Ready => Exit::NotReady,
                Stage::Later => Exit::ResourceFailed,
            },
            Self::NotReady { .. } | Self::NoSlot { .. } => Exit::NotReady,
            Self::NotRunning { .. } | Self::Control { .. } => Exit::Unavailable,
            Self::Stopped { .. } => Exit::Interrupted,
            Self::AlreadyRunning { .. }
            | Self::File { .. }
            | Self::Supervisor { .. }
            | Self::SupervisorEnded { .. } => Exit::StartFailed,
        }
    }

    /// What to do about it: a command to paste, or a sentence.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { name } => Some(named("up --detach", name)),
            Self::AlreadyRunning { name } | Self::Control { name, .. } => Some(named("down", name)),
            Self::OtherSettings { name, .. } => {
                Some(format!("{}, then up again; or another name with --lab", named("down", name)))
            }
            Self::NoWorkspace(_) => Some("run it within the checkout, or set LAB_ROOT".to_owned()),
            Self::Cluster(error) => error.hint(),
            Self::Told { hint, .. } => hint.clone(),
            Self::Failed(failure) => failure.hint.clone(),
            Self::Api(error) => error.hint.clone(),
            Self::NotAsked { .. } => {
                Some("--yes, or LAB_YES=1; another cluster with --context, one of the lab's own with --backend k3d".to_owned())
            }
            // It was taken down by then; its logs stay.
            Self::NotReady { name, .. } => Some(named("logs", name)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It hinted at the status of a lab that was taken down because of it.
    #[test]
    fn a_start_that_took_too_long_sends_to_the_logs_which_stay() {
        let error = |name: &str| LabError::NotReady { name: name.into(), seconds: 1, waiting: "blob".into() };
        assert_eq!(error("main").hint().as_deref(), Some("cargo lab logs"));
        assert_eq!(error("other").hint().as_deref(), Some("cargo lab logs --lab other"));
    }
}
