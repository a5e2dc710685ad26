//! Accounts, containers and blobs in memory. It knows names, content, conditions and bounds; no request, no
//! signature, no permission. Instants are passed in.
//!
//! Locks: a short one over an account's containers, one over a container's blobs. Neither is held while a body is
//! read or written. Every write makes a new record, so readers keep what they found.

mod blob;
mod conditions;
mod container;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

pub use blob::{Blob, BlobPage, ContentHeaders, ETag, ListEntry, Metadata, NewBlob, Written};
pub use conditions::{Conditions, TagMatch};
pub use container::{Container, ContainerProperties, ListRange, PublicAccess};

use crate::error::StorageError;
use crate::limits;

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
    /// The stamp of a change at this instant.
    pub fn at(&self, unix_us: u64) -> Stamp {
        let now = EPOCH_TICKS.saturating_add(unix_us.saturating_mul(10));
        let step = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self.last_ticks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        Stamp { unix_us, etag: ETag(last.map_or(now, |last| now.max(last.saturating_add(1)))) }
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

    fn exchange(&self, old_bytes: u64, new_bytes: u64) -> Result<(), StorageError> {
        let step = |used: u64| {
            let used = used.saturating_sub(old_bytes).saturating_add(new_bytes);
            (used <= self.limit_bytes || new_bytes <= old_bytes).then_some(used)
        };
        let done = self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        done.map(drop).map_err(|_| StorageError::MemoryLimit { limit_bytes: self.limit_bytes })
    }

    fn release(&self, bytes: u64) {
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

    /// Makes it the weight of a stored blob, in the place of the weight of what was there.
    fn turn_into(mut self, weight: u64, old_weight: u64) -> Result<(), StorageError> {
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

/// The containers of one account.
#[derive(Debug)]
pub struct Store {
    containers: RwLock<BTreeMap<Arc<str>, Arc<Container>>>,
    stamps: Arc<Stamps>,
    budget: Arc<Budget>,
}

impl Store {
    /// An empty store. Stamps and budget are shared by the stores of all accounts.
    #[must_use]
    pub fn new(stamps: Arc<Stamps>, budget: Arc<Budget>) -> Self {
        Self { containers: RwLock::default(), stamps, budget }
    }

    /// The container of this name.
    ///
    /// # Errors
    /// `ContainerNotFound`.
    pub fn container(&self, name: &str) -> Result<Arc<Container>, StorageError> {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        containers.get(name).cloned().ok_or(StorageError::ContainerNotFound)
    }

    /// Creates a container.
    ///
    /// # Errors
    /// `ContainerAlreadyExists` or `MemoryLimit`.
    pub fn create_container(
        &self,
        name: &str,
        metadata: Metadata,
        public_access: PublicAccess,
        now_us: u64,
    ) -> Result<ContainerProperties, StorageError> {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        if containers.contains_key(name) {
            return Err(StorageError::ContainerAlreadyExists);
        }
        self.budget.exchange(0, limits::OVERHEAD_BYTES)?;
        let stamp = self.stamps.at(now_us);
        let properties =
            ContainerProperties { metadata, public_access, etag: stamp.etag, modified_us: stamp.unix_us };
        let container = Arc::new(Container::new(name, properties.clone()));
        containers.insert(Arc::clone(&container.name), container);
        Ok(properties)
    }

    /// Removes a container with all its blobs.
    ///
    /// # Errors
    /// `ContainerNotFound`, or what `conditions` say.
    pub fn delete_container(&self, name: &str, conditions: &Conditions) -> Result<(), StorageError> {
        let mut containers = self.containers.write().unwrap_or_else(PoisonError::into_inner);
        let container = containers.get(name).ok_or(StorageError::ContainerNotFound)?;
        let properties = container.properties();
        conditions.check_write(Some((properties.etag, properties.modified_us)))?;
        self.budget.release(container.close() + limits::OVERHEAD_BYTES);
        let removed = containers.remove(name);
        // Freeing many records takes a while: not while others wait for the containers.
        drop(containers);
        drop(removed);
        Ok(())
    }

    /// A page of the containers, in the order of their names, and the name at which the next page begins.
    #[must_use]
    pub fn list_containers(
        &self,
        prefix: &str,
        from: Option<&str>,
        max_results: usize,
    ) -> (Vec<Arc<Container>>, Option<Arc<str>>) {
        let containers = self.containers.read().unwrap_or_else(PoisonError::into_inner);
        let first = from.unwrap_or("").max(prefix);
        let mut found = containers
            .range::<str, _>((Bound::Included(first), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix));
        let page = found.by_ref().take(max_results).map(|(_, container)| Arc::clone(container)).collect();
        (page, found.next().map(|(name, _)| Arc::clone(name)))
    }

    /// Replaces a container's metadata.
    ///
    /// # Errors
    /// `ContainerNotFound`, or what `conditions` say.
    pub fn set_container_metadata(
        &self,
        container: &str,
        metadata: Metadata,
        conditions: &Conditions,
        now_us: u64,
    ) -> Result<ContainerProperties, StorageError> {
        self.container(container)?.set_metadata(metadata, conditions, self.stamps.at(now_us))
    }

    /// Stores a blob in the place of what was there.
    ///
    /// # Errors
    /// `ContainerNotFound`, what `conditions` say, or `MemoryLimit`.
    pub fn put_blob(
        &self,
        container: &str,
        name: &str,
        new: NewBlob,
        conditions: &Conditions,
        now_us: u64,
    ) -> Result<Written, StorageError> {
        self.container(container)?.put(name, new, conditions, self.stamps.at(now_us))
    }

    /// Changes what is said about a blob, and returns it as it is now.
    ///
    /// # Errors
    /// `ContainerNotFound`, `BlobNotFound`, what `conditions` say, or `MemoryLimit`.
    pub fn update_blob(
        &self,
        container: &str,
        name: &str,
        conditions: &Conditions,
        now_us: u64,
        change: impl FnOnce(&mut Blob),
    ) -> Result<Arc<Blob>, StorageError> {
        self.container(container)?.update(name, conditions, self.stamps.at(now_us), &self.budget, change)
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// `ContainerNotFound`, `BlobNotFound`, or what `conditions` say.
    pub fn delete_blob(
        &self,
        container: &str,
        name: &str,
        conditions: &Conditions,
    ) -> Result<(), StorageError> {
        self.container(container)?.delete(name, conditions, &self.budget)
    }
}

#[cfg(test)]
mod tests;
