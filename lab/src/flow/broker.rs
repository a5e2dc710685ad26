//! The broker's HTTP side: its clock, its recorder, its queues' counts. Messages are sent and received by Dapr, never here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::FlowError;
use super::http;

/// The JSON field of the body by which the recorder's rows are told apart.
pub const RECORD_KEY: &str = "orderId";

/// Counts of one queue, as `GET /_emulator/queues` gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueCounts {
    /// The queue's name.
    pub name: String,
    /// Messages that can be delivered.
    pub active: u64,
    /// Messages that wait for their instant.
    pub scheduled: u64,
    /// Messages that were set aside.
    #[serde(default)]
    pub deferred: u64,
    /// Messages that are delivered and not yet settled.
    pub locked: u64,
    /// Messages in the dead-letter queue now.
    pub dead_lettered: u64,
    /// Messages accepted since the broker started.
    pub enqueued_total: u64,
    /// Messages completed since the broker started.
    pub completed_total: u64,
    /// Messages dead-lettered since the broker started.
    pub dead_lettered_total: u64,
}

/// One message of one queue, as the recorder saw it. Instants are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageRow {
    /// The queue's name.
    pub queue: String,
    /// The body's field [`RECORD_KEY`].
    pub key: Option<Key>,
    /// Number of the message in its queue.
    pub sequence_number: u64,
    /// When the broker accepted it.
    pub enqueued_us: u64,
    /// When it could first be delivered.
    pub due_us: u64,
    /// When it was last delivered.
    pub delivered_us: Option<u64>,
    /// When it was last settled.
    pub settled_us: Option<u64>,
    /// How often it was delivered.
    pub delivery_count: u32,
    /// `completed`, `dead-lettered`, `expired`, or nothing yet.
    pub outcome: Option<String>,
}

/// A recorded key, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// An order's id.
    Number(u64),
    /// The same as text, or the key of something that is no order.
    Text(String),
}

impl MessageRow {
    /// The order's id, where the key is one.
    pub fn order_id(&self) -> Option<u64> {
        match self.key.as_ref()? {
            Key::Number(id) => Some(*id),
            Key::Text(text) => text.parse().ok(),
        }
    }
}

/// A message as `GET /_emulator/queues/{name}/messages` shows it; what the lab does not need is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenMessage {
    /// Number of the message in its queue.
    pub sequence_number: u64,
    /// How often it was delivered.
    pub delivery_count: u32,
    /// Application properties; a dead-lettered message has `DeadLetterReason` and `DeadLetterErrorDescription`.
    #[serde(default)]
    pub application_properties: serde_json::Map<String, serde_json::Value>,
    /// The body, where it is text.
    #[serde(default)]
    pub body: Option<String>,
}

#[derive(Deserialize)]
struct Clock {
    unix_us: u64,
}

/// The broker's HTTP endpoint.
#[derive(Debug, Clone)]
pub struct Broker {
    client: reqwest::Client,
    base: Arc<str>,
}

impl Broker {
    /// `base` is `http://host:port`, as in [`crate::backend::Endpoints::servicebus_http`].
    pub fn new(base: &str) -> Result<Self, FlowError> {
        Ok(Self { client: http::client()?, base: base.trim_end_matches('/').into() })
    }

    /// The broker's clock, microseconds since the Unix epoch.
    pub async fn clock(&self) -> Result<u64, FlowError> {
        clock(&self.client, &self.base).await
    }

    /// Forgets what was recorded and records from now on.
    pub async fn start_recorder(&self) -> Result<(), FlowError> {
        start_recorder(&self.client, &self.base, &serde_json::json!({ "record_key": RECORD_KEY })).await
    }

    /// Stops recording and frees the rows.
    pub async fn stop_recorder(&self) -> Result<(), FlowError> {
        stop_recorder(&self.client, &self.base).await
    }

    /// What was recorded, and how many rows did not fit.
    pub async fn rows(&self) -> Result<(Vec<MessageRow>, u64), FlowError> {
        let mut rows = Vec::new();
        let dropped = self.each_row(|row| rows.push(row)).await?;
        Ok((rows, dropped))
    }

    /// Hands out what was recorded, row by row, and tells how many rows did not fit.
    pub async fn each_row(&self, take: impl FnMut(MessageRow)) -> Result<u64, FlowError> {
        let url = recorder(&self.base);
        http::rows("read the broker's recorder", &url, self.client.get(&url), take).await
    }

    /// Counts of every queue.
    pub async fn queues(&self) -> Result<Vec<QueueCounts>, FlowError> {
        let url = format!("{}/_emulator/queues", self.base);
        http::json("read the counts of the queues", &url, self.client.get(&url)).await
    }

    /// The first `limit` messages of a queue, or of its dead-letter queue, without taking them.
    pub async fn messages(
        &self,
        queue: &str,
        dead_letter: bool,
        limit: u32,
    ) -> Result<Vec<SeenMessage>, FlowError> {
        let url = format!(
            "{}/_emulator/queues/{queue}/messages?dead_letter={dead_letter}&limit={limit}",
            self.base
        );
        http::json("look at messages", &url, self.client.get(&url)).await
    }
}

fn recorder(base: &str) -> String {
    format!("{base}/_emulator/recorder")
}

/// The clock of a program of ours: `GET /_emulator/clock`.
pub(crate) async fn clock(client: &reqwest::Client, base: &str) -> Result<u64, FlowError> {
    let url = format!("{base}/_emulator/clock");
    let clock: Clock = http::json("read the clock", &url, client.get(&url)).await?;
    Ok(clock.unix_us)
}

pub(crate) async fn start_recorder(
    client: &reqwest::Client,
    base: &str,
    settings: &serde_json::Value,
) -> Result<(), FlowError> {
    let url = recorder(base);
    http::expect("start the recorder", &url, client.put(&url).json(settings)).await.map(drop)
}

pub(crate) async fn stop_recorder(client: &reqwest::Client, base: &str) -> Result<(), FlowError> {
    let url = recorder(base);
    http::expect("stop the recorder", &url, client.delete(&url)).await.map(drop)
}
