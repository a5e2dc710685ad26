//! A record of the log: what was changed, as JSON, with the content of a small blob behind it, and a checksum over
//! both. Reading checks everything before anything is believed.
//!
//! On the disk: bytes of the JSON (u32), bytes of the content (u32), CRC64 over these eight bytes, JSON and content
//! (u64), all little-endian; then the JSON; then the content.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::checksum;
use crate::limits;
use crate::store::{ContentHeaders, CopyState, ETag, PublicAccess};

/// Bytes before the JSON.
pub const FRAME_BYTES: usize = 16;

/// Most bytes of the JSON that are believed: 50,000 blocks with the longest ids take less.
const MAX_HEAD_BYTES: usize = 32 << 20;

/// Pairs of names and values.
type Pairs<'a> = Cow<'a, [(Box<str>, Box<str>)]>;

/// Something that was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Record<'a> {
    /// A container is like this from now on.
    Container(ContainerRecord<'a>),
    /// A container is gone, with everything in it.
    ContainerDeleted {
        /// Account.
        account: Cow<'a, str>,
        /// Container.
        container: Cow<'a, str>,
    },
    /// A blob is like this from now on.
    Blob(Box<BlobRecord<'a>>),
    /// A blob is gone, with its uncommitted blocks.
    BlobDeleted {
        /// Account.
        account: Cow<'a, str>,
        /// Container.
        container: Cow<'a, str>,
        /// Blob.
        blob: Cow<'a, str>,
    },
    /// A block waits for the block list of its blob.
    Block(BlockRecord<'a>),
}

/// A container, its blobs left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord<'a> {
    /// Account.
    pub account: Cow<'a, str>,
    /// Its name.
    pub container: Cow<'a, str>,
    /// User metadata.
    pub metadata: Pairs<'a>,
    /// Anonymous access.
    pub public_access: PublicAccess,
    /// Tag.
    pub etag: ETag,
    /// Last change, microseconds since the Unix epoch.
    pub modified_us: u64,
}

/// A blob. Its content is behind the record when `files` is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlobRecord<'a> {
    /// Account.
    pub account: Cow<'a, str>,
    /// Container.
    pub container: Cow<'a, str>,
    /// Its name.
    pub blob: Cow<'a, str>,
    /// Digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<[u8; 16]>,
    /// Content headers.
    pub headers: Cow<'a, ContentHeaders>,
    /// User metadata.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub metadata: Pairs<'a>,
    /// Tag.
    pub etag: ETag,
    /// First write, microseconds since the Unix epoch.
    pub created_us: u64,
    /// Last change, microseconds since the Unix epoch.
    pub modified_us: u64,
    /// Ids and sizes of the blocks that it was made of.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub blocks: Cow<'a, [(Box<str>, u64)]>,
    /// Numbers and sizes of the files of its content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<(u64, u64)>,
    /// Where it was copied from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<Cow<'a, CopyState>>,
    /// True when only the place of the record changed: blocks that wait go on waiting.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
}

/// An uncommitted block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockRecord<'a> {
    /// Account.
    pub account: Cow<'a, str>,
    /// Container.
    pub container: Cow<'a, str>,
    /// Blob.
    pub blob: Cow<'a, str>,
    /// Its id, in base64 as it was sent.
    pub id: Cow<'a, str>,
    /// Numbers and sizes of the files of its content.
    pub files: Vec<(u64, u64)>,
}

impl Record<'_> {
    /// The record as it stands in the log.
    #[must_use]
    pub fn encode(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FRAME_BYTES + 512 + content.len());
        bytes.extend_from_slice(&[0; FRAME_BYTES]);
        // Of plain data with text for keys: it cannot fail, and a record that did would fail its own check.
        let encoded = serde_json::to_writer(&mut bytes, self);
        debug_assert!(encoded.is_ok());
        let head_bytes = u32::try_from(bytes.len() - FRAME_BYTES).unwrap_or(u32::MAX);
        bytes.extend_from_slice(content);
        bytes[..4].copy_from_slice(&head_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        let crc64 = checksum_of(&bytes);
        bytes[8..FRAME_BYTES].copy_from_slice(&crc64.to_le_bytes());
        bytes
    }
}

/// Bytes of JSON and of content that a frame announces; `None` when no record is like that.
#[must_use]
pub fn sizes(frame: [u8; FRAME_BYTES]) -> Option<(usize, usize)> {
    let number = |at: usize| u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    let (head, content) = (usize::try_from(number(0)).ok()?, usize::try_from(number(4)).ok()?);
    (head > 0 && head <= MAX_HEAD_BYTES && content <= limits::PART_BYTES).then_some((head, content))
}

/// Reads a record with its frame; `None` when a bit of it is not what was written.
///
/// # Errors
/// For a record that is whole and says what nobody here knows.
pub fn decode(bytes: &[u8]) -> Option<serde_json::Result<Record<'static>>> {
    let (head, content) = sizes(bytes.get(..FRAME_BYTES)?.try_into().ok()?)?;
    if bytes.len() != FRAME_BYTES + head + content {
        return None;
    }
    let crc64 = u64::from_le_bytes(bytes[8..FRAME_BYTES].try_into().ok()?);
    if crc64 != checksum_of(bytes) {
        return None;
    }
    Some(serde_json::from_slice(&bytes[FRAME_BYTES..FRAME_BYTES + head]))
}

/// Of sizes, JSON and content; not of the checksum itself.
fn checksum_of(bytes: &[u8]) -> u64 {
    checksum::crc64_of(&[&bytes[..8], &bytes[FRAME_BYTES..]])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blob(name: &str, etag: u64, metadata: &str, files: Vec<(u64, u64)>) -> Record<'static> {
        Record::Blob(Box::new(BlobRecord {
            account: "acc".into(),
            container: "box".into(),
            blob: name.to_owned().into(),
            md5: Some([7; 16]),
            headers: Cow::Owned(ContentHeaders {
                content_type: Some("a/b".into()),
                ..ContentHeaders::default()
            }),
            metadata: Cow::Owned(vec![("k".into(), metadata.into())]),
            etag: ETag::from_ticks(etag),
            created_us: 1,
            modified_us: u64::MAX,
            blocks: Cow::Owned(vec![("YQ==".into(), 3)]),
            files,
            copy: None,
            moved: etag.is_multiple_of(2),
        }))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_record_comes_back_and_a_changed_one_does_not(
            (name, metadata) in ("\\PC{1,20}", "\\PC{0,20}"),
            (etag, files) in (any::<u64>(), proptest::collection::vec(any::<(u64, u64)>(), 0..4)),
            content in proptest::collection::vec(any::<u8>(), 0..100),
            (at, bit) in (any::<prop::sample::Index>(), 0..8_u8),
        ) {
            let record = blob(&name, etag, &metadata, files);
            let mut bytes = record.encode(&content);
            prop_assert_eq!(decode(&bytes).and_then(Result::ok), Some(record));
            prop_assert!(bytes.ends_with(&content));
            prop_assert!(decode(&bytes[..bytes.len() - 1]).is_none());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_none());
        }

        #[test]
        fn any_bytes_are_a_record_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
