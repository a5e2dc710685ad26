//! The largest message that a Premium namespace takes, both ways, in many frames.

use std::time::Duration;

use amqp::client::{ConnectOptions, ReceiverOptions, connect};
use amqp::message::{Sections, put_data};
use amqp::performative::DeliveryState;
use bytes::{Bytes, BytesMut};
use servicebus_emulator::config::NamespaceConfig;
use servicebus_emulator::limits::MAX_MESSAGE_BYTES_MAX;

use crate::support::{Server, queue};

fn of(body_bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    put_data(&mut out, &Bytes::from(vec![b'x'; body_bytes]));
    out.freeze()
}

#[test]
fn a_hundred_mebibytes_come_and_go() {
    const OVERHEAD_BYTES: usize = 8;
    let namespace = NamespaceConfig { queues: vec![queue("q")], topics: Vec::new() };
    let server = Server::with_limit(namespace, MAX_MESSAGE_BYTES_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let test = async {
        let options = ConnectOptions::new(&server.amqp.to_string(), "test");
        let connection = connect(options).await.expect("a connection");
        let sender = connection.sender("q").await.expect("a link");
        let largest = of(MAX_MESSAGE_BYTES_MAX - OVERHEAD_BYTES);
        assert_eq!(largest.len(), MAX_MESSAGE_BYTES_MAX);
        assert_eq!(sender.send(largest).await.expect("sent"), DeliveryState::Accepted);
        let mut receiver = connection.receiver("q", ReceiverOptions::default()).await.expect("a link");
        receiver.add_credit(1).await.expect("a connection");
        let delivery = receiver.receive().await.expect("a delivery").expect("no error");
        let body =
            Sections::scan(&delivery.message).expect("a message").data(&delivery.message).expect("a body");
        assert_eq!(body.iter().map(Bytes::len).sum::<usize>(), MAX_MESSAGE_BYTES_MAX - OVERHEAD_BYTES);
        let said = receiver.settle(delivery.id, DeliveryState::Accepted).await.expect("settled");
        assert_eq!(said, DeliveryState::Accepted);
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("in time") });
}
