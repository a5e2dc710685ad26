//! Blocks that wait for the block list of their blob ("Put Block"). It knows no blob.

use std::collections::BTreeMap;

use super::blob::{BlockSource, ListedBlock};
use crate::content::{Content, Part};
use crate::disk::Place;
use crate::error::StorageError;
use crate::limits;

/// What a block that waits costs besides its content and id.
const OVERHEAD_BYTES: u64 = 160;

/// A block that waits.
#[derive(Debug)]
pub struct StagedBlock {
    pub(super) content: Content,
    pub(super) place: Option<Place>,
}

/// The blocks that wait for one blob, by their ids.
#[derive(Debug, Default)]
pub struct Staged {
    blocks: BTreeMap<Box<str>, StagedBlock>,
}

impl Staged {
    /// Says whether a block of this id may come.
    ///
    /// # Errors
    /// `InvalidBlobOrBlock` when its id is longer or shorter than those that wait, `BlockCountExceedsLimit`.
    pub fn expect(&self, id: &str) -> Result<(), StorageError> {
        // In base64 the same number of bytes makes the same number of characters, but for how the last are padded.
        let bytes = |id: &str| (id.len(), id.bytes().rev().take_while(|byte| *byte == b'=').count());
        if self.blocks.keys().next().is_some_and(|known| bytes(known) != bytes(id)) {
            return Err(StorageError::InvalidBlobOrBlock);
        }
        if self.blocks.len() >= limits::MAX_UNCOMMITTED_BLOCKS && !self.blocks.contains_key(id) {
            return Err(StorageError::BlockCountExceedsLimit);
        }
        Ok(())
    }

    /// What the block of this id counts towards the memory limit; 0 when there is none.
    pub fn weight_of(&self, id: &str) -> u64 {
        self.blocks.get(id).map_or(0, |block| weight(id, &block.content))
    }

    /// What all of them count.
    pub fn weight(&self) -> u64 {
        self.blocks.iter().map(|(id, block)| weight(id, &block.content)).sum()
    }

    /// Adds a block, in the place of one with the same id.
    pub fn insert(&mut self, id: &str, block: StagedBlock) {
        self.blocks.insert(id.into(), block);
    }

    /// The block of this id.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut StagedBlock> {
        self.blocks.get_mut(id)
    }

    /// Ids and sizes.
    pub fn list(&self) -> Vec<(Box<str>, u64)> {
        self.blocks.iter().map(|(id, block)| (id.clone(), block.content.size_bytes())).collect()
    }
}

/// What a block counts towards the memory limit.
pub fn weight(id: &str, content: &Content) -> u64 {
    content.memory_bytes() + id.len() as u64 + OVERHEAD_BYTES
}

/// Ids and sizes of a blob's blocks, as they are kept.
type Blocks = Box<[(Box<str>, u64)]>;

/// The content that a block list describes, and its blocks.
///
/// # Errors
/// `InvalidBlockList` when one of the blocks is not where the list looks for it, or what `expect_room` says of
/// the bytes that the parts take.
pub fn assemble(
    list: &[ListedBlock],
    staged: Option<&Staged>,
    committed: &[(Box<str>, u64)],
    content: &Content,
    expect_room: impl FnOnce(u64) -> Result<(), StorageError>,
) -> Result<(Content, Blocks), StorageError> {
    let committed = committed_parts(committed, content);
    let (mut named, mut blocks) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
    for ListedBlock { from, id } in list {
        let waiting = staged.and_then(|staged| staged.blocks.get(id)).map(|block| block.content.parts());
        let there = committed.get(&**id).copied();
        let found = match from {
            BlockSource::Committed => there,
            BlockSource::Uncommitted => waiting,
            BlockSource::Latest => waiting.or(there),
        };
        let found = found.ok_or(StorageError::InvalidBlockList)?;
        blocks.push((id.clone(), found.iter().map(Part::size_bytes).sum()));
        named.push(found);
    }
    // One block may be named 50,000 times: nothing is copied before there is room.
    expect_room(named.iter().map(|parts| size_of_val(*parts) as u64).sum())?;
    let parts = named.concat();
    Ok((Content::new(parts), blocks.into()))
}

/// The parts of each committed block: a block always begins with a part of its own.
fn committed_parts<'a>(blocks: &'a [(Box<str>, u64)], content: &'a Content) -> BTreeMap<&'a str, &'a [Part]> {
    let (mut by_id, mut rest) = (BTreeMap::new(), content.parts());
    for (id, size_bytes) in blocks {
        let (mut count, mut bytes) = (0, 0);
        while bytes < *size_bytes && count < rest.len() {
            bytes += rest[count].size_bytes();
            count += 1;
        }
        let (own, later) = rest.split_at(count);
        by_id.insert(&**id, own);
        rest = later;
    }
    by_id
}
