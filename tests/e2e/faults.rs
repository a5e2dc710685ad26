//! What an order survives: a poisonous neighbour, an application that is away, the death of any replica, a lost lock.
//!
//! Every lab here is its case's own.

use amqp::client::{ConnectOptions, ReceiverOptions, connect};
use lab::backend::Part;
use lab::flow::dataset::DataSet;
use lab::spec::{BlobStore, LabSpec, Role, Stack, Topology};

use crate::support::{
    DEADLINE, LOCK_SECONDS, MAX_DELIVERY_COUNT, Need, TestLab, skipped, spec, with_replicas,
};

fn native(stack: Stack, topology: Topology) -> LabSpec {
    LabSpec { blob: BlobStore::Native, ..spec(stack, topology) }
}

#[tokio::test]
async fn a_poison_order_is_dead_lettered_with_its_reason_and_the_rest_unharmed() {
    let mut lab = TestLab::start("poison", native(Stack::WarpRust, Topology::Sidecar)).await;
    lab.expect_log_line("status code: 400");
    let before = lab.queues().await;
    lab.dapr.send(r#"{"orderId":4711,"delivery":"Overnight"}"#, None).await.unwrap();
    let orders = DataSet::generate(100, 3).unwrap();
    lab.send(&orders).await;

    let tally = lab.await_done(&before, 101).await;
    assert_eq!((tally.stored, tally.dead_lettered), (100, 1), "{tally:?}");
    let dead = lab.broker.messages("q-order-ingress", true, 10).await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].application_properties["DeadLetterReason"], "MaxDeliveryCountExceeded");
    assert_eq!(
        dead[0].body.as_deref(),
        Some(r#"{"delivery":"Overnight","orderId":4711}"#),
        "as Dapr wrote it"
    );
    lab.assert_stored(orders).await;
    lab.finish().await;
}

#[tokio::test]
async fn orders_wait_for_an_application_that_is_away() {
    let mut lab = TestLab::start("away", native(Stack::WarpRust, Topology::Sidecar)).await;
    lab.expect_broken_connections();
    let before = lab.queues().await;
    // Its Dapr goes too: a Dapr whose application is away uses up the deliveries of every message.
    lab.take_down(Part::Dapr(Role::ReceiverExpress), 1).await;
    lab.take_down(Part::App(Role::ReceiverExpress), 1).await;
    let orders = DataSet::generate(100, 5).unwrap();
    let express = (0..orders.len()).filter(|index| orders.outbox(*index) == Some(0)).count() as u64;
    lab.send(&orders).await;
    tests::until("the express orders to wait in their queue", DEADLINE, || async {
        let queue = lab.queue("q-order-express").await;
        if queue.active == express { Ok(()) } else { Err(queue) }
    })
    .await;

    lab.bring_back(Part::App(Role::ReceiverExpress), 1).await;
    lab.bring_back(Part::Dapr(Role::ReceiverExpress), 1).await;
    lab.await_done(&before, 100).await;
    lab.assert_stored(orders).await;
    lab.finish().await;
}

/// Dapr stays and goes on delivering: each failed delivery gives the order back, and counts. It needs a queue that is patient.
#[tokio::test]
async fn orders_survive_an_application_that_is_away_while_its_dapr_is_not() {
    if skipped("orders_survive_an_application_that_is_away_while_its_dapr_is_not", Need::LoneDapr) {
        return;
    }
    let patient = LabSpec { max_delivery_count: 2_000, ..native(Stack::SpinRust, Topology::Sidecar) };
    let mut lab = TestLab::start("alone", patient).await;
    lab.expect_broken_connections();
    lab.broker.start_recorder().await.unwrap();
    let before = lab.queues().await;
    lab.take_down(Part::App(Role::Distributor), 1).await;
    let orders = DataSet::generate(20, 17).unwrap();
    lab.send(&orders).await;
    tests::until("an order to be delivered in vain", DEADLINE, || async {
        let (rows, _) = lab.broker.rows().await.unwrap();
        if rows.iter().any(|row| row.delivery_count > 1) { Ok(()) } else { Err(rows) }
    })
    .await;

    lab.bring_back(Part::App(Role::Distributor), 1).await;
    let tally = lab.await_done(&before, 20).await;
    assert_eq!(tally.dead_lettered, 0, "{tally:?}");
    lab.assert_stored(orders).await;
    lab.finish().await;
}

/// Orders that are on their way when a replica dies; enough that the middle can be met.
const ORDERS_UNDER_FIRE: u64 = 2_000;

async fn kill_in_the_middle(name: &str, stack: Stack, part: Part) {
    let mut lab = TestLab::start(name, with_replicas(native(stack, Topology::Shared))).await;
    lab.expect_broken_connections();
    let before = lab.queues().await;
    let orders = DataSet::generate(ORDERS_UNDER_FIRE, 11).unwrap();
    let sending = lab.send(&orders);
    let killing = async {
        lab.await_middle(&before, ORDERS_UNDER_FIRE).await;
        lab.kill(part, 1).await;
    };
    tokio::join!(sending, killing);
    let tally = lab.await_done(&before, ORDERS_UNDER_FIRE).await;
    assert_eq!(tally.dead_lettered, 0, "{tally:?}");
    lab.assert_stored(orders).await;
    lab.finish().await;
}

#[tokio::test]
async fn nothing_is_lost_when_a_dapr_is_killed() {
    kill_in_the_middle("kill-dapr", Stack::WarpRust, Part::Dapr(Role::Distributor)).await;
}

#[tokio::test]
async fn nothing_is_lost_when_a_spin_application_is_killed() {
    kill_in_the_middle("kill-spin", Stack::SpinRust, Part::App(Role::Distributor)).await;
}

#[tokio::test]
async fn nothing_is_lost_when_a_native_application_is_killed() {
    kill_in_the_middle("kill-warp", Stack::WarpRust, Part::App(Role::ReceiverStandard)).await;
}

#[tokio::test]
async fn a_message_whose_lock_is_lost_comes_back() {
    let lab = TestLab::start("lock", native(Stack::WarpRust, Topology::Sidecar)).await;
    lab.broker.start_recorder().await.unwrap();
    let before = lab.queues().await;
    lab.take_down(Part::Dapr(Role::Distributor), 1).await;
    let orders = DataSet::generate(1, 13).unwrap();
    lab.send(&orders).await;

    // A receiver of our own takes the order and neither settles it nor goes away.
    let address = lab.lab().endpoints().servicebus_amqp.to_string();
    let connection = connect(ConnectOptions::new(&address, "e2e")).await.unwrap();
    let mut receiver = connection.receiver("q-order-ingress", ReceiverOptions::default()).await.unwrap();
    receiver.add_credit(1).await.unwrap();
    let held = receiver.receive().await.expect("the link is open").unwrap();

    lab.bring_back(Part::Dapr(Role::Distributor), 1).await;
    lab.await_done(&before, 1).await;
    drop(held);
    let (rows, _) = lab.broker.rows().await.unwrap();
    let row = rows.iter().find(|row| row.queue == "q-order-ingress").expect("the order was recorded");
    assert_eq!(row.delivery_count, 2, "{row:?}");
    // The recorder keeps the first delivery, which is the one whose lock is lost; the next one is what is settled.
    let waited_us = row.settled_us.expect("it was settled") - row.enqueued_us;
    assert!(
        waited_us >= u64::from(LOCK_SECONDS) * 1_000_000,
        "it came back before its lock ended: {waited_us} µs"
    );
    assert!(row.delivery_count <= MAX_DELIVERY_COUNT);
    lab.assert_stored(orders).await;
    lab.finish().await;
}

/// What parts may take to notice that their supervisor is gone.
const NOTICE: std::time::Duration = std::time::Duration::from_secs(5);

#[tokio::test]
async fn nothing_is_left_when_the_lab_itself_is_killed() {
    let lab = TestLab::start("crash", spec(Stack::SpinRust, Topology::Shared)).await;
    let remains = lab.crash().await;
    if let Err(alive) = remains.gone(NOTICE).await {
        panic!("still alive after {NOTICE:?}: {alive:?}");
    }
    // The same name can be used again at once: what a crash leaves on disk is cleaned by the next start.
    let again = TestLab::start("crash", spec(Stack::SpinRust, Topology::Shared)).await;
    again.finish().await;
}
