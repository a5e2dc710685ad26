//! The codec against itself (round trips, cuts at every byte), against an independent codec, and against hostile bytes.

use amqp::decode::Decode;
use amqp::encode::Encode;
use amqp::message::{Header, Sections};
use amqp::performative::{
    Attach, Begin, DeliveryState, Disposition, Error, Flow, Modified, Open, Rejected, Role, Transfer,
};
use amqp::value::{Array, Map, Symbol};
use amqp::{DecodeError, Decoder, Frame, FrameError, Performative, ProtocolHeader, Value};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn encoded(value: &impl Encode) -> Bytes {
    let mut out = BytesMut::new();
    value.encode(&mut out);
    out.freeze()
}

fn decoded<T: Decode>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::decode(&mut Decoder::new(&Bytes::copy_from_slice(bytes)))
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        any::<u32>().prop_map(Value::Uint),
        any::<u64>().prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        any::<i32>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::Long),
        (-1e30f64..1e30).prop_map(Value::Double),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Binary(bytes.into())),
        ".{0,300}".prop_map(Value::String),
        "[a-z:-]{0,40}".prop_map(|text| Value::Symbol(Symbol(text))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let key = scalar().boxed();
    values(key, 0)
}

/// The independent codec drops the constructor of an empty array and the first of two equal keys.
fn value_without_its_quirks() -> impl Strategy<Value = Value> {
    values(".{0,20}".prop_map(Value::String).boxed(), 1).prop_filter("equal keys", has_unique_keys)
}

fn has_unique_keys(value: &Value) -> bool {
    match value {
        Value::List(elements) => elements.iter().all(has_unique_keys),
        Value::Described(described) => has_unique_keys(&described.1),
        Value::Map(map) => {
            let keys: std::collections::HashSet<_> = map.0.iter().map(|(key, _)| key.as_str()).collect();
            keys.len() == map.0.len() && map.0.iter().all(|(_, value)| has_unique_keys(value))
        }
        _ => true,
    }
}

fn values(key: BoxedStrategy<Value>, array_elements_min: usize) -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
            proptest::collection::vec((key.clone(), inner.clone()), 0..8)
                .prop_map(|entries| Value::Map(Map(entries))),
            (any::<u64>(), inner)
                .prop_map(|(code, value)| { Value::Described(Box::new((Value::Ulong(code), value))) }),
            proptest::collection::vec(any::<i64>(), array_elements_min..40).prop_map(Value::longs),
            proptest::collection::vec(any::<[u8; 16]>(), array_elements_min..40).prop_map(Value::uuids),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_comes_back_as_it_went(value in value()) {
        prop_assert_eq!(decoded::<Value>(&encoded(&value)), Ok(value));
    }

    #[test]
    fn skipping_ends_where_decoding_ends(value in value()) {
        let bytes = encoded(&value);
        let mut decoder = Decoder::new(&bytes);
        prop_assert_eq!(decoder.skip(), Ok(()));
        prop_assert!(decoder.is_at_end());
    }

    #[test]
    fn a_value_cut_anywhere_is_an_error(value in value(), cut in any::<prop::sample::Index>()) {
        let bytes = encoded(&value);
        let end = cut.index(bytes.len());
        prop_assert!(decoded::<Value>(&bytes[..end]).is_err());
    }

    #[test]
    fn random_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let shared = Bytes::from(bytes.clone());
        let _ = decoded::<Value>(&bytes);
        let _ = decoded::<Performative>(&bytes);
        let _ = Sections::scan(&shared).map(|sections| {
            (sections.header(&shared), sections.properties(&shared), sections.application_properties(&shared))
        });
        let _ = Frame::take(&mut BytesMut::from(&bytes[..]), 1024);
    }

    #[test]
    fn values_mean_the_same_to_an_independent_codec(value in value_without_its_quirks()) {
        let bytes = encoded(&value);
        let theirs: serde_amqp::Value = serde_amqp::from_slice(&bytes)
            .map_err(|error| TestCaseError::fail(format!("{error}: {value:?}")))?;
        let back = serde_amqp::to_vec(&theirs).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(decoded::<Value>(&back), Ok(value));
    }
}

fn transfer() -> Transfer {
    Transfer {
        handle: 0,
        delivery_id: Some(7),
        delivery_tag: Some(Bytes::from_static(&[1; 16])),
        message_format: Some(0),
        settled: Some(false),
        more: false,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

fn performatives() -> Vec<Performative> {
    let open = Open {
        container_id: "lab".to_owned(),
        hostname: Some("localhost".to_owned()),
        max_frame_size: 65536,
        channel_max: 4999,
        idle_time_out: Some(60_000),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: Some(Map::new().with_symbol("product", "lab".into())),
    };
    let begin = Begin {
        remote_channel: Some(3),
        next_outgoing_id: 1,
        incoming_window: 5000,
        outgoing_window: 5000,
        handle_max: 255,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    let flow = Flow {
        next_incoming_id: Some(0),
        incoming_window: 5000,
        next_outgoing_id: 1,
        outgoing_window: 5000,
        handle: Some(0),
        delivery_count: Some(0),
        link_credit: Some(1000),
        available: None,
        drain: true,
        echo: false,
        properties: None,
    };
    let states = [
        DeliveryState::Accepted,
        DeliveryState::Released,
        DeliveryState::Rejected(Rejected { error: Some(Error::new("amqp:not-found", "no such queue")) }),
        DeliveryState::Modified(Modified {
            delivery_failed: Some(true),
            undeliverable_here: Some(false),
            message_annotations: None,
        }),
    ];
    let dispositions = states.map(|state| {
        let disposition = Disposition {
            role: Role::Receiver,
            first: 0,
            last: Some(9),
            settled: true,
            state: Some(state),
            batchable: false,
        };
        disposition.into()
    });
    [open.into(), begin.into(), flow.into(), transfer().into()].into_iter().chain(dispositions).collect()
}

#[test]
fn performatives_come_back_as_they_went() {
    for performative in performatives() {
        assert_eq!(decoded::<Performative>(&encoded(&performative)).as_ref(), Ok(&performative));
    }
}

#[test]
fn performatives_mean_the_same_to_an_independent_codec() {
    use fe2o3_amqp_types::performatives as theirs;
    for performative in performatives() {
        let bytes = encoded(&performative);
        let back = match &performative {
            Performative::Open(_) => {
                serde_amqp::to_vec(&serde_amqp::from_slice::<theirs::Open>(&bytes).unwrap())
            }
            Performative::Begin(_) => {
                serde_amqp::to_vec(&serde_amqp::from_slice::<theirs::Begin>(&bytes).unwrap())
            }
            Performative::Flow(_) => {
                serde_amqp::to_vec(&serde_amqp::from_slice::<theirs::Flow>(&bytes).unwrap())
            }
            Performative::Transfer(_) => {
                serde_amqp::to_vec(&serde_amqp::from_slice::<theirs::Transfer>(&bytes).unwrap())
            }
            Performative::Disposition(_) => {
                serde_amqp::to_vec(&serde_amqp::from_slice::<theirs::Disposition>(&bytes).unwrap())
            }
            other => panic!("{} is not in the list", other.name()),
        };
        assert_eq!(decoded::<Performative>(&back.unwrap()), Ok(performative));
    }
}

/// pyamqp reads fields by position, so a performative has all of them (`_pyamqp/_decode.py`).
#[test]
fn performatives_are_written_in_full_length() {
    for (performative, fields) in performatives().into_iter().zip([10, 8, 11, 11, 6, 6, 6, 6]) {
        let bytes = encoded(&performative);
        assert_eq!(&bytes[..2], &[0x00, 0x53], "{} has a one-byte descriptor", performative.name());
        let Ok(Value::Described(described)) = decoded::<Value>(&bytes) else { panic!("not described") };
        let Value::List(list) = described.1 else { panic!("not a list") };
        assert_eq!(list.len(), fields, "{}", performative.name());
    }
}

#[test]
fn frames_come_back_from_a_stream_cut_at_every_byte() {
    let mut stream = BytesMut::from(&ProtocolHeader::Amqp.bytes()[..]);
    let sent = performatives();
    for performative in &sent {
        Frame::put(&mut stream, 5, performative);
        Frame::put_heartbeat(&mut stream);
    }
    Frame::put_transfer(&mut stream, 5, &transfer(), &[b"ab", b"cd"]);
    let (mut buffer, mut header, mut frames) = (BytesMut::new(), None, Vec::new());
    for byte in stream {
        buffer.extend_from_slice(&[byte]);
        if header.is_none() {
            header = ProtocolHeader::take(&mut buffer).unwrap();
            continue;
        }
        frames.extend(Frame::take(&mut buffer, 4096).unwrap());
    }
    let last = frames.pop().unwrap();
    assert!(matches!(last, Frame::Amqp { channel: 5, payload, .. } if payload == "abcd"));
    let received: Vec<_> = frames
        .into_iter()
        .filter_map(|frame| match frame {
            Frame::Amqp { performative, .. } => Some(performative),
            _ => None,
        })
        .collect();
    assert_eq!(received, sent);
}

#[test]
fn a_frame_over_the_agreed_size_is_refused_before_it_is_there() {
    let mut buffer = BytesMut::from(&[0x7f, 0xff, 0xff, 0xff, 2, 0, 0, 0][..]);
    assert_eq!(Frame::take(&mut buffer, 65536), Err(FrameError::TooLarge { size: 0x7fff_ffff, max: 65536 }));
}

#[test]
fn impossible_frame_headers_are_refused() {
    for header in [[0, 0, 0, 7, 2, 0, 0, 0], [0, 0, 0, 8, 1, 0, 0, 0], [0, 0, 0, 8, 3, 0, 0, 0]] {
        let result = Frame::take(&mut BytesMut::from(&header[..]), 65536);
        assert!(matches!(result, Err(FrameError::Malformed { .. })), "{header:?}: {result:?}");
    }
    let result = Frame::take(&mut BytesMut::from(&[0, 0, 0, 9, 2, 9, 0, 0, 0][..]), 65536);
    assert_eq!(result, Err(FrameError::UnknownType(9)));
}

#[test]
fn other_protocols_are_recognised_at_the_first_wrong_byte() {
    assert_eq!(ProtocolHeader::take(&mut BytesMut::from("G")), Err(FrameError::NotAmqp));
    assert_eq!(ProtocolHeader::take(&mut BytesMut::from("AMQP\x00\x00")), Err(FrameError::NotAmqp));
    assert_eq!(ProtocolHeader::take(&mut BytesMut::from("AMQP\x00")), Ok(None));
}

/// A count on the wire must not become memory before the bytes behind it are there.
#[test]
fn counts_that_the_bytes_cannot_hold_are_refused() {
    let list = [0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(decoded::<Value>(&list), Err(DecodeError::CountTooLarge(u32::MAX)));
    let nulls = [0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
    assert_eq!(decoded::<Value>(&nulls), Err(DecodeError::CountTooLarge(u32::MAX)));
    let odd_map = [0xc1, 2, 1, 0x40];
    assert_eq!(decoded::<Value>(&odd_map), Err(DecodeError::OddMap));
}

/// Ten bytes of array must not become thousands of values: a message of 1 MiB could hold 100,000 such arrays.
#[test]
fn arrays_of_elements_without_bytes_stay_small() {
    let array = |count: u8, code: u8| [0xf0, 0, 0, 0, 5, 0, 0, 0, count, code];
    let most = u8::try_from(amqp::limits::ZERO_WIDTH_ELEMENTS_MAX).unwrap();
    for code in [0x40, 0x41, 0x43, 0x44, 0x45] {
        assert!(decoded::<Value>(&array(most, code)).is_ok());
        assert_eq!(
            decoded::<Value>(&array(most + 1, code)),
            Err(DecodeError::CountTooLarge(u32::from(most) + 1))
        );
    }
}

#[test]
fn nesting_ends() {
    let described = [0u8; 100_000];
    assert_eq!(decoded::<Value>(&described), Err(DecodeError::TooDeep));
    assert_eq!(Decoder::new(&Bytes::from_static(&[0; 1000])).skip(), Err(DecodeError::TooDeep));
    let mut nested = Value::Null;
    for _ in 0..40 {
        nested = Value::List(vec![nested]);
    }
    assert_eq!(decoded::<Value>(&encoded(&nested)), Err(DecodeError::TooDeep));
}

#[test]
fn an_empty_array_keeps_its_constructor() {
    let bytes = encoded(&Value::timestamps([]));
    assert_eq!(&bytes[..], [0xe0, 2, 0, 0x83]);
    assert_eq!(decoded::<Value>(&bytes), Ok(Value::Array(Array { element_code: 0x83, elements: vec![] })));
}

#[test]
fn a_lone_symbol_stands_for_an_array_of_one() {
    let symbol = encoded(&Symbol::from("ANONYMOUS"));
    assert_eq!(decoded::<Vec<Symbol>>(&symbol), Ok(vec![Symbol::from("ANONYMOUS")]));
}

#[test]
fn fields_left_off_at_the_end_have_their_defaults() {
    // attach with name, handle and role only
    let bytes = [0x00, 0x53, 0x12, 0xc0, 6, 3, 0xa1, 1, b'l', 0x43, 0x41];
    let Ok(Performative::Attach(attach)) = decoded::<Performative>(&bytes) else { panic!("not an attach") };
    let Attach { name, role, initial_delivery_count, source, .. } = attach;
    assert_eq!((name.as_str(), role, initial_delivery_count, source), ("l", Role::Receiver, None, None));
}

#[test]
fn a_missing_mandatory_field_is_named() {
    let bytes = [0x00, 0x53, 0x12, 0x45];
    assert_eq!(decoded::<Performative>(&bytes), Err(DecodeError::Missing("name of attach")));
}

/// Test vector of a tick count: JavaScript takes it from the raw eight bytes.
#[test]
fn longs_are_eight_bytes() {
    assert_eq!(
        &encoded(&Value::Long(639_028_224_000_000_000))[..],
        [0x81, 0x08, 0xde, 0x48, 0xc8, 0xb4, 0xf8, 0x00, 0x00]
    );
    assert_eq!(encoded(&Value::Long(1)).len(), 9);
}

#[test]
fn sections_are_found_and_decoded() {
    let mut message = BytesMut::new();
    Header { delivery_count: 3, ttl: Some(1000), ..Header::default() }.encode(&mut message);
    let annotations = Map::new().with_symbol("x-opt-sequence-number", Value::Long(5));
    amqp::message::put_message_annotations(&mut message, &annotations);
    let properties = Map::new().with_string("k", "v".into());
    amqp::message::put_application_properties(&mut message, &properties);
    amqp::message::put_data(&mut message, &Bytes::from_static(b"one"));
    amqp::message::put_data(&mut message, &Bytes::from_static(b"two"));
    let message = message.freeze();
    let sections = Sections::scan(&message).unwrap();
    assert_eq!(sections.header(&message).unwrap().delivery_count, 3);
    assert_eq!(sections.message_annotations(&message).unwrap(), annotations);
    assert_eq!(sections.application_properties(&message).unwrap(), properties);
    assert_eq!(sections.data(&message).unwrap(), [Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
    assert_eq!(sections.value(&message).unwrap(), None);
    assert!(sections.footer.is_empty());
}

#[test]
fn a_section_that_stands_twice_is_refused() {
    let mut message = BytesMut::new();
    Header::default().encode(&mut message);
    Header::default().encode(&mut message);
    assert!(Sections::scan(&message.freeze()).is_err());
}
