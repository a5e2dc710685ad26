//! The conditions under which connections, links and deliveries are refused.
//!
//! It must not decide when; it only names.

use amqp::performative::Error;
use amqp::{DecodeError, FrameError};

/// Conditions of AMQP itself (part 2, §2.8.15–18) and of Service Bus.
pub mod condition {
    #![allow(missing_docs, reason = "the names are the standard's")]
    pub const FRAMING_ERROR: &str = "amqp:connection:framing-error";
    pub const CONNECTION_FORCED: &str = "amqp:connection:forced";
    pub const DECODE_ERROR: &str = "amqp:decode-error";
    pub const NOT_ALLOWED: &str = "amqp:not-allowed";
    pub const NOT_FOUND: &str = "amqp:not-found";
    pub const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
    pub const RESOURCE_LIMIT_EXCEEDED: &str = "amqp:resource-limit-exceeded";
    pub const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
    pub const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
    pub const MESSAGE_SIZE_EXCEEDED: &str = "amqp:link:message-size-exceeded";
    pub const MESSAGE_LOCK_LOST: &str = "com.microsoft:message-lock-lost";
    pub const SESSION_LOCK_LOST: &str = "com.microsoft:session-lock-lost";
    pub const SESSION_CANNOT_BE_LOCKED: &str = "com.microsoft:session-cannot-be-locked";
    pub const SESSION_NOT_FOUND: &str = "com.microsoft:session-not-found";
    pub const TIMEOUT: &str = "com.microsoft:timeout";
    pub const ENTITY_DISABLED: &str = "com.microsoft:entity-disabled";
    pub const ENTITY_ALREADY_EXISTS: &str = "com.microsoft:entity-already-exists";
    pub const MESSAGE_NOT_FOUND: &str = "com.microsoft:message-not-found";
    pub const ARGUMENT_ERROR: &str = "com.microsoft:argument-error";
    pub const DEAD_LETTER: &str = "com.microsoft:dead-letter";
}

/// Why a connection, or a session of it, cannot go on. The peer is told, then it ends.
#[derive(Debug, thiserror::Error)]
#[error("{condition}: {description}")]
pub struct Fatal {
    /// The AMQP condition.
    pub condition: &'static str,
    /// What the peer did, for people.
    pub description: String,
}

impl Fatal {
    /// A reason to end the connection.
    pub fn new(condition: &'static str, description: impl Into<String>) -> Self {
        Self { condition, description: description.into() }
    }

    /// Whether only the session cannot go on (part 2, §2.8.17), and its connection can.
    pub fn ends_session_only(&self) -> bool {
        self.condition.starts_with("amqp:session:")
    }

    /// The error for the frame that tells it.
    pub fn to_error(&self) -> Error {
        Error::new(self.condition, self.description.clone())
    }
}

impl From<DecodeError> for Fatal {
    fn from(error: DecodeError) -> Self {
        Self::new(condition::DECODE_ERROR, error.to_string())
    }
}

impl From<FrameError> for Fatal {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Body(error) => error.into(),
            other => Self::new(condition::FRAMING_ERROR, other.to_string()),
        }
    }
}
