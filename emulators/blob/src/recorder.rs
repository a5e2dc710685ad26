//! Writes down when each blob was written, while somebody wants to know. It changes no answer and reads no content.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::MAX_RECORDER_ROWS;

/// One successful write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The container's name.
    pub container: Arc<str>,
    /// The blob's name.
    pub blob: Arc<str>,
    /// When it became visible, microseconds since the Unix epoch.
    pub written_us: u64,
    /// Bytes of its content.
    pub bytes: u64,
}

/// Off until it is started; costs one atomic load per write while it is off.
#[derive(Debug, Default)]
pub struct Recorder {
    on: AtomicBool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    kept: Vec<Row>,
    dropped: u64,
}

impl Recorder {
    /// Forgets what was recorded and records from now on.
    pub fn start(&self) {
        *self.rows() = Rows::default();
        self.on.store(true, Ordering::Release);
    }

    /// Stops recording and frees what was recorded.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Release);
        *self.rows() = Rows::default();
    }

    /// Records a write, if it is wanted and there is room.
    pub fn written(&self, container: &Arc<str>, blob: &Arc<str>, written_us: u64, bytes: u64) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let mut rows = self.rows();
        if rows.kept.len() >= MAX_RECORDER_ROWS {
            rows.dropped += 1;
            return;
        }
        rows.kept.push(Row { container: Arc::clone(container), blob: Arc::clone(blob), written_us, bytes });
    }

    /// The rows in the order of their instants, and how many did not fit.
    #[must_use]
    pub fn snapshot(&self) -> (Vec<Row>, u64) {
        let (mut kept, dropped) = {
            let rows = self.rows();
            (rows.kept.clone(), rows.dropped)
        };
        // Writes of different connections may be recorded in another order than they were stamped.
        kept.sort_by_key(|row| row.written_us);
        (kept, dropped)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_only_between_start_and_stop_and_sorts_by_instant() {
        let recorder = Recorder::default();
        let (container, blob): (Arc<str>, Arc<str>) = ("c".into(), "b".into());
        recorder.written(&container, &blob, 1, 10);
        recorder.start();
        recorder.written(&container, &blob, 3, 10);
        recorder.written(&container, &blob, 2, 11);
        let (rows, dropped) = recorder.snapshot();
        assert_eq!(
            rows.iter().map(|row| (row.written_us, row.bytes)).collect::<Vec<_>>(),
            [(2, 11), (3, 10)]
        );
        assert_eq!(dropped, 0);
        recorder.stop();
        recorder.written(&container, &blob, 4, 10);
        assert!(recorder.snapshot().0.is_empty());
    }
}
