//! One stored blob: plain data, never changed after it was stored. A change is a new record over the same content.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::content::{Content, Received};
use crate::disk::Place;

/// Names (lower case) and values, in the order in which they were sent.
pub type Metadata = Box<[(Box<str>, Box<str>)]>;

/// An entity tag. Azure writes the .NET ticks of the last change in hexadecimal; so do we, and no two are equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ETag(pub(super) u64);

impl ETag {
    /// The tag of a change at these .NET ticks.
    #[must_use]
    pub fn from_ticks(ticks: u64) -> Self {
        Self(ticks)
    }
}

impl std::fmt::Display for ETag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"0x{:X}\"", self.0)
    }
}

/// The content headers that a blob gives back as they were stored; `None` where none was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContentHeaders {
    /// `Content-Type`; `application/octet-stream` when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Box<str>>,
    /// `Content-Encoding`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Box<str>>,
    /// `Content-Language`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Box<str>>,
    /// `Content-Disposition`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<Box<str>>,
    /// `Cache-Control`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Box<str>>,
}

/// A copy that made a blob ("Copy Blob"). Here it is done before it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyState {
    /// `x-ms-copy-id`.
    pub id: Box<str>,
    /// `x-ms-copy-source`, as it was sent but for a signature.
    pub source: Box<str>,
    /// When, microseconds since the Unix epoch.
    pub completed_us: u64,
}

/// What is said about a blob, its content left out.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// MD5 of the content, computed when it was written, or the one that the client said to keep.
    pub md5: Option<[u8; 16]>,
    /// Content headers.
    pub headers: ContentHeaders,
    /// User metadata.
    pub metadata: Metadata,
    /// The copy that made it.
    pub copy: Option<Box<CopyState>>,
}

/// A block blob.
#[derive(Debug)]
pub struct Blob {
    /// The bytes.
    pub content: Content,
    /// Ids and sizes of the blocks that it was made of; none when it was put as a whole.
    pub blocks: Box<[(Box<str>, u64)]>,
    /// What is said about it.
    pub about: Description,
    /// Changes with every change.
    pub etag: ETag,
    /// First write, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Last change, microseconds since the Unix epoch.
    pub modified_us: u64,
    /// Where its record is, when there is a disk.
    pub(super) place: Option<Place>,
}

impl Blob {
    /// Bytes of the content.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.content.size_bytes()
    }
}

/// What a write brings; the store adds tag and instants.
#[derive(Debug)]
pub struct NewBlob {
    /// The bytes, and what was reserved for them while they arrived.
    pub received: Received,
    /// What is said about it.
    pub about: Description,
}

/// What is kept of a block list's entry: which of the two lists it is looked up in, and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBlock {
    /// Where to look.
    pub from: BlockSource,
    /// Its id, in base64 as it was sent.
    pub id: Box<str>,
}

/// Where a block list finds a block ("Put Block List").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSource {
    /// Among the blocks of the blob as it is.
    Committed,
    /// Among those that wait.
    Uncommitted,
    /// Among those that wait, else among those of the blob.
    Latest,
}

/// What Get Block List tells: ids and sizes.
#[derive(Debug, Default)]
pub struct BlockLists {
    /// The blob, when there is one.
    pub blob: Option<Arc<Blob>>,
    /// Blocks that wait, in the order of their ids.
    pub uncommitted: Vec<(Box<str>, u64)>,
}

/// What a write left behind, with the names as they are stored.
#[derive(Debug)]
pub struct Written {
    /// The container's name.
    pub container: Arc<str>,
    /// The blob's name.
    pub name: Arc<str>,
    /// The blob.
    pub blob: Arc<Blob>,
}

/// A page of a list: names with their blobs, and the name at which the next page begins.
#[derive(Debug, Default)]
pub struct BlobPage {
    /// Blobs and, with a delimiter, common prefixes, in order.
    pub entries: Vec<ListEntry>,
    /// First name that did not fit.
    pub next: Option<Arc<str>>,
}

/// An entry of a list.
#[derive(Debug)]
pub enum ListEntry {
    /// A blob.
    Blob(Arc<str>, Arc<Blob>),
    /// A name of which there are only blocks that wait.
    Uncommitted(Arc<str>),
    /// What the names of several blobs have in common, up to and including the delimiter.
    Prefix(String),
}
