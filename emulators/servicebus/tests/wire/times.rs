//! Times to live: expired messages vanish, or go to the dead-letter queue.

use amqp::Map;
use servicebus_emulator::config::QueueConfig;

use crate::support::{Received, SECOND_US, Server, annotated, message, queue};

fn bodies(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::body).collect()
}

#[test]
fn a_message_that_has_lived_its_time_is_a_dead_letter_where_the_queue_says_so() {
    let server = Server::with(vec![QueueConfig { dead_letter_on_expiration: true, ..queue("q") }]);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let dead = peer.receiver("q/$DeadLetterQueue");
    peer.must_send(sender, &annotated("short", &Map::new(), Some(100)));
    peer.must_send(sender, &message("long"));
    let letter = peer.receive_one(dead);
    assert_eq!(letter.body(), "short");
    assert_eq!(letter.property("DeadLetterReason"), Some("TTLExpiredException".into()));
    assert!(letter.property("DeadLetterErrorDescription").is_some());
    let receiver = peer.receiver("q");
    assert_eq!(bodies(&peer.drain(receiver, 10)), ["long"]);
}

#[test]
fn elsewhere_it_vanishes() {
    let server = Server::start();
    let mut peer = server.peer();
    let sender = peer.sender("q");
    peer.must_send(sender, &annotated("short", &Map::new(), Some(50)));
    peer.must_send(sender, &message("long"));
    server.until_count("q", "active", 1);
    let receiver = peer.receiver("q");
    assert_eq!(bodies(&peer.drain(receiver, 10)), ["long"]);
    assert_eq!(server.count("q", "dead_lettered"), 0);
}

#[test]
fn the_queues_own_limit_holds_for_every_message() {
    let config =
        QueueConfig { dead_letter_on_expiration: true, time_to_live_us: SECOND_US / 10, ..queue("q") };
    let server = Server::with(vec![config]);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let dead = peer.receiver("q/$DeadLetterQueue");
    peer.must_send(sender, &message("says nothing"));
    peer.must_send(sender, &annotated("asks for more", &Map::new(), Some(3_600_000)));
    assert_eq!(peer.receive_one(dead).body(), "says nothing");
    let second = peer.receive_one(dead);
    assert_eq!(second.body(), "asks for more");
    // In the dead-letter queue nothing expires: it is still there after as long again.
    peer.must_send(sender, &message("as long again"));
    peer.receive_one(dead);
    peer.must_complete(&second);
}

/// A message that is delivered before its end can be settled after it. Its receiver waits before it is sent, so it is
/// delivered at the instant at which it comes in, however slow the machine is.
#[test]
fn a_locked_message_does_not_expire() {
    const LIFE_MS: u32 = 50;
    let server = Server::with(vec![QueueConfig { dead_letter_on_expiration: true, ..queue("q") }]);
    let mut peer = server.peer();
    let sender = peer.sender("q");
    let receiver = peer.receiver("q");
    peer.credit(receiver, 1);
    peer.must_send(sender, &annotated("locked", &Map::new(), Some(LIFE_MS)));
    let locked = peer.receive(receiver);
    peer.must_send(sender, &annotated("waits", &Map::new(), Some(LIFE_MS)));
    let dead = peer.receiver("q/$DeadLetterQueue");
    assert_eq!(peer.receive_one(dead).body(), "waits", "this one's time is over, so the other's is");
    assert_eq!(server.count("q", "locked"), 1);
    peer.must_complete(&locked);
    assert_eq!(server.count("q", "completed_total"), 1);
}
