//! An order is what it was, from the first queue to the blob: through two applications, three calls of Dapr, the broker
//! and the store. What each application does with what it gets is the contract suite's.

use lab::spec::{BlobStore, LabSpec, Role, Stack, Stacks, Topology};
use serde_json::{Value, json};

use crate::support::{DEADLINE, TestLab, spec};

#[tokio::test]
async fn what_nobody_knows_of_an_order_comes_through_the_whole_flow() {
    let stacks = Stacks { distributor: Stack::SpinRust, ..Stacks::all(Stack::WarpRust) };
    let spec = LabSpec { stacks, blob: BlobStore::Native, ..spec(Stack::SpinRust, Topology::Sidecar) };
    let lab = TestLab::start("unchanged", spec).await;
    let client = reqwest::Client::new();
    for role in Role::ALL {
        let metadata = client.get(format!("{}/dapr-metadata", lab.app(*role))).send().await.unwrap();
        let metadata: Value = metadata.json().await.unwrap();
        assert_eq!(metadata["id"], role.as_str(), "the application's own Dapr answers");
    }

    let order = json!({
        "orderId": 900_001, "delivery": "Standard", "orderGuid": "a", "description": "ünïcode \u{2028} <&> \"quoted\" \\",
        "items": [{"orderItemId": 1, "sku": "x", "quantity": 0}], "unknown": {"b": [1.5, null, true], "a": {}},
    });
    let before = lab.queue("q-order-express").await.enqueued_total;
    let url = format!("{}/q-order-ingress", lab.app(Role::Distributor));
    let answer = client.post(url).json(&order).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let stored = tests::until("the order to be stored", DEADLINE, || async {
        let blob = lab.blobs.get("standard-outbox", "900001").await.unwrap();
        blob.ok_or(lab.queues().await)
    })
    .await;
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), order);
    let after = lab.queue("q-order-express").await.enqueued_total;
    assert_eq!(before, after, "a standard order went the express way");
    lab.finish().await;
}
