//! What the disk does when it is refused something, which nobody sees from outside.

use super::*;

const LIMITS: LogLimits =
    LogLimits { segment_bytes: 64, garbage_bytes: 0, clean_retry: std::time::Duration::from_millis(1) };

fn deleted(blob: &str) -> Record<'static> {
    Record::BlobDeleted { account: "acc".into(), container: "box".into(), blob: blob.to_owned().into() }
}

fn open(directory: &Path) -> (Arc<Disk>, Vec<Record<'static>>) {
    let mut found = Vec::new();
    let disk = Disk::open(directory, LIMITS, |_, record, _, _| {
        found.push(record);
        Ok(())
    });
    (disk.expect("it can be opened"), found)
}

/// A sync after one that failed says that all is well: the oldest segment was removed on its word, though what was
/// moved out of it was lost.
#[test]
fn after_a_failed_sync_nothing_is_removed() {
    let directory = tempfile::tempdir().expect("a folder");
    let (disk, _) = open(directory.path());
    for number in 0..4 {
        disk.append(&deleted(&number.to_string()), &[]).expect("there is room");
    }
    let oldest = disk.next_to_clean().expect("nothing in it counts");
    disk.log.fail(io::Error::other("lost"));
    disk.remove_oldest(&oldest);
    assert!(oldest.path().exists());
    assert!(disk.next_to_clean().is_none());
    // Nor is content, whose record may be the one that was lost.
    disk.log.keep_synced(|| vec![1], |_| panic!("nothing may be removed"));
}

/// A segment that began on a full disk used to be in the way for ever.
#[test]
fn a_segment_that_could_not_begin_can_begin_later() {
    let directory = tempfile::tempdir().expect("a folder");
    let (disk, _) = open(directory.path());
    disk.append(&deleted("a"), &[]).expect("there is room");
    std::fs::write(directory.path().join("log/0000000002.log"), b"BLO").expect("it can be written");
    disk.append(&deleted("b"), &[]).expect("there is room again");
    drop(disk);
    assert_eq!(open(directory.path()).1, [deleted("a"), deleted("b")]);
}

/// It used to stay until something else was written.
#[test]
fn content_that_does_not_arrive_is_gone_at_once() {
    let directory = tempfile::tempdir().expect("a folder");
    let (disk, _) = open(directory.path());
    let mut file = disk.new_file().expect("there is room");
    file.write(b"half").expect("there is room");
    let content = directory.path().join("content/0000000001");
    assert!(content.exists());
    drop(file);
    assert!(!content.exists());
}

/// As above, for content that a reader held while its blob was deleted.
#[test]
fn content_that_nobody_needs_goes_without_a_further_record() {
    let directory = tempfile::tempdir().expect("a folder");
    let (disk, _) = open(directory.path());
    let mut file = disk.new_file().expect("there is room");
    file.write(b"whole").expect("there is room");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let file = runtime.block_on(file.finish()).expect("there is room");
    let content = directory.path().join("content/0000000001");
    std::thread::scope(|scope| {
        scope.spawn(|| disk.keep_synced());
        drop(file);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while content.exists() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        disk.close();
    });
    assert!(!content.exists());
}

/// It used to be cut off as if it were torn, with everything behind it, though it was answered.
#[test]
fn a_record_that_is_whole_but_not_understood_is_refused() {
    let directory = tempfile::tempdir().expect("a folder");
    let (disk, _) = open(directory.path());
    disk.append(&deleted("a"), &[]).expect("there is room");
    drop(disk);
    let (log, json) = (directory.path().join("log/0000000001.log"), br#"{"Later":{}}"#);
    let sizes = [u32::try_from(json.len()).expect("small").to_le_bytes(), [0; 4]].concat();
    let crc64 = crate::checksum::crc64_of(&[&sizes, json]).to_le_bytes();
    let bytes = [&std::fs::read(&log).expect("it is there")[..], &sizes, &crc64, json].concat();
    std::fs::write(&log, &bytes).expect("it can be written");
    let opened = Disk::open(directory.path(), LIMITS, |_, _, _, _| Ok(()));
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    assert_eq!(std::fs::read(&log).expect("it is there"), bytes, "nothing was cut off");
}
