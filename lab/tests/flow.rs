//! The measured flow against a fake lab: what it finds, and what it refuses to call a result.

mod fake;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{FakeLab, Faults};
use lab::flow::blobs::Blobs;
use lab::flow::dapr::Dapr;
use lab::flow::dataset::{self, Stored};
use lab::flow::observe::Patience;
use lab::flow::stages::BlobInstants;
use lab::flow::{FlowError, Measured, Profile, Progress, RunOptions, run, verify};
use lab::spec::{BlobStore, OUTBOXES, QUEUES};

const ORDERS: u64 = 300;

fn ids(ids: impl IntoIterator<Item = u64>) -> HashSet<u64> {
    ids.into_iter().collect()
}

fn options() -> RunOptions {
    let mut options = RunOptions::new(ORDERS, 11);
    options.warm_up = 20;
    options
}

async fn measured(faults: Faults) -> (FakeLab, Measured) {
    let lab = FakeLab::start(BlobStore::Native, faults).await;
    let measured = run(&lab.endpoints, &options()).await.expect("a run");
    (lab, measured)
}

#[tokio::test]
async fn a_whole_run() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    lab.put_blob(OUTBOXES[0], "earlier", b"of another run");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut options = options();
    let sink = seen.clone();
    options.progress = Some(Arc::new(move |progress| sink.lock().unwrap().push(progress)));
    let measured = run(&lab.endpoints, &options).await.unwrap();

    assert!(measured.is_clean(), "{measured:?}");
    assert_eq!(measured.verification.correct, ORDERS);
    assert_eq!(measured.scheduling.attempts, 1);
    let seconds = measured.duration_seconds.unwrap();
    assert!((measured.throughput_per_second.unwrap() * seconds - ORDERS as f64).abs() < 1e-6);
    assert!(measured.stages.iter().all(|stage| stage.count == ORDERS), "{:?}", measured.stages);
    assert!((500..560).contains(&measured.stages[2].p50_us), "{:?}", measured.stages[2]);
    assert_eq!(measured.written.iter().map(|point| point.blobs).sum::<u64>(), ORDERS);
    assert_eq!(measured.depth.last().unwrap().stored, ORDERS);
    assert_eq!((measured.foreign_rows, measured.duplicated.count, measured.recorder_dropped), (0, 0, 0));
    assert_eq!(lab.store_calls_while_measured(), [""; 0], "nothing asks the store while a run is measured");
    let seen = seen.lock().unwrap();
    assert!(matches!(seen[0], Progress::DataSet { stored: Stored::Written, orders: ORDERS }));
    assert!(seen.iter().any(|progress| matches!(progress, Progress::Cleared { blobs: 21 })));
    let verified = Progress::Verifying { compared: ORDERS, orders: ORDERS };
    assert!(seen.contains(&verified));
}

#[tokio::test]
async fn without_a_recorder_of_blobs_the_settlement_counts() {
    let lab = FakeLab::start(BlobStore::Azurite, Faults::default()).await;
    let measured = run(&lab.endpoints, &options()).await.unwrap();
    assert!(measured.is_clean());
    assert_eq!(measured.blob_instants, BlobInstants::Settlement);
    assert_eq!(measured.clocks.len(), 1);
    assert!((800..860).contains(&measured.stages[3].p50_us), "{:?}", measured.stages[3]);
}

#[tokio::test]
async fn what_is_lost_altered_or_misplaced_is_found() {
    let faults = Faults { lost: ids([3, 5]), altered: ids([7]), misplaced: ids([9]), ..Faults::default() };
    let (_lab, measured) = measured(faults).await;
    let found = &measured.verification;
    assert_eq!(found.lost.examples, [3, 5, 9]);
    assert_eq!(found.altered.examples, [7]);
    assert_eq!(found.misplaced.examples, [9]);
    assert_eq!(found.correct, ORDERS - 4);
    assert!(!measured.is_clean());
    assert_eq!(measured.throughput_per_second, None, "no throughput without every order");
    assert!(measured.duration_seconds.is_some());
}

#[tokio::test]
async fn duplicates_are_counted_and_allowed() {
    let faults = Faults { written_twice: ids([2]), delivered_twice: ids([4]), ..Faults::default() };
    let (_lab, measured) = measured(faults).await;
    assert_eq!(measured.duplicated.examples, [2, 4]);
    assert!(measured.is_clean() && measured.throughput_per_second.is_some());
}

#[tokio::test]
async fn a_dead_letter_is_told_with_its_reason() {
    let (_lab, measured) = measured(Faults { dead_lettered: ids([6]), ..Faults::default() }).await;
    // The warm-up's sixth order is one too, before the run's count begins.
    assert_eq!(measured.dead_lettered, 1);
    assert_eq!(measured.verification.lost.examples, [6]);
    assert_eq!(measured.dead_letters[0].reason, "MaxDeliveryCountExceeded");
    assert_eq!(measured.dead_letters[0].delivery_count, 10);
}

#[tokio::test]
async fn a_delivery_before_t0_spoils_the_run() {
    let (_lab, measured) = measured(Faults { early: ids([8]), ..Faults::default() }).await;
    assert_eq!(measured.delivered_early.examples, [8]);
    assert_eq!(measured.throughput_per_second, None);
}

#[tokio::test]
async fn steady_orders_come_at_their_rate_and_count_from_their_own_instants() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    let mut options = options();
    options.profile = Profile::Steady { rate_per_second: 600 };
    let measured = run(&lab.endpoints, &options).await.unwrap();
    assert!(measured.is_clean(), "{measured:?}");
    // 300 orders, the last one 498 ms after the first; the fake passes each on at once.
    let seconds = measured.duration_seconds.unwrap();
    assert!(seconds >= 0.498, "{seconds}");
    let way = measured.stages.last().unwrap();
    assert!(way.p50_us < 200_000, "from T0 it would be 250 ms and more: {way:?}");
    assert_eq!(measured.setup.profile, options.profile);
}

#[tokio::test]
async fn a_steady_order_that_comes_early_spoils_the_run() {
    let lab = FakeLab::start(BlobStore::Native, Faults { early: ids([250]), ..Faults::default() }).await;
    let mut options = options();
    options.profile = Profile::Steady { rate_per_second: 600 };
    let measured = run(&lab.endpoints, &options).await.unwrap();
    assert_eq!(measured.delivered_early.examples, [250], "after T0, and before its own instant");
    assert_eq!(measured.throughput_per_second, None);
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_what_it_measured_and_says_so() {
    let lab = FakeLab::start(BlobStore::Native, Faults { stuck: ids([100]), ..Faults::default() }).await;
    let stored = Arc::new(Mutex::new(0));
    let mut options = options();
    let (seen, sink) = (stored.clone(), stored);
    options.progress = Some(Arc::new(move |progress| {
        if let Progress::Flowing { stored, .. } = progress {
            *sink.lock().unwrap() = stored;
        }
    }));
    // One order never comes: without the stop the run would end as an error.
    options.stop = Some(Arc::new(move || *seen.lock().unwrap() == ORDERS - 1));
    let measured = run(&lab.endpoints, &options).await.unwrap();
    assert!(measured.interrupted && !measured.is_clean());
    assert_eq!((measured.verification.correct, measured.verification.lost.count), (ORDERS - 1, 1));
    assert_eq!(measured.throughput_per_second, None);
    assert_eq!(measured.stages.last().unwrap().count, ORDERS - 1);
}

#[tokio::test]
async fn orders_that_stay_away_end_in_counts_of_where_they_are() {
    let faults = Faults { stuck: ids([100]), ..Faults::default() };
    let lab = FakeLab::start(BlobStore::Native, faults).await;
    let mut options = options();
    options.patience =
        Some(Patience { deadline: Duration::from_secs(30), stall: Duration::from_millis(300) });
    let error = run(&lab.endpoints, &options).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, FlowError::Deadline { .. }), "{text}");
    assert!(text.contains("no count moved any more") && text.contains("1 missing"), "{text}");
    assert!(text.contains("299 stored"), "{text}");
    assert!(
        text.contains("q-order-express: 1 active") || text.contains("q-order-standard: 1 active"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missed_t0_is_tried_once_more_and_then_invalid() {
    // The warm-up is quick, so the lead is the shortest; 300 sends through 48 connections then take 7 × 120 ms.
    let faults = Faults { slow_sends: Some(Duration::from_millis(120)), ..Faults::default() };
    let lab = FakeLab::start(BlobStore::Native, faults).await;
    let again = Arc::new(Mutex::new(Vec::new()));
    let mut options = options();
    let sink = again.clone();
    options.progress = Some(Arc::new(move |progress| {
        if let Progress::Again { lead } = progress {
            sink.lock().unwrap().push(lead);
        }
    }));
    let measured = run(&lab.endpoints, &options).await.unwrap();
    assert_eq!(measured.scheduling.attempts, 2);
    assert!(measured.is_clean(), "{:?}", measured.verification);
    assert_eq!(measured.foreign_rows, 0, "what the first attempt recorded is forgotten");
    assert_eq!(again.lock().unwrap().len(), 1);
    assert!(again.lock().unwrap()[0] > Duration::from_secs(1));
    assert_eq!(lab.recorder_starts(), 2);
}

#[tokio::test]
async fn a_refusing_dapr_is_an_error_that_says_so() {
    let lab = FakeLab::start(BlobStore::Native, Faults { refuse_sends: true, ..Faults::default() }).await;
    let error = run(&lab.endpoints, &options()).await.unwrap_err().to_string();
    assert!(error.contains("schedule an order") && error.contains("500 no broker"), "{error}");
}

#[tokio::test]
async fn somebody_elses_messages_stop_the_run_before_it_begins() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    lab.set_active(QUEUES[2], 5);
    let error = run(&lab.endpoints, &options()).await.unwrap_err();
    assert!(
        matches!(&error, FlowError::NotIdle { status } if status.contains("q-order-standard: 5")),
        "{error}"
    );
    assert_eq!(lab.sends(), 0);
}

#[tokio::test]
async fn the_data_set_is_stored_once_and_read_back_whole() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    let dapr = Dapr::new(&lab.endpoints.lab_dapr).unwrap();
    let (manifest, stored) = dataset::ensure(&dapr, 4_000, 5, false).await.unwrap();
    assert_eq!(stored, Stored::Written);
    assert!(manifest.chunks.len() > 1);
    assert_eq!(dataset::ensure(&dapr, 4_000, 5, false).await.unwrap(), (manifest.clone(), Stored::Found));
    assert_eq!(dataset::ensure(&dapr, 4_000, 5, true).await.unwrap().1, Stored::Written);
    assert_eq!(dataset::ensure(&dapr, 4_000, 6, false).await.unwrap().1, Stored::Written);
    let set = dataset::load(&dapr, 4_000, 5).await.unwrap();
    assert_eq!(set.manifest(), &manifest);
    let generated = dataset::DataSet::generate(4_000, 5).unwrap();
    assert!((0..4_000).all(|index| set.body(index) == generated.body(index)));
}

#[tokio::test]
async fn a_damaged_data_set_is_refused_with_the_remedy() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    let dapr = Dapr::new(&lab.endpoints.lab_dapr).unwrap();
    let missing = dataset::load(&dapr, 100, 5).await.unwrap_err();
    assert!(missing.to_string().contains("not in the store"), "{missing}");
    assert_eq!(missing.hint(), Some("cargo lab orders generate --force"));
    dataset::ensure(&dapr, 100, 5, false).await.unwrap();
    let chunk = lab.blob_names("testdata").into_iter().find(|name| name.contains("chunk")).unwrap();
    lab.put_blob("testdata", &chunk, b"[]");
    let shorter = dataset::load(&dapr, 100, 5).await.unwrap_err().to_string();
    assert!(shorter.contains("not what its manifest says"), "{shorter}");
    lab.put_blob("testdata", &chunk, br#"[{"orderId":"x"}]"#);
    let unreadable = dataset::load(&dapr, 100, 5).await.unwrap_err().to_string();
    assert!(unreadable.contains("unreadable") && unreadable.contains(&chunk), "{unreadable}");
    lab.remove_blob("testdata", &chunk);
    let without = dataset::load(&dapr, 100, 5).await.unwrap_err().to_string();
    assert!(without.contains("without its blob"), "{without}");
}

#[tokio::test]
async fn unexpected_blobs_are_named() {
    let lab = FakeLab::start(BlobStore::Native, Faults::default()).await;
    let set = Arc::new(dataset::DataSet::generate(1, 1).unwrap());
    let container = OUTBOXES[set.outbox(0).unwrap()];
    lab.put_blob(container, "1", set.body(0).unwrap().as_bytes());
    lab.put_blob(container, "2", b"{}");
    lab.put_blob(OUTBOXES[1], "not-a-number", b"{}");
    let found = verify::verify(&Blobs::new(&lab.endpoints.blob).unwrap(), &set).await.unwrap();
    assert_eq!((found.correct, found.unexpected_blobs), (1, 2));
    assert!(found.unexpected_examples.contains(&"standard-outbox/not-a-number".to_owned()));
    assert!(!found.is_clean());
}
