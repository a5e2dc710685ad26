//! Inputs that stop, at a broker that runs in the test. What else becomes of messages is the business of `tests/dapr`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use amqp::client::{ConnectOptions, connect};
use amqp::encode::Encode as _;
use bytes::{Bytes, BytesMut};
use reqwest::Method;
use serde_json::Value;
use servicebus_emulator::config::{NamespaceConfig, QueueConfig};
use servicebus_emulator::{Listeners, Options, engine};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::support::{App, Setup, is_real_daprd, queue};

/// A broker with the queue `q`; gone when dropped.
struct Broker {
    amqp: String,
    http: String,
    _serving: AbortOnDropHandle<()>,
}

impl Broker {
    async fn start() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners =
            Listeners { amqp: bind().await.expect("a port"), http: bind().await.expect("a port") };
        let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
        let (amqp, http) = (address(&listeners.amqp), address(&listeners.http));
        let queue = QueueConfig {
            name: "q".to_owned(),
            lock_us: 60_000_000,
            time_to_live_us: engine::NEVER,
            max_delivery_count: 10,
            dead_letter_on_expiration: false,
        };
        let options = Options {
            namespace: NamespaceConfig { queues: vec![queue], warnings: Vec::new() },
            max_message_bytes: 1 << 20,
            record_key: None,
        };
        let serving = tokio::spawn(servicebus_emulator::serve(listeners, options, CancellationToken::new()));
        Self { amqp, http, _serving: AbortOnDropHandle::new(serving) }
    }

    async fn send(&self, body: &'static [u8]) {
        let connection = connect(ConnectOptions::new(&self.amqp, "test")).await.expect("it connects");
        let mut message = BytesMut::new();
        amqp::message::Properties::default().encode(&mut message);
        amqp::message::put_data(&mut message, &Bytes::from_static(body));
        let sender = connection.sender("q").await.expect("a link");
        sender.send(message.freeze()).await.expect("it is settled");
        connection.close().await;
    }

    /// What the broker tells of its queue.
    async fn counts(&self) -> Value {
        let url = format!("http://{}/_emulator/queues", self.http);
        let answer = reqwest::get(url).await.expect("an answer").bytes().await.expect("a body");
        serde_json::from_slice(&answer).expect("JSON")
    }
}

/// The stop of the inputs used to be dropped together with what it still had to settle.
#[tokio::test]
async fn a_signal_while_inputs_stop_for_an_unwell_application_lets_the_delivery_in_flight_finish() {
    if is_real_daprd("its stop for an unwell application is another") {
        return;
    }
    let (broker, health, held) =
        (Broker::start().await, Arc::new(AtomicU16::new(200)), Arc::new(Semaphore::new(0)));
    let (now, gate) = (Arc::clone(&health), Arc::clone(&held));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let app = App::answering(listener, move |call| {
        let (now, gate) = (Arc::clone(&now), Arc::clone(&gate));
        async move {
            match (&call.method, &*call.path) {
                (&Method::POST, "/q") => gate.acquire().await.map_or(500, |permit| {
                    permit.forget();
                    200
                }),
                (_, "/healthz") => now.load(Ordering::SeqCst),
                _ => 200,
            }
        }
    });
    let setup = Setup::new()
        .file("q.yaml", queue("q", &broker.amqp, &[("direction", "input")]))
        .app(app.port)
        .args(&["--enable-app-health-check", "--app-health-probe-interval=1", "--app-health-threshold=1"])
        .args(&["--dapr-graceful-shutdown-seconds=20"]);
    let dapr = setup.start().await;
    broker.send(b"1").await;
    app.called(&Method::POST, "/q", 1).await;
    health.store(500, Ordering::SeqCst);
    dapr.logged("App is now unhealthy").await;
    dapr.signal("-TERM");
    dapr.logged("stopping").await;
    held.add_permits(1);
    let ended = dapr.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let counts = broker.counts().await;
    let count = |name: &str| counts[0][name].clone();
    assert_eq!((count("completed_total"), count("locked")), (1.into(), 0.into()), "{counts}");
}
