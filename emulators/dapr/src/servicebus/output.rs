//! `create`: a message to the queue (`publisher.go`). One sender link per component, made when first used, shared by
//! all calls, made again when it broke.

use std::collections::BTreeMap;
use std::sync::Arc;

use amqp::client::{ClientError, Sender};
use amqp::performative::DeliveryState;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::broker::Broker;
use super::message;
use super::settings::QueueSettings;
use crate::app::causes;
use crate::limits::{SEND_PAUSE_FACTOR, SEND_PAUSE_MAX};

/// Conditions on which the component tries the same sender again (`errors.go`).
const RETRIABLE: &[&str] = &[
    "amqp:internal-error",
    "amqp:illegal-state",
    "amqp:resource-locked",
    "amqp:resource-limit-exceeded",
    "amqp:transfer-limit-exceeded",
    "com.microsoft:message-lock-lost",
    "com.microsoft:session-cannot-be-locked",
    "com.microsoft:session-lock-lost",
    "com.microsoft:store-lock-lost",
    "com.microsoft:timeout",
];

/// A message that the broker does not take for its size, and what azservicebus says of it (`ErrMessageTooLarge`).
const TOO_LARGE: &str = "amqp:link:message-size-exceeded";
const TOO_LARGE_MESSAGE: &str = "the message is too large";

/// An output binding on one queue.
#[derive(Debug)]
pub struct QueueOutput {
    settings: QueueSettings,
    broker: Arc<Broker>,
    sender: Mutex<Option<Arc<Sender>>>,
}

/// What kept a message from being sent once.
enum Failure {
    /// Try again on a new link.
    Network(String),
    /// Try again.
    Retriable(String),
    /// Do not.
    Permanent(String),
}

impl QueueOutput {
    /// A binding that has not connected yet.
    #[must_use]
    pub fn new(settings: QueueSettings, broker: Arc<Broker>) -> Self {
        Self { settings, broker, sender: Mutex::new(None) }
    }

    /// Sends `data` as a message and returns when the broker has taken it.
    ///
    /// # Errors
    /// In the component's words, when the metadata cannot be used or the broker did not take the message after all
    /// tries.
    pub async fn create(&self, data: Bytes, metadata: &BTreeMap<String, String>) -> Result<(), String> {
        let message =
            message::encode(data, metadata).map_err(|error| format!("failed to create message: {error}"))?;
        let (retries, mut pause) = self.settings.publish_retries;
        let mut tries = 0;
        loop {
            let failure = match self.send_once(message.clone()).await {
                Ok(()) => {
                    if tries > 0 {
                        tracing::info!(
                            queue = self.settings.queue,
                            "Successfully published Service Bus message"
                        );
                    }
                    return Ok(());
                }
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Network(error) | Failure::Retriable(error)) => error,
            };
            if tries == retries {
                tracing::error!(
                    queue = self.settings.queue,
                    error = failure,
                    "Too many failed attempts while publishing Service Bus message"
                );
                return Err(failure);
            }
            tries += 1;
            tracing::warn!(
                queue = self.settings.queue,
                error = failure,
                "Could not publish Service Bus message. Retrying..."
            );
            tokio::time::sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
            pause = pause.mul_f64(SEND_PAUSE_FACTOR).min(SEND_PAUSE_MAX);
        }
    }

    async fn send_once(&self, message: Bytes) -> Result<(), Failure> {
        let mut used = None;
        let send = async {
            let sender = self.sender().await?;
            used.insert(sender).send(message).await
        };
        let sent = match tokio::time::timeout(self.settings.timeout, send).await {
            Err(_) => Err(Failure::Network("context deadline exceeded".to_owned())),
            Ok(Err(error)) => Err(classify(&error)),
            Ok(Ok(DeliveryState::Accepted)) => Ok(()),
            Ok(Ok(DeliveryState::Rejected(rejected))) => Err(rejected.error.map_or_else(
                || Failure::Permanent("the broker rejected the message".to_owned()),
                |error| {
                    let condition = error.condition.as_str();
                    let text = format!("{condition}: {}", error.description.unwrap_or_default());
                    match condition {
                        TOO_LARGE => Failure::Permanent(TOO_LARGE_MESSAGE.to_owned()),
                        _ if is_retriable(condition) => Failure::Retriable(text),
                        _ => Failure::Permanent(text),
                    }
                },
            )),
            Ok(Ok(_)) => Err(Failure::Permanent("the broker did not accept the message".to_owned())),
        };
        if let (Err(Failure::Network(_)), Some(used)) = (&sent, &used) {
            self.forget(used).await;
        }
        sent
    }

    /// The next call opens a new link, unless another call has done so since this one took its own.
    async fn forget(&self, used: &Arc<Sender>) {
        let mut slot = self.sender.lock().await;
        if slot.as_ref().is_some_and(|sender| Arc::ptr_eq(sender, used)) {
            *slot = None;
        }
    }

    async fn sender(&self) -> Result<Arc<Sender>, ClientError> {
        let mut slot = self.sender.lock().await;
        if let Some(sender) = &*slot {
            return Ok(Arc::clone(sender));
        }
        let connection = self.broker.connection(&self.settings.queue).await?;
        let sender = Arc::new(connection.sender(&self.settings.queue).await?);
        *slot = Some(Arc::clone(&sender));
        Ok(sender)
    }
}

fn is_retriable(condition: &str) -> bool {
    RETRIABLE.contains(&condition)
}

/// A link that ended without a reason to give up is opened again, like one whose connection is gone: after both, the
/// present link is of no use.
fn classify(error: &ClientError) -> Failure {
    let text = causes(error);
    match error.condition() {
        Some("amqp:not-found" | "amqp:unauthorized-access" | "amqp:not-allowed") => Failure::Permanent(text),
        Some(TOO_LARGE) => Failure::Permanent(TOO_LARGE_MESSAGE.to_owned()),
        _ => Failure::Network(text),
    }
}
