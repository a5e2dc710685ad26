//! Renews the locks of the messages that are held (`subscription.go`, `tryRenewLocks`): all of them at each tick, a few
//! at a time; a failure is a warning, the message goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use amqp::client::{Connection, Requester};
use amqp::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::causes;
use crate::limits::LOCK_RENEWALS_MAX;

const NO_ANSWER: &str = "the broker did not answer in time";

/// Lock tokens of the messages that are held, by their delivery.
pub(super) type ActiveLocks = Arc<Mutex<HashMap<u32, [u8; 16]>>>;

/// The lock token behind a delivery tag. The tag has the byte order of a .NET Guid, requests that of RFC 4122.
pub(super) fn lock_token(tag: &[u8]) -> Option<[u8; 16]> {
    let mut token: [u8; 16] = tag.try_into().ok()?;
    let [first, second, third, ..] = [0..4, 4..6, 6..8].map(|range| range);
    for range in [first, second, third] {
        token.get_mut(range)?.reverse();
    }
    Some(token)
}

/// Renews until it is aborted or the connection is gone.
pub(super) async fn run(
    connection: Connection,
    queue: String,
    active: ActiveLocks,
    interval: Duration,
    timeout: Duration,
) {
    let mut management: Option<Arc<Requester>> = None;
    let Some(first) = Instant::now().checked_add(interval) else {
        tracing::warn!(queue, ?interval, "locks are never renewed: lockRenewalInSec is too long");
        return;
    };
    let mut ticks = tokio::time::interval_at(first, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while connection.is_open() {
        ticks.tick().await;
        let held: Vec<(u32, [u8; 16])> = {
            let active = active.lock().unwrap_or_else(PoisonError::into_inner);
            active.iter().map(|(&delivery, &token)| (delivery, token)).collect()
        };
        if held.is_empty() {
            continue;
        }
        let requester = match &management {
            Some(requester) => Arc::clone(requester),
            None => match open(&connection, &queue, timeout).await {
                Ok(requester) => Arc::clone(management.insert(Arc::new(requester))),
                Err(error) => {
                    tracing::warn!(queue, error, "couldn't renew active message locks");
                    continue;
                }
            },
        };
        for (delivery, error) in renew_all(&requester, held, timeout).await {
            // What was settled meanwhile has no lock any more, and needs none.
            if active.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&delivery) {
                tracing::warn!(queue, error, "couldn't renew active message lock");
                // The links may be to blame: the next tick opens new ones.
                management = None;
            }
        }
    }
}

/// Opens the links to the queue's management node.
async fn open(connection: &Connection, queue: &str, timeout: Duration) -> Result<Requester, String> {
    match tokio::time::timeout(timeout, connection.requester(&format!("{queue}/$management"))).await {
        Ok(opened) => opened.map_err(|error| causes(&error)),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

/// Renews these locks and tells which could not be.
async fn renew_all(
    requester: &Arc<Requester>,
    held: Vec<(u32, [u8; 16])>,
    timeout: Duration,
) -> Vec<(u32, String)> {
    let slots = Arc::new(Semaphore::new(LOCK_RENEWALS_MAX));
    let mut renewals = JoinSet::new();
    for (delivery, token) in held {
        let (requester, slots) = (Arc::clone(requester), Arc::clone(&slots));
        renewals.spawn(async move {
            let _slot = slots.acquire().await;
            renew(&requester, token, timeout).await.err().map(|error| (delivery, error))
        });
    }
    renewals.join_all().await.into_iter().flatten().collect()
}

async fn renew(requester: &Requester, token: [u8; 16], timeout: Duration) -> Result<(), String> {
    let properties = Map::new().with_string("operation", "com.microsoft:renew-lock".into());
    let body = Value::Map(Map::new().with_string("lock-tokens", Value::uuids([token])));
    match tokio::time::timeout(timeout, requester.request_ok(&properties, &body)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(causes(&error)),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use amqp::client::{ConnectOptions, connect};
    use amqp::performative::{Begin, Open};
    use amqp::sasl::{Mechanisms, Outcome, Sasl};
    use amqp::{Frame, Performative, ProtocolHeader};
    use bytes::BytesMut;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_tag_becomes_a_token() {
        let tag =
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
        let token = lock_token(&tag).expect("16 bytes");
        assert_eq!(token[..8], [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
        assert_eq!(token[8..], tag[8..]);
        assert_eq!(lock_token(&tag[..4]), None);
    }

    /// Everything that a client wants to hear before its first link.
    fn greeting() -> BytesMut {
        let open = Open {
            container_id: "mute".to_owned(),
            hostname: None,
            max_frame_size: 64 << 10,
            channel_max: 0,
            idle_time_out: None,
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let begin = Begin {
            remote_channel: Some(0),
            next_outgoing_id: 0,
            incoming_window: 100,
            outgoing_window: 100,
            handle_max: u32::MAX,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let mut out = BytesMut::from(&ProtocolHeader::Sasl.bytes()[..]);
        let mechanisms = Mechanisms { sasl_server_mechanisms: vec!["ANONYMOUS".into()] };
        Frame::put_sasl(&mut out, &Sasl::Mechanisms(mechanisms));
        Frame::put_sasl(&mut out, &Sasl::Outcome(Outcome { code: 0, additional_data: None }));
        out.extend_from_slice(ProtocolHeader::Amqp.bytes());
        Frame::put(&mut out, 0, &open.into());
        Frame::put(&mut out, 0, &begin.into());
        out
    }

    /// A broker that never answers an attach; returns when this many came.
    async fn attaches(mut stream: TcpStream, wanted: usize) {
        stream.write_all(&greeting()).await.expect("the client listens");
        let (mut inbox, mut headers, mut count) = (BytesMut::new(), 0, 0);
        while count < wanted {
            assert!(stream.read_buf(&mut inbox).await.expect("the connection stands") > 0, "it ended");
            // SASL's header comes with frames behind it, and AMQP's too.
            loop {
                if inbox.starts_with(b"AMQP") {
                    let Some(_) = ProtocolHeader::take(&mut inbox).expect("a header") else { break };
                    headers += 1;
                } else {
                    let Some(frame) = Frame::take(&mut inbox, 64 << 10).expect("a frame") else { break };
                    let is_attach =
                        matches!(&frame, Frame::Amqp { performative: Performative::Attach(_), .. });
                    count += usize::from(is_attach);
                }
            }
        }
        assert_eq!(headers, 2, "SASL and AMQP");
    }

    /// It used to wait for the first answer for ever, and no lock was renewed any more.
    #[tokio::test]
    async fn links_that_the_broker_does_not_answer_are_asked_for_again_at_the_next_tick() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let broker = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("it connects");
            attaches(stream, 3).await;
        });
        let connection = connect(ConnectOptions::new(&address, "test")).await.expect("it connects");
        let held: ActiveLocks = Arc::new(Mutex::new(HashMap::from([(1, [1; 16])])));
        let short = Duration::from_millis(10);
        let renewal = tokio::spawn(run(connection, "q".to_owned(), held, short, short));
        let asked = tokio::time::timeout(Duration::from_secs(10), broker).await;
        asked.expect("it asks again").expect("the broker's part holds");
        renewal.abort();
    }
}
