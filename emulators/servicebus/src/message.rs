//! A message between the wire and the engine: what is kept of it, and what a receiver gets.
//!
//! Kept are the bare message as it came (properties to footer, never decoded beyond what a rule needs), the header's
//! fields and the sender's annotations; header, delivery annotations and the broker's own annotations are written anew
//! with every delivery. It must not know links, locks or entities.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use amqp::encode::{self, Encode, code};
use amqp::message::{Header, Properties, Sections, Timestamp, put_application_properties};
use amqp::{DecodeError, Decoder, Map, Value, decode::Decode};
use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::engine::{Content, Micros, NEVER, State};
use crate::filter::Fields;
use crate::limits::ID_CHARS_MAX;

/// The message format of a batch: data sections of which each is an encoded message.
pub const BATCH_FORMAT: u32 = 0x8001_3700;
/// The last instant that every client's date type can hold: the end of the year 9999, milliseconds.
const LAST_TIMESTAMP_MS: i64 = 253_402_300_799_999;

const SCHEDULED_ENQUEUE_TIME: &str = "x-opt-scheduled-enqueue-time";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const ENQUEUE_SEQUENCE_NUMBER: &str = "x-opt-enqueue-sequence-number";
const LOCKED_UNTIL: &str = "x-opt-locked-until";
const MESSAGE_STATE: &str = "x-opt-message-state";
const LOCK_TOKEN: &str = "x-opt-lock-token";
const DEAD_LETTER_SOURCE: &str = "x-opt-deadletter-source";
const PARTITION_KEY: &str = "x-opt-partition-key";
const VIA_PARTITION_KEY: &str = "x-opt-via-partition-key";
/// Annotations that are the broker's to write. Clients send them back when they send on what they received.
const BROKER_ANNOTATIONS: [&str; 7] = [
    ENQUEUED_TIME,
    SEQUENCE_NUMBER,
    ENQUEUE_SEQUENCE_NUMBER,
    LOCKED_UNTIL,
    MESSAGE_STATE,
    LOCK_TOKEN,
    DEAD_LETTER_SOURCE,
];
/// Application property that says why a message is in a dead-letter queue.
pub const DEAD_LETTER_REASON: &str = "DeadLetterReason";
/// Application property that says it in more words.
pub const DEAD_LETTER_DESCRIPTION: &str = "DeadLetterErrorDescription";

/// A message that came in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// What is kept of it.
    pub content: Content,
    /// How long it wants to live, microseconds.
    pub time_to_live_us: u64,
    /// When it wants to be delivered.
    pub due_us: Option<Micros>,
}

/// Why a message cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is no AMQP message.
    #[error("The message cannot be read: {0}.")]
    Decode(DecodeError),
    /// An id is longer than the cloud's.
    #[error("The {0} of a message has at most {ID_CHARS_MAX} characters.")]
    IdTooLong(&'static str),
    /// Messages of one session belong to one partition.
    #[error("The partition key of a message with a session id is that id.")]
    PartitionKey,
}

impl From<DecodeError> for ParseError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// The head of what is kept, before the sender's annotations and the bare message.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    /// Its first number, in the entity to which it was sent; zero while it is there.
    first_sequence_number: u64,
    /// How often it was passed on from entity to entity.
    hops: u8,
    durable: bool,
    priority: u8,
    time_to_live_ms: Option<u32>,
    annotation_bytes: u32,
    /// Keys and values together.
    annotation_values: u32,
}

const HEAD_BYTES: usize = 24;

impl Head {
    fn put(self, out: &mut impl BufMut) {
        out.put_u64(self.first_sequence_number);
        out.put_u8(self.hops);
        out.put_u8(self.durable.into());
        out.put_u8(self.priority);
        out.put_u8(self.time_to_live_ms.is_some().into());
        out.put_u32(self.time_to_live_ms.unwrap_or(0));
        out.put_u32(self.annotation_bytes);
        out.put_u32(self.annotation_values);
    }

    /// The head and the annotations' and the bare message's bytes behind it.
    fn take(content: &[u8]) -> (Self, &[u8], &[u8]) {
        let Some((mut head, rest)) = content.split_first_chunk::<HEAD_BYTES>().map(|(h, r)| (&h[..], r))
        else {
            return (Self::default(), &[], &[]);
        };
        let (first_sequence_number, hops) = (head.get_u64(), head.get_u8());
        let (durable, priority, has_ttl) = (head.get_u8() != 0, head.get_u8(), head.get_u8() != 0);
        let time_to_live_ms = Some(head.get_u32()).filter(|_| has_ttl);
        let (annotation_bytes, annotation_values) = (head.get_u32(), head.get_u32());
        let (annotations, bare) = rest.split_at_checked(annotation_bytes as usize).unwrap_or((rest, &[]));
        let head = Self {
            first_sequence_number,
            hops,
            durable,
            priority,
            time_to_live_ms,
            annotation_bytes,
            annotation_values,
        };
        (head, annotations, bare)
    }
}

/// Reads a message that came in. `scratch` saves an allocation; its content does not matter.
///
/// # Errors
/// When the bytes are no AMQP message, or its ids are not as the service wants them.
pub fn parse(message: &Bytes, scratch: &mut BytesMut) -> Result<Incoming, ParseError> {
    let sections = Sections::scan(message)?;
    let header = if sections.header.is_empty() { Header::default() } else { sections.header(message)? };
    let mut head = Head {
        durable: header.durable,
        priority: header.priority,
        time_to_live_ms: header.ttl,
        ..Head::default()
    };
    scratch.clear();
    head.put(scratch);
    let mut due_us = None;
    let mut partition_key = None;
    if !sections.message_annotations.is_empty() {
        for (key, value) in sections.message_annotations(message)?.0 {
            let name = key.as_str().unwrap_or_default();
            if name == SCHEDULED_ENQUEUE_TIME {
                due_us =
                    value.as_i64().and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms.saturating_mul(1000));
            }
            if name == PARTITION_KEY {
                partition_key = value.as_str().map(str::to_owned);
            }
            if !BROKER_ANNOTATIONS.contains(&name) {
                key.encode(scratch);
                value.encode(scratch);
                head.annotation_values += 2;
            }
        }
        head.annotation_bytes = u32::try_from(scratch.len() - HEAD_BYTES).unwrap_or(u32::MAX);
        if let Some(mut place) = scratch.get_mut(..HEAD_BYTES) {
            head.put(&mut place);
        }
    }
    if partition_key.is_some() || sections.properties.len() > ID_CHARS_MAX {
        check_ids(&sections.properties(message)?, partition_key.as_deref())?;
    }
    put_properties(scratch, message, &sections)?;
    for range in [&sections.application_properties, &sections.body, &sections.footer] {
        scratch.put_slice(message.get(range.clone()).unwrap_or_default());
    }
    let time_to_live_us = match header.ttl {
        Some(ms) if ms < u32::MAX => u64::from(ms) * 1000,
        // A life that is too long for the header is told there by the largest number, and in full by the properties.
        _ => lifetime_in_properties(message.slice(sections.properties))?,
    };
    Ok(Incoming { content: Arc::from(&scratch[..]), time_to_live_us, due_us })
}

/// Ids have the cloud's length. Properties that are shorter than one need no look.
fn check_ids(properties: &Properties, partition_key: Option<&str>) -> Result<(), ParseError> {
    let session_id = properties.group_id.as_deref();
    let ids = [
        ("message id", properties.message_id.as_ref().and_then(Value::as_str)),
        ("session id", session_id),
        ("partition key", partition_key),
    ];
    let is_long = |id: &str| id.chars().count() > ID_CHARS_MAX;
    if let Some((name, _)) = ids.iter().find(|(_, id)| id.is_some_and(is_long)) {
        return Err(ParseError::IdTooLong(name));
    }
    match (session_id, partition_key) {
        (Some(session_id), Some(key)) if session_id != key => Err(ParseError::PartitionKey),
        _ => Ok(()),
    }
}

/// Appends the properties as they came; where they have no message id, with one of the broker's. The cloud gives ids too,
/// and clients rely on it: @azure/service-bus cannot close a receiver that has seen a message without one.
fn put_properties(out: &mut BytesMut, message: &Bytes, sections: &Sections) -> Result<(), DecodeError> {
    let properties = message.slice(sections.properties.clone());
    if has_message_id(&properties)? {
        out.put_slice(&properties);
        return Ok(());
    }
    let properties =
        if properties.is_empty() { Properties::default() } else { sections.properties(message)? };
    Properties { message_id: Some(Value::String(new_message_id())), ..properties }.encode(out);
    Ok(())
}

fn has_message_id(properties: &Bytes) -> Result<bool, DecodeError> {
    if properties.is_empty() {
        return Ok(false);
    }
    let mut decoder = Decoder::new(properties);
    decoder.descriptor()?;
    let fields = decoder.list()?;
    Ok(!fields.is_at_end() && fields.peek()? != code::NULL)
}

/// An id that no other message has: 32 hexadecimal digits, as the cloud's. Half of them tell this process from others.
fn new_message_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{number:016x}", *PROCESS)
}

/// How long a message lives by its properties, microseconds: for lives longer than a header can say.
fn lifetime_in_properties(properties: Bytes) -> Result<u64, DecodeError> {
    const FIELDS_BEFORE: usize = 8;
    if properties.is_empty() {
        return Ok(NEVER);
    }
    let mut decoder = Decoder::new(&properties);
    decoder.descriptor()?;
    let mut fields = decoder.list()?;
    for _ in 0..FIELDS_BEFORE {
        if fields.is_at_end() {
            return Ok(NEVER);
        }
        fields.skip()?;
    }
    let (expires, made) =
        (Option::<Timestamp>::decode(&mut fields)?, Option::<Timestamp>::decode(&mut fields)?);
    let lifetime_ms = expires.zip(made).map(|(expires, made)| expires.0.saturating_sub(made.0));
    Ok(lifetime_ms.and_then(|ms| u64::try_from(ms).ok()).map_or(NEVER, |ms| ms.saturating_mul(1000)))
}

/// The messages of a batch, still encoded.
///
/// # Errors
/// When the bytes are no AMQP message.
pub fn unpack_batch(batch: &Bytes) -> Result<Vec<Bytes>, DecodeError> {
    Sections::scan(batch)?.data(batch)
}

/// What the broker writes on a message for one delivery.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Its number in the entity.
    pub sequence_number: u64,
    /// Deliveries before this one.
    pub delivery_count: u32,
    /// When it came in.
    pub enqueued_us: Micros,
    /// When its lock ends.
    pub locked_until_us: Option<Micros>,
    /// Its lock as a UUID, where no delivery tag tells it.
    pub lock_token: Option<[u8; 16]>,
    /// Its state, where that may be another than active.
    pub state: Option<State>,
}

/// Appends the part of a delivery that is written anew, and returns the bare message that follows it.
pub fn put_head<'a>(out: &mut BytesMut, content: &'a [u8], stamp: &Stamp) -> &'a [u8] {
    let (head, annotations, bare) = Head::take(content);
    let header = Header {
        durable: head.durable,
        priority: head.priority,
        ttl: head.time_to_live_ms,
        first_acquirer: false,
        delivery_count: stamp.delivery_count,
    };
    header.encode(out);
    if let Some(token) = stamp.lock_token {
        encode::descriptor(out, 0x71);
        encode::map(out, 2, |out| {
            symbol(out, LOCK_TOKEN);
            Value::Uuid(token).encode(out);
        });
    }
    encode::descriptor(out, 0x72);
    let passed_on = head.first_sequence_number != 0;
    let own = 2
        + u32::from(passed_on)
        + u32::from(stamp.locked_until_us.is_some())
        + u32::from(stamp.state.is_some());
    encode::map(out, own * 2 + head.annotation_values, |out| {
        symbol(out, ENQUEUED_TIME);
        timestamp(out, stamp.enqueued_us);
        symbol(out, SEQUENCE_NUMBER);
        out.put_u8(code::LONG);
        out.put_u64(stamp.sequence_number);
        if passed_on {
            symbol(out, ENQUEUE_SEQUENCE_NUMBER);
            out.put_u8(code::LONG);
            out.put_u64(head.first_sequence_number);
        }
        if let Some(until_us) = stamp.locked_until_us {
            symbol(out, LOCKED_UNTIL);
            timestamp(out, until_us);
        }
        if let Some(state) = stamp.state {
            symbol(out, MESSAGE_STATE);
            state_number(state).encode(out);
        }
        out.put_slice(annotations);
    });
    bare
}

fn symbol(out: &mut BytesMut, name: &str) {
    // The names are constants far shorter than 256 bytes.
    out.put_slice(&[code::SYMBOL_8, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
    out.put_slice(name.as_bytes());
}

fn timestamp(out: &mut BytesMut, instant_us: Micros) {
    out.put_u8(code::TIMESTAMP);
    out.put_i64(timestamp_ms(instant_us));
}

/// An instant as clients read it: milliseconds, and not beyond what their date types hold.
pub fn timestamp_ms(instant_us: Micros) -> i64 {
    i64::try_from(instant_us / 1000).unwrap_or(LAST_TIMESTAMP_MS).min(LAST_TIMESTAMP_MS)
}

/// The value of `x-opt-message-state`.
const fn state_number(state: State) -> i32 {
    match state {
        State::Active | State::Locked => 0,
        State::Deferred | State::DeferredLocked => 1,
        State::Scheduled => 2,
    }
}

/// The whole message as one piece.
pub fn encode_whole(content: &[u8], stamp: &Stamp) -> Bytes {
    let mut out = BytesMut::with_capacity(content.len() + 160);
    let bare = put_head(&mut out, content, stamp);
    out.put_slice(bare);
    out.freeze()
}

/// The same message with application properties put in (null takes one out).
pub fn amend(content: &[u8], changes: &Map) -> Content {
    let (head, annotations, bare) = Head::take(content);
    let bare = Bytes::copy_from_slice(bare);
    // What is kept was scanned when it came in; bytes that cannot be read now stay as they are.
    let Ok(sections) = Sections::scan(&bare) else { return Arc::from(content) };
    let mut merged = sections.application_properties(&bare).unwrap_or_default();
    for (key, value) in &changes.0 {
        let key = Value::String(key.as_str().unwrap_or_default().to_owned());
        match value {
            Value::Null => merged.0.retain(|(k, _)| *k != key),
            value => merged.set(key, value.clone()),
        }
    }
    let properties = bare.get(sections.properties.clone()).unwrap_or_default();
    rebuild(head, annotations, |out| out.put_slice(properties), &merged, &bare, &sections)
}

/// A message out of its parts; body and footer are those of `bare`.
fn rebuild(
    head: Head,
    annotations: &[u8],
    put_properties: impl FnOnce(&mut BytesMut),
    application: &Map,
    bare: &Bytes,
    sections: &Sections,
) -> Content {
    let mut out = BytesMut::with_capacity(HEAD_BYTES + annotations.len() + bare.len() + 256);
    head.put(&mut out);
    out.put_slice(annotations);
    put_properties(&mut out);
    if !application.is_empty() {
        put_application_properties(&mut out, application);
    }
    out.put_slice(bare.get(sections.body.clone()).unwrap_or_default());
    out.put_slice(bare.get(sections.footer.clone()).unwrap_or_default());
    Arc::from(&out[..])
}

/// Changes the head, in place where nobody else has the message.
fn change_head(content: &mut Content, change: impl FnOnce(&mut Head)) {
    let mut head = Head::take(content).0;
    change(&mut head);
    if Arc::get_mut(content).is_none() {
        *content = Arc::from(&content[..]);
    }
    if let Some(mut place) = Arc::get_mut(content).and_then(|bytes| bytes.get_mut(..HEAD_BYTES)) {
        head.put(&mut place);
    }
}

/// Notes the number that a message had where it is leaving; only the first of them is told.
pub fn note_sequence_number(content: &mut Content, sequence_number: u64) {
    change_head(content, |head| {
        if head.first_sequence_number == 0 {
            head.first_sequence_number = sequence_number;
        }
    });
}

/// Counts a way from entity to entity. Returns how many it has behind it.
pub fn count_hop(content: &mut Content) -> u8 {
    let mut hops = 0;
    change_head(content, |head| {
        head.hops = head.hops.saturating_add(1);
        hops = head.hops;
    });
    hops
}

/// The same message with the name of the entity whose dead letter it was.
pub fn with_dead_letter_source(content: &[u8], entity: &str) -> Content {
    let (mut head, annotations, bare) = Head::take(content);
    let mut kept = Map(annotation_entries(&head, annotations));
    kept.set_symbol(DEAD_LETTER_SOURCE, entity.into());
    let mut out = BytesMut::with_capacity(content.len() + 64 + entity.len());
    out.put_bytes(0, HEAD_BYTES);
    for (key, value) in &kept.0 {
        key.encode(&mut out);
        value.encode(&mut out);
    }
    head.annotation_bytes = u32::try_from(out.len() - HEAD_BYTES).unwrap_or(u32::MAX);
    head.annotation_values = u32::try_from(kept.0.len() * 2).unwrap_or(u32::MAX);
    if let Some(mut place) = out.get_mut(..HEAD_BYTES) {
        head.put(&mut place);
    }
    out.put_slice(bare);
    Arc::from(&out[..])
}

fn annotation_entries(head: &Head, annotations: &[u8]) -> Vec<(Value, Value)> {
    let bytes = Bytes::copy_from_slice(annotations);
    let mut decoder = Decoder::new(&bytes);
    let mut entry = || Some((Value::decode(&mut decoder).ok()?, Value::decode(&mut decoder).ok()?));
    (0..head.annotation_values / 2).map_while(|_| entry()).collect()
}

/// What filters see of a message; the entity adds what it knows.
pub fn fields(content: &[u8]) -> Fields {
    let (head, annotations, bare) = Head::take(content);
    let bare = Bytes::copy_from_slice(bare);
    let sections = Sections::scan(&bare).unwrap_or_default();
    let annotations = Map(annotation_entries(&head, annotations));
    let text = |name: &str| annotations.get(name).and_then(Value::as_str).map(str::to_owned);
    let scheduled_us = annotations.get(SCHEDULED_ENQUEUE_TIME).and_then(Value::as_i64);
    Fields {
        properties: sections.properties(&bare).unwrap_or_default(),
        application: sections.application_properties(&bare).unwrap_or_default(),
        partition_key: text(PARTITION_KEY),
        via_partition_key: text(VIA_PARTITION_KEY),
        dead_letter_source: text(DEAD_LETTER_SOURCE),
        scheduled_us: scheduled_us.and_then(|ms| u64::try_from(ms).ok()).map(|ms| ms.saturating_mul(1000)),
        body_bytes: sections.body.len(),
        ..Fields::default()
    }
}

/// The same message with the properties that an action made.
pub fn with_fields(content: &[u8], fields: &Fields) -> Content {
    let (head, annotations, bare) = Head::take(content);
    let bare = Bytes::copy_from_slice(bare);
    let Ok(sections) = Sections::scan(&bare) else { return Arc::from(content) };
    let put_properties = |out: &mut BytesMut| fields.properties.encode(out);
    rebuild(head, annotations, put_properties, &fields.application, &bare, &sections)
}

/// The session to which a message belongs.
pub fn session_id(content: &[u8]) -> Option<String> {
    properties(content).group_id.filter(|id| !id.is_empty())
}

/// What makes two messages duplicates of each other: their id and, where they have one, their partition key.
pub fn identity(content: &[u8]) -> Arc<[u8]> {
    let (head, annotations, bare) = Head::take(content);
    let text = text_id(bare);
    if let (Some(text), 0) = (text, head.annotation_values) {
        return Arc::from(text);
    }
    let mut out = BytesMut::new();
    match (text, properties(content).message_id) {
        (Some(text), _) => out.put_slice(text),
        // Ids are compared as the text that they are to clients.
        (None, Some(id)) => match crate::filter::Scalar::of_id(&id) {
            crate::filter::Scalar::Text(text) => out.put_slice(text.as_bytes()),
            _ => id.encode(&mut out),
        },
        (None, None) => {}
    }
    let annotations = Map(annotation_entries(&head, annotations));
    annotations.get(PARTITION_KEY).into_iter().for_each(|key| key.encode(&mut out));
    Arc::from(&out[..])
}

/// The message id of a bare message, where it is text: the first field of the properties, with which it begins. It is found without
/// a look at the rest, for every message pays for it where duplicates are looked for.
fn text_id(bare: &[u8]) -> Option<&[u8]> {
    const PROPERTIES: [u8; 3] = [code::DESCRIBED, code::SMALL_ULONG, 0x73];
    let list = bare.strip_prefix(&PROPERTIES)?;
    let head_bytes = match *list.first()? {
        code::LIST_8 => 3,
        code::LIST_32 => 9,
        _ => return None,
    };
    let field = list.get(head_bytes..)?;
    let (start, length) = match *field.first()? {
        code::STRING_8 => (2, usize::from(*field.get(1)?)),
        code::STRING_32 => {
            let length = field.get(1..5)?.try_into().ok()?;
            (5, usize::try_from(u32::from_be_bytes(length)).ok()?)
        }
        _ => return None,
    };
    field.get(start..)?.get(..length)
}

fn properties(content: &[u8]) -> Properties {
    let bare = Bytes::copy_from_slice(bare(content));
    Sections::scan(&bare).and_then(|sections| sections.properties(&bare)).unwrap_or_default()
}

/// The same message without its body.
pub fn without_body(content: &[u8]) -> Content {
    let (head, annotations, bare) = Head::take(content);
    let bare = Bytes::copy_from_slice(bare);
    let Ok(mut sections) = Sections::scan(&bare) else { return Arc::from(content) };
    let application = sections.application_properties(&bare).unwrap_or_default();
    let properties = bare.get(sections.properties.clone()).unwrap_or_default();
    sections.body = 0..0;
    let put_properties = |out: &mut BytesMut| out.put_slice(properties);
    rebuild(head, annotations, put_properties, &application, &bare, &sections)
}

/// The bare message: properties to footer.
pub fn bare(content: &[u8]) -> &[u8] {
    Head::take(content).2
}

/// The body's first piece: of its first data section, or of a value that is text or binary. None for other bodies.
pub fn body(content: &[u8]) -> Option<Bytes> {
    let bare = Bytes::copy_from_slice(bare(content));
    let sections = Sections::scan(&bare).ok()?;
    if let Some(data) = sections.data(&bare).ok()?.into_iter().next() {
        return Some(data);
    }
    match sections.value(&bare).ok()?? {
        Value::Binary(bytes) => Some(bytes),
        Value::String(text) => Some(text.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amqp::message::{put_data, put_message_annotations};

    fn stamp() -> Stamp {
        Stamp {
            sequence_number: 7,
            delivery_count: 0,
            enqueued_us: 1_767_225_600_000_000,
            locked_until_us: Some(1_767_225_660_000_000),
            lock_token: None,
            state: Some(State::Deferred),
        }
    }

    fn sent() -> Bytes {
        let mut out = BytesMut::new();
        Header { ttl: Some(5000), durable: true, ..Header::default() }.encode(&mut out);
        let annotations = Map::new()
            .with_symbol(SCHEDULED_ENQUEUE_TIME, Value::Timestamp(1_767_225_600_000))
            .with_symbol(SEQUENCE_NUMBER, Value::Long(99))
            .with_symbol("x-mine", Value::from("kept"));
        put_message_annotations(&mut out, &annotations);
        put_application_properties(&mut out, &Map::new().with_string("a", Value::Int(1)));
        put_data(&mut out, &Bytes::from_static(b"{\"orderId\":1}"));
        out.freeze()
    }

    #[test]
    fn a_delivery_has_the_senders_annotations_and_the_brokers_own() {
        let incoming = parse(&sent(), &mut BytesMut::new()).expect("a message");
        assert_eq!(incoming.time_to_live_us, 5_000_000);
        assert_eq!(incoming.due_us, Some(1_767_225_600_000_000));
        let whole = encode_whole(&incoming.content, &stamp());
        let sections = Sections::scan(&whole).expect("sections");
        let header = sections.header(&whole).expect("header");
        assert_eq!((header.ttl, header.durable, header.delivery_count), (Some(5000), true, 0));
        let annotations = sections.message_annotations(&whole).expect("annotations");
        assert_eq!(annotations.get("x-mine"), Some(&Value::from("kept")));
        assert_eq!(annotations.get(SEQUENCE_NUMBER), Some(&Value::Long(7)));
        assert_eq!(annotations.get(MESSAGE_STATE), Some(&Value::Int(1)));
        assert_eq!(annotations.get(LOCKED_UNTIL), Some(&Value::Timestamp(1_767_225_660_000)));
        assert_eq!(body(&incoming.content).as_deref(), Some(&b"{\"orderId\":1}"[..]));
    }

    #[test]
    fn amending_merges_properties_and_removes_those_that_are_null() {
        let incoming = parse(&sent(), &mut BytesMut::new()).expect("a message");
        let changes = Map::new().with_string("a", Value::Null).with_string(DEAD_LETTER_REASON, "why".into());
        let mut amended = amend(&incoming.content, &changes);
        note_sequence_number(&mut amended, 3);
        note_sequence_number(&mut amended, 4);
        let whole = encode_whole(&amended, &stamp());
        let sections = Sections::scan(&whole).expect("sections");
        let properties = sections.application_properties(&whole).expect("properties");
        assert_eq!(properties.0, vec![(DEAD_LETTER_REASON.into(), "why".into())]);
        let annotations = sections.message_annotations(&whole).expect("annotations");
        assert_eq!(annotations.get(ENQUEUE_SEQUENCE_NUMBER), Some(&Value::Long(3)));
        assert_eq!(annotations.get("x-mine"), Some(&Value::from("kept")));
        assert_eq!(body(&amended).as_deref(), Some(&b"{\"orderId\":1}"[..]));
    }

    #[test]
    fn a_long_life_is_told_by_the_properties() {
        let mut out = BytesMut::new();
        let properties = amqp::message::Properties {
            absolute_expiry_time: Some(Timestamp(5_000_000_000)),
            creation_time: Some(Timestamp(1_000)),
            ..amqp::message::Properties::default()
        };
        properties.encode(&mut out);
        put_data(&mut out, &Bytes::from_static(b"x"));
        let incoming = parse(&out.freeze(), &mut BytesMut::new()).expect("a message");
        assert_eq!(incoming.time_to_live_us, 4_999_999_000_000);
    }

    /// .NET writes the largest number into the header and the whole life into the properties.
    #[test]
    fn a_life_too_long_for_the_header_is_told_by_the_properties() {
        for (lifetime_ms, expected_us) in [(Some(8_000_000_000), 8_000_000_000_000), (None, NEVER)] {
            let mut out = BytesMut::new();
            Header { ttl: Some(u32::MAX), ..Header::default() }.encode(&mut out);
            let properties = amqp::message::Properties {
                absolute_expiry_time: lifetime_ms.map(|ms| Timestamp(1_000 + ms)),
                creation_time: Some(Timestamp(1_000)),
                ..amqp::message::Properties::default()
            };
            properties.encode(&mut out);
            put_data(&mut out, &Bytes::from_static(b"x"));
            let incoming = parse(&out.freeze(), &mut BytesMut::new()).expect("a message");
            assert_eq!(incoming.time_to_live_us, expected_us);
        }
    }

    #[test]
    fn a_message_without_an_id_gets_one_of_its_own_and_keeps_the_rest() {
        let id_of = |properties: Option<Properties>| {
            let mut out = BytesMut::new();
            if let Some(properties) = properties {
                properties.encode(&mut out);
            }
            put_data(&mut out, &Bytes::from_static(b"x"));
            let incoming = parse(&out.freeze(), &mut BytesMut::new()).expect("a message");
            let whole = encode_whole(&incoming.content, &stamp());
            let found = Sections::scan(&whole).expect("sections").properties(&whole).expect("properties");
            assert_eq!(body(&incoming.content).as_deref(), Some(&b"x"[..]));
            (found.message_id.expect("an id"), found.subject)
        };
        let (first, _) = id_of(None);
        let (second, subject) =
            id_of(Some(Properties { subject: Some("s".into()), ..Properties::default() }));
        assert_eq!(subject.as_deref(), Some("s"));
        assert_ne!(first, second);
        assert!(matches!(&first, Value::String(id) if id.len() == 32), "{first:?}");
        let given = Properties { message_id: Some(Value::Ulong(7)), ..Properties::default() };
        assert_eq!(id_of(Some(given)).0, Value::Ulong(7));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        assert!(parse(&Bytes::from_static(b"\x00\x53\x75\xa0\x10short"), &mut BytesMut::new()).is_err());
        assert!(parse(&Bytes::from_static(b"hello"), &mut BytesMut::new()).is_err());
    }
}
