//! A small AMQP 1.0 client on tokio: [`connect`], then [`Sender`]s, [`Receiver`]s and [`Requester`]s on one session.
//!
//! One task owns the socket ([`driver`]); handles talk to it over a bounded channel, so that many concurrent sends
//! and settlements leave in one write. It must not know what a queue, a lock or a retry is.

mod cbs;
mod dispatch;
mod driver;
mod handshake;
pub mod limits;
mod link;
mod receiver;
mod request;
mod sender;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use cbs::put_token;
pub use receiver::{Delivery, Receiver, ReceiverOptions, Settler};
pub use request::{Answer, Requester};
pub use sender::Sender;

use crate::frame::FrameError;
use crate::performative::Error;
use session::Command;

/// How to reach a peer and what to tell it.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// `host:port` to connect to.
    pub address: String,
    /// Host name for the open frame.
    pub hostname: String,
    /// Name of this container.
    pub container_id: String,
    /// How to authenticate.
    pub sasl: SaslMechanism,
    /// Silence after which the peer is taken for dead; the half of it is what the peer is told.
    pub idle_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

impl ConnectOptions {
    /// Options for an anonymous connection to `address` (`host:port`).
    #[must_use]
    pub fn new(address: &str, container_id: &str) -> Self {
        let hostname = address.rsplit_once(':').map_or(address, |(host, _)| host);
        Self {
            address: address.to_owned(),
            hostname: hostname.to_owned(),
            container_id: container_id.to_owned(),
            sasl: SaslMechanism::Anonymous,
            idle_timeout: limits::IDLE_TIMEOUT,
            connect_timeout: limits::CONNECT_TIMEOUT,
        }
    }
}

/// How the client authenticates (part 5, §5.3).
#[derive(Debug, Clone)]
pub enum SaslMechanism {
    /// No identity; Service Bus then expects a token at `$cbs`.
    Anonymous,
    /// A name and a password.
    Plain {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
}

/// Why something did not work. Cloned to everyone who waited.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The TCP connection could not be made.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system says.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The connection ended: by the peer, by the network, or because the peer was silent.
    #[error("the connection to {address} is lost: {reason}")]
    ConnectionLost {
        /// Where to.
        address: Arc<str>,
        /// Why, in words.
        reason: Arc<str>,
    },
    /// The peer sent bytes that are no frame.
    #[error("{address} sent what is no AMQP frame")]
    Frame {
        /// Where from.
        address: Arc<str>,
        /// What is wrong with them.
        #[source]
        source: FrameError,
    },
    /// The peer refused or ended a link; the condition is in the text.
    #[error("link to {node} ended: {condition}: {description}")]
    Detached {
        /// The node at the other end.
        node: Arc<str>,
        /// The AMQP error condition; empty when there is none.
        condition: Arc<str>,
        /// Words for people.
        description: Arc<str>,
    },
    /// The time for connecting is over.
    #[error("{address} did not answer within {seconds} s")]
    ConnectTimeout {
        /// Where to.
        address: String,
        /// The time it had.
        seconds: u64,
    },
    /// Authentication failed.
    #[error("{address} refused to authenticate: {reason}")]
    Authentication {
        /// Where to.
        address: String,
        /// Why.
        reason: String,
    },
    /// A bound of [`limits`] is reached.
    #[error("the AMQP client has reached its limit of {limit} {what}")]
    Limit {
        /// The bound.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// A request was answered with a status that is no success.
    #[error("{node} answered {status} {description}")]
    RequestFailed {
        /// The node.
        node: Arc<str>,
        /// Its status, in the manner of HTTP.
        status: i64,
        /// Words for people.
        description: String,
    },
}

impl ClientError {
    /// Whether a new connection is needed before anything can work again.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        !matches!(self, Self::Detached { .. } | Self::Limit { .. } | Self::RequestFailed { .. })
    }

    /// The AMQP condition of a link that the peer ended.
    #[must_use]
    pub fn condition(&self) -> Option<&str> {
        match self {
            Self::Detached { condition, .. } => Some(condition),
            _ => None,
        }
    }

    fn detached(node: &str, error: Option<&Error>) -> Self {
        let condition = error.map_or("", |error| error.condition.as_str());
        let description = error.and_then(|error| error.description.as_deref()).unwrap_or("no reason given");
        Self::Detached { node: node.into(), condition: condition.into(), description: description.into() }
    }
}

/// A connection with one session. Cloning it shares it; it closes when [`Connection::close`] is called or the last
/// handle is gone.
#[derive(Debug, Clone)]
pub struct Connection {
    commands: mpsc::Sender<Command>,
    lost: watch::Receiver<Option<ClientError>>,
    address: Arc<str>,
}

/// Connects, authenticates, opens the connection and begins its session.
///
/// # Errors
/// When the peer cannot be reached, refuses, or takes longer than `options.connect_timeout`.
pub async fn connect(options: ConnectOptions) -> Result<Connection, ClientError> {
    let address: Arc<str> = options.address.as_str().into();
    let established = tokio::time::timeout(options.connect_timeout, handshake::establish(&options)).await;
    let established = established.map_err(|_| ClientError::ConnectTimeout {
        address: options.address.clone(),
        seconds: options.connect_timeout.as_secs(),
    })??;
    let (commands, receiver) = mpsc::channel(limits::COMMANDS_QUEUED_MAX);
    let (lost_sender, lost) = watch::channel(None);
    tokio::spawn(driver::run(established, receiver, lost_sender, Arc::clone(&address)));
    Ok(Connection { commands, lost, address })
}

impl Connection {
    /// Opens a link on which messages go to `node`.
    ///
    /// # Errors
    /// When the peer refuses the link or the connection is lost.
    pub async fn sender(&self, node: &str) -> Result<Sender, ClientError> {
        Sender::attach(self.clone(), node).await
    }

    /// Opens a link on which messages come from `node`. It has no credit yet.
    ///
    /// # Errors
    /// When the peer refuses the link or the connection is lost.
    pub async fn receiver(&self, node: &str, options: ReceiverOptions) -> Result<Receiver, ClientError> {
        Receiver::attach(self.clone(), node, options).await
    }

    /// Opens the pair of links on which requests go to `node` (`$cbs`, `queue/$management`) and answers come back.
    ///
    /// # Errors
    /// When the peer refuses a link or the connection is lost.
    pub async fn requester(&self, node: &str) -> Result<Requester, ClientError> {
        Requester::attach(self, node).await
    }

    /// Whether the connection still stands.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lost.borrow().is_none()
    }

    /// Waits until the connection is lost and tells why.
    pub async fn lost(&self) -> ClientError {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| self.gone()),
            Err(_) => self.gone(),
        }
    }

    /// Sends what is waiting, closes the connection and waits for the peer's answer.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close { reply }).await.is_ok() {
            let _ = closed.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), ClientError> {
        self.commands.send(command).await.map_err(|_| self.gone())
    }

    /// Sends a command and waits for what it answers.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ClientError>>) -> Command,
    ) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Why the task that owned the socket is gone.
    fn gone(&self) -> ClientError {
        self.lost.borrow().clone().unwrap_or_else(|| ClientError::ConnectionLost {
            address: Arc::clone(&self.address),
            reason: "the connection was closed".into(),
        })
    }
}
