//! What entities can be used for, and when they are deleted by themselves.

use amqp::performative::Role;
use servicebus_emulator::config::{EntityStatus, QueueConfig};

use crate::support::{
    PATIENCE, Peer, SECOND_US, Server, annotated, attach, due, message, now_ms, queue, subscription, topic,
};

#[test]
fn a_disabled_entity_says_so_for_what_it_cannot_be_used_for() {
    use EntityStatus::{Active, Disabled, ReceiveDisabled, SendDisabled};
    let statuses = [("a", Active), ("d", Disabled), ("r", ReceiveDisabled), ("s", SendDisabled)];
    let server = Server::with(
        statuses.map(|(name, status)| QueueConfig { status, ..queue(name) }).into_iter().collect(),
    );
    let mut peer = server.peer();
    for (name, status) in statuses {
        for (role, allowed) in [
            (Role::Sender, [Active, ReceiveDisabled].contains(&status)),
            (Role::Receiver, [Active, SendDisabled].contains(&status)),
        ] {
            let handle = peer.handle();
            let condition = peer.try_attach(attach(handle, role, name)).err().map(|error| error.condition.0);
            let expected = (!allowed).then_some("com.microsoft:entity-disabled");
            assert_eq!(condition.as_deref(), expected, "{name} {role:?}");
        }
    }
}

#[test]
fn a_disabled_topic_takes_nothing_and_a_disabled_subscription_gets_nothing() {
    let mut closed = topic("closed", vec![subscription("s")]);
    closed.status = EntityStatus::Disabled;
    let mut off = subscription("off");
    off.queue.status = EntityStatus::Disabled;
    let mut readless = subscription("readless");
    readless.queue.status = EntityStatus::ReceiveDisabled;
    let server =
        Server::with_topics(Vec::new(), vec![closed, topic("t", vec![off, readless, subscription("on")])]);
    let mut peer = server.peer();
    let handle = peer.handle();
    let error = peer.try_attach(attach(handle, Role::Sender, "closed")).expect_err("it is disabled");
    assert_eq!(error.condition.as_str(), "com.microsoft:entity-disabled");
    let sender = peer.sender("t");
    peer.must_send(sender, &message("x"));
    let active = |name: &str| server.count(&format!("t/Subscriptions/{name}"), "active");
    assert_eq!((active("off"), active("readless"), active("on")), (0, 1, 1));
}

/// Waits until an entity is no longer found.
fn until_gone(peer: &mut Peer, address: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let handle = peer.handle();
        match peer.try_attach(attach(handle, Role::Sender, address)) {
            // A try is a use: it has to end before the entity can.
            Ok(_) => peer.detach(handle),
            Err(error) => {
                assert_eq!(error.condition.as_str(), "amqp:not-found");
                return;
            }
        }
        assert!(std::time::Instant::now() < deadline, "{address} is still there");
        let asked_ms = now_ms();
        while now_ms() < asked_ms + 150 {
            std::thread::yield_now();
        }
    }
}

fn short_lived(name: &str) -> QueueConfig {
    QueueConfig { auto_delete_us: SECOND_US / 10, ..queue(name) }
}

#[test]
fn an_entity_that_nobody_uses_is_deleted() {
    let mut t = topic("t", vec![subscription("s")]);
    t.auto_delete_us = SECOND_US / 10;
    let mut sub = subscription("gone");
    sub.queue = short_lived("gone");
    let server = Server::with_topics(vec![short_lived("q"), queue("stays")], vec![t, topic("u", vec![sub])]);
    let mut peer = server.peer();
    until_gone(&mut peer, "q");
    until_gone(&mut peer, "t");
    let handle = peer.handle();
    let orphan =
        peer.try_attach(attach(handle, Role::Receiver, "t/Subscriptions/s")).expect_err("with its topic");
    assert_eq!(orphan.condition.as_str(), "amqp:not-found");
    let (_, rows, _) = server.http("GET", "/_emulator/queues", "");
    assert!(rows.contains("stays") && !rows.contains("gone"), "{rows}");
    let sender = peer.sender("u");
    peer.must_send(sender, &message("nobody gets it"));
}

#[test]
fn an_entity_in_use_stays() {
    let server = Server::with(vec![short_lived("linked"), short_lived("scheduled")]);
    let mut peer = server.peer();
    let receiver = peer.receiver("linked");
    let sender = peer.sender("scheduled");
    peer.must_send(sender, &annotated("later", &due(now_ms() + 600), None));
    peer.detach(sender);
    let begun_ms = now_ms();
    while now_ms() < begun_ms + 400 {
        assert_eq!(server.count("scheduled", "scheduled"), 1);
        assert_eq!(server.count("linked", "active"), 0);
    }
    peer.detach(receiver);
    until_gone(&mut peer, "linked");
    until_gone(&mut peer, "scheduled");
}
