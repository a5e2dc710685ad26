//! Files of larger content: written while it arrives, named by a number, never changed, removed when no blob needs
//! them any more and the log knows that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::OpenError;
use super::log::Log;
use crate::error::StorageError;

/// All files of a data directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    next_id: AtomicU64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: Mutex<Known>,
    /// Told when a file is dead, so that it does not wait for the next record.
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Known {
    /// Blobs and their copies share files.
    alive: BTreeMap<u64, Weak<ContentFile>>,
    /// Nobody needs these; they go with the next sync, so that no record that is not yet replaced on the disk misses
    /// its content.
    dead: Vec<u64>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that is whole.
#[derive(Debug)]
pub struct ContentFile {
    id: u64,
    /// 0 until it is whole.
    size_bytes: AtomicU64,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl ContentFile {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

impl Drop for ContentFile {
    fn drop(&mut self) {
        if self.size_bytes() == 0 {
            // No record names it, so there is none to wait for.
            remove(&self.path);
            return;
        }
        let mut known = self.shared.lock();
        known.alive.remove(&self.id);
        if known.closed {
            return;
        }
        known.dead.push(self.id);
        drop(known);
        self.shared.log.freed();
    }
}

/// A file on its way. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    unfinished: Arc<ContentFile>,
    size_bytes: u64,
}

impl FileWriter {
    /// Appends.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.file.write_all(bytes).map_err(refused)?;
        self.size_bytes += bytes.len() as u64;
        Ok(())
    }

    /// The file, with its bytes and its name on the disk.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub async fn finish(self) -> Result<Arc<ContentFile>, StorageError> {
        let Self { file, unfinished, size_bytes } = self;
        let path = unfinished.path.clone();
        let synced = tokio::task::spawn_blocking(move || {
            file.sync_data()?;
            sync_directory(path.parent().unwrap_or(&path))
        });
        let synced = synced.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        synced.map_err(refused)?;
        unfinished.size_bytes.store(size_bytes, Ordering::Relaxed);
        unfinished.shared.lock().alive.insert(unfinished.id, Arc::downgrade(&unfinished));
        Ok(unfinished)
    }
}

impl Files {
    /// The files below `directory`, which is made if it is not there; `log` has the records that name them.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(directory: PathBuf, log: &Arc<Log>) -> Result<Self, OpenError> {
        create_directory(&directory)?;
        let last = ids(&directory)?.last().copied().unwrap_or(0);
        let shared = Arc::new(Shared { known: Mutex::default(), log: Arc::clone(log) });
        Ok(Self { directory, next_id: AtomicU64::new(last + 1), shared })
    }

    /// Begins a file.
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub fn create(&self) -> Result<FileWriter, StorageError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let path = self.path(id);
        let file = File::create_new(&path).map_err(refused)?;
        let shared = Arc::clone(&self.shared);
        let unfinished = Arc::new(ContentFile { id, size_bytes: AtomicU64::new(0), path, shared });
        Ok(FileWriter { file, unfinished, size_bytes: 0 })
    }

    /// A file that a record names. Whether it is there is seen in [`Files::check`]: a later record may do without it.
    pub fn named(&self, id: u64, size_bytes: u64) -> Arc<ContentFile> {
        if let Some(file) = self.shared.lock().alive.get(&id).and_then(Weak::upgrade) {
            return file;
        }
        let (path, shared) = (self.path(id), Arc::clone(&self.shared));
        let file = Arc::new(ContentFile { id, size_bytes: AtomicU64::new(size_bytes), path, shared });
        self.shared.lock().alive.insert(id, Arc::downgrade(&file));
        file
    }

    /// The path of this number.
    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("{id:010}"))
    }

    /// After the log was read: removes what no blob has, and finds what every blob needs.
    ///
    /// # Errors
    /// `MissingContent`, or `Io` when the directory cannot be read.
    pub fn check(&self) -> Result<(), OpenError> {
        let found = ids(&self.directory)?;
        let mut known = self.shared.lock();
        known.dead.clear();
        let alive: Vec<_> = known.alive.values().filter_map(Weak::upgrade).collect();
        let strays = found.into_iter().filter(|id| !known.alive.contains_key(id)).collect();
        drop(known);
        self.remove(strays);
        for file in alive {
            let there = std::fs::metadata(&file.path).is_ok_and(|there| there.len() == file.size_bytes());
            if !there {
                return Err(OpenError::MissingContent { path: file.path.clone(), bytes: file.size_bytes() });
            }
        }
        Ok(())
    }

    /// The files that nobody needs, for [`Files::remove`] once the log is synced.
    pub fn take_dead(&self) -> Vec<u64> {
        std::mem::take(&mut self.shared.lock().dead)
    }

    /// Removes files.
    pub fn remove(&self, ids: Vec<u64>) {
        ids.into_iter().for_each(|id| remove(&self.path(id)));
    }

    /// From here on what is dropped stays: it is the program that ends, not the blob.
    pub fn close(&self) {
        let mut known = self.shared.lock();
        known.closed = true;
        known.dead.clear();
    }
}

/// The numbers of the files in a directory, in order; what is no number is none of ours.
fn ids(directory: &Path) -> Result<BTreeSet<u64>, OpenError> {
    let entries = std::fs::read_dir(directory).map_err(OpenError::io("list", directory))?;
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(entries.filter_map(number).collect())
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "cannot remove content that nobody needs");
    }
}

/// Makes a directory that is not there, and the way to it, durably.
///
/// # Errors
/// `Io`.
pub fn create_directory(directory: &Path) -> Result<(), OpenError> {
    let new: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(directory).map_err(OpenError::io("create", directory))?;
    for parent in new.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        sync_directory(parent).map_err(OpenError::io("sync", parent))?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// A refusal of the disk, as the client sees it.
pub fn refused(error: io::Error) -> StorageError {
    tracing::error!(%error, "cannot write to the data directory");
    StorageError::DiskRefuses { detail: error.to_string() }
}
