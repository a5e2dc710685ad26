//! The language of the control socket: one JSON line asks, one JSON line answers (`watch` answers with many).
//!
//! It is spoken between one version of the program and itself, so it promises nothing to others.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{
    AfterKill, ApiError, Failure, LabState, Part, ReplicaEvent, ReplicaStatus, Scalable, Scaled, Usage,
};
use crate::exit::Exit;
use crate::limits;
use crate::spec::LabSpec;

/// What can be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub(super) enum Request {
    /// The settings of the lab, ready or not.
    Spec,
    /// Settings and endpoints; waits until the lab is ready.
    State,
    /// The lab as it is now, whatever became of it.
    View,
    /// Progress lines until the lab is ready or has failed.
    Watch,
    /// Waits until the lab fails or is stopped.
    Outcome,
    Status,
    Usage,
    Kill {
        part: Part,
        replica: u32,
        after: AfterKill,
    },
    Restart {
        part: Part,
        replica: u32,
    },
    Scale {
        scalable: Scalable,
        count: u32,
    },
    ReplicaEvents,
    /// Stop everything; answered at once, and done when the supervisor has let the lab's lock go.
    Down,
}

impl Request {
    /// How long the answer may take; `None` where it comes whenever it comes.
    const fn within(&self) -> Option<Duration> {
        match self {
            Self::Spec | Self::View | Self::Status | Self::ReplicaEvents | Self::Down => Some(limits::ANSWER),
            Self::Usage => Some(limits::USAGE_ANSWER),
            Self::State | Self::Watch => Some(limits::READY_ANSWER),
            Self::Kill { .. } | Self::Restart { .. } => Some(limits::VERB_ANSWER),
            Self::Scale { .. } => Some(limits::SCALE_ANSWER),
            Self::Outcome => None,
        }
    }

    /// Waits for what answers this, no longer than that may take.
    pub async fn bound<T>(&self, answer: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let Some(within) = self.within() else { return answer.await };
        tokio::time::timeout(within, answer).await.unwrap_or_else(|_| {
            let words = format!("no answer within {} s", within.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, words))
        })
    }
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(super) enum Reply {
    Spec {
        spec: LabSpec,
    },
    State {
        state: Box<LabState>,
    },
    View {
        seen: Box<Seen>,
    },
    Progress {
        progress: Progress,
    },
    Ready,
    Status {
        resources: Vec<ReplicaStatus>,
    },
    Usage {
        usage: Vec<Usage>,
    },
    Scaled {
        scaled: Scaled,
    },
    ReplicaEvents {
        events: Vec<ReplicaEvent>,
    },
    Done,
    Failed {
        failure: Box<Failure>,
    },
    NotReady {
        seconds: u64,
        waiting: String,
    },
    Api {
        error: ApiError,
    },
    /// Any other failure, with how the command ends that is told of it.
    Refused {
        message: String,
        hint: Option<String>,
        exit: Exit,
    },
    Stopped,
}

/// What can be seen of a lab at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub state: LabState,
    pub resources: Vec<ReplicaStatus>,
    /// The reply that tells the failure, where the lab has failed.
    pub failure: Option<Reply>,
}

/// A step of a lab on its way to be ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The resource that is ready now.
    pub resource: String,
    /// The program that it is.
    pub program: String,
    /// Milliseconds from its start until it was ready.
    pub ready_ms: u64,
    /// Milliseconds from the lab's start until then.
    pub lab_ms: u64,
}

/// One connection to a control socket.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    pub async fn open(socket: &Path) -> io::Result<Self> {
        Ok(Self::of(UnixStream::connect(socket).await?))
    }

    pub fn of(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends one line.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await
    }

    /// Receives one line; `None` where the other side has closed.
    pub async fn receive<T: for<'de> Deserialize<'de>>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        let limit = limits::CONTROL_LINE_BYTES as u64;
        (&mut self.stream).take(limit).read_until(b'\n', &mut line).await?;
        match line.last() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(serde_json::from_slice(&line)?)),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line was cut or is too long")),
        }
    }
}

/// Asks one thing on a connection of its own. A supervisor that hangs is an error of the kind `TimedOut`.
pub(super) async fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let answer = async {
        let mut connection = Connection::open(socket).await?;
        connection.send(request).await?;
        connection.receive().await?.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the supervisor closed the connection without an answer",
            )
        })
    };
    request.bound(answer).await
}
