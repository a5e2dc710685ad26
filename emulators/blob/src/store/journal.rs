//! How changes are written to the log, when there is a disk: records are made of what the store holds, and content
//! small enough moves into its record. Without a disk nothing happens here.

use std::borrow::Cow;

use bytes::Bytes;

use super::blob::Blob;
use super::container::ContainerProperties;
use super::shared::Shared;
use crate::content::{Content, Part, Reader};
use crate::disk::{BlobRecord, BlockRecord, ContainerRecord, Place, Record};
use crate::error::StorageError;

/// The whole name of a blob.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// Account.
    pub account: &'a str,
    /// Container.
    pub container: &'a str,
    /// Blob.
    pub blob: &'a str,
}

impl Shared {
    /// Writes down a container as it is now.
    pub(super) fn log_container(
        &self,
        account: &str,
        container: &str,
        properties: &ContainerProperties,
    ) -> Result<Option<Place>, StorageError> {
        self.log(|| {
            Record::Container(ContainerRecord {
                account: account.into(),
                container: container.into(),
                metadata: Cow::Borrowed(&properties.metadata),
                public_access: properties.public_access,
                etag: properties.etag,
                modified_us: properties.modified_us,
            })
        })
    }

    /// Writes down that a container is gone.
    pub(super) fn log_container_deleted(&self, account: &str, container: &str) -> Result<(), StorageError> {
        let record = || Record::ContainerDeleted { account: account.into(), container: container.into() };
        self.log(record).map(drop)
    }

    /// Writes down a blob as it is now, and says in it where that is. With `moved`, blocks that wait for it go on
    /// waiting.
    pub(super) fn log_blob(&self, name: Name<'_>, blob: &mut Blob, moved: bool) -> Result<(), StorageError> {
        let Some(disk) = self.disk() else { return Ok(()) };
        let content = small_content(&blob.content)?;
        let record = BlobRecord {
            account: name.account.into(),
            container: name.container.into(),
            blob: name.blob.into(),
            md5: blob.about.md5,
            headers: Cow::Borrowed(&blob.about.headers),
            metadata: Cow::Borrowed(&blob.about.metadata),
            etag: blob.etag,
            created_us: blob.created_us,
            modified_us: blob.modified_us,
            blocks: Cow::Borrowed(&blob.blocks),
            files: files_of(&blob.content),
            copy: blob.about.copy.as_deref().map(Cow::Borrowed),
            moved,
        };
        let (place, in_record) = disk.append(&Record::Blob(Box::new(record)), &content)?;
        if !content.is_empty() {
            blob.content = Content::new(vec![Part::Record(in_record)]);
        }
        blob.place = Some(place);
        Ok(())
    }

    /// Writes down that a blob is gone.
    pub(super) fn log_blob_deleted(&self, name: Name<'_>) -> Result<(), StorageError> {
        let record = || Record::BlobDeleted {
            account: name.account.into(),
            container: name.container.into(),
            blob: name.blob.into(),
        };
        self.log(record).map(drop)
    }

    /// Writes down a block that waits.
    pub(super) fn log_block(
        &self,
        name: Name<'_>,
        id: &str,
        content: &Content,
    ) -> Result<Option<Place>, StorageError> {
        self.log(|| {
            Record::Block(BlockRecord {
                account: name.account.into(),
                container: name.container.into(),
                blob: name.blob.into(),
                id: id.into(),
                files: files_of(content),
            })
        })
    }

    fn log<'a>(&self, record: impl FnOnce() -> Record<'a>) -> Result<Option<Place>, StorageError> {
        let Some(disk) = self.disk() else { return Ok(None) };
        disk.append(&record(), &[]).map(|(place, _)| Some(place))
    }
}

/// The content that goes into the record: all of it when it is a single part that is no file.
fn small_content(content: &Content) -> Result<Bytes, StorageError> {
    match content.parts() {
        [Part::Memory(bytes)] => Ok(bytes.clone()),
        [Part::Record(_)] => {
            let read = Reader::new(content, 0..content.size_bytes()).next_part();
            let refused = |error: std::io::Error| StorageError::DiskRefuses { detail: error.to_string() };
            read.unwrap_or_else(|| Ok(Bytes::new())).map_err(refused)
        }
        _ => Ok(Bytes::new()),
    }
}

fn files_of(content: &Content) -> Vec<(u64, u64)> {
    let file = |part: &Part| match part {
        Part::File(file) => Some((file.id(), file.size_bytes())),
        Part::Memory(_) | Part::Record(_) => None,
    };
    content.parts().iter().filter_map(file).collect()
}
