//! Accounts, containers and blobs. It knows names, content, conditions and bounds; no request, no signature, no
//! permission. Instants are passed in.
//!
//! Locks: a short one over an account's containers, one over a container's blobs. Neither is held while a body is
//! read or written, nor while the disk is synced. Every write makes a new record, so readers keep what they found.

mod blob;
mod clean;
mod conditions;
mod container;
mod journal;
mod replay;
mod shared;
mod staged;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

pub use blob::{
    Blob, BlobPage, BlockLists, BlockSource, ContentHeaders, CopyState, Description, ETag, ListEntry,
    ListedBlock, Metadata, NewBlob, Written,
};
pub use conditions::{Conditions, TagMatch};
pub use container::{Container, ContainerProperties, ListRange, PublicAccess};
pub use replay::Stores;
pub use shared::{Reservation, Shared};

use crate::content::Received;
use crate::error::StorageError;
use crate::limits;

/// The containers of one account.
#[derive(Debug)]
pub struct Store {
    account: Arc<str>,
    containers: RwLock<BTreeMap<Arc<str>, Arc<Container>>>,
    shared: Arc<Shared>,
}

impl Store {
    /// An empty store. What is shared is shared by the stores of all accounts.
    #[must_use]
    pub fn new(account: &str, shared: &Arc<Shared>) -> Self {
        Self { account: account.into(), containers: RwLock::default(), shared: Arc::clone(shared) }
    }

    /// What it shares with the stores of other accounts.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until what was written is where it outlives the program; without a disk there is no such place.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub async fn durable(&self) -> Result<(), StorageError> {
        match self.shared.disk() {
            Some(disk) => disk.durable().await,
            None => Ok(()),
        }
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
    /// `ContainerAlreadyExists`, `MemoryLimit` or `DiskRefuses`.
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
        let stamp = self.shared.stamps.at(now_us);
        let properties =
            ContainerProperties { metadata, public_access, etag: stamp.etag, modified_us: stamp.unix_us };
        let budget = &self.shared.budget;
        budget.exchange(0, limits::OVERHEAD_BYTES)?;
        let place = self.shared.log_container(&self.account, name, &properties);
        let place = place.inspect_err(|_| budget.release(limits::OVERHEAD_BYTES))?;
        let container = Container::new(&self.account, name, &self.shared, properties.clone(), place);
        let container = Arc::new(container);
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
        self.shared.budget.release(container.close()? + limits::OVERHEAD_BYTES);
        let removed = containers.remove(name);
        // Freeing many records takes a while: not while others wait for the containers.
        drop(containers);
        drop(removed);
        if let Some(disk) = self.shared.disk() {
            disk.freed();
        }
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
        self.container(container)?.set_metadata(metadata, conditions, self.shared.stamps.at(now_us))
    }

    /// Stores a blob in the place of what was there.
    ///
    /// # Errors
    /// `ContainerNotFound`, what `conditions` say, `MemoryLimit` or `DiskRefuses`.
    pub fn put_blob(
        &self,
        container: &str,
        name: &str,
        new: NewBlob,
        conditions: &Conditions,
        now_us: u64,
    ) -> Result<Written, StorageError> {
        self.container(container)?.put(name, new, conditions, self.shared.stamps.at(now_us))
    }

    /// Stores a copy of a blob, which shares its content.
    ///
    /// # Errors
    /// `ContainerNotFound`, what `conditions` say, `MemoryLimit` or `DiskRefuses`.
    pub fn copy_blob(
        &self,
        (container, name): (&str, &str),
        source: &Blob,
        metadata: Metadata,
        copy: CopyState,
        conditions: &Conditions,
    ) -> Result<Written, StorageError> {
        let stamp = self.shared.stamps.at(copy.completed_us);
        self.container(container)?.put_copy(name, source, metadata, copy, conditions, stamp)
    }

    /// Keeps a block until a block list names it.
    ///
    /// # Errors
    /// `ContainerNotFound`, `InvalidBlobOrBlock`, `BlockCountExceedsLimit`, `MemoryLimit` or `DiskRefuses`.
    pub fn stage_block(
        &self,
        container: &str,
        name: &str,
        id: &str,
        received: Received,
    ) -> Result<(), StorageError> {
        self.container(container)?.stage(name, id, received)
    }

    /// Makes a blob of blocks.
    ///
    /// # Errors
    /// `ContainerNotFound`, `InvalidBlockList`, what `conditions` say, `MemoryLimit` or `DiskRefuses`.
    pub fn commit_blocks(
        &self,
        (container, name): (&str, &str),
        list: &[ListedBlock],
        about: Description,
        conditions: &Conditions,
        now_us: u64,
    ) -> Result<Written, StorageError> {
        self.container(container)?.commit(name, list, about, conditions, self.shared.stamps.at(now_us))
    }

    /// Changes what is said about a blob, and returns it as it is now.
    ///
    /// # Errors
    /// `ContainerNotFound`, `BlobNotFound`, what `conditions` say, `MemoryLimit` or `DiskRefuses`.
    pub fn update_blob(
        &self,
        container: &str,
        name: &str,
        conditions: &Conditions,
        now_us: u64,
        change: impl FnOnce(&mut Description),
    ) -> Result<Arc<Blob>, StorageError> {
        self.container(container)?.update(name, conditions, self.shared.stamps.at(now_us), change)
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// `ContainerNotFound`, `BlobNotFound`, what `conditions` say, or `DiskRefuses`.
    pub fn delete_blob(
        &self,
        container: &str,
        name: &str,
        conditions: &Conditions,
    ) -> Result<(), StorageError> {
        self.container(container)?.delete(name, conditions)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod disk_tests;
