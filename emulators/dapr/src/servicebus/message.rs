//! Messages out of request metadata, and metadata out of messages (`message.go`, `servicebusqueues.go`).

use std::collections::BTreeMap;
use std::time::Duration;

use amqp::encode::Encode;
use amqp::message::{
    Header, Properties, Sections, put_application_properties, put_data, put_message_annotations,
};
use amqp::{DecodeError, Map, Value};
use bytes::{Bytes, BytesMut};

use crate::go::text::{duration, query_escape};
use crate::go::time::unix_ms;

/// Bytes beyond the body for which room is made at once.
const SECTIONS_BYTES: usize = 256;

/// Encodes a message with this body; each key of `metadata` goes where the component puts it, and what it does not
/// know becomes an application property.
///
/// # Errors
/// In the component's words, when a value cannot be used.
pub(super) fn encode(data: Bytes, metadata: &BTreeMap<String, String>) -> Result<Bytes, String> {
    let mut properties = Properties::default();
    let mut annotations = Map::new();
    let mut application = Map::new();
    let mut ttl = None;
    let text = |value: &str| Some(Value::String(value.to_owned()));
    for (key, value) in metadata {
        // An empty session id is one, every other empty value is none.
        if value.is_empty() && key != "SessionId" {
            continue;
        }
        match key.as_str() {
            "ttl" | "ttlInSeconds" => ttl = ttl.or_else(|| time_to_live(metadata)),
            "MessageId" | "id" if properties.message_id.is_none() => properties.message_id = text(value),
            "CorrelationId" | "correlationID" if properties.correlation_id.is_none() => {
                properties.correlation_id = text(value);
            }
            "MessageId" | "id" | "CorrelationId" | "correlationID" => {}
            "SessionId" => properties.group_id = Some(value.clone()),
            "Label" => properties.subject = Some(value.clone()),
            "ReplyTo" => properties.reply_to = text(value),
            "To" => properties.to = text(value),
            "ContentType" => properties.content_type = Some(value.as_str().into()),
            "PartitionKey" => annotations.set_symbol("x-opt-partition-key", Value::String(value.clone())),
            "ScheduledEnqueueTimeUtc" => {
                let due = unix_ms(value).ok_or_else(|| {
                    format!("invalid time format for {key}; expected HTTP time format or RFC3339")
                })?;
                annotations.set_symbol("x-opt-scheduled-enqueue-time", Value::Timestamp(due));
            }
            _ => application.set_string(key, Value::String(value.clone())),
        }
    }
    if let (Some(session), Some(partition)) = (&properties.group_id, metadata.get("PartitionKey"))
        && !partition.is_empty()
        && session != partition
    {
        return Err(format!(
            "session id {session} and partition key {partition} should be equal when both present"
        ));
    }

    let mut out = BytesMut::with_capacity(data.len() + SECTIONS_BYTES);
    if let Some(ttl) = ttl {
        let ttl = u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX);
        Header { ttl: Some(ttl), ..Header::default() }.encode(&mut out);
    }
    if !annotations.is_empty() {
        put_message_annotations(&mut out, &annotations);
    }
    properties.encode(&mut out);
    if !application.is_empty() {
        put_application_properties(&mut out, &application);
    }
    put_data(&mut out, &data);
    Ok(out.freeze())
}

/// The time to live of a request: whole seconds above zero, or a Go duration. What is neither counts as none.
fn time_to_live(metadata: &BTreeMap<String, String>) -> Option<Duration> {
    let find = |name: &str| metadata.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let (_, text) = find("ttl").filter(|(_, text)| !text.is_empty()).or_else(|| find("ttlInSeconds"))?;
    let ttl = match text.parse::<i64>() {
        Ok(seconds) => Duration::from_secs(u64::try_from(seconds).ok()?),
        Err(_) => duration(text)?,
    };
    (!ttl.is_zero()).then_some(ttl)
}

/// A message as the application gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    /// The body: the content of the one data section, empty when there is none or more than one.
    pub(super) body: Bytes,
    /// `id`, `correlationID`, `label`, and the string application properties, names and values escaped.
    pub(super) metadata: Vec<(String, String)>,
}

/// Reads a message.
///
/// # Errors
/// When it is no AMQP message.
pub(super) fn decode(message: &Bytes) -> Result<Received, DecodeError> {
    let sections = Sections::scan(message)?;
    let mut data = sections.data(message)?;
    let body = if data.len() == 1 { data.pop().unwrap_or_default() } else { Bytes::new() };
    let properties = sections.properties(message)?;
    let string = |value: Option<Value>| match value {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let mut metadata = vec![("id".to_owned(), string(properties.message_id).unwrap_or_default())];
    if let Some(id) = string(properties.correlation_id) {
        metadata.push(("correlationID".to_owned(), id));
    }
    if let Some(subject) = properties.subject {
        metadata.push(("label".to_owned(), subject));
    }
    for (key, value) in sections.application_properties(message)?.0 {
        if let (Some(key), Value::String(value)) = (key.as_str(), &value) {
            metadata.push((query_escape(key), query_escape(value)));
        }
    }
    Ok(Received { body, metadata })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn encoded(pairs: &[(&str, &str)]) -> Bytes {
        encode(Bytes::from_static(b"{\"a\":1}"), &metadata(pairs)).expect("usable metadata")
    }

    fn header(message: &Bytes) -> Header {
        Sections::scan(message).expect("sections").header(message).expect("a header")
    }

    #[test]
    fn known_keys_go_to_their_fields() {
        let message = encoded(&[
            ("id", "alias"),
            ("MessageId", "m"),
            ("CorrelationId", "c"),
            ("SessionId", "s"),
            ("PartitionKey", "s"),
            ("Label", "l"),
            ("ReplyTo", "r"),
            ("To", "t"),
            ("ContentType", "text/plain"),
            ("ScheduledEnqueueTimeUtc", "2026-01-01T00:00:00.123Z"),
            ("mine", "x y"),
            ("empty", ""),
        ]);
        let sections = Sections::scan(&message).expect("sections");
        let properties = sections.properties(&message).expect("properties");
        assert_eq!(properties.message_id, Some("m".into()));
        assert_eq!(properties.correlation_id, Some("c".into()));
        assert_eq!(properties.group_id.as_deref(), Some("s"));
        assert_eq!(properties.subject.as_deref(), Some("l"));
        assert_eq!(properties.reply_to, Some("r".into()));
        assert_eq!(properties.to, Some("t".into()));
        assert_eq!(properties.content_type.as_ref().map(|symbol| symbol.as_str()), Some("text/plain"));
        let annotations = sections.message_annotations(&message).expect("annotations");
        assert_eq!(annotations.get("x-opt-partition-key"), Some(&"s".into()));
        assert_eq!(
            annotations.get("x-opt-scheduled-enqueue-time"),
            Some(&Value::Timestamp(1_767_225_600_123))
        );
        let received = decode(&message).expect("a message");
        assert_eq!(&received.body[..], b"{\"a\":1}");
        let expected = [("id", "m"), ("correlationID", "c"), ("label", "l"), ("mine", "x+y")];
        let expected: Vec<_> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(received.metadata, expected);
    }

    #[test]
    fn a_message_without_metadata_has_an_empty_id_only() {
        let received = decode(&encoded(&[])).expect("a message");
        assert_eq!(received.metadata, [("id".to_owned(), String::new())]);
        assert_eq!(header(&encoded(&[])).ttl, None);
    }

    #[test]
    fn time_to_live_is_seconds_or_a_duration_or_nothing() {
        assert_eq!(header(&encoded(&[("ttlInSeconds", "10")])).ttl, Some(10_000));
        assert_eq!(header(&encoded(&[("ttl", "1500ms")])).ttl, Some(1_500));
        for ignored in ["abc", "0", "-1", "-1s"] {
            assert_eq!(header(&encoded(&[("ttl", ignored)])).ttl, None, "{ignored}");
        }
    }

    #[test]
    fn a_wrong_time_and_two_keys_are_refused() {
        let refused = |pairs: &[(&str, &str)]| encode(Bytes::new(), &metadata(pairs)).expect_err("unusable");
        assert_eq!(
            refused(&[("ScheduledEnqueueTimeUtc", "2024-05-01 10:00")]),
            "invalid time format for ScheduledEnqueueTimeUtc; expected HTTP time format or RFC3339"
        );
        assert_eq!(
            refused(&[("SessionId", "a"), ("PartitionKey", "b")]),
            "session id a and partition key b should be equal when both present"
        );
    }

    #[test]
    fn other_bodies_arrive_empty_and_other_types_are_dropped() {
        let mut out = BytesMut::new();
        let properties = Map::new().with_string("n", Value::Int(1)).with_string("s", "v".into());
        put_application_properties(&mut out, &properties);
        amqp::message::put_value(&mut out, &"text".into());
        let received = decode(&out.freeze()).expect("a message");
        assert!(received.body.is_empty());
        assert_eq!(received.metadata[1..], [("s".to_owned(), "v".to_owned())]);
        assert!(decode(&Bytes::from_static(b"garbage")).is_err());
    }
}
