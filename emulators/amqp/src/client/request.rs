//! Requests to a node and their answers: `$cbs`, `$management` (AMQP management, working draft 9, and what Service Bus
//! makes of it).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::limits::REQUEST_CREDIT;
use super::receiver::{Receiver, ReceiverOptions};
use super::sender::Sender;
use super::{ClientError, Connection};
use crate::encode::Encode;
use crate::message::{self, Properties, Sections};
use crate::value::{Map, Value};

static NEXT_REPLY_ADDRESS: AtomicU64 = AtomicU64::new(1);

/// Asks a node and hands each answer to the one who asked. Many requests may be under way.
#[derive(Debug)]
pub struct Requester {
    node: Arc<str>,
    reply_to: String,
    sender: Sender,
    next_id: AtomicU64,
    waiting: Arc<Mutex<Waiting>>,
    answers: tokio::task::JoinHandle<()>,
}

/// Who waits for which answer; the error once there will be no more.
#[derive(Debug, Default)]
struct Waiting {
    by_id: HashMap<String, oneshot::Sender<Answer>>,
    ended: Option<ClientError>,
}

/// What a node answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `statusCode` or `status-code`, in the manner of HTTP; 0 when there is none.
    pub status: i64,
    /// `statusDescription` or `status-description`.
    pub description: String,
    /// `errorCondition`, an AMQP error condition.
    pub condition: Option<String>,
    /// The body, when it is a value.
    pub body: Option<Value>,
}

impl Requester {
    pub(super) async fn attach(connection: &Connection, node: &str) -> Result<Self, ClientError> {
        let number = NEXT_REPLY_ADDRESS.fetch_add(1, Ordering::Relaxed);
        let reply_to = format!("{node}-answers-{number}");
        let options = ReceiverOptions { pre_settled: true, reply_to: Some(reply_to.clone()) };
        let receiver = Receiver::attach(connection.clone(), node, options).await?;
        let sender = Sender::attach_settled(connection.clone(), node).await?;
        receiver.add_credit(REQUEST_CREDIT).await?;
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let answers = tokio::spawn(hand_out(receiver, Arc::clone(&waiting)));
        Ok(Self { node: node.into(), reply_to, sender, next_id: AtomicU64::new(1), waiting, answers })
    }

    /// Asks with these application properties and this body, and waits for the answer.
    ///
    /// # Errors
    /// When a link or the connection ends before the answer.
    pub async fn request(&self, properties: &Map, body: &Value) -> Result<Answer, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let mut encoded = BytesMut::new();
        let header = Properties {
            message_id: Some(Value::String(id.clone())),
            reply_to: Some(Value::String(self.reply_to.clone())),
            ..Properties::default()
        };
        header.encode(&mut encoded);
        message::put_application_properties(&mut encoded, properties);
        message::put_value(&mut encoded, body);

        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(ended) = &waiting.ended {
                return Err(ended.clone());
            }
            // Whoever stopped waiting is forgotten here, so that the map does not grow.
            waiting.by_id.retain(|_, reply| !reply.is_closed());
            waiting.by_id.insert(id, reply);
        }
        self.sender.send(encoded.freeze()).await?;
        answer.await.map_err(|_| self.ended())
    }

    /// Like [`Requester::request`], and takes every status outside 200–299 for an error.
    ///
    /// # Errors
    /// As there, and when the node answers with such a status.
    pub async fn request_ok(&self, properties: &Map, body: &Value) -> Result<Answer, ClientError> {
        let answer = self.request(properties, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(ClientError::RequestFailed {
            node: Arc::clone(&self.node),
            status: answer.status,
            description: answer.description,
        })
    }

    fn ended(&self) -> ClientError {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.ended.clone().unwrap_or_else(|| ClientError::detached(&self.node, None))
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn hand_out(mut receiver: Receiver, waiting: Arc<Mutex<Waiting>>) {
    while let Some(received) = receiver.receive().await {
        let delivery = match received {
            Ok(delivery) => delivery,
            Err(error) => {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.ended = Some(error);
                waiting.by_id.clear();
                return;
            }
        };
        if let Some((id, answer)) = read(&delivery.message) {
            let reply = waiting.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&id);
            if let Some(reply) = reply {
                let _ = reply.send(answer);
            }
        }
        // Without a connection there is no credit to give; that it is lost comes as what is received next, for all who wait.
        let _ = receiver.add_credit(1).await;
    }
}

/// The request's id and the answer; none when the message is not an answer that can be read.
fn read(message: &bytes::Bytes) -> Option<(String, Answer)> {
    let sections = Sections::scan(message).ok()?;
    let id = sections.properties(message).ok()?.correlation_id?.as_str()?.to_owned();
    let properties = sections.application_properties(message).ok()?;
    let get = |camel: &str, kebab: &str| properties.get(camel).or_else(|| properties.get(kebab)).cloned();
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let answer = Answer {
        status: get("statusCode", "status-code").and_then(|status| status.as_i64()).unwrap_or(0),
        description: text(get("statusDescription", "status-description")).unwrap_or_default(),
        condition: text(get("errorCondition", "error-condition")),
        body: sections.value(message).ok().flatten(),
    };
    Some((id, answer))
}
