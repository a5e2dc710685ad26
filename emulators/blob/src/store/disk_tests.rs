//! What the log does over time, with a log so small that it must be cleaned all the time.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::checksum::Hasher;
use crate::content::{Content, Part, Reader};
use crate::disk::LogLimits;

const LIMITS: LogLimits =
    LogLimits { segment_bytes: 16 << 10, garbage_bytes: 64 << 10, clean_retry: Duration::from_millis(1) };
const CONTENT_BYTES: usize = 1000;

fn open(directory: &Path) -> Stores {
    let stores = Stores::on_disk(["acc"].into_iter(), 1 << 30, directory, LIMITS).expect("it can be opened");
    assert!(stores.shared().disk().is_some());
    stores
}

fn close(stores: Stores) {
    stores.shared().disk().expect("there is one").close();
}

fn put(store: &Store, name: &str, byte: u8, now_us: u64) {
    let content = Content::new(vec![Part::Memory(vec![byte; CONTENT_BYTES].into())]);
    let room = store.shared.budget.reserve();
    let received = Received { content, checksums: Hasher::new().finish(), room };
    let new = NewBlob { received, about: Description::default() };
    store.put_blob("box", name, new, &Conditions::default(), now_us).expect("there is room");
}

fn content(blob: &Blob) -> Vec<u8> {
    let mut reader = Reader::new(&blob.content, 0..blob.size_bytes());
    let mut bytes = Vec::new();
    while let Some(part) = reader.next_part() {
        bytes.extend_from_slice(&part.expect("it can be read"));
    }
    bytes
}

fn log_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory.join("log")).expect("it is there");
    entries.map(|entry| entry.expect("readable").metadata().map_or(0, |found| found.len())).sum()
}

/// Waits until the log is no larger than it should ever stay.
fn until_clean(directory: &Path, live_bytes: u64) {
    let most = 3 * live_bytes + LIMITS.garbage_bytes + 4 * LIMITS.segment_bytes;
    let deadline = Instant::now() + Duration::from_secs(10);
    while log_bytes(directory) > most {
        assert!(
            Instant::now() < deadline,
            "{} bytes of log for {live_bytes} that count",
            log_bytes(directory)
        );
        std::thread::yield_now();
    }
}

#[test]
fn the_log_stays_small_and_nothing_is_lost_by_that() {
    let directory = tempfile::tempdir().expect("a folder");
    let stores = open(directory.path());
    let store = Arc::clone(stores.get("acc").expect("it is an account"));
    store.create_container("box", Metadata::default(), PublicAccess::Blob, 1).expect("it is new");
    put(&store, "kept", b'k', 1);
    let etag = store.container("box").expect("there").get("kept").expect("there").etag;
    std::thread::scope(|scope| {
        let disk = stores.shared().disk().expect("there is one");
        scope.spawn(|| stores.keep_clean(disk));
        for number in 0..3000_u32 {
            put(&store, &format!("name-{}", number % 20), (number % 251) as u8, u64::from(number));
            if number % 100 == 0 {
                put(&store, "deleted", b'd', u64::from(number));
                store.delete_blob("box", "deleted", &Conditions::default()).expect("it is there");
            }
        }
        until_clean(directory.path(), 22 * 2 * CONTENT_BYTES as u64);
        disk.close();
    });
    let used_bytes = stores.shared().budget.used_bytes();
    drop((store, stores));

    let stores = open(directory.path());
    let container = stores.get("acc").expect("it is an account").container("box").expect("it was moved too");
    assert_eq!(container.properties().public_access, PublicAccess::Blob);
    for last in 2980..3000_u32 {
        let blob = container.get(&format!("name-{}", last % 20)).expect("it is there");
        assert_eq!(content(&blob), vec![(last % 251) as u8; CONTENT_BYTES]);
    }
    let kept = container.get("kept").expect("it is there");
    assert_eq!((content(&kept), kept.etag), (vec![b'k'; CONTENT_BYTES], etag));
    assert!(container.get("deleted").is_none());
    assert_eq!(stores.shared().budget.used_bytes(), used_bytes, "counted as before");
    close(stores);
}

/// Blocks that wait used to be dropped when the record of their blob was moved.
#[test]
fn blocks_that_wait_outlive_a_move_of_their_blob() {
    let directory = tempfile::tempdir().expect("a folder");
    let stores = open(directory.path());
    let store = Arc::clone(stores.get("acc").expect("it is an account"));
    store.create_container("box", Metadata::default(), PublicAccess::None, 1).expect("it is new");
    put(&store, "a", b'a', 1);
    let disk = stores.shared().disk().expect("there is one");
    let mut file = disk.new_file().expect("there is room");
    file.write(b"waits").expect("there is room");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let file = runtime.block_on(file.finish()).expect("there is room");
    let content = Content::new(vec![Part::File(file)]);
    let room = store.shared.budget.reserve();
    let received = Received { content, checksums: Hasher::new().finish(), room };
    store.stage_block("box", "a", "YQ==", received).expect("there is room");
    std::thread::scope(|scope| {
        scope.spawn(|| stores.keep_clean(disk));
        (0..1000).for_each(|number| put(&store, "other", b'o', number));
        until_clean(directory.path(), 4 * CONTENT_BYTES as u64);
        disk.close();
    });
    drop((store, stores));
    let stores = open(directory.path());
    let container = stores.get("acc").expect("it is an account").container("box").expect("there");
    let lists = container.block_lists("a").expect("it is there");
    assert_eq!(lists.uncommitted, [("YQ==".into(), 5)]);
    close(stores);
}
