//! The log: records one behind the other in segments. Appending writes to the file at once, so that a record is there
//! though the program is killed; a thread syncs what was appended, all of it at once, so that it is there though the
//! power fails. The oldest segment is removed when what still counts in it was appended again.
//!
//! A segment begins with [`MAGIC`]. Only the last one can have a torn end, because it begins only when the one before
//! is synced.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::OpenError;
use super::files::{create_directory, refused, sync_directory};
use super::record::{self, FRAME_BYTES, Record};
use crate::error::StorageError;
use crate::limits::{CLEAN_RETRY, LOG_GARBAGE_BYTES, SEGMENT_BYTES};
use crate::time;

/// How large the log may grow; tests have it smaller.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// See [`SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// See [`LOG_GARBAGE_BYTES`].
    pub garbage_bytes: u64,
    /// See [`CLEAN_RETRY`].
    pub clean_retry: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, garbage_bytes: LOG_GARBAGE_BYTES, clean_retry: CLEAN_RETRY }
    }
}

/// First bytes of a segment: the name and version of what follows.
const MAGIC: &[u8; 8] = b"BLOBLOG1";

const NOT_WHOLE: &str = "a record is not whole, and that is not the end of the log";
const UNKNOWN: &str = "a record is whole but not understood; a newer version may have written it";

/// A file of the log.
#[derive(Debug)]
pub struct Segment {
    id: u64,
    path: PathBuf,
    file: File,
    /// Bytes of the records that still count.
    live_bytes: AtomicU64,
}

impl Segment {
    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the record of something stands. As long as it exists, the record counts.
#[derive(Debug)]
pub struct Place {
    segment: Arc<Segment>,
    offset: u64,
    bytes: u32,
}

impl Place {
    fn new(segment: &Arc<Segment>, offset: u64, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        segment.live_bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        Self { segment: Arc::clone(segment), offset, bytes }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.segment.id == other.segment.id && self.offset == other.offset
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.segment.live_bytes.fetch_sub(u64::from(self.bytes), Ordering::Relaxed);
    }
}

/// Content that stands in a record. It keeps the file open, also when that is removed.
#[derive(Debug, Clone)]
pub struct InRecord {
    segment: Arc<Segment>,
    offset: u32,
    bytes: u32,
}

impl InRecord {
    fn new(segment: &Arc<Segment>, end: u64, bytes: usize) -> Self {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // A segment is little larger than its bound, which is far below 4 GiB.
        let offset = u32::try_from(end - u64::from(bytes)).unwrap_or(u32::MAX);
        Self { segment: Arc::clone(segment), offset, bytes }
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        u64::from(self.bytes)
    }

    /// Where it begins in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        u64::from(self.offset)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.segment.file
    }
}

/// All segments.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    limits: LogLimits,
    state: Mutex<State>,
    /// Something was appended, a segment began, something counts no more, or the log is closed.
    changed: Condvar,
    /// Records that were appended so far; written under the lock, read without.
    appended: AtomicU64,
    progress: watch::Sender<Progress>,
    /// Held while a sync runs and until its failure is known; see [`Log::sync`].
    syncing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Oldest first; empty only before [`Log::begin`].
    segments: VecDeque<Arc<Segment>>,
    /// Where the next record begins in the last segment.
    tail: u64,
    /// Bytes of all segments but the last.
    sealed_bytes: u64,
    closed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    synced: u64,
    failed: bool,
}

impl Log {
    /// The log below `directory`, which is made if it is not there, and its segments, oldest first, still to be read.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(directory: PathBuf, limits: LogLimits) -> Result<(Self, Vec<Arc<Segment>>), OpenError> {
        create_directory(&directory)?;
        let entries = std::fs::read_dir(&directory).map_err(OpenError::io("list", &directory))?;
        let id = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".log")?.parse::<u64>().ok()
        };
        let mut ids: Vec<u64> = entries.filter_map(id).collect();
        ids.sort_unstable();
        let log = Self {
            directory,
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
            appended: AtomicU64::new(0),
            progress: watch::Sender::new(Progress::default()),
            syncing: Mutex::default(),
        };
        let segments = ids.into_iter().map(|id| log.segment(id, false)).collect::<Result<_, _>>()?;
        Ok((log, segments))
    }

    /// Goes on behind the segments that were read.
    ///
    /// # Errors
    /// `Io`.
    pub fn begin(&self, segments: Vec<Arc<Segment>>) -> Result<(), OpenError> {
        let mut state = self.lock();
        state.segments = segments.into();
        let Some(last) = state.segments.back().cloned() else {
            let first = self.segment(1, true)?;
            sync_directory(&self.directory).map_err(OpenError::io("sync", &self.directory))?;
            (state.tail, state.segments) = (MAGIC.len() as u64, VecDeque::from([first]));
            return Ok(());
        };
        let size = |segment: &Arc<Segment>| {
            segment.file.metadata().map(|found| found.len()).map_err(OpenError::io("examine", &segment.path))
        };
        let all = state.segments.iter().map(size).sum::<Result<u64, _>>()?;
        (state.tail, state.sealed_bytes) = (size(&last)?, all - size(&last)?);
        Ok(())
    }

    /// Appends an encoded record.
    ///
    /// # Errors
    /// `DiskRefuses`; then nothing was appended.
    pub fn append(&self, encoded: &[u8]) -> Result<(Place, InRecord), StorageError> {
        let mut state = self.lock();
        if self.progress.borrow().failed {
            return Err(StorageError::DiskRefuses { detail: "an earlier write was lost".to_owned() });
        }
        if state.tail >= self.limits.segment_bytes {
            self.next_segment(&mut state)?;
        }
        let Some(segment) = state.segments.back().cloned() else {
            return Err(StorageError::DiskRefuses { detail: "the log is not open".to_owned() });
        };
        let offset = state.tail;
        // What a failed write leaves behind is overwritten by the next record, or cut off as a torn end.
        segment.file.write_all_at(encoded, offset).map_err(refused)?;
        state.tail += encoded.len() as u64;
        self.appended.fetch_add(1, Ordering::Release);
        let content_bytes = encoded.get(..FRAME_BYTES).and_then(|frame| frame.try_into().ok());
        let content_bytes = content_bytes.and_then(record::sizes).map_or(0, |(_, content)| content);
        let end = state.tail;
        drop(state);
        self.changed.notify_all();
        Ok((Place::new(&segment, offset, encoded.len()), InRecord::new(&segment, end, content_bytes)))
    }

    fn next_segment(&self, state: &mut State) -> Result<(), StorageError> {
        let Some(last) = state.segments.back() else { return Ok(()) };
        // Nothing of a write that failed may stay behind the last record.
        last.file.set_len(state.tail).map_err(refused)?;
        self.sync(last)?;
        let next = self
            .segment(last.id + 1, true)
            .map_err(|error| StorageError::DiskRefuses { detail: error.to_string() })?;
        sync_directory(&self.directory).map_err(refused)?;
        state.sealed_bytes += state.tail;
        state.tail = MAGIC.len() as u64;
        state.segments.push_back(next);
        Ok(())
    }

    /// See [`super::Disk::durable`].
    ///
    /// # Errors
    /// `DiskRefuses`.
    pub async fn durable(&self) -> Result<(), StorageError> {
        let target = self.appended.load(Ordering::Acquire);
        let mut progress = self.progress.subscribe();
        let there = progress.wait_for(|progress| progress.failed || progress.synced >= target).await;
        match there {
            Ok(progress) if !progress.failed => Ok(()),
            _ => Err(StorageError::DiskRefuses { detail: "what was written could not be synced".to_owned() }),
        }
    }

    /// See [`super::Disk::failed`].
    pub async fn failed(&self) {
        // The sender lives as long as the log; there is no other end.
        let _ = self.progress.subscribe().wait_for(|progress| progress.failed).await;
    }

    /// See [`super::Disk::keep_synced`].
    pub fn keep_synced(&self, take_dead: impl Fn() -> Vec<u64>, remove: impl Fn(Vec<u64>)) {
        let mut synced = 0;
        loop {
            let mut state = self.lock();
            let mut dead = take_dead();
            while self.appended.load(Ordering::Acquire) == synced && dead.is_empty() && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                dead = take_dead();
            }
            // A file is dead by a record that was appended before: asked for in this order, that one is synced now.
            let (target, last, closed) =
                (self.appended.load(Ordering::Acquire), state.segments.back().cloned(), state.closed);
            drop(state);
            if last.is_some_and(|segment| self.sync(&segment).is_err()) {
                return;
            }
            synced = target;
            self.progress.send_modify(|progress| progress.synced = synced);
            remove(dead);
            if closed {
                return;
            }
        }
    }

    /// See [`super::Disk::next_to_clean`].
    pub fn next_to_clean(&self) -> Option<Arc<Segment>> {
        let mut state = self.lock();
        loop {
            if state.closed || self.progress.borrow().failed {
                return None;
            }
            let live: u64 =
                state.segments.iter().map(|segment| segment.live_bytes.load(Ordering::Relaxed)).sum();
            if state.segments.len() > 1 && state.sealed_bytes > 2 * live + self.limits.garbage_bytes {
                return state.segments.front().cloned();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// See [`super::Disk::pause_cleaning`].
    pub fn pause_cleaning(&self) {
        let state = self.lock();
        // How it ended is seen by who looks for the next segment.
        drop(self.changed.wait_timeout_while(state, self.limits.clean_retry, |state| !state.closed));
    }

    /// See [`super::Disk::freed`].
    pub fn freed(&self) {
        // Under the lock, so that nobody is between looking and waiting.
        let state = self.lock();
        self.changed.notify_all();
        drop(state);
    }

    /// See [`super::Disk::remove_oldest`].
    pub fn remove_oldest(&self, segment: &Arc<Segment>) {
        let mut state = self.lock();
        let is_oldest = state.segments.front().is_some_and(|oldest| oldest.id == segment.id);
        if !is_oldest || state.segments.len() < 2 {
            return;
        }
        // What was moved out of it is behind: in the last segment, or in one that was synced when the next began.
        if state.segments.back().is_none_or(|last| self.sync(last).is_err()) {
            return;
        }
        state.segments.pop_front();
        state.sealed_bytes -= segment.file.metadata().map_or(0, |found| found.len()).min(state.sealed_bytes);
        drop(state);
        if let Err(error) = std::fs::remove_file(&segment.path) {
            tracing::warn!(path = %segment.path.display(), %error, "cannot remove a segment that nobody needs");
        }
    }

    /// See [`super::Disk::close`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Syncs a segment. Linux tells of a lost write once: a sync after one that failed succeeds, and says nothing about
    /// what was lost. So none is believed after that, and they follow each other.
    ///
    /// # Errors
    /// `DiskRefuses`, now and from here on.
    fn sync(&self, segment: &Segment) -> Result<(), StorageError> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress.borrow().failed {
            return Err(StorageError::DiskRefuses { detail: "an earlier write was lost".to_owned() });
        }
        segment.file.sync_data().map_err(|error| self.fail(error))
    }

    /// Nobody knows any more what is on the disk: nothing is promised from here on.
    pub(super) fn fail(&self, error: std::io::Error) -> StorageError {
        self.progress.send_modify(|progress| progress.failed = true);
        self.changed.notify_all();
        refused(error)
    }

    fn segment(&self, id: u64, is_new: bool) -> Result<Arc<Segment>, OpenError> {
        let path = self.directory.join(format!("{id:010}.log"));
        // One that is there already began when the disk was full, and has nothing yet.
        let file = OpenOptions::new().read(true).write(true).create(is_new).truncate(is_new).open(&path);
        let file = file.map_err(OpenError::io("open", &path))?;
        if is_new {
            file.write_all_at(MAGIC, 0).map_err(OpenError::io("write", &path))?;
            file.sync_data().map_err(OpenError::io("sync", &path))?;
        }
        Ok(Arc::new(Segment { id, path, file, live_bytes: AtomicU64::new(0) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives every record of a segment to `visit`. With `may_be_torn`, the first one that is not whole ends the segment,
/// and is cut off; else it is damage.
///
/// # Errors
/// `Damaged`, `Io`, or what `visit` says.
pub fn replay(
    segment: &Arc<Segment>,
    may_be_torn: bool,
    mut visit: impl FnMut(Record<'static>, Place, InRecord) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let io = |what| OpenError::io(what, &segment.path);
    let size = segment.file.metadata().map_err(io("examine"))?.len();
    let opened = File::open(&segment.path).map_err(io("open"))?;
    let mut reader = BufReader::with_capacity(1 << 20, opened);
    let (mut bytes, mut offset) = (Vec::new(), 0);
    let mut magic = [0; MAGIC.len()];
    if size >= magic.len() as u64 {
        reader.read_exact(&mut magic).map_err(io("read"))?;
        offset = magic.len() as u64;
    }
    if magic == *MAGIC {
        while let Some((head, content)) =
            next_frame(&mut reader, &mut bytes, size - offset).map_err(io("read"))?
        {
            let Some(found) = record::decode(&bytes) else { break };
            // Whole, so it was answered: never cut off.
            let found =
                found.map_err(|_| OpenError::Damaged { path: segment.path.clone(), offset, why: UNKNOWN })?;
            debug_assert_eq!(bytes.len(), FRAME_BYTES + head + content);
            let end = offset + bytes.len() as u64;
            visit(found, Place::new(segment, offset, bytes.len()), InRecord::new(segment, end, content))?;
            offset = end;
        }
    } else {
        offset = 0;
    }
    if offset == size && offset > 0 {
        return Ok(());
    }
    // A segment without its first bytes is one that began when the power failed; anything else there is not ours.
    if !may_be_torn || (offset == 0 && size > MAGIC.len() as u64) {
        return Err(OpenError::Damaged { path: segment.path.clone(), offset, why: NOT_WHOLE });
    }
    cut_off(segment, offset, size).map_err(io("cut off the torn end of"))
}

/// Cuts off what is behind `offset`. It is kept beside the segment: no answer rested on it if the power or the program
/// failed, but somebody may want to look if it was the disk.
fn cut_off(segment: &Segment, offset: u64, size: u64) -> std::io::Result<()> {
    // A name of its own: an earlier one is kept too.
    let kept = segment.path.with_extension(format!("{}.torn", time::unix_us()));
    tracing::warn!(
        path = %segment.path.display(), offset, bytes = size - offset, kept = %kept.display(),
        "the end of the log is torn, as a failure of power or program leaves it; cut off"
    );
    let copied = segment.file.try_clone().and_then(|mut torn| {
        torn.seek(SeekFrom::Start(offset))?;
        std::io::copy(&mut torn, &mut File::create_new(&kept)?)
    });
    if let Err(error) = copied {
        // On a full disk what was answered matters more.
        tracing::warn!(path = %kept.display(), %error, "cannot keep the torn end whole");
    }
    segment.file.set_len(offset.max(MAGIC.len() as u64))?;
    if offset == 0 {
        segment.file.write_all_at(MAGIC, 0)?;
    }
    segment.file.sync_data()
}

/// Reads the next frame with what it announces; `None` at the end, or where what is left cannot be one.
fn next_frame(
    reader: &mut impl std::io::Read,
    bytes: &mut Vec<u8>,
    left: u64,
) -> std::io::Result<Option<(usize, usize)>> {
    if left < FRAME_BYTES as u64 {
        return Ok(None);
    }
    let mut frame = [0; FRAME_BYTES];
    reader.read_exact(&mut frame)?;
    let Some((head, content)) = record::sizes(frame) else { return Ok(None) };
    if ((FRAME_BYTES + head + content) as u64) > left {
        return Ok(None);
    }
    bytes.clear();
    bytes.extend_from_slice(&frame);
    bytes.resize(FRAME_BYTES + head + content, 0);
    reader.read_exact(&mut bytes[FRAME_BYTES..])?;
    Ok(Some((head, content)))
}
