//! The client of the crate `amqp` against the broker: what Dapr's stand-in is built on.

use std::time::Duration;

use amqp::client::{
    ClientError, ConnectOptions, Connection, Delivery, Receiver, ReceiverOptions, SaslMechanism, connect,
    put_token,
};
use amqp::encode::Encode as _;
use amqp::message::{Properties, Sections, put_application_properties};
use amqp::performative::{Attach, Begin, Close, DeliveryState, Flow, Rejected, Role, Transfer};
use amqp::sasl::{Mechanisms, Outcome, Sasl};
use amqp::{Frame, Map, Performative, ProtocolHeader, Value};
use bytes::BytesMut;

use crate::support::{PATIENCE, Peer, Server, begin, message, open, transfer};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("it ends in time") })
}

async fn connected(server: &Server) -> Connection {
    connect(ConnectOptions::new(&server.amqp.to_string(), "test")).await.expect("a connection")
}

async fn receiver(connection: &Connection, node: &str, pre_settled: bool) -> Receiver {
    let mut options = ReceiverOptions::default();
    options.pre_settled = pre_settled;
    connection.receiver(node, options).await.expect("a link")
}

async fn next(receiver: &mut Receiver) -> Delivery {
    receiver.receive().await.expect("a delivery").expect("no error")
}

fn body(delivery: &Delivery) -> String {
    let sections = Sections::scan(&delivery.message).expect("a message");
    String::from_utf8(sections.data(&delivery.message).expect("a body").concat()).expect("text")
}

#[test]
fn concurrent_sends_keep_their_order_and_everything_arrives() {
    const MESSAGES: u32 = 5000;
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let sender = connection.sender("q").await.expect("a link");
        // Far more than the credit that the broker gives.
        let mut sends = tokio::task::JoinSet::new();
        let sender = std::sync::Arc::new(sender);
        for number in 0..MESSAGES {
            let sender = std::sync::Arc::clone(&sender);
            sends.spawn(async move { sender.send(message(&number.to_string())).await });
        }
        while let Some(sent) = sends.join_next().await {
            assert_eq!(sent.expect("no panic").expect("sent"), DeliveryState::Accepted);
        }
        let mut receiver = receiver(&connection, "q", false).await;
        receiver.add_credit(100).await.expect("a connection");
        for number in 0..MESSAGES {
            let delivery = next(&mut receiver).await;
            assert_eq!(body(&delivery), number.to_string());
            let said = receiver.settle(delivery.id, DeliveryState::Accepted).await.expect("settled");
            assert_eq!(said, DeliveryState::Accepted);
            receiver.add_credit(1).await.expect("a connection");
        }
    });
    assert_eq!(server.count("q", "completed_total"), u64::from(MESSAGES));
}

#[test]
fn a_large_message_goes_and_comes_in_frames() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let sender = connection.sender("q").await.expect("a link");
        let text = "0123456789".repeat(15_000);
        assert_eq!(sender.send(message(&text)).await.expect("sent"), DeliveryState::Accepted);
        let too_large = sender.send(message(&text.repeat(2))).await.expect("answered");
        assert_eq!(crate::support::rejected(&too_large), "amqp:link:message-size-exceeded");
        let mut receiver = receiver(&connection, "q", true).await;
        receiver.add_credit(1).await.expect("a connection");
        let delivery = next(&mut receiver).await;
        assert!(delivery.settled);
        assert_eq!(body(&delivery), text);
    });
}

#[test]
fn a_settlement_is_answered_and_a_lost_lock_is_told() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let sender = connection.sender("q").await.expect("a link");
        sender.send(message("one")).await.expect("sent");
        let mut receiver = receiver(&connection, "q", false).await;
        receiver.add_credit(1).await.expect("a connection");
        let delivery = next(&mut receiver).await;
        let reject = DeliveryState::Rejected(Rejected { error: None });
        assert_eq!(receiver.settle(delivery.id, reject.clone()).await.expect("settled"), reject);
        let again = receiver.settle(delivery.id, DeliveryState::Accepted).await.expect("answered");
        assert_eq!(crate::support::rejected(&again), "amqp:not-found");
    });
    assert_eq!(server.count("q", "dead_lettered"), 1);
}

#[test]
fn a_drain_takes_credit_back() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let sender = connection.sender("q").await.expect("a link");
        let mut receiver = receiver(&connection, "q", true).await;
        sender.send(message("one")).await.expect("sent");
        receiver.add_credit(10).await.expect("a connection");
        receiver.settler().drain().await.expect("drained");
        assert_eq!(receiver.try_receive().expect("it was there").map(|d| body(&d)).expect("no error"), "one");
        sender.send(message("two")).await.expect("sent");
        assert!(receiver.try_receive().is_none(), "without credit nothing comes");
        receiver.add_credit(1).await.expect("a connection");
        assert_eq!(body(&next(&mut receiver).await), "two");
    });
}

#[test]
fn tokens_and_requests_are_answered() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let kind = "servicebus.windows.net:sastoken";
        put_token(&connection, "amqp://localhost/q", kind, "token", i64::MAX).await.expect("accepted");
        let management = connection.requester("q/$management").await.expect("links");
        let ask = |operation: &str| Map::new().with_string("operation", operation.into());
        let peek = Map::new()
            .with_string("from-sequence-number", Value::Long(0))
            .with_string("message-count", Value::Int(1));
        // More requests than answers may be under way.
        for _ in 0..300 {
            let answer = management
                .request(&ask("com.microsoft:peek-message"), &Value::Map(peek.clone()))
                .await
                .expect("an answer");
            assert_eq!(answer.status, 204);
        }
        let refused = management.request_ok(&ask("none"), &Value::Null).await.expect_err("unknown");
        assert!(matches!(refused, ClientError::RequestFailed { status: 501, .. }), "{refused}");
        assert!(!refused.is_connection_lost());
    });
}

#[test]
fn a_refused_link_tells_its_condition_and_the_connection_stays() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let error = connection.sender("none").await.expect_err("there is none");
        assert_eq!((error.condition(), error.is_connection_lost()), (Some("amqp:not-found"), false));
        assert!(error.to_string().contains("'none' could not be found"), "{error}");
        assert!(connection.is_open());
        connection.sender("q").await.expect("a link").detach().await.expect("detached");
    });
}

#[test]
fn the_end_of_the_broker_reaches_everyone_who_waits() {
    let server = Server::start();
    run(async {
        let connection = connected(&server).await;
        let sender = connection.sender("q").await.expect("a link");
        let mut receiver = receiver(&connection, "q", false).await;
        receiver.add_credit(1).await.expect("a connection");
        server.stop();
        let received = receiver.receive().await.expect("an error").expect_err("no delivery");
        assert!(received.is_connection_lost() && received.to_string().contains("amqp:connection:forced"));
        assert!(connection.lost().await.is_connection_lost());
        assert!(sender.send(message("late")).await.expect_err("nobody is there").is_connection_lost());
        assert!(!connection.is_open());
    });
}

#[test]
fn credentials_are_taken_and_closing_is_clean() {
    let server = Server::start();
    run(async {
        let sasl = SaslMechanism::Plain { username: "name".to_owned(), password: "secret".to_owned() };
        let options = ConnectOptions { sasl, ..ConnectOptions::new(&server.amqp.to_string(), "test") };
        let connection = connect(options).await.expect("a connection");
        connection.close().await;
        assert!(connection.sender("q").await.expect_err("it is closed").is_connection_lost());
    });
}

#[test]
fn who_does_not_speak_amqp_is_told_apart_from_who_is_not_there() {
    let server = Server::start();
    run(async {
        let http = connect(ConnectOptions::new(&server.http.to_string(), "test")).await.expect_err("HTTP");
        assert!(matches!(http, ClientError::Frame { .. } | ClientError::ConnectionLost { .. }), "{http}");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        let nobody = connect(ConnectOptions::new(&gone.to_string(), "test")).await.expect_err("nobody");
        assert!(matches!(nobody, ClientError::Connect { .. }), "{nobody}");
        // Someone who listens and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("bound").to_string();
        let connect_timeout = Duration::from_millis(50);
        let options = ConnectOptions { connect_timeout, ..ConnectOptions::new(&address, "test") };
        let error = connect(options).await.expect_err("nothing is said");
        assert!(matches!(error, ClientError::ConnectTimeout { .. }), "{error}");
    });
}

/// Takes a connection as a broker does, up to its session.
fn accepted(listener: &std::net::TcpListener) -> Peer {
    let mut peer = Peer::over(listener.accept().expect("a connection").0);
    let say = |peer: &mut Peer, sasl: Sasl| {
        let mut out = BytesMut::new();
        Frame::put_sasl(&mut out, &sasl);
        peer.write(&out);
    };
    assert_eq!(peer.protocol_header(), ProtocolHeader::Sasl);
    peer.write(ProtocolHeader::Sasl.bytes());
    say(&mut peer, Sasl::Mechanisms(Mechanisms { sasl_server_mechanisms: vec!["ANONYMOUS".into()] }));
    assert!(matches!(peer.frame(), Some(Frame::Sasl(Sasl::Init(_)))));
    say(&mut peer, Sasl::Outcome(Outcome { code: 0, additional_data: None }));
    assert_eq!(peer.protocol_header(), ProtocolHeader::Amqp);
    peer.write(ProtocolHeader::Amqp.bytes());
    peer.put(open());
    peer.put(Begin { remote_channel: Some(0), ..begin(1000) });
    peer
}

/// Answers an attach; the link's handle.
fn attached(peer: &mut Peer) -> u32 {
    let (Performative::Attach(attach), _) = peer.wait_for(|p| matches!(p, Performative::Attach(_))) else {
        unreachable!("it was matched")
    };
    let (handle, role) = (attach.handle, attach.role.peer());
    let initial_delivery_count = (role == Role::Sender).then_some(0);
    peer.put(Attach { role, initial_delivery_count, ..attach });
    handle
}

/// The answer to one request and the end of the connection come in one read: the end reaches the other request too.
#[test]
fn a_connection_that_ends_behind_an_answer_ends_every_request() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = std::thread::spawn(move || {
        let mut peer = accepted(&listener);
        let (answers, requests) = (attached(&mut peer), attached(&mut peer));
        peer.put(Flow { next_incoming_id: Some(0), ..peer.flow(requests, 10) });
        let (_, request) = peer.wait_for(|p| matches!(p, Performative::Transfer(_)));
        peer.wait_for(|p| matches!(p, Performative::Transfer(_)));
        let asked = Sections::scan(&request).and_then(|sections| sections.properties(&request)).expect("it");
        let mut answer = BytesMut::new();
        Properties { correlation_id: asked.message_id, ..Properties::default() }.encode(&mut answer);
        put_application_properties(&mut answer, &Map::new().with_string("statusCode", Value::Int(200)));
        let mut out = BytesMut::new();
        let head = Transfer { settled: Some(true), ..transfer(answers, 0) };
        Frame::put_transfer(&mut out, 0, &head, &[&answer]);
        Frame::put(&mut out, 0, &Close { error: None }.into());
        peer.write(&out);
        while peer.read() {}
    });
    run(async {
        let connection = connect(ConnectOptions::new(&address, "test")).await.expect("a connection");
        let node = connection.requester("node").await.expect("links");
        let properties = Map::new();
        let ask = || node.request(&properties, &Value::Null);
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!(first.expect("it was answered").status, 200);
        assert!(second.expect_err("it was not").is_connection_lost());
    });
    broker.join().expect("no panic");
}

/// Part 2, §2.4.6: whoever closes waits for the other's close.
#[test]
fn a_close_is_answered() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = std::thread::spawn(move || {
        let mut peer = accepted(&listener);
        peer.put(Close { error: None });
        assert_eq!(peer.closed(), None);
    });
    run(async {
        let connection = connect(ConnectOptions::new(&address, "test")).await.expect("a connection");
        assert!(connection.lost().await.is_connection_lost());
        tokio::task::spawn_blocking(|| broker.join()).await.expect("it ran").expect("no panic");
    });
}
