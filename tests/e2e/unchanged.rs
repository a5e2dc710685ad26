//! An order is what it was, from the first queue to the blob: through two applications, three calls of Dapr, the broker
//! and the store. What each application does with what it gets is the contract suite's.

use lab::spec::{BlobStore, LabSpec, Role, Stack, Stacks, Topology};
use serde_json::{Value, json};

use crate::support::{DEADLINE, TestLab, spec};

#[tokio::test]
async fn what_nobody_knows_of_an_order_comes_through_the_whole_flow() {
    let stacks = Stacks {
        distributor: Stack::SpinTs,
        receiver_express: Stack::WarpRust,
        receiver_standard: Stack::ExpressTs,
    };
    let spec = LabSpec { stacks, blob: BlobStore::Native, ..spec(Stack::SpinTs, Topology::Sidecar) };
    let lab = TestLab::start("unchanged", spec).await;
    let client = reqwest::Client::new();
    for role in Role::ALL {
        let metadata = client.get(format!("{}/dapr-metadata", lab.app(*role))).send().await.unwrap();
        let metadata: Value = metadata.json().await.unwrap();
        assert_eq!(metadata["id"], role.as_str(), "the application's own Dapr answers");
    }
    for (id, delivery, outbox) in
        [(900_001, "Express", "express-outbox"), (900_002, "Standard", "standard-outbox")]
    {
        let order = json!({
            "orderId": id, "delivery": delivery, "orderGuid": "a",
            "description": "ünïcode \u{2028} <&> \"quoted\" \\",
            "items": [{"orderItemId": 1, "sku": "x", "quantity": 0}], "unknown": {"b": [1.5, null, true], "a": {}},
        });
        let url = format!("{}/q-order-ingress", lab.app(Role::Distributor));
        let answer = client.post(url).json(&order).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let stored = tests::until("the order to be stored", DEADLINE, || async {
            let blob = lab.blobs.get(outbox, &id.to_string()).await.unwrap();
            blob.ok_or(lab.queues().await)
        })
        .await;
        assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), order);
    }
    for queue in ["q-order-express", "q-order-standard"] {
        assert_eq!(lab.queue(queue).await.enqueued_total, 1, "an order went the other's way, too");
    }
    lab.finish().await;
}
