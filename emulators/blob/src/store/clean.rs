//! Keeps the log from growing without end: what still counts in its oldest segment is appended again, and the segment
//! removed. Nothing that a client can see changes.

use std::sync::Arc;

use super::blob::ETag;
use super::container::{Container, with_place_open};
use super::replay::Stores;
use crate::disk::{Disk, OpenError, Place, Record, Segment};
use crate::error::StorageError;

impl Stores {
    /// Cleans until the disk is closed. For a thread of its own.
    pub fn keep_clean(&self, disk: &Disk) {
        while let Some(segment) = disk.next_to_clean() {
            if let Err(error) = self.clean(disk, &segment) {
                tracing::error!(%error, "cannot clean the log; it grows until that is possible again");
                disk.pause_cleaning();
            }
        }
    }

    fn clean(&self, disk: &Disk, segment: &Arc<Segment>) -> Result<(), OpenError> {
        let mut refused = None;
        disk.visit(segment, |record, place| {
            if refused.is_none() {
                refused = self.move_if_live(&record, &place).err();
            }
            Ok(())
        })?;
        if let Some(error) = refused {
            let source = std::io::Error::other(error);
            return Err(OpenError::Io { what: "clean", path: segment.path().to_owned(), source });
        }
        disk.remove_oldest(segment);
        Ok(())
    }

    /// Appends again what a record says, if that is still the last word.
    fn move_if_live(&self, record: &Record<'_>, place: &Place) -> Result<(), StorageError> {
        let container = |account: &str, name: &str| self.get(account)?.container(name).ok();
        match record {
            Record::Container(record) => match container(&record.account, &record.container) {
                Some(container) => container.move_properties(record.etag, place),
                None => Ok(()),
            },
            Record::Blob(record) => match container(&record.account, &record.container) {
                Some(container) => container.move_blob(&record.blob, place),
                None => Ok(()),
            },
            Record::Block(record) => match container(&record.account, &record.container) {
                Some(container) => container.move_block(&record.blob, &record.id, place),
                None => Ok(()),
            },
            // It was the last word on records that were older still, and those are gone.
            Record::ContainerDeleted { .. } | Record::BlobDeleted { .. } => Ok(()),
        }
    }
}

impl Container {
    fn move_properties(&self, etag: ETag, place: &Place) -> Result<(), StorageError> {
        // The order of the log is that of the changes to this container: its lock is held while one is written.
        let Ok(_open) = self.write_open() else { return Ok(()) };
        let mut properties = self.properties.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (there, known) = &mut *properties;
        if known.as_ref() == Some(place) && there.etag == etag {
            *known = self.shared.log_container(&self.account, &self.name, there)?;
        }
        Ok(())
    }

    fn move_blob(&self, name: &str, place: &Place) -> Result<(), StorageError> {
        let Ok(mut blobs) = self.write_open() else { return Ok(()) };
        let there = blobs.by_name.get_mut(name).and_then(|entry| entry.blob.as_mut());
        if let Some(there) = there.filter(|there| there.place.as_ref() == Some(place)) {
            let mut blob = with_place_open(there);
            self.shared.log_blob(self.path(name), &mut blob, true)?;
            *there = Arc::new(blob);
        }
        Ok(())
    }

    fn move_block(&self, name: &str, id: &str, place: &Place) -> Result<(), StorageError> {
        let Ok(mut blobs) = self.write_open() else { return Ok(()) };
        let staged = blobs.by_name.get_mut(name).and_then(|entry| entry.staged.as_deref_mut());
        if let Some(block) = staged.and_then(|staged| staged.get_mut(id))
            && block.place.as_ref() == Some(place)
        {
            block.place = self.shared.log_block(self.path(name), id, &block.content)?;
        }
        Ok(())
    }
}
