//! What is no order: answered 4xx, and nothing is sent on.

use super::taken::filled_up;
use super::{BODY_BYTES_MAX, EXPRESS, INGRESS, ORDER_ROUTES, STANDARD, case, nothing, post};
use crate::case::{Body, Case, Request};

const GROUP: &str = "Orders that are refused";

/// A body and what is wrong with it.
type Wrong = (&'static str, &'static [u8]);

const NOT_JSON: [Wrong; 25] = [
    ("an empty body", b""),
    ("white space", b" \r\n\t "),
    ("a text", b"order"),
    ("JSON that breaks off", br#"{"orderId":1,"delivery":"Express""#),
    ("JSON that breaks off in a text", br#"{"orderId":1,"delivery":"Expr"#),
    ("something behind it", br#"{"orderId":1,"delivery":"Express"} x"#),
    ("another order behind it", br#"{"orderId":1,"delivery":"Express"}{"orderId":2,"delivery":"Express"}"#),
    ("a closing bracket behind it", br#"{"orderId":1,"delivery":"Express"}]"#),
    ("a zero byte behind it", b"{\"orderId\":1,\"delivery\":\"Express\"}\0"),
    ("a byte order mark before it", b"\xef\xbb\xbf{\"orderId\":1,\"delivery\":\"Express\"}"),
    ("a non-breaking space before it", b"\xc2\xa0{\"orderId\":1,\"delivery\":\"Express\"}"),
    ("a comma at the end", br#"{"orderId":1,"delivery":"Express",}"#),
    ("a comma too many", br#"{"orderId":1,,"delivery":"Express"}"#),
    ("a colon too few", br#"{"orderId" 1,"delivery":"Express"}"#),
    ("names without quotes", br#"{orderId:1,delivery:"Express"}"#),
    ("single quotes", br#"{'orderId':1,'delivery':'Express'}"#),
    ("a comment", br#"{"orderId":1,/* fast */"delivery":"Express"}"#),
    ("a number that is none", br#"{"orderId":1,"delivery":"Express","n":NaN}"#),
    ("a number with a zero before it", br#"{"orderId":01,"delivery":"Express"}"#),
    ("a number with a plus", br#"{"orderId":+1,"delivery":"Express"}"#),
    ("a hexadecimal number", br#"{"orderId":0x11,"delivery":"Express"}"#),
    ("a word that is none", br#"{"orderId":1,"delivery":"Express","x":True}"#),
    ("an escape that is none", br#"{"orderId":1,"delivery":"Express","x":"\x41"}"#),
    ("a line break in a text", b"{\"orderId\":1,\"delivery\":\"Express\",\"x\":\"a\nb\"}"),
    ("a bracket that does not match", br#"{"orderId":1,"delivery":"Express","x":[1}}"#),
];

const NOT_UTF_8: [Wrong; 5] = [
    (
        "a byte that is not UTF-8, in a known field",
        b"{\"orderId\":1,\"delivery\":\"Express\",\"description\":\"\xff\"}",
    ),
    (
        "a byte that is not UTF-8, in an unknown field",
        b"{\"orderId\":1,\"delivery\":\"Express\",\"x\":\"\xff\"}",
    ),
    ("a byte that is not UTF-8, in a name", b"{\"orderId\":1,\"delivery\":\"Express\",\"\xc3\x28\":1}"),
    ("UTF-8 that breaks off", b"{\"orderId\":1,\"delivery\":\"Express\",\"x\":\"\xe2\x82\"}"),
    ("UTF-16", b"\xff\xfe{\0\"\0o\0r\0d\0e\0r\0I\0d\0\"\0:\x001\0}\0"),
];

const NOT_AN_OBJECT: [Wrong; 7] = [
    ("null", b"null"),
    ("a number", b"17"),
    ("a JSON text", br#""order""#),
    ("true", b"true"),
    ("an empty array", b"[]"),
    ("an array of fields", br#"[1,"Express"]"#),
    ("an array with an order", br#"[{"orderId":1,"delivery":"Express"}]"#),
];

const ORDER_IDS: [Wrong; 14] = [
    ("no order id", br#"{"delivery":"Express"}"#),
    ("no order id, but one of another spelling", br#"{"orderid":1,"OrderId":1,"delivery":"Express"}"#),
    ("no order id but in something nested", br#"{"delivery":"Express","order":{"orderId":1}}"#),
    ("an order id that is null", br#"{"orderId":null,"delivery":"Express"}"#),
    ("an order id as a text", br#"{"orderId":"1","delivery":"Express"}"#),
    ("an order id as true", br#"{"orderId":true,"delivery":"Express"}"#),
    ("an order id as an array", br#"{"orderId":[1],"delivery":"Express"}"#),
    ("an order id as an object", br#"{"orderId":{},"delivery":"Express"}"#),
    ("an order id with a fraction", br#"{"orderId":1.5,"delivery":"Express"}"#),
    ("an order id below zero", br#"{"orderId":-1,"delivery":"Express"}"#),
    (
        "an order id that float64 would alter, 2^53 + 1",
        br#"{"orderId":9007199254740993,"delivery":"Express"}"#,
    ),
    ("an order id beyond 64 bits", br#"{"orderId":18446744073709551617,"delivery":"Express"}"#),
    ("an order id beyond float64", br#"{"orderId":1e400,"delivery":"Express"}"#),
    ("two order ids", br#"{"orderId":1,"orderId":2,"delivery":"Express"}"#),
];

const DELIVERIES: [Wrong; 10] = [
    ("no delivery", br#"{"orderId":1}"#),
    ("no delivery, but one of another spelling", br#"{"orderId":1,"Delivery":"Express"}"#),
    ("an unknown delivery", br#"{"orderId":1,"delivery":"Overnight"}"#),
    ("a delivery in lower case", br#"{"orderId":1,"delivery":"express"}"#),
    ("a delivery with a space", br#"{"orderId":1,"delivery":"Express "}"#),
    ("an empty delivery", br#"{"orderId":1,"delivery":""}"#),
    ("a delivery that is null", br#"{"orderId":1,"delivery":null}"#),
    ("a delivery as a number", br#"{"orderId":1,"delivery":0}"#),
    ("a delivery as an object", br#"{"orderId":1,"delivery":{"Express":null}}"#),
    ("two deliveries", br#"{"orderId":1,"delivery":"Express","delivery":"Standard"}"#),
];

const OPTIONAL_FIELDS: [Wrong; 14] = [
    ("an order GUID as a number", br#"{"orderId":1,"delivery":"Express","orderGuid":5}"#),
    ("a description as a number", br#"{"orderId":1,"delivery":"Express","description":5}"#),
    ("a first name as an object", br#"{"orderId":1,"delivery":"Express","firstName":{}}"#),
    ("a last name as an array", br#"{"orderId":1,"delivery":"Express","lastName":["x"]}"#),
    ("items as an object", br#"{"orderId":1,"delivery":"Express","items":{}}"#),
    ("items as a text", br#"{"orderId":1,"delivery":"Express","items":"none"}"#),
    ("an item that is null", br#"{"orderId":1,"delivery":"Express","items":[null]}"#),
    ("an item that is a number", br#"{"orderId":1,"delivery":"Express","items":[1]}"#),
    ("an item that is an array", br#"{"orderId":1,"delivery":"Express","items":[[1,"s",2]]}"#),
    ("a SKU as a number", br#"{"orderId":1,"delivery":"Express","items":[{"sku":5}]}"#),
    (
        "a quantity below zero",
        br#"{"orderId":1,"delivery":"Express","items":[{"quantity":1},{"quantity":-1}]}"#,
    ),
    ("a quantity with a fraction", br#"{"orderId":1,"delivery":"Express","items":[{"quantity":1.5}]}"#),
    ("a quantity as a text", br#"{"orderId":1,"delivery":"Express","items":[{"quantity":"1"}]}"#),
    ("two descriptions", br#"{"orderId":1,"delivery":"Express","description":"a","description":"b"}"#),
];

pub fn cases() -> Vec<Case> {
    let kinds: [&[Wrong]; 6] =
        [&NOT_JSON, &NOT_UTF_8, &NOT_AN_OBJECT, &ORDER_IDS, &DELIVERIES, &OPTIONAL_FIELDS];
    let mut cases: Vec<_> =
        kinds.concat().into_iter().map(|(name, body)| refused(name, post(INGRESS, body))).collect();
    let unclosed = "[".repeat(BODY_BYTES_MAX - 1024);
    cases.push(refused("a million opening brackets", post(INGRESS, unclosed)));
    cases.extend(receivers());
    cases.extend(too_large());
    cases
}

fn refused(name: impl Into<String>, request: Request) -> Case {
    case(GROUP, name, request, nothing(&[400]))
}

/// Receivers refuse the same: they need the id for the blob's name, and the rest to know an order by.
fn receivers() -> Vec<Case> {
    let wrong: [Wrong; 5] = [
        ("an empty body", b""),
        ("broken JSON", b"{"),
        ("no order id", br#"{"delivery":"Standard"}"#),
        ("an order id as a text", br#"{"orderId":"../17","delivery":"Standard"}"#),
        ("no delivery", br#"{"orderId":1}"#),
    ];
    let routes = [EXPRESS, STANDARD].into_iter();
    routes
        .flat_map(|path| wrong.map(|(name, body)| refused(format!("`{path}`: {name}"), post(path, body))))
        .collect()
}

fn too_large() -> Vec<Case> {
    let with = |name: String, path, body| Case {
        allowed: vec![nothing(&[413])],
        ..refused(name, Request { body, ..post(path, "") })
    };
    let over = filled_up(BODY_BYTES_MAX + 1);
    let spaces = [b" ".repeat(BODY_BYTES_MAX), b"{\"orderId\":1,\"delivery\":\"Express\"}".to_vec()].concat();
    let mut cases: Vec<_> = ORDER_ROUTES
        .into_iter()
        .map(|path| {
            let body = Body::Whole(over.clone().into_bytes());
            with(format!("`{path}`: a body of 1 MiB + 1"), path, body)
        })
        .collect();
    cases.extend([
        with("a body over the limit, in chunks".to_owned(), INGRESS, Body::Chunked(over.into_bytes())),
        with("an order behind 1 MiB of white space".to_owned(), INGRESS, Body::Whole(spaces)),
        with("a body without end".to_owned(), INGRESS, Body::Endless(vec![b' '; 64 << 10])),
    ]);
    cases
}
