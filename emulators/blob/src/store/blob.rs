//! One stored blob: plain data, never changed after it was stored. A change is a new record over the same content.

use std::sync::Arc;

use bytes::Bytes;

use super::Reservation;

/// Names (lower case) and values, in the order in which they were sent.
pub type Metadata = Box<[(Box<str>, Box<str>)]>;

/// An entity tag. Azure writes the .NET ticks of the last change in hexadecimal; so do we, and no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag(pub(super) u64);

impl std::fmt::Display for ETag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"0x{:X}\"", self.0)
    }
}

/// The content headers that a blob gives back as they were stored; `None` where none was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContentHeaders {
    /// `Content-Type`; `application/octet-stream` when `None`.
    pub content_type: Option<Box<str>>,
    /// `Content-Encoding`.
    pub encoding: Option<Box<str>>,
    /// `Content-Language`.
    pub language: Option<Box<str>>,
    /// `Content-Disposition`.
    pub disposition: Option<Box<str>>,
    /// `Cache-Control`.
    pub cache_control: Option<Box<str>>,
}

/// A block blob.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The bytes. They own exactly their length: no network buffer is kept alive by them.
    pub content: Bytes,
    /// MD5 of the content, computed when it was written (or the one that the client set by Set Blob Properties).
    pub md5: Option<[u8; 16]>,
    /// Content headers.
    pub headers: ContentHeaders,
    /// User metadata.
    pub metadata: Metadata,
    /// Changes with every change.
    pub etag: ETag,
    /// First write, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Last change, microseconds since the Unix epoch.
    pub modified_us: u64,
}

impl Blob {
    /// Bytes of the content.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.content.len() as u64
    }
}

/// What a write brings; the store adds tag and instants.
#[derive(Debug)]
pub struct NewBlob {
    /// The bytes, owned (see [`Blob::content`]).
    pub content: Bytes,
    /// What was reserved for the content while it arrived.
    pub room: Reservation,
    /// MD5 of the content.
    pub md5: Option<[u8; 16]>,
    /// Content headers.
    pub headers: ContentHeaders,
    /// User metadata.
    pub metadata: Metadata,
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
    /// What the names of several blobs have in common, up to and including the delimiter.
    Prefix(String),
}
