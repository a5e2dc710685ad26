//! `create`: what a call becomes, and what happens to it when the broker refuses or is away.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use amqp::Value as Amqp;
use reqwest::Method;
use serde_json::{Value, json};

use super::broker::{Broker, MAX_DELIVERY_COUNT};
use super::differences;
use super::support::{Dapr, Setup, is_real_daprd, queue};

async fn dapr(broker: &Broker, more: &[(&str, &str)]) -> Dapr {
    Setup::new().file("q.yaml", broker.binding("output", more)).start().await
}

async fn create(dapr: &Dapr, data: Value, metadata: Value) {
    let answer = dapr.create("q", data, metadata).await;
    assert_eq!((answer.status, answer.text()), (204, String::new()));
}

/// The component's error, without what the API puts before it.
async fn refused(dapr: &Dapr, metadata: Value) -> String {
    let (status, code, message) = dapr.create("q", json!(1), metadata).await.refusal();
    assert_eq!((status, &*code), (500, "ERR_INVOKE_OUTPUT_BINDING"), "{message}");
    message.strip_prefix("error invoking output binding q: ").expect("the envelope").to_owned()
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("this century")
}

#[tokio::test]
async fn c02_c10_c48_metadata_goes_to_the_fields_of_the_message_and_the_rest_to_its_properties() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    let metadata = json!({
        "MessageId": "m", "CorrelationId": "c", "Label": "l", "ReplyTo": "r", "To": "t", "ContentType": "text/x",
        "PartitionKey": "p", "ttlInSeconds": "90", "mine": "x y", "empty": "",
    });
    create(&dapr, json!({ "b": 1, "a": "<" }), metadata).await;
    let message = broker.receive().await;
    assert_eq!(&message.body[..], br#"{"a":"\u003c","b":1}"#);
    let properties = &message.properties;
    assert_eq!(properties.message_id, Some("m".into()));
    assert_eq!(properties.correlation_id, Some("c".into()));
    assert_eq!(properties.subject.as_deref(), Some("l"));
    assert_eq!(properties.reply_to, Some("r".into()));
    assert_eq!(properties.to, Some("t".into()));
    assert_eq!(properties.content_type.as_ref().map(|symbol| symbol.as_str()), Some("text/x"));
    assert_eq!(message.annotations.get("x-opt-partition-key"), Some(&"p".into()));
    assert_eq!(message.header.ttl, Some(90_000));
    let names: BTreeSet<_> = message.application.0.iter().filter_map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["mine", "traceparent"]));
    assert_eq!(message.application.get("mine"), Some(&"x y".into()));
}

/// Names are taken as they are written; an empty SessionId is one.
#[tokio::test]
async fn c48_ids_have_two_names_and_a_session_may_be_a_partition() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    let metadata =
        json!({ "id": "i", "correlationID": "c", "SessionId": "s", "PartitionKey": "s", "label": "l" });
    create(&dapr, json!(1), metadata).await;
    let message = broker.receive().await;
    let properties = &message.properties;
    assert_eq!((&properties.message_id, &properties.correlation_id), (&Some("i".into()), &Some("c".into())));
    assert_eq!(properties.group_id.as_deref(), Some("s"));
    assert_eq!(properties.subject, None);
    assert_eq!(message.application.get("label"), Some(&"l".into()));
    create(&dapr, json!(1), json!({ "SessionId": "" })).await;
    assert_eq!(broker.receive().await.properties.group_id.as_deref(), Some(""));
}

#[tokio::test]
async fn c50_a_message_lives_as_long_as_its_request_says() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    for (name, value) in [("ttlInSeconds", "1"), ("ttl", "1s"), ("ttl", "1")] {
        create(&dapr, json!(value), json!({ (name): value })).await;
    }
    create(&dapr, json!("stays"), json!({ "ttlInSeconds": "0" })).await;
    assert_eq!(broker.counts("q").await.enqueued_total, 4);
    broker.counts_are("three to expire", |counts| counts.active == 1).await;
    assert_eq!(&broker.receive().await.body[..], b"\"stays\"");
}

#[tokio::test]
async fn c01_c10_put_does_the_same_and_what_is_missing_is_null() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    let path = "/v1.0/bindings/q";
    assert_eq!(dapr.call(Method::PUT, path, &[], br#"{"operation":"create"}"#).await.status, 204);
    let message = broker.receive().await;
    assert_eq!(&message.body[..], b"null");
    assert_eq!(message.header.ttl, None);
}

#[tokio::test]
async fn c52_a_string_keeps_its_quotes() {
    let broker = Broker::start();
    create(&dapr(&broker, &[]).await, json!("text"), json!({})).await;
    assert_eq!(&broker.receive().await.body[..], b"\"text\"");
}

#[tokio::test]
async fn c49_a_message_waits_until_it_is_due() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    for due in ["2199-01-01T10:00:00.123Z", "2199-01-01T10:00:00+02:00", "Tue, 01 Jan 2199 10:00:00 GMT"] {
        create(&dapr, json!(due), json!({ "ScheduledEnqueueTimeUtc": due })).await;
    }
    let counts = broker.counts("q").await;
    assert_eq!((counts.scheduled, counts.active), (3, 0), "{counts:?}");

    let due_ms = unix_ms() + 700;
    let due = humane(due_ms);
    create(&dapr, json!("soon"), json!({ "ScheduledEnqueueTimeUtc": due })).await;
    create(&dapr, json!("past"), json!({ "ScheduledEnqueueTimeUtc": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(&broker.receive().await.body[..], b"\"past\"");
    let message = broker.receive().await;
    assert_eq!(&message.body[..], b"\"soon\"");
    assert!(unix_ms() >= due_ms, "{} ms too early", due_ms - unix_ms());
    assert_eq!(message.annotations.get("x-opt-scheduled-enqueue-time"), Some(&Amqp::Timestamp(due_ms)));
}

/// RFC 3339 with milliseconds, as JavaScript's `toISOString` writes it.
fn humane(unix_ms: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(unix_ms).expect("in range");
    format!("{timestamp:.3}")
}

#[tokio::test]
async fn c49_c50_c51_metadata_that_cannot_be_used_sends_nothing() {
    let broker = Broker::start();
    let dapr = dapr(&broker, &[]).await;
    for time in ["2024-05-01 10:00", "tomorrow", "1714557600"] {
        let error = refused(&dapr, json!({ "ScheduledEnqueueTimeUtc": time })).await;
        let expected = "failed to create message: invalid time format for ScheduledEnqueueTimeUtc; expected HTTP \
                        time format or RFC3339";
        assert!(error.contains(expected), "{error}");
    }
    let error = refused(&dapr, json!({ "SessionId": "a", "PartitionKey": "b" })).await;
    assert!(error.contains("should be equal when both present"), "{error}");
    assert_eq!(broker.counts("q").await.enqueued_total, 0);
    // Not these: they count as none.
    create(&dapr, json!(1), json!({ "ttl": "abc" })).await;
    assert_eq!(broker.receive().await.header.ttl, None);
}

#[tokio::test]
async fn c30_a_queue_that_is_not_there_is_an_error_at_once_and_harms_no_other() {
    let broker = Broker::start();
    let setup = Setup::new().file("q.yaml", broker.binding("output", &[]));
    let dapr =
        setup.file("absent.yaml", queue("absent", &broker.address, &[("direction", "output")])).start().await;
    let (status, _, message) = dapr.create("absent", json!(1), json!({})).await.refusal();
    assert_eq!(status, 500);
    assert!(message.contains("amqp:not-found"), "{message}");
    create(&dapr, json!(1), json!({})).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_for_the_broker_is_refused_and_the_next_is_sent() {
    let broker = Broker::with(
        &["--listen", "127.0.0.1:0", "--max-message-bytes", "4096"],
        "PT30S",
        MAX_DELIVERY_COUNT,
    );
    let dapr = dapr(&broker, &[]).await;
    let answer = dapr.create("q", json!("x".repeat(8192)), json!({})).await;
    let (status, _, message) = answer.refusal();
    assert_eq!(status, 500);
    assert!(message.ends_with("the message is too large"), "{message}");
    create(&dapr, json!(1), json!({})).await;
}

#[tokio::test]
async fn c53_a_broker_that_is_away_is_tried_again_and_in_the_end_an_error() {
    // Takes the first try's connection and closes it: then the try has failed.
    let absent = tokio::net::TcpListener::bind("127.0.0.3:0").await.expect("a port");
    let address = absent.local_addr().expect("bound").to_string();
    let retrying = [("direction", "output"), ("publishInitialRetryIntervalInMs", "50")];
    let dapr = Setup::new().file("q.yaml", queue("q", &address, &retrying)).start().await;
    let broker_comes = async {
        drop(absent.accept().await.expect("a try"));
        drop(absent);
        Broker::at(&address)
    };
    let ((), broker) = tokio::join!(create(&dapr, json!(1), json!({})), broker_comes);
    assert_eq!(&broker.receive().await.body[..], b"1");
    drop(broker);

    let once = [("direction", "output"), ("publishMaxRetries", "0"), ("timeoutInSec", "1")];
    let dapr = Setup::new().file("q.yaml", queue("q", &address, &once)).start().await;
    let error = refused(&dapr, json!({})).await;
    if !is_real_daprd(differences::OWN_SEND_ERRORS) {
        assert!(error.contains(&address), "{error}");
    }
}

#[tokio::test]
async fn c53_a_broker_that_was_restarted_is_found_again() {
    let broker = Broker::that_goes_away();
    let dapr = dapr(&broker, &[("publishInitialRetryIntervalInMs", "20")]).await;
    create(&dapr, json!(1), json!({})).await;
    let address = broker.address.clone();
    drop(broker);
    let broker = Broker::at(&address);
    for number in 0..16 {
        create(&dapr, json!(number), json!({})).await;
    }
    assert_eq!(broker.counts("q").await.active, 16);
}
