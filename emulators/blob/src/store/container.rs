//! One container: its properties and its blobs in the order of their names. Every change is decided, written to the
//! log and made visible under one lock, so that the log has the order of the changes. No request, no permission, no
//! clock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use super::blob::{
    Blob, BlobPage, BlockLists, CopyState, Description, ETag, ListEntry, ListedBlock, Metadata, NewBlob,
    Written,
};
use super::conditions::Conditions;
use super::journal::Name;
use super::shared::{Reservation, Shared, Stamp};
use super::staged::{self, Staged, StagedBlock};
use crate::content::{Content, Received};
use crate::disk::Place;
use crate::error::StorageError;

/// Who may read without credentials (`x-ms-blob-public-access`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Names of which there are only blocks that wait are listed too.
    pub uncommitted: bool,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub name: Arc<str>,
    pub(super) account: Arc<str>,
    pub(super) shared: Arc<Shared>,
    pub(super) properties: RwLock<(ContainerProperties, Option<Place>)>,
    pub(super) blobs: RwLock<Blobs>,
}

/// The blobs, and whether the container was deleted while somebody still held it.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    pub(super) by_name: BTreeMap<Arc<str>, Entry>,
    deleted: bool,
}

/// What there is of a name: a blob, blocks that wait, or both.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) blob: Option<Arc<Blob>>,
    pub(super) staged: Option<Box<Staged>>,
}

impl Entry {
    /// What it counts towards the memory limit.
    pub(super) fn weight(&self, name: &str) -> u64 {
        let blob = self.blob.as_ref().map_or(0, |blob| weight(name, blob, blob.content.memory_bytes()));
        blob + self.staged.as_ref().map_or(0, |staged| staged.weight())
    }
}

impl Blobs {
    fn blob(&self, name: &str) -> Option<&Arc<Blob>> {
        self.by_name.get(name).and_then(|entry| entry.blob.as_ref())
    }

    pub(super) fn entry(&mut self, name: &str) -> (Arc<str>, &mut Entry) {
        // Names are shared with pages of lists and the recorder, and allocated once.
        let key = self.by_name.get_key_value(name).map_or_else(|| name.into(), |(key, _)| Arc::clone(key));
        (Arc::clone(&key), self.by_name.entry(key).or_default())
    }
}

impl Container {
    pub(super) fn new(
        account: &Arc<str>,
        name: &str,
        shared: &Arc<Shared>,
        properties: ContainerProperties,
        place: Option<Place>,
    ) -> Self {
        Self {
            name: name.into(),
            account: Arc::clone(account),
            shared: Arc::clone(shared),
            properties: RwLock::new((properties, place)),
            blobs: RwLock::default(),
        }
    }

    /// A copy of the properties.
    #[must_use]
    pub fn properties(&self) -> ContainerProperties {
        self.properties.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Replaces the metadata and returns the properties as they are now.
    ///
    /// # Errors
    /// `ContainerNotFound` when it was deleted meanwhile, `ConditionNotMet` when `conditions` do not hold, or
    /// `DiskRefuses`.
    pub(super) fn set_metadata(
        &self,
        metadata: Metadata,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<ContainerProperties, StorageError> {
        let _open = self.write_open()?;
        let mut properties = self.properties.write().unwrap_or_else(PoisonError::into_inner);
        let (there, place) = &mut *properties;
        conditions.check_write(Some((there.etag, there.modified_us)))?;
        let (etag, modified_us) = (stamp.etag, stamp.unix_us);
        let new = ContainerProperties { metadata, public_access: there.public_access, etag, modified_us };
        *place = self.shared.log_container(&self.account, &self.name, &new)?;
        *there = new;
        Ok(there.clone())
    }

    /// The blob of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Blob>> {
        self.read().blob(name).cloned()
    }

    /// Stores a blob in the place of what was there, blocks that wait included.
    ///
    /// # Errors
    /// `ContainerNotFound` when it was deleted meanwhile, what `conditions` say, `MemoryLimit` or `DiskRefuses`; the
    /// old blob stays.
    pub(super) fn put(
        &self,
        name: &str,
        new: NewBlob,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<Written, StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.blob(name);
        conditions.check_create(there.map(|there| (there.etag, there.modified_us)))?;
        let Received { content, room, .. } = new.received;
        let blob = new_blob(content, Box::default(), new.about, there, stamp);
        self.replace(&mut blobs, name, blob, room)
    }

    /// Stores a copy of `source`, which may be of any container, in the place of what was there. `metadata` takes the
    /// place of the source's when there is any.
    ///
    /// # Errors
    /// As [`Container::put`].
    pub(super) fn put_copy(
        &self,
        name: &str,
        source: &Blob,
        metadata: Metadata,
        copy: CopyState,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<Written, StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.blob(name);
        conditions.check_create(there.map(|there| (there.etag, there.modified_us)))?;
        let mut about = Description { copy: Some(Box::new(copy)), ..source.about.clone() };
        if !metadata.is_empty() {
            about.metadata = metadata;
        }
        let blob = new_blob(source.content.clone(), source.blocks.clone(), about, there, stamp);
        self.replace(&mut blobs, name, blob, self.shared.budget.reserve())
    }

    /// Keeps a block until a block list names it.
    ///
    /// # Errors
    /// `ContainerNotFound`, `InvalidBlobOrBlock`, `BlockCountExceedsLimit`, `MemoryLimit` or `DiskRefuses`.
    pub(super) fn stage(&self, name: &str, id: &str, received: Received) -> Result<(), StorageError> {
        let mut blobs = self.write_open()?;
        let staged = blobs.by_name.get(name).and_then(|entry| entry.staged.as_deref());
        staged.map_or(Ok(()), |staged| staged.expect(id))?;
        let (old, new) =
            (staged.map_or(0, |staged| staged.weight_of(id)), staged::weight(id, &received.content));
        received.room.turn_into(new, old)?;
        let place = self.shared.log_block(self.path(name), id, &received.content);
        let place = place.inspect_err(|_| self.shared.budget.revert(new, old))?;
        let (_, entry) = blobs.entry(name);
        entry.staged.get_or_insert_default().insert(id, StagedBlock { content: received.content, place });
        Ok(())
    }

    /// Makes a blob of blocks, in the place of what was there. Blocks that wait and are not named are dropped.
    ///
    /// # Errors
    /// As [`Container::put`], or `InvalidBlockList`.
    pub(super) fn commit(
        &self,
        name: &str,
        list: &[ListedBlock],
        about: Description,
        conditions: &Conditions,
        stamp: Stamp,
    ) -> Result<Written, StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.blob(name);
        conditions.check_create(there.map(|there| (there.etag, there.modified_us)))?;
        let staged = blobs.by_name.get(name).and_then(|entry| entry.staged.as_deref());
        let (nothing, none) = (Content::default(), Box::default());
        let (committed, content) = there.map_or((&none, &nothing), |there| (&there.blocks, &there.content));
        let old = blobs.by_name.get(name).map_or(0, |entry| entry.weight(name));
        let expect_room = |bytes: u64| match bytes.saturating_sub(old) {
            0 => Ok(()),
            more => self.shared.budget.expect_room(more),
        };
        let (content, blocks) = staged::assemble(list, staged, committed, content, expect_room)?;
        let blob = new_blob(content, blocks, about, there, stamp);
        self.replace(&mut blobs, name, blob, self.shared.budget.reserve())
    }

    /// The blocks of a name.
    ///
    /// # Errors
    /// `BlobNotFound` when there is neither a blob nor a block that waits.
    pub fn block_lists(&self, name: &str) -> Result<BlockLists, StorageError> {
        let blobs = self.read();
        let entry = blobs.by_name.get(name).ok_or(StorageError::BlobNotFound)?;
        let uncommitted = entry.staged.as_ref().map(|staged| staged.list()).unwrap_or_default();
        Ok(BlockLists { blob: entry.blob.clone(), uncommitted })
    }

    /// Changes what is said about a blob, not its content.
    ///
    /// # Errors
    /// `BlobNotFound`, what `conditions` say, `MemoryLimit` or `DiskRefuses`.
    pub(super) fn update(
        &self,
        name: &str,
        conditions: &Conditions,
        stamp: Stamp,
        change: impl FnOnce(&mut Description),
    ) -> Result<Arc<Blob>, StorageError> {
        let mut blobs = self.write_open()?;
        let entry = blobs.by_name.get_mut(name).ok_or(StorageError::BlobNotFound)?;
        let there = entry.blob.as_mut().ok_or(StorageError::BlobNotFound)?;
        conditions.check_write(Some((there.etag, there.modified_us)))?;
        let mut blob = with_place_open(there);
        change(&mut blob.about);
        (blob.etag, blob.modified_us) = (stamp.etag, stamp.unix_us);
        let memory_bytes = there.content.memory_bytes();
        let (old, new) = (weight(name, there, memory_bytes), weight(name, &blob, memory_bytes));
        self.shared.budget.exchange(old, new)?;
        // The content is what it was, and so are the blocks that wait.
        let logged = self.shared.log_blob(self.path(name), &mut blob, true);
        logged.inspect_err(|_| self.shared.budget.revert(new, old))?;
        *there = Arc::new(blob);
        Ok(Arc::clone(there))
    }

    /// Removes a blob, and the blocks that wait for it.
    ///
    /// # Errors
    /// `BlobNotFound`, what `conditions` say, or `DiskRefuses`.
    pub(super) fn delete(&self, name: &str, conditions: &Conditions) -> Result<(), StorageError> {
        let mut blobs = self.write_open()?;
        let there = blobs.blob(name).ok_or(StorageError::BlobNotFound)?;
        conditions.check_write(Some((there.etag, there.modified_us)))?;
        self.shared.log_blob_deleted(self.path(name))?;
        if let Some(entry) = blobs.by_name.remove(name) {
            self.shared.budget.release(entry.weight(name));
        }
        Ok(())
    }

    /// A page of the blobs, ordered by the bytes of their names.
    #[must_use]
    pub fn list(&self, range: &ListRange) -> BlobPage {
        let blobs = self.read();
        let mut page = BlobPage::default();
        let first = range.from.as_deref().unwrap_or("").max(&range.prefix);
        let mut names = blobs.by_name.range::<str, _>((Bound::Included(first), Bound::Unbounded));
        while let Some((name, entry)) = names.next().filter(|(name, _)| name.starts_with(&range.prefix)) {
            if entry.blob.is_none() && !range.uncommitted {
                continue;
            }
            if page.entries.len() >= range.max_results {
                page.next = Some(Arc::clone(name));
                break;
            }
            let Some(prefix) = common_prefix(name, range) else {
                let name = Arc::clone(name);
                page.entries.push(match &entry.blob {
                    Some(blob) => ListEntry::Blob(name, Arc::clone(blob)),
                    None => ListEntry::Uncommitted(name),
                });
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
    ///
    /// # Errors
    /// `DiskRefuses`; then it is as it was.
    pub(super) fn close(&self) -> Result<u64, StorageError> {
        let mut blobs = self.write();
        self.shared.log_container_deleted(&self.account, &self.name)?;
        blobs.deleted = true;
        Ok(blobs.by_name.iter().map(|(name, entry)| entry.weight(name)).sum())
    }

    /// Puts a decided blob in its place: counts it, writes it down, makes it visible.
    fn replace(
        &self,
        blobs: &mut Blobs,
        name: &str,
        mut blob: Blob,
        room: Reservation,
    ) -> Result<Written, StorageError> {
        let old = blobs.by_name.get(name).map_or(0, |entry| entry.weight(name));
        let memory_bytes = match self.shared.disk() {
            Some(_) => blob.content.bytes_of_parts(),
            None => blob.content.memory_bytes(),
        };
        let new = weight(name, &blob, memory_bytes);
        room.turn_into(new, old)?;
        let logged = self.shared.log_blob(self.path(name), &mut blob, false);
        logged.inspect_err(|_| self.shared.budget.revert(new, old))?;
        let blob = Arc::new(blob);
        let (key, entry) = blobs.entry(name);
        *entry = Entry { blob: Some(Arc::clone(&blob)), staged: None };
        Ok(self.written(key, blob))
    }

    pub(super) fn path<'a>(&'a self, blob: &'a str) -> Name<'a> {
        Name { account: &self.account, container: &self.name, blob }
    }

    fn written(&self, name: Arc<str>, blob: Arc<Blob>) -> Written {
        Written { container: Arc::clone(&self.name), name, blob }
    }

    fn read(&self) -> RwLockReadGuard<'_, Blobs> {
        self.blobs.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write_open(&self) -> Result<RwLockWriteGuard<'_, Blobs>, StorageError> {
        let blobs = self.write();
        if blobs.deleted { Err(StorageError::ContainerNotFound) } else { Ok(blobs) }
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Blobs> {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a name up to the first delimiter behind the prefix, if there is one.
fn common_prefix(name: &str, range: &ListRange) -> Option<String> {
    let delimiter = range.delimiter.as_deref()?;
    let rest = name.strip_prefix(range.prefix.as_str())?;
    let at = rest.find(delimiter)?;
    name.get(..range.prefix.len() + at + delimiter.len()).map(str::to_owned)
}

/// A blob that takes the place of what is there, and keeps when that was created.
fn new_blob(
    content: Content,
    blocks: Box<[(Box<str>, u64)]>,
    about: Description,
    there: Option<&Arc<Blob>>,
    stamp: Stamp,
) -> Blob {
    let (etag, modified_us) = (stamp.etag, stamp.unix_us);
    let created_us = there.map_or(modified_us, |there| there.created_us);
    Blob { content, blocks, about, etag, created_us, modified_us, place: None }
}

/// The same blob, to be written down again.
pub(super) fn with_place_open(blob: &Blob) -> Blob {
    Blob {
        content: blob.content.clone(),
        blocks: blob.blocks.clone(),
        about: blob.about.clone(),
        etag: blob.etag,
        created_us: blob.created_us,
        modified_us: blob.modified_us,
        place: None,
    }
}

/// What a blob counts towards the memory limit, with so many bytes of content in memory.
pub(super) fn weight(name: &str, blob: &Blob, memory_bytes: u64) -> u64 {
    let metadata: usize = blob.about.metadata.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let blocks: usize = blob.blocks.iter().map(|(id, _)| id.len() + size_of::<(Box<str>, u64)>()).sum();
    memory_bytes + (name.len() + metadata + blocks) as u64 + crate::limits::OVERHEAD_BYTES
}
