//! A data directory: a log of what was changed, with the content of small blobs in it, and a file for each large
//! piece of content. What is in the log when the program ends, however it ends, is there when it starts again.
//!
//! - `log/NNNNNNNNNN.log`: segments of the log, appended to and never changed; see [`log`].
//! - `content/NNNNNNNNNN`: larger bodies and blocks, synced before a record names them; see [`files`].
//! - `lock`: held while a program uses the directory.
//!
//! **What is promised**: before a write is answered, its record is on the disk (`fdatasync`, one for all writes that
//! wait for it). It knows records and bytes; what a record means is decided in `store`.

mod files;
mod log;
mod record;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::{ContentFile, FileWriter};
pub use log::{InRecord, LogLimits, Place, Segment};
pub use record::{BlobRecord, BlockRecord, ContainerRecord, Record};

use crate::error::StorageError;
use files::Files;
use log::Log;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it.
    #[error("another blob-emulator uses {}; stop that one or choose another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record that was once on the disk cannot be read any more. Only the end of the last segment may be torn.
    #[error(
        "{} is damaged at byte {offset}: {why}; restore the directory from a copy, or move the file away to lose what \
         is in it",
        path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where the first bad record begins.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A record of an account that nobody named.
    #[error(
        "the data directory has blobs of the account '{account}', which is none of the accounts; name it in \
         AZURITE_ACCOUNTS"
    )]
    UnknownAccount {
        /// The account.
        account: String,
    },
    /// A blob's content is gone.
    #[error(
        "{}, which a blob needs, is missing or has not {bytes} bytes; restore the directory from a copy",
        path.display()
    )]
    MissingContent {
        /// The file that should be there.
        path: PathBuf,
        /// With so many bytes.
        bytes: u64,
    },
}

impl OpenError {
    fn io<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }
}

/// An open data directory.
#[derive(Debug)]
pub struct Disk {
    log: Arc<Log>,
    files: Files,
    /// Unlocked when it is closed, also by the end of the program.
    _lock: File,
}

impl Disk {
    /// Opens the directory, which is made if it is not there, and gives every record in the order in which they were
    /// written to `apply`. A torn end of the last segment, which no answer ever rested on, is cut off.
    ///
    /// # Errors
    /// See [`OpenError`]; what `apply` says ends it.
    pub fn open(
        directory: &Path,
        limits: LogLimits,
        mut apply: impl FnMut(&Self, Record<'static>, Place, InRecord) -> Result<(), OpenError>,
    ) -> Result<Arc<Self>, OpenError> {
        files::create_directory(directory)?;
        let path = directory.join("lock");
        let lock = File::create(&path).map_err(OpenError::io("open", &path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { path: directory.to_owned() },
            TryLockError::Error(source) => OpenError::Io { what: "lock", path, source },
        })?;
        let (log, segments) = Log::open(directory.join("log"), limits)?;
        let log = Arc::new(log);
        let files = Files::open(directory.join("content"), &log)?;
        let disk = Arc::new(Self { log, files, _lock: lock });
        for (number, segment) in segments.iter().enumerate() {
            let is_last = number + 1 == segments.len();
            log::replay(segment, is_last, |record, place, content| apply(&disk, record, place, content))?;
        }
        disk.files.check()?;
        disk.log.begin(segments)?;
        Ok(disk)
    }

    /// Begins a file for content that arrives.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub fn new_file(&self) -> Result<FileWriter, StorageError> {
        self.files.create()
    }

    /// The file of this number, as a record names it.
    #[must_use]
    pub fn named_file(&self, id: u64, size_bytes: u64) -> Arc<ContentFile> {
        self.files.named(id, size_bytes)
    }

    /// Appends a record with the content that goes into it, and says where both are. It is on the disk once
    /// [`Disk::durable`] returned.
    ///
    /// # Errors
    /// `DiskRefuses`; then nothing was appended.
    pub fn append(&self, record: &Record<'_>, content: &[u8]) -> Result<(Place, InRecord), StorageError> {
        self.log.append(&record.encode(content))
    }

    /// Waits until everything that was appended so far is on the disk.
    ///
    /// # Errors
    /// `DiskRefuses`: then nobody knows what is, and the program should end.
    pub async fn durable(&self) -> Result<(), StorageError> {
        self.log.durable().await
    }

    /// Returns when the disk failed to take what it was given; never while it is well.
    pub async fn failed(&self) {
        self.log.failed().await;
    }

    /// Syncs what is appended, and removes the files that nobody needs, until the disk is closed. For a thread of
    /// its own.
    pub fn keep_synced(&self) {
        self.log.keep_synced(|| self.files.take_dead(), |dead| self.files.remove(dead));
    }

    /// Waits until a segment is worth cleaning, and returns the oldest; `None` once the disk is closed or has failed.
    /// For a thread of its own.
    #[must_use]
    pub fn next_to_clean(&self) -> Option<Arc<Segment>> {
        self.log.next_to_clean()
    }

    /// Waits before cleaning is tried again, at most until the disk is closed.
    pub fn pause_cleaning(&self) {
        self.log.pause_cleaning();
    }

    /// Many records count no more: there may be something to clean.
    pub fn freed(&self) {
        self.log.freed();
    }

    /// Gives every record of a segment to `visit`.
    ///
    /// # Errors
    /// `Damaged` or `Io`.
    pub fn visit(
        &self,
        segment: &Arc<Segment>,
        mut visit: impl FnMut(Record<'static>, Place) -> Result<(), OpenError>,
    ) -> Result<(), OpenError> {
        log::replay(segment, false, |record, place, _| visit(record, place))
    }

    /// Removes the oldest segment, of which nothing counts any more, once that is on the disk; not after a failure.
    pub fn remove_oldest(&self, segment: &Arc<Segment>) {
        self.log.remove_oldest(segment);
    }

    /// Syncs for the last time and ends the threads that work for this disk. From here on no file is removed.
    pub fn close(&self) {
        self.files.close();
        self.log.close();
    }
}

#[cfg(test)]
mod tests;
