//! Replicas that come, go and die while orders are under way: no order is lost, and what is planned happens.

use std::sync::Arc;

use lab::backend::{AfterKill, Part, Scalable, Target};
use lab::flow::dataset::DataSet;
use lab::flow::scaling::{ReplicaProbe, ScaleOrder, ScalePlan};
use lab::flow::{self, RunOptions};
use lab::spec::{BlobStore, LabSpec, Role, Stack, Topology};

use crate::support::{DEADLINE, TestLab, spec, with_replicas};

/// Orders under way when replicas die; enough that each death meets some.
const ORDERS: u64 = 4_000;

/// Deliveries of one message: it may meet every death on its way, and while the last replica of an application is away its
/// Dapr uses up one after the other.
const PATIENT: u32 = 2_000;

fn shared(stack: Stack) -> LabSpec {
    LabSpec { blob: BlobStore::Native, max_delivery_count: PATIENT, ..spec(stack, Topology::Shared) }
}

fn named(name: &str) -> Scalable {
    name.parse().unwrap()
}

#[tokio::test]
async fn a_burst_survives_the_death_of_each_kind_of_replica_one_after_the_other() {
    let mut lab = TestLab::start("deaths", with_replicas(shared(Stack::WarpRust))).await;
    lab.expect_broken_connections();
    let before = lab.queues().await;
    let orders = DataSet::generate(ORDERS, 19).unwrap();
    let kinds: Vec<Part> = Scalable::all().map(Scalable::part).collect();
    let killing = async {
        for (part, share) in kinds.iter().zip(1..) {
            lab.await_stored(&before, ORDERS, ORDERS * share / 8).await;
            lab.kill(*part, 1).await;
        }
    };
    tokio::join!(lab.send(&orders), killing);
    let tally = lab.await_done(&before, ORDERS).await;
    assert_eq!(tally.dead_lettered, 0, "{tally:?}");
    lab.assert_stored(orders).await;
    lab.finish().await;
}

/// Kills a replica as soon as there is one of that number.
async fn kill_when_there(lab: &TestLab, part: Part, replica: u32) {
    tests::until("a replica to kill", DEADLINE, || async {
        lab.lab().kill(part, replica, AfterKill::Policy).await
    })
    .await;
}

#[tokio::test]
async fn a_burst_survives_deaths_while_replicas_come_and_go() {
    let mut lab = TestLab::start("scaling-deaths", shared(Stack::SpinRust)).await;
    lab.expect_broken_connections();
    let before = lab.queues().await;
    let orders = DataSet::generate(ORDERS, 23).unwrap();
    let (app, dapr) = (named("distributor"), named("distributor-dapr"));
    let scaling = async {
        lab.await_stored(&before, ORDERS, ORDERS / 8).await;
        let (up, ()) = tokio::join!(lab.lab().scale(app, 4), kill_when_there(&lab, app.part(), 3));
        assert_eq!(up.unwrap().to, 4);
        lab.await_stored(&before, ORDERS, ORDERS / 4).await;
        let (up, ()) = tokio::join!(lab.lab().scale(dapr, 3), kill_when_there(&lab, dapr.part(), 1));
        assert_eq!(up.unwrap().to, 3);
        lab.await_stored(&before, ORDERS, ORDERS / 2).await;
        let (down, ()) = tokio::join!(lab.lab().scale(app, 1), lab.kill(app.part(), 1));
        assert_eq!(down.unwrap().stopped.len(), 3);
        let (down, ()) = tokio::join!(lab.lab().scale(dapr, 1), lab.kill(dapr.part(), 1));
        assert_eq!(down.unwrap().stopped.len(), 2);
    };
    tokio::join!(lab.send(&orders), scaling);
    let tally = lab.await_done(&before, ORDERS).await;
    assert_eq!(tally.dead_lettered, 0, "{tally:?}");
    lab.assert_stored(orders).await;
    lab.finish().await;
}

/// Orders of a measured run with scaling.
const MEASURED: u64 = 2_000;

#[tokio::test]
async fn a_run_that_scales_the_application_alone_tells_when_each_replica_was_ready() {
    let mut lab = TestLab::start("scaling-run", shared(Stack::WarpRust)).await;
    // Requests on connections that a replica closes as it goes.
    lab.expect_broken_connections();
    let scalable = Scalable { role: Role::Distributor, target: Target::App };
    let handle = lab.lab().clone();
    let order: ScaleOrder = Arc::new(move |count| {
        let lab = handle.clone();
        Box::pin(async move { lab.scale(scalable, count).await.map_err(|error| error.to_string()) })
    });
    let handle = lab.lab().clone();
    let replicas: ReplicaProbe = Arc::new(move || {
        let lab = handle.clone();
        Box::pin(async move { lab.replica_events().await.map_err(|error| error.to_string()) })
    });
    let plan = ScalePlan { first: 1, then: vec![4, 1], order };
    let options =
        RunOptions { replicas: Some(replicas), scaling: Some(plan), ..RunOptions::new(MEASURED, 29) };
    let measured = flow::run(lab.lab().endpoints(), &options).await.expect("the run is valid");
    assert!(measured.is_clean(), "{:#?}", measured.verification);

    let [up, down] = measured.scaling.as_slice() else { panic!("two steps: {:#?}", measured.scaling) };
    assert!(up.orders_done >= MEASURED / 3 && down.orders_done >= MEASURED * 2 / 3);
    assert_eq!((up.scaled.from, up.scaled.to, down.scaled.to), (1, 4, 1));
    let after: Vec<_> = up.scaled.started.iter().map(|replica| replica.ready_after_ms).collect();
    assert!(after.len() == 3 && after.is_sorted(), "{after:?}");
    // In the series: three more by the time of the n-th, then one again; nothing else changed.
    let counts: Vec<u32> = measured.replicas.iter().map(|point| point.ready["distributor"]).collect();
    assert_eq!((counts.first(), counts.iter().max(), counts.last()), (Some(&1), Some(&4), Some(&1)));
    assert!(measured.replicas.iter().all(|point| point.ready["distributor-dapr"] == 1));
    let first_ms = measured.replicas[0].since_t0_ms;
    assert!(first_ms <= 0, "the series begins before T0: {first_ms}");
    // What a replica used stays counted when it is gone. (How much it was is in hundredths of a second: it may be none.)
    lab.cpu_seconds("distributor-4").await;
    lab.finish().await;
}
