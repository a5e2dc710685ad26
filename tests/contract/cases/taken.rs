//! Orders that are sent on, and that they are sent on unchanged.

use super::{BODY_BYTES_MAX, EXPRESS, INGRESS, PLAIN, STANDARD, case, creates, nothing, post};
use crate::case::{Answer, Body, Case, Order, Outcome};

const GROUP: &str = "Orders that are taken";

/// Only 200: to daprd, within a retry policy for the application, every other status is a failure.
const TAKEN: Answer = Answer::Status(&[200]);

/// A name and an order for the distributor, whose delivery is Express.
type Named = (&'static str, &'static str);

/// Everything that the applications know of an order.
const FULL: &str = r#"{"orderId":4711,"orderGuid":"7a1f9c1e-0000-4000-8000-000000000000","description":"d","firstName":"Ada","lastName":"Lovelace","delivery":"Express","items":[{"orderItemId":1,"sku":"SKU-1","quantity":3},{"orderItemId":2,"sku":"SKU-2","quantity":0}]}"#;

const CONTENTS: [Named; 23] = [
    ("every known field", FULL),
    ("only what is required", r#"{"orderId":1,"delivery":"Express"}"#),
    ("the required fields in the other order", r#"{"delivery":"Express","orderId":1}"#),
    (
        "optional fields that are null",
        r#"{"orderId":1,"delivery":"Express","orderGuid":null,"description":null,"firstName":null,"lastName":null,"items":null}"#,
    ),
    ("no items", r#"{"orderId":1,"delivery":"Express","items":[]}"#),
    ("an item without fields", r#"{"orderId":1,"delivery":"Express","items":[{}]}"#),
    (
        "an item with unknown fields",
        r#"{"orderId":1,"delivery":"Express","items":[{"orderItemId":"x-1","gift":{"wrap":[true]}}]}"#,
    ),
    (
        "unknown fields, nested",
        r#"{"orderId":1,"delivery":"Express","unknown":{"z":[1,[2,[3,{"a":null}]],{}],"a":true},"another":[]}"#,
    ),
    (
        "unknown fields with awkward names",
        r#"{"orderId":1,"delivery":"Express","":0,"__proto__":{"x":1},"constructor":1,"toJSON":"t","length":2,"OrderId":5,"2":1,"1":2}"#,
    ),
    ("an unknown field twice", r#"{"orderId":1,"delivery":"Express","x":1,"x":2}"#),
    (
        "Unicode",
        "{\"orderId\":1,\"delivery\":\"Express\",\"description\":\"Größe 寸法 🚚 \u{2028}\u{2029}\u{feff}\u{fffd}\",\"ключ\":\"значение\"}",
    ),
    (
        "escaped Unicode",
        r#"{"orderId":1,"delivery":"Express","description":"\u0047r\u00f6\u00dfe \ud83d\ude9a \u0000 \u2028"}"#,
    ),
    (
        "`<>&` and everything that is escaped",
        r#"{"orderId":1,"delivery":"Express","description":"<script>&amp;</script> \" \\ \/ \b \f \n \r \t '","<&>":"\u003c\u0026\u003e"}"#,
    ),
    ("escapes in the deciding fields", r#"{"order\u0049d":1,"d\u0065livery":"E\u0078press"}"#),
    (
        "white space everywhere",
        " \t\r\n{ \"orderId\" : 1 ,\n\t\"delivery\" :\r\n \"Express\" , \"items\" : [ ] }\r\n\t ",
    ),
    (
        "whole numbers up to 2^53",
        r#"{"orderId":1,"delivery":"Express","n":[0,-1,9007199254740991,9007199254740992,-9007199254740992]}"#,
    ),
    (
        "numbers with a fraction",
        r#"{"orderId":1,"delivery":"Express","n":[0.1,1.50,-2.5,3.141592653589793,0.30000000000000004]}"#,
    ),
    (
        "numbers with an exponent",
        r#"{"orderId":1,"delivery":"Express","n":[1e2,1E+2,2.5e-7,1e21,1.7976931348623157e308,5e-324]}"#,
    ),
    (
        "numbers that float64 rounds",
        r#"{"orderId":1,"delivery":"Express","n":[9007199254740993,123456789012345678901234567890,0.1234567890123456789]}"#,
    ),
    ("zeros", r#"{"orderId":1,"delivery":"Express","n":[0,-0,0.0,-0.0,0e5]}"#),
    (
        "an optional number that is large",
        r#"{"orderId":1,"delivery":"Express","items":[{"orderItemId":9007199254740992,"quantity":9007199254740991}]}"#,
    ),
    (
        "texts that look like JSON",
        r#"{"orderId":1,"delivery":"Express","description":"{\"orderId\":2,\"delivery\":\"Standard\"}","x":"]}"}"#,
    ),
    (
        "the deciding fields of something nested",
        r#"{"orderId":1,"x":{"orderId":2,"delivery":"Standard"},"delivery":"Express"}"#,
    ),
];

pub fn cases() -> Vec<Case> {
    let mut cases = ways();
    for (name, order) in CONTENTS {
        cases.push(express(name, order, TAKEN));
    }
    cases.extend(large());
    cases.extend(sent_otherwise());
    cases
}

/// The distributor gets it, and it goes the express way.
fn express(name: &str, order: &str, answer: Answer) -> Case {
    let outcome = creates(answer, "q-order-express-out", Order::Value(order.to_owned()), None);
    case(GROUP, name, post(INGRESS, order), outcome)
}

/// Which way an order goes.
fn ways() -> Vec<Case> {
    let way = |path, order: &str, binding, blob_name| {
        let delivery = if order.contains("Express") { "express" } else { "standard" };
        let id = order.trim_start_matches(r#"{"orderId":"#).split(',').next().unwrap_or_default();
        let outcome = creates(TAKEN, binding, Order::Value(order.to_owned()), blob_name);
        case(GROUP, format!("`{path}`: {delivery} order {id}"), post(path, order), outcome)
    };
    let (express, standard) =
        (r#"{"orderId":17,"delivery":"Express"}"#, r#"{"orderId":18,"delivery":"Standard"}"#);
    let (least, most) =
        (r#"{"orderId":0,"delivery":"Express"}"#, r#"{"orderId":9007199254740992,"delivery":"Standard"}"#);
    vec![
        way(INGRESS, express, "q-order-express-out", None),
        way(INGRESS, standard, "q-order-standard-out", None),
        way(INGRESS, least, "q-order-express-out", None),
        way(INGRESS, most, "q-order-standard-out", None),
        way(EXPRESS, express, "express-outbox", Some("17")),
        way(EXPRESS, least, "express-outbox", Some("0")),
        way(STANDARD, standard, "standard-outbox", Some("18")),
        way(STANDARD, most, "standard-outbox", Some("9007199254740992")),
        // A receiver stores what its queue brings; which queue that was has been decided.
        way(EXPRESS, standard, "express-outbox", Some("18")),
        way(STANDARD, express, "standard-outbox", Some("17")),
        {
            let stores = creates(TAKEN, "express-outbox", Order::Value(FULL.to_owned()), Some("4711"));
            case(GROUP, format!("`{EXPRESS}`: every known field"), post(EXPRESS, FULL), stores)
        },
    ]
}

fn large() -> Vec<Case> {
    let full = filled_up(BODY_BYTES_MAX);
    let items: Vec<_> =
        (0..2000).map(|id| format!(r#"{{"orderItemId":{id},"sku":"s","quantity":{id}}}"#)).collect();
    let items = format!(r#"{{"orderId":1,"delivery":"Express","items":[{}]}}"#, items.join(","));
    let nested = |levels| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"orderId":1,"delivery":"Express","nested":{open}{close}}}"#)
    };
    let far = r#"{"orderId":1,"delivery":"Express","n":1e400}"#;
    // Neither is a value that Dapr could hold; to give it another one would be to alter the order.
    let as_it_is_or_not_at_all = |name: &str, order: &str| Case {
        allowed: vec![
            creates(TAKEN, "q-order-express-out", Order::Text(order.to_owned()), None),
            nothing(&[400]),
        ],
        ..express(name, order, TAKEN)
    };
    vec![
        express("2,000 items", &items, TAKEN),
        express("100 levels of nesting", &nested(100), TAKEN),
        express("a body at the limit, 1 MiB", &full, TAKEN),
        Case { request: chunked(&full), ..express("a body at the limit, in chunks", &full, TAKEN) },
        as_it_is_or_not_at_all("100,000 levels of nesting", &nested(100_000)),
        as_it_is_or_not_at_all("a number beyond float64", far),
    ]
}

/// An order whose body has this many bytes.
pub fn filled_up(bytes: usize) -> String {
    let empty = r#"{"orderId":1,"delivery":"Express","description":""}"#;
    let description = "0123456789abcdef".repeat(bytes / 16);
    let description = &description[..bytes - empty.len()];
    empty.replace(r#""description":"""#, &format!(r#""description":"{description}""#))
}

/// What says nothing of the order itself.
fn sent_otherwise() -> Vec<Case> {
    let with_type = |name: &str, content_type| {
        let mut case = express(name, PLAIN, TAKEN);
        case.request.content_type = content_type;
        case
    };
    let mut with_query = express("a query behind the path", PLAIN, TAKEN);
    with_query.request.path = "/q-order-ingress?delivery=Standard";
    let stores: Outcome = creates(TAKEN, "standard-outbox", Order::Value(PLAIN.to_owned()), Some("17"));
    let mut in_chunks = chunked(PLAIN);
    in_chunks.path = STANDARD;
    vec![
        Case { request: chunked(PLAIN), ..express("in chunks, without a length", PLAIN, TAKEN) },
        case(GROUP, "in chunks, for a receiver", in_chunks, stores),
        with_type("without a content type", None),
        with_type("with the content type of a text", Some("text/plain")),
        with_type("with the content type of bytes", Some("application/octet-stream")),
        with_type("with the content type of a form", Some("application/x-www-form-urlencoded")),
        with_type("with the content type of a cloud event", Some("application/cloudevents+json")),
        with_type("with a charset", Some("application/json; charset=utf-8")),
        with_type("with a content type that is none", Some("~")),
        with_query,
    ]
}

fn chunked(order: &str) -> crate::case::Request {
    let mut request = post(INGRESS, "");
    request.body = Body::Chunked(order.as_bytes().to_vec());
    request
}
