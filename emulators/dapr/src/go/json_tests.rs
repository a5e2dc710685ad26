//! Right-hand sides were printed by Go 1.26 (`json.NewDecoder(..).Decode` into daprd's request type, then
//! `json.Marshal` of its data).

use proptest::prelude::*;
use serde::Deserialize as _;
use serde_json::Value;

use super::{JsonError, parse};
use crate::bindings::go_json;

/// Re-marshals the member `data` of `source`.
fn data(source: &[u8]) -> Result<String, JsonError> {
    let document = parse(source)?;
    let mut out = Vec::new();
    for (key, node) in document.object(document.root()).expect("an object") {
        if key == b"data" {
            document.write(node, "struct field OutputBindingRequest.data", &mut out)?;
        }
    }
    Ok(String::from_utf8(out).expect("what is written is UTF-8"))
}

fn refusal(source: &[u8]) -> String {
    data(source).expect_err("should be refused").to_string()
}

#[test]
fn keys_are_sorted_and_white_space_goes() {
    let source = br#"{"data" : {"b":1, "a":{"z":[1,2,{"y":1,"x":2}],"k":"<&>"}} }"#;
    assert_eq!(
        data(source).as_deref(),
        Ok(r#"{"a":{"k":"\u003c\u0026\u003e","z":[1,2,{"x":2,"y":1}]},"b":1}"#)
    );
    assert_eq!(data(br#"{"data":{}}"#).as_deref(), Ok("{}"));
    assert_eq!(data(br#"{"data":[[],{}]}"#).as_deref(), Ok("[[],{}]"));
}

#[test]
fn of_equal_keys_the_last_stays() {
    assert_eq!(data(br#"{"data":{"a":1,"a":2,"A":3,"b":1,"a":9}}"#).as_deref(), Ok(r#"{"A":3,"a":9,"b":1}"#));
}

#[test]
fn strings_are_escaped_and_repaired_as_go_does() {
    let source = b"{\"data\":\"\xff\xfe ok \xe2\x80\xa8 \\u2029 \\ud800 \\ud83d\\ude00 \\/ \\b\\f\\n\\r\\t\\u0001 \x7f \xc3\xa9\"}";
    let expected =
        "\"\u{fffd}\u{fffd} ok \\u2028 \\u2029 \u{fffd} \u{1f600} / \\b\\f\\n\\r\\t\\u0001 \u{7f} é\"";
    assert_eq!(data(source).as_deref(), Ok(expected));
    let keys = b"{\"data\":{\"\xff\":1,\"\\u00e9\":2,\"<k>\":3}}";
    assert_eq!(data(keys).as_deref(), Ok("{\"\\u003ck\\u003e\":3,\"é\":2,\"\u{fffd}\":1}"));
}

#[test]
fn what_follows_the_first_value_is_not_looked_at() {
    assert_eq!(data(b"{\"data\":1} trailing \xff").as_deref(), Ok("1"));
}

#[test]
fn refusals_are_in_gos_words() {
    for (source, message) in [
        (&b""[..], "EOF"),
        (b" \n", "EOF"),
        (b"{", "unexpected EOF"),
        (b"{\"data\"", "unexpected EOF"),
        (b"{\"data\":1,}", "invalid character '}' looking for beginning of object key string"),
        (b"{\"data\":tru}", "invalid character '}' in literal true (expecting 'e')"),
        (b"{data:1}", "invalid character 'd' looking for beginning of object key string"),
        (b"{\"data\" 1}", "invalid character '1' after object key"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"\"a", "unexpected EOF"),
        (b"\"a\nb\"", "invalid character '\\n' in string literal"),
        (b"\"\\x\"", "invalid character 'x' in string escape code"),
        (b"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
        (b"-", "unexpected EOF"),
        (b"{\"data\":-a}", "invalid character 'a' in numeric literal"),
        (b"{\"data\":1.}", "invalid character '}' after decimal point in numeric literal"),
        (b"{\"data\":1e+}", "invalid character '}' in exponent of numeric literal"),
        (b"{\"data\":01}", "invalid character '1' after object key:value pair"),
        (b"'", "invalid character '\\'' looking for beginning of value"),
        (b"\x00", "invalid character '\\x00' looking for beginning of value"),
        (b"\xc3", "invalid character 'Ã' looking for beginning of value"),
        (
            b"{\"data\":[1,-1e999]}",
            "json: cannot unmarshal number -1e999 into Go struct field OutputBindingRequest.data of type float64",
        ),
    ] {
        assert_eq!(refusal(source), message, "{:?}", String::from_utf8_lossy(source));
    }
}

#[test]
fn nesting_ends_at_gos_depth_and_needs_no_stack() {
    let nested = |depth: usize| format!("{{\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(data(nested(9_999).as_bytes()).is_ok());
    assert_eq!(refusal(nested(10_000).as_bytes()), "invalid character '[' exceeded max depth");
}

#[test]
fn the_outermost_object_shows_every_member_in_order() {
    let document = parse(br#"{"b":1,"a":"x","b":2}"#).expect("valid");
    let members: Vec<_> = document
        .object(document.root())
        .expect("an object")
        .map(|(key, node)| (String::from_utf8_lossy(key).into_owned(), document.type_name(node)))
        .collect();
    assert_eq!(members, [("b".into(), "number"), ("a".into(), "string"), ("b".into(), "number")]);
}

/// Values that come back from float64 as they were.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[<>&\"\\\\\u{2028}\u{2029}\u{0}-\u{1f}]{0,8}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    /// serde_json is the oracle; its maps are sorted by the bytes of their keys, as Go's are when they are printed.
    #[test]
    fn every_value_is_written_as_an_independent_encoder_writes_it(value in value(), pretty: bool) {
        let source = if pretty { format!("{value:#}") } else { value.to_string() };
        let written = data(format!("{{\"data\":{source}}}").as_bytes()).expect("well-formed");
        prop_assert_eq!(written.as_bytes(), &go_json(&value).expect("a JSON form")[..]);
    }

    #[test]
    fn what_is_well_formed_is_agreed_on(source in "[\\[\\]{}:,\"a0-1.eE+tn rul\\-]{0,16}") {
        let wrapped = format!("{{\"data\":[{source}]}}");
        let mut oracle = serde_json::Deserializer::from_str(&wrapped);
        prop_assert_eq!(data(wrapped.as_bytes()).is_ok(), Value::deserialize(&mut oracle).is_ok());
    }

    #[test]
    fn no_bytes_panic(source: Vec<u8>) {
        let wrapped = [b"{\"data\":", &source[..], b"}"].concat();
        let _ = (data(&wrapped), parse(&source).is_ok());
    }
}
