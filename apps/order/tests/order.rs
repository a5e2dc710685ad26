//! What is an order, what is none, and what Dapr is told.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test and names its line")]

use order::{Delivery, ORDER_ID_MAX, Order, Route};
use serde_json::{Value, json};

const FULL: &str = r#"{"orderId":17,"orderGuid":"a-b","description":"d","firstName":"A","lastName":"B","delivery":"Express",
    "items":[{"orderItemId":1,"sku":"s","quantity":0}],"unknown":{"z":1,"a":[1.50]}}"#;

fn request(route: &str, body: &str) -> (String, Value) {
    let forward = Route::of_path(route).unwrap().forward(body.as_bytes()).unwrap();
    (forward.path(), serde_json::from_slice(&forward.request).unwrap())
}

#[test]
fn the_distributor_follows_the_delivery() {
    let (path, body) = request("/q-order-ingress", FULL);
    assert_eq!(path, "/v1.0/bindings/q-order-express-out");
    assert_eq!(body, json!({"operation": "create", "data": serde_json::from_str::<Value>(FULL).unwrap()}));
    let (path, _) = request("/q-order-ingress", r#"{"orderId":1,"delivery":"Standard"}"#);
    assert_eq!(path, "/v1.0/bindings/q-order-standard-out");
}

#[test]
fn a_receiver_stores_under_the_order_id_in_its_own_outbox() {
    let (path, body) = request("/q-order-standard-in", FULL);
    assert_eq!(path, "/v1.0/bindings/standard-outbox");
    assert_eq!(body["metadata"], json!({"blobName": "17"}));
    assert_eq!(request("/q-order-express-in", FULL).0, "/v1.0/bindings/express-outbox");
}

#[test]
fn an_order_is_passed_on_byte_for_byte() {
    let forward = Route::Distribute.forward(FULL.as_bytes()).unwrap();
    assert!(String::from_utf8(forward.request).unwrap().contains(FULL.trim()));
}

#[test]
fn only_id_and_delivery_are_required() {
    let order = Order::parse(br#" {"delivery":"Standard","orderId":0} "#).unwrap();
    assert_eq!((order.id, order.delivery), (0, Delivery::Standard));
    let largest = format!(r#"{{"orderId":{ORDER_ID_MAX},"delivery":"Express"}}"#);
    assert_eq!(Order::parse(largest.as_bytes()).unwrap().id, ORDER_ID_MAX);
}

#[test]
fn other_paths_take_no_orders() {
    for path in ["/", "/healthz", "/q-order-ingress/", "/q-order-express-out", "/Q-ORDER-INGRESS"] {
        assert_eq!(Route::of_path(path), None, "{path}");
    }
}

#[test]
fn what_is_no_order_is_refused() {
    let too_large = format!(r#"{{"orderId":{},"delivery":"Express"}}"#, ORDER_ID_MAX + 1);
    let bodies: &[&str] = &[
        "",
        "   ",
        "{",
        "null",
        "[]",
        r#"[1,"Express"]"#,
        "17",
        r#""order""#,
        r#"{"orderId":1}"#,
        r#"{"delivery":"Express"}"#,
        r#"{"orderId":1,"delivery":"express"}"#,
        r#"{"orderId":1,"delivery":"Overnight"}"#,
        r#"{"orderId":1,"delivery":null}"#,
        r#"{"orderId":"1","delivery":"Express"}"#,
        r#"{"orderId":1.5,"delivery":"Express"}"#,
        r#"{"orderId":-1,"delivery":"Express"}"#,
        r#"{"orderId":1,"orderId":2,"delivery":"Express"}"#,
        r#"{"orderId":1,"delivery":"Express"} trailing"#,
        r#"{"orderId":1,"delivery":"Express"}{"orderId":2,"delivery":"Express"}"#,
        r#"{"orderId":1,"delivery":"Express","items":[{"quantity":-1}]}"#,
        r#"{"orderId":1,"delivery":"Express","items":{}}"#,
        r#"{"orderId":1,"delivery":"Express","description":5}"#,
        // What a derived shape takes, too.
        r#"{"orderId":1,"delivery":{"Express":null}}"#,
        r#"{"orderId":1,"delivery":"Express","items":[[1,"s",2]]}"#,
        r#"{"orderId":1,"delivery":"Express","items":[[]]}"#,
        &too_large,
    ];
    for body in bodies {
        let refusal = Order::parse(body.as_bytes()).map(|order| order.id).expect_err(body);
        assert!(refusal.to_string().starts_with("the body is not an order: "), "{refusal}");
    }
    assert!(Order::parse(b"{\"orderId\":1,\"delivery\":\"Express\",\"x\":\"\xff\"}").is_err(), "not UTF-8");
}
