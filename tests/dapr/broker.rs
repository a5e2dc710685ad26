//! A broker of its own for each test, with a client that sends and receives what no Dapr would.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use amqp::client::{ConnectOptions, ReceiverOptions, connect};
use amqp::message::{Header, Properties, Sections};
use amqp::performative::DeliveryState;
use amqp::{Map, Value};
use bytes::Bytes;
use lab::build::Artefact;
use lab::flow::broker::{Broker as Endpoint, QueueCounts};
use serde_json::json;

use super::support::{DEADLINE, queue};

/// Deliveries after which these queues dead-letter a message.
pub const MAX_DELIVERY_COUNT: u32 = 3;

/// A broker with the queues `q` and `other`. Killed when dropped.
pub struct Broker {
    child: Child,
    /// `host:port` of its AMQP side.
    pub address: String,
    http: String,
    _folder: tempfile::TempDir,
}

/// A message as it arrives.
pub struct Received {
    pub header: Header,
    pub annotations: Map,
    pub properties: Properties,
    pub application: Map,
    pub body: Bytes,
}

impl Broker {
    pub fn start() -> Self {
        Self::with(&["--listen", "127.0.0.1:0"], "PT30S", MAX_DELIVERY_COUNT)
    }

    /// With flags of its own, how long it locks a message, and after how many deliveries it dead-letters one.
    pub fn with(args: &[&str], lock: &str, max_delivery_count: u32) -> Self {
        let properties = json!({ "LockDuration": lock, "MaxDeliveryCount": max_delivery_count });
        let queues = ["q", "other"].map(|name| json!({ "Name": name, "Properties": properties }));
        let namespace = json!({ "Name": "sbemulatorns", "Queues": queues, "Topics": [] });
        let config = json!({ "UserConfig": { "Namespaces": [namespace] } });
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("Config.json");
        std::fs::write(&file, config.to_string()).expect("a file");
        let mut child = Command::new(super::artefact(Artefact::ServicebusEmulator))
            .args(["--http-listen", "127.0.0.1:0", "--config"])
            .arg(file)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let line: serde_json::Value = serde_json::from_str(&line).expect("it announces itself");
        let at = |name: &str| line["listen"][name].as_str().expect("an address").to_owned();
        Self { child, address: at("amqp"), http: at("http"), _folder: folder }
    }

    /// A broker whose address nobody else can get while it is away: ports that are found free are those of 127.0.0.1.
    pub fn that_goes_away() -> Self {
        Self::at("127.0.0.3:0")
    }

    /// A broker at an address that is known before.
    pub fn at(address: &str) -> Self {
        Self::with(&["--listen", address], "PT30S", MAX_DELIVERY_COUNT)
    }

    /// A component on the queue `q` of this name, with `direction`.
    pub fn binding(&self, direction: &str, more: &[(&str, &str)]) -> String {
        queue("q", &self.address, &[&[("direction", direction)], more].concat())
    }

    /// Counts of a queue.
    pub async fn counts(&self, name: &str) -> QueueCounts {
        let endpoint = Endpoint::new(&format!("http://{}", self.http)).expect("an address");
        let queues = endpoint.queues().await.expect("the broker answers");
        queues.into_iter().find(|queue| queue.name == name).expect("the queue is there")
    }

    /// Waits until the counts of the queue `q` are as wanted.
    pub async fn counts_are(&self, what: &str, wanted: impl Fn(&QueueCounts) -> bool) -> QueueCounts {
        tests::until(what, DEADLINE, async || {
            let counts = self.counts("q").await;
            if wanted(&counts) { Ok(counts) } else { Err(counts) }
        })
        .await
    }

    /// Sends an encoded message to `q`.
    pub async fn send(&self, message: Bytes) {
        self.send_all([message]).await;
    }

    pub async fn send_all(&self, messages: impl IntoIterator<Item = Bytes>) {
        let connection = connect(ConnectOptions::new(&self.address, "test")).await.expect("it connects");
        let sender = connection.sender("q").await.expect("a link");
        for message in messages {
            let state = sender.send(message).await.expect("it is settled");
            assert!(matches!(state, DeliveryState::Accepted), "{state:?}");
        }
        connection.close().await;
    }

    /// Receives one message of `q` and deletes it.
    pub async fn receive(&self) -> Received {
        let connection = connect(ConnectOptions::new(&self.address, "test")).await.expect("it connects");
        let mut options = ReceiverOptions::default();
        options.pre_settled = true;
        let mut receiver = connection.receiver("q", options).await.expect("a link");
        receiver.add_credit(1).await.expect("the connection stands");
        let delivery = tokio::time::timeout(DEADLINE, receiver.receive()).await.expect("a message in time");
        let message = delivery.expect("the link stands").expect("a message").message;
        connection.close().await;
        let sections = Sections::scan(&message).expect("sections");
        let mut data = sections.data(&message).expect("data");
        assert_eq!(data.len(), 1, "one data section");
        Received {
            header: sections.header(&message).expect("a header"),
            annotations: sections.message_annotations(&message).expect("annotations"),
            properties: sections.properties(&message).expect("properties"),
            application: sections.application_properties(&message).expect("application properties"),
            body: data.remove(0),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Encodes a message.
pub fn message(properties: &Properties, application: &[(&str, Value)], body: &[u8]) -> Bytes {
    use amqp::encode::Encode as _;
    let mut out = bytes::BytesMut::new();
    properties.encode(&mut out);
    let application =
        application.iter().fold(Map::new(), |map, (key, value)| map.with_string(key, value.clone()));
    amqp::message::put_application_properties(&mut out, &application);
    amqp::message::put_data(&mut out, &Bytes::copy_from_slice(body));
    out.freeze()
}

/// A message that is nothing but its body.
pub fn plain(body: impl ToString) -> Bytes {
    message(&Properties::default(), &[], body.to_string().as_bytes())
}
