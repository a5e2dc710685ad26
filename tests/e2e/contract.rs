//! The contract of the applications: cases as data, the same for every stack.

use lab::backend::Part;
use lab::spec::{BlobStore, LabSpec, OUTBOXES, Role, Stack, Topology};
use reqwest::{Client, Method, StatusCode};

use crate::support::{TestLab, spec};

/// A request and the statuses that may answer it. None of these may send anything on.
struct Refused {
    name: &'static str,
    method: Method,
    path: &'static str,
    body: Vec<u8>,
    statuses: &'static [u16],
}

fn refused(name: &'static str, body: impl Into<Vec<u8>>) -> Refused {
    Refused { name, method: Method::POST, path: "/q-order-ingress", body: body.into(), statuses: &[400] }
}

fn refused_cases() -> Vec<Refused> {
    let at = |name, method, path, statuses| Refused { name, method, path, body: Vec::new(), statuses };
    vec![
        refused("an empty body", ""),
        refused("broken JSON", r#"{"orderId":1,"#),
        refused("two JSON values", r#"{"orderId":1,"delivery":"Express"}{}"#),
        refused("an array", "[]"),
        refused("null", "null"),
        refused("no delivery", r#"{"orderId":1}"#),
        refused("an unknown delivery", r#"{"orderId":1,"delivery":"Overnight"}"#),
        refused("a delivery in lower case", r#"{"orderId":1,"delivery":"express"}"#),
        refused("no order id", r#"{"delivery":"Express"}"#),
        refused("an order id as text", r#"{"orderId":"1","delivery":"Express"}"#),
        refused(
            "an order id that float64 would alter",
            r#"{"orderId":9007199254740993,"delivery":"Express"}"#,
        ),
        refused("a negative quantity", r#"{"orderId":1,"delivery":"Express","items":[{"quantity":-1}]}"#),
        refused("bytes that are no UTF-8", &b"{\"orderId\":1,\"delivery\":\"Express\",\"d\":\"\xff\"}"[..]),
        Refused { statuses: &[413], ..refused("a body over the limit", vec![b' '; (1 << 20) + 1]) },
        Refused { path: "/q-order-express-in", ..refused("broken JSON for a receiver", "{") },
        Refused {
            path: "/q-order-standard-in",
            ..refused("no order id for a receiver", r#"{"delivery":"Standard"}"#)
        },
        at("an unknown path", Method::POST, "/q-order-overnight", &[404]),
        at("another method", Method::GET, "/q-order-ingress", &[405]),
        at("another method on the health path", Method::POST, "/healthz", &[405]),
        at("the subscription probe", Method::OPTIONS, "/q-order-ingress", &[200, 204, 405]),
        at("the express receiver's probe", Method::OPTIONS, "/q-order-express-in", &[200, 204, 405]),
        at("the standard receiver's probe", Method::OPTIONS, "/q-order-standard-in", &[200, 204, 405]),
        at("the probe of an unknown path", Method::OPTIONS, "/q-order-overnight", &[404]),
    ]
}

/// Everything that has ever been sent on or stored, as one number that must not change.
async fn sent_on(lab: &TestLab) -> u64 {
    let mut count = lab.queues().await.iter().map(|queue| queue.enqueued_total).sum();
    for outbox in OUTBOXES {
        count += lab.blobs.list(outbox).await.unwrap().len() as u64;
    }
    count
}

async fn contract(name: &str, stack: Stack) {
    let mut lab =
        TestLab::start(name, LabSpec { blob: BlobStore::Native, ..spec(stack, Topology::Sidecar) }).await;
    lab.expect_broken_connections();
    let client = Client::new();
    for role in Role::ALL {
        healthy(&lab, &client, *role).await;
    }
    refusals(&lab, &client).await;
    whole_order(&lab, &client).await;
    without_dapr(&lab, &client).await;
    lab.finish().await;
}

async fn healthy(lab: &TestLab, client: &Client, role: Role) {
    let app = lab.app(role);
    let health = client.get(format!("{app}/healthz")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "{role}");
    let metadata = client.get(format!("{app}/dapr-metadata")).send().await.unwrap();
    assert_eq!(metadata.status(), StatusCode::OK, "{role}");
    let metadata: serde_json::Value = metadata.json().await.unwrap();
    assert_eq!(metadata["id"], role.as_str(), "Dapr's own metadata is passed through");
}

async fn refusals(lab: &TestLab, client: &Client) {
    let app = lab.app(Role::Distributor);
    let before = sent_on(lab).await;
    for case in refused_cases() {
        let url = format!("{app}{}", case.path);
        let answer = client.request(case.method, url).body(case.body).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(
            case.statuses.contains(&status),
            "{}: {status}, expected one of {:?}",
            case.name,
            case.statuses
        );
    }
    assert_eq!(sent_on(lab).await, before, "a refused order was sent on");
}

/// A body that is an order and carries what the applications do not know comes through the whole flow unchanged.
async fn whole_order(lab: &TestLab, client: &Client) {
    let order = serde_json::json!({
        "orderId": 900_001, "delivery": "Standard", "orderGuid": "a", "description": "ünïcode \u{2028} <&> \"quoted\" \\",
        "items": [{"orderItemId": 1, "sku": "x", "quantity": 0}], "unknown": {"b": [1.5, null, true], "a": {}},
    });
    let before = lab.queues().await;
    let url = format!("{}/q-order-ingress", lab.app(Role::Distributor));
    let answer = client.post(url).json(&order).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let stored = tests::until("the order to be stored", crate::support::DEADLINE, || async {
        let blob = lab.blobs.get("standard-outbox", "900001").await.unwrap();
        blob.ok_or(lab.queues().await)
    })
    .await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&stored).unwrap(), order);
    let after = lab.queues().await;
    let express = |queues: &[lab::flow::broker::QueueCounts]| {
        queues.iter().find(|queue| queue.name == "q-order-express").map(|queue| queue.enqueued_total)
    };
    assert_eq!(express(&after), express(&before), "a standard order went the express way");
}

/// A 2xx is a promise that Dapr has the message, so without Dapr there is none.
async fn without_dapr(lab: &TestLab, client: &Client) {
    lab.take_down(Part::Dapr(Role::Distributor), 1).await;
    let app = lab.app(Role::Distributor);
    let order = r#"{"orderId":900002,"delivery":"Express"}"#;
    let answer = client.post(format!("{app}/q-order-ingress")).body(order).send().await.unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
    let health = client.get(format!("{app}/healthz")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK, "an application lives on without Dapr");
    lab.bring_back(Part::Dapr(Role::Distributor), 1).await;
}

#[tokio::test]
async fn warp_rust() {
    contract("contract-warp", Stack::WarpRust).await;
}

#[tokio::test]
async fn spin_rust() {
    contract("contract-spin", Stack::SpinRust).await;
}
