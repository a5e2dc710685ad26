//! Why a run, or a part of one, could not be done.

use super::limits;
use crate::exit::Exit;

/// A failure of the measured flow. What failed is in the message, why in [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// A request got no answer.
    #[error("failed to {operation} at {url}")]
    Request {
        /// What was to be done, as a verb with its object.
        operation: String,
        /// Where.
        url: String,
        /// The transport's reason.
        #[source]
        source: reqwest::Error,
    },
    /// A request was answered with a refusal.
    #[error("failed to {operation} at {url}: answered {status} {answer}")]
    Refused {
        /// What was to be done, as a verb with its object.
        operation: String,
        /// Where.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of the answer's body.
        answer: String,
    },
    /// An answer is not what the contract says.
    #[error("failed to read the answer of {url}: {reason}")]
    Answer {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key of the blob account is not base64.
    #[error("the key of the blob account {account} is not base64")]
    Key {
        /// The account's name; never the key.
        account: String,
    },
    /// The stored data set is not whole.
    #[error("the data set {name} is {problem}")]
    DataSet {
        /// The data set's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More orders than a data set may have.
    #[error("{count} orders are outside of 1 to {}", limits::ORDERS)]
    Count {
        /// As asked for.
        count: u64,
    },
    /// The queues hold messages of somebody else.
    #[error(
        "the queues are not empty ({status}); wait until they are, or start a new lab with `lab down` and `lab up`"
    )]
    NotIdle {
        /// What each queue holds.
        status: String,
    },
    /// Not every order was scheduled before T0.
    #[error(
        "the run is invalid: {scheduled} of {count} orders were scheduled when T0 was reached, \
         in {attempts} attempts, the last one with {lead_ms} ms"
    )]
    NotScheduled {
        /// Orders that were accepted before T0 in the last attempt.
        scheduled: u64,
        /// Orders of the run.
        count: u64,
        /// How often it was tried.
        attempts: u32,
        /// From the first send to T0 in the last attempt.
        lead_ms: u64,
    },
    /// What was waited for did not come.
    #[error("gave up after {elapsed_seconds:.1} s of waiting for {what} ({why}); last status: {status}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// Whether the time was over or nothing moved any more.
        why: &'static str,
        /// Seconds since the wait began.
        elapsed_seconds: f64,
        /// Counts at the last look: how many are missing, and where.
        status: String,
    },
    /// The lab's own usage could not be read.
    #[error("failed to read the lab's usage: {0}")]
    Usage(String),
    /// The lab's replicas could not be read.
    #[error("failed to read the lab's replicas: {0}")]
    Replicas(String),
    /// The lab could not be scaled while the run was measured.
    #[error("failed to scale the lab for the run: {0}")]
    Scale(String),
    /// A task of the flow ended by a panic: a defect of the lab.
    #[error("a task of the flow ended unexpectedly; this is a defect of the lab")]
    Task(#[source] tokio::task::JoinError),
}

impl FlowError {
    /// The exit code with which a command ends that met this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Count { .. } => Exit::Usage,
            Self::NotIdle { .. } | Self::NotScheduled { .. } | Self::Deadline { .. } => Exit::ChecksFailed,
            Self::Request { .. }
            | Self::Refused { .. }
            | Self::Answer { .. }
            | Self::Key { .. }
            | Self::DataSet { .. }
            | Self::Usage(_)
            | Self::Replicas(_)
            | Self::Scale(_)
            | Self::Task(_) => Exit::ResourceFailed,
        }
    }

    /// What to do about it: a command to paste, or a sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotIdle { .. } => Some("wait until the queues are empty, or start anew: cargo lab down"),
            Self::NotScheduled { .. } => {
                Some("run fewer orders (--orders), or free the machine of other work")
            }
            Self::DataSet { .. } => Some("cargo lab orders generate --force"),
            Self::Request { .. } | Self::Refused { .. } | Self::Deadline { .. } | Self::Scale(_) => {
                Some("cargo lab logs")
            }
            Self::Count { .. }
            | Self::Answer { .. }
            | Self::Key { .. }
            | Self::Usage(_)
            | Self::Replicas(_)
            | Self::Task(_) => None,
        }
    }

    /// The first [`limits::ANSWER_SHOWN`] characters of an answer, on one line.
    pub(crate) fn shown(answer: &[u8]) -> String {
        let text =
            String::from_utf8_lossy(answer.get(..limits::ANSWER_SHOWN * 4).unwrap_or(answer)).into_owned();
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(limits::ANSWER_SHOWN).collect()
    }
}
