//! How many labs of tests are alive at the same time on this machine: one for every two cores, counted by file locks
//! that end with the process that holds them.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use super::LabError;
use crate::limits;
use crate::paths::runtime_folder;

/// The right to have one lab alive, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    _locked: File,
}

/// How many there are.
fn count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Waits for a slot. Whoever waits holds the turn, so that nobody who comes later is served before.
pub(super) async fn take() -> Result<Slot, LabError> {
    let (folder, started, slots) = (runtime_folder(), Instant::now(), count());
    let failed = |source| LabError::File { operation: "lock a slot in", path: folder.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    let mut turn = None;
    loop {
        if turn.is_none() {
            turn = try_lock(&folder, "turn").map_err(failed)?;
        }
        if turn.is_some()
            && let Some(slot) = try_take(&folder, slots).map_err(failed)?
        {
            return Ok(slot);
        }
        if started.elapsed() > limits::SLOT_WAIT {
            return Err(LabError::NoSlot { seconds: limits::SLOT_WAIT.as_secs(), slots });
        }
        tokio::time::sleep(limits::FILE_POLL).await;
    }
}

fn try_take(folder: &Path, slots: usize) -> io::Result<Option<Slot>> {
    for number in 1..=slots {
        if let Some(locked) = try_lock(folder, &format!("slot-{number}"))? {
            return Ok(Some(Slot { _locked: locked }));
        }
    }
    Ok(None)
}

/// The file, locked, unless somebody else holds it.
fn try_lock(folder: &Path, name: &str) -> io::Result<Option<File>> {
    let path = folder.join(format!("{name}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = try_take(folder.path(), 2).expect("a lock").expect("a slot");
        let second = try_take(folder.path(), 2).expect("a lock").expect("a slot");
        assert!(try_take(folder.path(), 2).expect("a lock").is_none());
        drop(first);
        assert!(try_take(folder.path(), 2).expect("a lock").is_some());
        drop(second);
    }
}
