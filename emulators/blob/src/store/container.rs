//! One container: its properties and its blobs in the order of their names. No request, no permission, no clock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::blob::{Blob, BlobPage, ETag, ListEntry, Metadata, NewBlob, Written};
use super::conditions::Conditions;
use super::{Budget, Stamp};
use crate::error::StorageError;

/// Who may read without credentials (`x-ms-blob-public-access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicAccess {
    /// Nobody.
    #[default]
    None,
    /// Blobs by their name.
    Blob,
    /// Blobs and the list of them.
    Container,
}

/// What is said about a container, its blobs left out.
#[derive(Debug, Clone)]
pub struct ContainerProperties {
    /// User metadata.
    pub metadata: Metadata,
    /// Anonymous access.
    pub public_access: PublicAccess,
    /// Changes with the properties, not with the blobs.
    pub etag: ETag,
    /// Last change of the properties, microseconds since the Unix epoch.
    pub modified_us: u64,
}

/// Which part of the names a list asks for.
#[derive(Debug, Clone, Default)]
pub struct ListRange {
    /// Only names that begin with this.
    pub prefix: String,
    /// First name of the page.
    pub from: Option<String>,
    /// Names that agree up to the next delimiter behind the prefix become one entry.
    pub delimiter: Option<String>,
    /// Most entries of the page, at least 1.
    pub max_results: usize,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: Arc<str>,
    properties: RwLock<ContainerProperties>,
    blobs: RwLock<Blobs>,
}

/// The blobs, and whether the container was deleted while somebody still held it.
#[derive(Debug, Default)]
struct Blobs {
    by_name: BTreeMap<Arc<str>, Arc<Blob>>,
    deleted: bool,
}

impl Container {
    pub(super) fn new(name: &str, properties: ContainerProperties) -> Self {
        Self { name: name.into(), properties: RwLock::new(properties), blobs: RwLock::default() }
    }

    /// A copy of the properties.
    #[must_use]
    pub fn properties(&self) -> ContainerProperties {
        self.properties.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Replaces the metadata and returns the properties as they are now.
    ///
    /// # Errors
    /// `ConditionNotMet` when `conditions` do not hold.
    pub fn set_metadata(
        &self,
        metadata: Metadata,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<ContainerProperties, StorageError> {
        let mut properties = self.properties.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        conditions.check_write(Some((properties.etag, properties.modified_us)))?;
        (properties.metadata, properties.etag, properties.modified_us) =
            (metadata, stamp.etag, stamp.unix_us);
        Ok(properties.clone())
    }

    /// The blob of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Blob>> {
        self.read().by_name.get(name).cloned()
    }

    /// Stores a blob in the place of what was there.
    ///
    /// # Errors
    /// `ContainerNotFound` when it was deleted meanwhile, what `conditions` say, or `MemoryLimit`; the old blob stays.
    pub(super) fn put(
        &self,
        name: &str,
        new: NewBlob,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<Written, StorageError> {
        let mut blob = Blob {
            content: new.content,
            md5: new.md5,
            headers: new.headers,
            metadata: new.metadata,
            etag: stamp.etag,
            created_us: stamp.unix_us,
            modified_us: stamp.unix_us,
        };
        let mut blobs = self.write_open()?;
        if let Some((key, there)) = blobs.by_name.get_key_value(name) {
            conditions.check_write(Some((there.etag, there.modified_us)))?;
            new.room.turn_into(weight(name, &blob), weight(name, there))?;
            blob.created_us = there.created_us;
            let (key, blob) = (Arc::clone(key), Arc::new(blob));
            blobs.by_name.insert(Arc::clone(&key), Arc::clone(&blob));
            return Ok(self.written(key, blob));
        }
        conditions.check_write(None)?;
        new.room.turn_into(weight(name, &blob), 0)?;
        let (key, blob): (Arc<str>, _) = (name.into(), Arc::new(blob));
        blobs.by_name.insert(Arc::clone(&key), Arc::clone(&blob));
        Ok(self.written(key, blob))
    }

    /// Changes what is said about a blob, not its content.
    ///
    /// # Errors
    /// `BlobNotFound`, what `conditions` say, or `MemoryLimit`.
    pub(super) fn update(
        &self,
        name: &str,
        conditions: &Conditions,
        stamp: Stamp,
        budget: &Budget,
        change: impl FnOnce(&mut Blob),
    ) -> Result<Arc<Blob>, StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.by_name.get_mut(name).ok_or(StorageError::BlobNotFound)?;
        conditions.check_write(Some((there.etag, there.modified_us)))?;
        let mut blob = Blob::clone(there);
        change(&mut blob);
        (blob.etag, blob.modified_us) = (stamp.etag, stamp.unix_us);
        budget.exchange(weight(name, there), weight(name, &blob))?;
        *there = Arc::new(blob);
        Ok(Arc::clone(there))
    }

    /// Removes a blob.
    ///
    /// # Errors
    /// `BlobNotFound`, or what `conditions` say.
    pub(super) fn delete(
        &self,
        name: &str,
        conditions: &Conditions,
        budget: &Budget,
    ) -> Result<(), StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.by_name.get(name).ok_or(StorageError::BlobNotFound)?;
        conditions.check_write(Some((there.etag, there.modified_us)))?;
        budget.release(weight(name, there));
        blobs.by_name.remove(name);
        Ok(())
    }

    /// A page of the blobs, ordered by the bytes of their names.
    #[must_use]
    pub fn list(&self, range: &ListRange) -> BlobPage {
        let blobs = self.read();
        let mut page = BlobPage::default();
        let first = range.from.as_deref().unwrap_or("").max(&range.prefix);
        let mut names = blobs.by_name.range::<str, _>((Bound::Included(first), Bound::Unbounded));
        while let Some((name, blob)) = names.next().filter(|(name, _)| name.starts_with(&range.prefix)) {
            if page.entries.len() >= range.max_results {
                page.next = Some(Arc::clone(name));
                break;
            }
            let Some(prefix) = common_prefix(name, range) else {
                page.entries.push(ListEntry::Blob(Arc::clone(name), Arc::clone(blob)));
                continue;
            };
            // Seek behind the whole group instead of walking through it: no character is greater than this one.
            let behind = format!("{prefix}{}", char::MAX);
            names = blobs.by_name.range::<str, _>((Bound::Excluded(behind.as_str()), Bound::Unbounded));
            page.entries.push(ListEntry::Prefix(prefix));
        }
        page
    }

    /// Marks the container as deleted, so that no write under way can land in it, and returns the bytes that its
    /// blobs counted. The records themselves go when the last reader lets go of the container.
    pub(super) fn close(&self) -> u64 {
        let mut blobs = self.write();
        blobs.deleted = true;
        blobs.by_name.iter().map(|(name, blob)| weight(name, blob)).sum()
    }

    fn written(&self, name: Arc<str>, blob: Arc<Blob>) -> Written {
        Written { container: Arc::clone(&self.name), name, blob }
    }

    fn read(&self) -> RwLockReadGuard<'_, Blobs> {
        self.blobs.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_open(&self) -> Result<RwLockWriteGuard<'_, Blobs>, StorageError> {
        let blobs = self.write();
        if blobs.deleted { Err(StorageError::ContainerNotFound) } else { Ok(blobs) }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Blobs> {
        self.blobs.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The part of a name up to the first delimiter behind the prefix, if there is one.
fn common_prefix(name: &str, range: &ListRange) -> Option<String> {
    let delimiter = range.delimiter.as_deref()?;
    let rest = name.strip_prefix(range.prefix.as_str())?;
    let at = rest.find(delimiter)?;
    name.get(..range.prefix.len() + at + delimiter.len()).map(str::to_owned)
}

/// What a blob counts towards the memory limit.
fn weight(name: &str, blob: &Blob) -> u64 {
    let metadata: usize = blob.metadata.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    blob.size_bytes() + (name.len() + metadata) as u64 + crate::limits::OVERHEAD_BYTES
}
