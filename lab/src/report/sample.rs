//! A report to test with: small, whole, with every kind of figure.

use std::collections::BTreeMap;

use super::{Environment, Inputs, MatrixInputs, MatrixReport, Report};
use crate::backend::{ReplicaStatus, Scaled, StartedReplica};
use crate::flow::clock::ClockOffset;
use crate::flow::observe::DepthPoint;
use crate::flow::scaling::{ReplicaPoint, ScaleStep};
use crate::flow::stages::{BlobInstants, Ids, Stage, WrittenPoint};
use crate::flow::usage::{MachineUsage, PartUsage, UsagePoint};
use crate::flow::verify::Verification;
use crate::flow::{DeadLetter, Measured, Profile, Scheduling, Setup};
use crate::spec::{BackendKind, BlobStore, ClusterSpec, EngineProfile, LabSpec, Packaging, Pools, Topology};

pub fn spec() -> LabSpec {
    LabSpec { blob: BlobStore::Native, topology: Topology::Shared, dapr_replicas: 3, ..LabSpec::default() }
}

fn replica(name: &str, program: &str, real: bool) -> ReplicaStatus {
    ReplicaStatus {
        name: name.into(),
        program: program.into(),
        version: real.then(|| "1.18.3".to_owned()),
        real,
        state: "ready".into(),
        endpoint: None,
        restarts: 0,
        age_seconds: 3.0,
        log: String::new(),
        image_bytes: None,
    }
}

pub fn status() -> Vec<ReplicaStatus> {
    let mut status = vec![
        replica("servicebus", "servicebus-emulator", false),
        replica("blob", "blob-emulator", false),
        replica("lab-dapr", "dapr-emulator", false),
        replica("service-distributor", "lab", false),
    ];
    let apps = ["distributor-1", "distributor-2", "receiver-express-1", "receiver-standard-1"];
    status.extend(apps.map(|name| replica(name, "spin-host", false)));
    status.extend((1..=3).map(|number| replica(&format!("distributor-dapr-{number}"), "daprd", true)));
    status
}

fn stage(name: &str, meaning: &str, p50_us: u64) -> Stage {
    Stage {
        name: name.into(),
        meaning: meaning.into(),
        count: 1_000,
        mean_us: p50_us as f64 * 1.2,
        min_us: p50_us / 10,
        p50_us,
        p90_us: p50_us * 2,
        p99_us: p50_us * 3,
        max_us: p50_us * 4,
    }
}

fn depth(index: i64) -> DepthPoint {
    DepthPoint {
        since_t0_ms: index * 50,
        ingress: 1_000_u64.saturating_sub(index as u64 * 30),
        express: (index as u64 * 11) % 180,
        standard: (index as u64 * 7) % 120,
        stored: (index as u64 * 25).min(1_000),
    }
}

pub fn measured() -> Measured {
    let part = |name: &str, cpu_seconds: f64, mebibytes: u64| PartUsage {
        name: name.into(),
        cpu_seconds,
        rss_before_bytes: mebibytes << 20,
        rss_most_bytes: (mebibytes + 5) << 20,
    };
    Measured {
        setup: Setup {
            orders: 1_000,
            profile: Profile::Burst,
            seed: 42,
            data_sha256: "00ff".into(),
            data_bytes: 620_000,
            warm_up_orders: 200,
        },
        scheduling: Scheduling {
            attempts: 1,
            t0_us: 1_767_225_600_000_000,
            lead_ms: 500,
            sending_ms: 160,
            sends_per_second: 6_250.0,
        },
        clocks: vec![
            ClockOffset { of: "broker".into(), offset_us: 12, error_us: 60 },
            ClockOffset { of: "blob".into(), offset_us: -8, error_us: 55 },
        ],
        blob_instants: BlobInstants::BlobRecorder,
        interrupted: false,
        duration_seconds: Some(2.0),
        throughput_per_second: Some(500.0),
        stages: vec![
            stage("ingress queue", "due → delivered to the distributor", 900_000),
            stage("distributor", "delivered to the distributor → accepted by the second queue", 4_000),
            stage("second queue", "accepted by the second queue → delivered to the receiver", 700),
            stage("receiver", "delivered to the receiver → blob written", 2_500),
            stage("end to end", "due → blob written", 950_000),
        ],
        depth: (0..=40).map(depth).collect(),
        written: (0..20).map(|index| WrittenPoint { since_t0_ms: index * 100, blobs: 50 }).collect(),
        written_interval_ms: 100,
        replicas: vec![ReplicaPoint {
            since_t0_ms: -30,
            ready: BTreeMap::from([("distributor".into(), 1), ("distributor-dapr".into(), 3)]),
        }],
        scaling: Vec::new(),
        parts: vec![
            part("distributor-1", 0.8, 40),
            part("distributor-2", 0.7, 41),
            part("receiver-express-1", 0.5, 40),
            part("servicebus", 0.2, 12),
            part("blob", 0.05, 9),
        ],
        usage: vec![UsagePoint {
            since_t0_ms: 0,
            cpu_seconds: BTreeMap::from([("blob".into(), 0.0)]),
            rss_bytes: BTreeMap::from([("blob".into(), 9 << 20)]),
        }],
        machine: Some(MachineUsage { cores: 2, busy_seconds: 3.6, busy_share: 0.9 }),
        usage_seconds: 2.05,
        verification: Verification { expected: 1_000, correct: 1_000, ..Verification::default() },
        duplicated: Ids::default(),
        delivered_early: Ids::default(),
        arrived_late: Ids::default(),
        dead_lettered: 0,
        dead_letters: Vec::new(),
        foreign_rows: 0,
        recorder_dropped: 0,
    }
}

fn environment() -> Environment {
    Environment {
        lab_version: "0.1.0".into(),
        git_commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        cpu_model: Some("Example CPU <7>".into()),
        cores: 2,
        memory_bytes: Some(8 << 30),
        platform: "linux-x86_64".into(),
        kernel: Some("6.1.0".into()),
        load_before: Some([0.1, 0.2, 0.3]),
    }
}

fn of(measured: Measured) -> Report {
    let (spec, status) = (spec(), status());
    Report::new(Inputs { spec: &spec, status: &status, environment: environment(), measured })
}

pub fn report() -> Report {
    of(measured())
}

/// A run in which the distributor was scaled from 1 to 3 and back.
pub fn scaled() -> Report {
    let point = |since_t0_ms, distributors| ReplicaPoint {
        since_t0_ms,
        ready: BTreeMap::from([("distributor".into(), distributors), ("distributor-dapr".into(), 3)]),
    };
    let started =
        |name: &str, ready_after_ms| StartedReplica { name: name.into(), ready_after_ms, cold_start_ms: 7.5 };
    let step = |since_t0_ms: f64, orders_done, from, to, started| ScaleStep {
        since_t0_ms,
        orders_done,
        scaled: Scaled {
            resource: "distributor".into(),
            from,
            to,
            ordered_us: 1_767_225_600_000_000 + (since_t0_ms * 1e3) as u64,
            took_ms: 15.2,
            started,
            stopped: Vec::new(),
        },
    };
    let mut measured = measured();
    measured.replicas = vec![point(-30, 1), point(312, 2), point(315, 3), point(650, 1)];
    let two = vec![started("distributor-2", 12.0), started("distributor-3", 15.0)];
    measured.scaling = vec![step(300.0, 334, 1, 3, two), step(640.0, 667, 3, 1, Vec::new())];
    of(measured)
}

/// A run on a host with settings of our own.
pub fn tuned() -> Report {
    let (spec, status) = (LabSpec { engine_profile: EngineProfile::Tuned, ..spec() }, status());
    let measured = measured();
    Report::new(Inputs { spec: &spec, status: &status, environment: environment(), measured })
}

/// A run on a cluster, of two stacks, and so with two kinds of Dapr beside the lab's own.
pub fn on_a_cluster() -> Report {
    let backend = BackendKind::K3d;
    let spec = LabSpec {
        stacks: "distributor=spin-rust,receiver-express=warp-rust,receiver-standard=warp-rust"
            .parse()
            .unwrap(),
        topology: Topology::Sidecar,
        dapr_replicas: 1,
        packaging: Packaging::Static,
        backend,
        cluster: ClusterSpec { pools: Pools::Mixed, ..ClusterSpec::of(backend) },
        ..spec()
    };
    let of_image = |name: &str, program: &str, bytes| ReplicaStatus {
        version: None,
        image_bytes: Some(bytes),
        ..replica(name, program, true)
    };
    let mut status = vec![
        ReplicaStatus { real: false, ..of_image("servicebus", "servicebus-emulator", 2_410_000) },
        ReplicaStatus { real: false, ..of_image("blob", "blob-emulator", 1_900_000) },
        of_image("distributor-1", "spin (containerd-shim-spin)", 310_000),
        of_image("receiver-express-1", "warp-rust-static", 1_240_000),
        of_image("receiver-standard-1", "warp-rust-static", 1_240_000),
        replica("lab-dapr", "daprd", true),
    ];
    let roles = ["distributor", "receiver-express", "receiver-standard"];
    status.extend(roles.map(|role| replica(&format!("{role}-dapr-1"), "daprd", true)));
    let measured = measured();
    Report::new(Inputs { spec: &spec, status: &status, environment: environment(), measured })
}

/// Two combinations of which nothing has been run, three runs each.
pub fn empty_matrix() -> MatrixReport {
    MatrixReport::new(MatrixInputs {
        matrix: &"stack=spin-rust,warp-rust,topology=shared".parse().unwrap(),
        repeat: 3,
        orders: 1_000,
        profile: Profile::Burst,
        seed: 42,
        command: "cargo lab bench --matrix".into(),
        started_us: 1_767_225_600_000_000,
        environment: environment(),
    })
}

/// Two combinations, the second of which failed in two ways, and was then left alone.
pub fn matrix() -> MatrixReport {
    let mut matrix = empty_matrix();
    for throughput in [700.0, 500.0, 600.0] {
        let mut measured = measured();
        measured.throughput_per_second = Some(throughput);
        matrix.add(0, Ok(&of(measured)));
    }
    matrix.add(1, Err("blob ended".into()));
    matrix.add(1, Ok(&failed()));
    matrix
}

/// A matrix of these axes, of which each row's runs had these throughputs.
pub fn measured_matrix(axes: &str, rows: &[&[f64]]) -> MatrixReport {
    let mut matrix = MatrixReport::new(MatrixInputs {
        matrix: &axes.parse().unwrap(),
        repeat: rows[0].len() as u32,
        orders: 1_000,
        profile: Profile::Burst,
        seed: 42,
        command: format!("cargo lab bench --matrix {axes}"),
        started_us: 1_767_225_600_000_000,
        environment: environment(),
    });
    for (number, throughputs) in rows.iter().enumerate() {
        for throughput in *throughputs {
            let mut measured = measured();
            measured.throughput_per_second = Some(*throughput);
            matrix.add(number, Ok(&of(measured)));
        }
    }
    matrix
}

/// A steady run.
pub fn steady() -> Report {
    let mut measured = measured();
    measured.setup.profile = Profile::Steady { rate_per_second: 500 };
    of(measured)
}

/// A run that was stopped on its way.
pub fn interrupted() -> Report {
    let mut measured = measured();
    measured.interrupted = true;
    measured.throughput_per_second = None;
    measured.verification = Verification {
        correct: 400,
        lost: Ids { count: 600, examples: vec![401, 402] },
        ..measured.verification
    };
    of(measured)
}

/// A run in which things went wrong.
pub fn failed() -> Report {
    let ids = |examples: &[u64]| Ids { count: examples.len() as u64, examples: examples.to_vec() };
    let mut measured = measured();
    measured.throughput_per_second = None;
    measured.verification = Verification {
        expected: 1_000,
        correct: 996,
        lost: ids(&[5, 9]),
        altered: ids(&[7]),
        misplaced: ids(&[8]),
        unexpected_blobs: 1,
        unexpected_examples: vec!["express-outbox/<x>".into()],
    };
    measured.duplicated = ids(&[1, 2, 3]);
    measured.dead_lettered = 1;
    measured.dead_letters = vec![DeadLetter {
        queue: "q-order-express".into(),
        reason: "MaxDeliveryCountExceeded".into(),
        description: "delivered 10 times".into(),
        delivery_count: 10,
    }];
    of(measured)
}
