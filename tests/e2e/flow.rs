//! The main job, on every stack and topology: a thousand orders scheduled for one instant become a thousand blobs.

use lab::backend::Part;
use lab::flow::{self, RunOptions};
use lab::spec::{BlobStore, LabSpec, Packaging, Role, Stack, Stacks, Topology};

use crate::support::{self, TestLab, with_replicas};

const ORDERS: u64 = 1_000;

/// CPU that a replica must have used to count as having worked: more than one that idles for the length of a run uses,
/// less than its share of the orders takes.
const WORKED_CPU_SECONDS: f64 = 0.003;

async fn run(name: &str, spec: LabSpec) {
    let lab = TestLab::start(name, spec).await;
    measure(&lab).await;
    lab.finish().await;
}

/// A lab in which nothing is killed: locks as long as by default, so that a slow machine is no failure.
fn spec(stack: Stack, topology: Topology) -> LabSpec {
    LabSpec { lock_seconds: LabSpec::default().lock_seconds, ..support::spec(stack, topology) }
}

fn on(blob: BlobStore, stack: Stack, topology: Topology) -> LabSpec {
    LabSpec { blob, ..spec(stack, topology) }
}

async fn measure(lab: &TestLab) {
    let measured =
        flow::run(lab.lab().endpoints(), &RunOptions::new(ORDERS, 1)).await.expect("the run is valid");
    assert!(measured.is_clean(), "{:#?}", measured.verification);
    assert_eq!(measured.verification.correct, ORDERS);
    assert!(measured.throughput_per_second.is_some_and(|rate| rate > 0.0));
    assert_eq!(measured.delivered_early.count, 0, "an order was delivered before T0");
    assert_eq!(measured.recorder_dropped, 0);
}

/// Runs with replicas, and shows that each of them did a part of the work.
async fn run_shared(name: &str, spec: LabSpec) {
    let spec = with_replicas(spec);
    let mut replicas = Vec::new();
    for role in Role::ALL {
        replicas.extend((1..=spec.replicas).map(|replica| format!("{}-{replica}", Part::App(*role))));
        replicas.extend((1..=spec.dapr_replicas).map(|replica| format!("{}-{replica}", Part::Dapr(*role))));
    }
    let lab = TestLab::start(name, spec).await;
    let before = lab.cpu_seconds_of_all().await;
    measure(&lab).await;
    let after = lab.cpu_seconds_of_all().await;
    for replica in &replicas {
        let used = after[replica] - before[replica];
        assert!(used > WORKED_CPU_SECONDS, "{replica} did not work: {used} s of CPU");
    }
    lab.finish().await;
}

#[tokio::test]
async fn spin_rust_sidecar_on_azurite() {
    run("spin-sidecar", spec(Stack::SpinRust, Topology::Sidecar)).await;
}

#[tokio::test]
async fn spin_rust_shared_on_azurite() {
    run_shared("spin-shared", spec(Stack::SpinRust, Topology::Shared)).await;
}

#[tokio::test]
async fn warp_rust_sidecar_on_azurite() {
    run("warp-sidecar", spec(Stack::WarpRust, Topology::Sidecar)).await;
}

#[tokio::test]
async fn warp_rust_shared_on_azurite() {
    run_shared("warp-shared", spec(Stack::WarpRust, Topology::Shared)).await;
}

#[tokio::test]
async fn spin_ts_sidecar_on_azurite() {
    run("spin-ts-sidecar", on(BlobStore::Azurite, Stack::SpinTs, Topology::Sidecar)).await;
}

#[tokio::test]
async fn spin_ts_shared_on_the_native_store() {
    run_shared("spin-ts-shared", on(BlobStore::Native, Stack::SpinTs, Topology::Shared)).await;
}

#[tokio::test]
async fn express_ts_sidecar_on_azurite() {
    run("express-sidecar", on(BlobStore::Azurite, Stack::ExpressTs, Topology::Sidecar)).await;
}

#[tokio::test]
async fn express_ts_shared_on_the_native_store() {
    run_shared("express-shared", on(BlobStore::Native, Stack::ExpressTs, Topology::Shared)).await;
}

#[tokio::test]
async fn warp_rust_as_one_static_file() {
    let packaged = LabSpec { packaging: Packaging::Static, ..spec(Stack::WarpRust, Topology::Sidecar) };
    run("warp-static", LabSpec { blob: BlobStore::Native, ..packaged }).await;
}

#[tokio::test]
async fn spin_rust_shared_on_the_native_store() {
    run_shared("spin-native", on(BlobStore::Native, Stack::SpinRust, Topology::Shared)).await;
}

#[tokio::test]
async fn warp_rust_sidecar_on_the_native_store() {
    run("warp-native", on(BlobStore::Native, Stack::WarpRust, Topology::Sidecar)).await;
}

#[tokio::test]
async fn a_spin_distributor_beside_native_receivers() {
    let stacks = Stacks {
        distributor: Stack::SpinRust,
        receiver_express: Stack::WarpRust,
        receiver_standard: Stack::SpinRust,
    };
    run("mixed", LabSpec { stacks, ..spec(Stack::SpinRust, Topology::Sidecar) }).await;
}

#[tokio::test]
async fn a_distributor_in_rust_beside_receivers_in_typescript() {
    let stacks = Stacks {
        distributor: Stack::WarpRust,
        receiver_express: Stack::SpinTs,
        receiver_standard: Stack::ExpressTs,
    };
    let mixed = on(BlobStore::Native, Stack::WarpRust, Topology::Shared);
    run("mixed-ts", LabSpec { stacks, ..mixed }).await;
}
