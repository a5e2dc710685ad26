//! What the stores of all accounts share: instants and tags, the memory budget, the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::blob::ETag;
use crate::disk::Disk;
use crate::error::StorageError;

/// Everything that stores share.
#[derive(Debug)]
pub struct Shared {
    pub(super) stamps: Stamps,
    /// The memory that all blobs together may take.
    pub budget: Arc<Budget>,
    disk: OnceLock<Arc<Disk>>,
}

impl Shared {
    /// For so much memory, without a disk.
    #[must_use]
    pub fn new(memory_limit_bytes: u64) -> Arc<Self> {
        let (stamps, budget) = (Stamps::default(), Arc::new(Budget::new(memory_limit_bytes)));
        Arc::new(Self { stamps, budget, disk: OnceLock::new() })
    }

    /// Where blobs outlive the program; without it they do not.
    #[must_use]
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.get()
    }

    /// From here on every change is written there. Only the first disk counts.
    pub(super) fn join(&self, disk: Arc<Disk>) {
        self.disk.get_or_init(|| disk);
    }
}

/// .NET ticks (100 ns since year 1) of the Unix epoch.
const EPOCH_TICKS: u64 = 621_355_968_000_000_000;

/// The instant of a change and the entity tag that it gets.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// Microseconds since the Unix epoch.
    pub unix_us: u64,
    /// Unique in this store.
    pub etag: ETag,
}

/// Gives each change a tag of its own, also when the clock stands still or goes back.
#[derive(Debug, Default)]
pub struct Stamps {
    last_ticks: AtomicU64,
}

impl Stamps {
    /// Later tags are greater than this one, which was given in an earlier life.
    pub fn seen(&self, etag: ETag) {
        self.last_ticks.fetch_max(etag.0, Ordering::Relaxed);
    }

    /// The stamp of a change at this instant.
    pub fn at(&self, unix_us: u64) -> Stamp {
        let now = EPOCH_TICKS.saturating_add(unix_us.saturating_mul(10));
        let step = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.last_ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        Stamp { unix_us, etag: ETag::from_ticks(last.map_or(now, |last| now.max(last.saturating_add(1)))) }
    }
}

/// The memory that all blobs together may take, those that are still arriving included.
#[derive(Debug)]
pub struct Budget {
    used_bytes: AtomicU64,
    limit_bytes: u64,
}

impl Budget {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self { used_bytes: AtomicU64::new(0), limit_bytes }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Says whether so many further bytes would fit now, before they are read from the network.
    ///
    /// # Errors
    /// `MemoryLimit`.
    pub fn expect_room(&self, bytes: u64) -> Result<(), StorageError> {
        if self.used_bytes().saturating_add(bytes) > self.limit_bytes {
            return Err(StorageError::MemoryLimit { limit_bytes: self.limit_bytes });
        }
        Ok(())
    }

    /// Room for a blob that arrives: none yet.
    #[must_use]
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { budget: Arc::clone(self), bytes: 0 }
    }

    /// Counts what a data directory brought, limit or not: it is there.
    pub(super) fn take(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn exchange(&self, old_bytes: u64, new_bytes: u64) -> Result<(), StorageError> {
        let step = |used: u64| {
            let used = used.saturating_sub(old_bytes).saturating_add(new_bytes);
            (used <= self.limit_bytes || new_bytes <= old_bytes).then_some(used)
        };
        let done = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        done.map(drop).map_err(|_| StorageError::MemoryLimit { limit_bytes: self.limit_bytes })
    }

    /// Takes an exchange back, of which the rest could not be done.
    pub(super) fn revert(&self, new_bytes: u64, old_bytes: u64) {
        self.release(new_bytes);
        self.take(old_bytes);
    }

    pub(super) fn release(&self, bytes: u64) {
        let step = |used: u64| Some(used.saturating_sub(bytes));
        // The closure never refuses, so there is nothing to handle.
        let _ = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// Room for a blob on its way into the store. Dropping it gives the room back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Takes so many further bytes.
    ///
    /// # Errors
    /// `MemoryLimit`.
    pub fn grow(&mut self, bytes: u64) -> Result<(), StorageError> {
        self.budget.exchange(0, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives so many of the bytes back: they are no longer in memory.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.budget.release(bytes);
        self.bytes -= bytes;
    }

    /// Makes it the weight of a stored blob, in the place of the weight of what was there.
    pub(super) fn turn_into(mut self, weight: u64, old_weight: u64) -> Result<(), StorageError> {
        self.budget.exchange(self.bytes + old_weight, weight)?;
        self.bytes = 0;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
