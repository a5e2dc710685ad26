//! Nothing moves before its instant, and what is due moves at once.

use std::sync::Arc;
use std::time::Duration;

use lab::flow::dataset::DataSet;
use lab::flow::{Profile, schedule};
use lab::spec::{BlobStore, LabSpec, OUTBOXES, Stack, Topology};

use crate::support::{TestLab, spec};

const ORDERS: u64 = 50;

/// Far enough ahead that all of them are sent, and looked at, before.
const LEAD: Duration = Duration::from_secs(3);

#[tokio::test]
async fn nothing_is_delivered_before_t0() {
    let native = LabSpec { blob: BlobStore::Native, ..spec(Stack::WarpRust, Topology::Sidecar) };
    let lab = TestLab::start("schedule", native).await;
    lab.broker.start_recorder().await.unwrap();
    let before = lab.queues().await;
    let orders = Arc::new(DataSet::generate(ORDERS, 7).unwrap());
    let attempt = schedule::schedule(&lab.dapr, &lab.broker, &orders, ORDERS, Profile::Burst, LEAD, |_| {})
        .await
        .unwrap();
    assert!(attempt.complete, "all were sent before T0");

    let ingress = lab.queue("q-order-ingress").await;
    let clock_us = lab.broker.clock().await.unwrap();
    assert!(clock_us < attempt.t0_us, "the look comes before T0");
    assert_eq!((ingress.scheduled, ingress.active, ingress.locked), (ORDERS, 0, 0), "{ingress:?}");
    for outbox in OUTBOXES {
        assert_eq!(lab.blobs.list(outbox).await.unwrap(), Vec::<String>::new());
    }

    lab.await_done(&before, ORDERS).await;
    let (rows, dropped) = lab.broker.rows().await.unwrap();
    let ingress: Vec<_> = rows.iter().filter(|row| row.queue == "q-order-ingress").collect();
    assert_eq!((ingress.len() as u64, dropped), (ORDERS, 0));
    for row in ingress {
        assert_eq!(row.due_us, attempt.t0_us, "{row:?}");
        assert!(row.delivered_us.is_some_and(|delivered_us| delivered_us >= row.due_us), "{row:?}");
    }
    lab.assert_stored(Arc::into_inner(orders).expect("nothing else holds the orders")).await;
    lab.finish().await;
}
