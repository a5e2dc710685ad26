//! Which Dapr serves which application, told by files in a folder that all of them have: what multicast DNS is to daprd
//! on a machine of its own.
//!
//! A file is one Dapr: its name begins with the application's id, its text is an address. It must not know what is said
//! at that address.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use crate::limits::{NAME_FILE_BYTES_MAX, NAME_POLL_INTERVAL, NAME_TIMEOUT};

/// What stays as it is in a file's name; the dot parts the id from what follows.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The folder.
#[derive(Debug, Clone)]
pub struct Names {
    folder: PathBuf,
}

/// An entry of one's own. Gone when dropped.
#[derive(Debug)]
pub struct Registration {
    file: PathBuf,
}

/// Another Dapr.
#[derive(Debug)]
pub struct Found {
    /// Where it takes calls for its application.
    pub address: SocketAddr,
    file: PathBuf,
}

impl Names {
    /// The names in this folder.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Tells the others where calls for this application go.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn register(&self, app_id: &str, address: SocketAddr) -> std::io::Result<Registration> {
        std::fs::create_dir_all(&self.folder)?;
        let name = format!("{}.{}", encoded(app_id), address.port());
        // Whole at once: nobody reads half an address.
        let (draft, file) = (self.folder.join(format!(".{name}")), self.folder.join(name));
        std::fs::write(&draft, address.to_string())?;
        std::fs::rename(&draft, &file)?;
        Ok(Registration { file })
    }

    /// One of the Daprs of an application, drawn by lot. Waits a moment for the first.
    ///
    /// # Errors
    /// In the words of daprd's resolver, when there is none.
    pub async fn resolve(&self, app_id: &str) -> Result<Found, String> {
        let begun = Instant::now();
        loop {
            let mut found = self.all(app_id);
            if !found.is_empty() {
                let drawn = rand::random_range(..found.len());
                return Ok(found.swap_remove(drawn));
            }
            if begun.elapsed() >= NAME_TIMEOUT {
                return Err(format!("couldn't find service: {app_id}"));
            }
            tokio::time::sleep(NAME_POLL_INTERVAL).await;
        }
    }

    fn all(&self, app_id: &str) -> Vec<Found> {
        let prefix = format!("{}.", encoded(app_id));
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let files = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&prefix))
        });
        files.filter_map(|file| Some(Found { address: address(&file)?, file })).collect()
    }
}

impl Found {
    /// Nobody listens there: the entry of one that was killed is taken away.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn encoded(app_id: &str) -> String {
    utf8_percent_encode(app_id, FILE_NAME).to_string()
}

fn address(file: &Path) -> Option<SocketAddr> {
    let is_small = std::fs::metadata(file).ok()?.len() <= NAME_FILE_BYTES_MAX;
    let text = is_small.then(|| std::fs::read_to_string(file).ok())??;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn what_is_registered_is_found_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::new(&folder.path().join("made/when/needed"));
        let first = names.register("orders", at(1)).expect("written");
        let second = names.register("orders", at(2)).expect("written");
        let _other = names.register("orders2", at(3)).expect("written");
        let mut ports: Vec<u16> = names.all("orders").iter().map(|found| found.address.port()).collect();
        ports.sort_unstable();
        assert_eq!(ports, [1, 2]);
        drop(first);
        assert_eq!(names.resolve("orders").await.expect("the second").address, at(2));
        drop(second);
        assert!(names.all("orders").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_waited_for_a_moment_and_its_absence_is_told_in_daprds_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::new(folder.path());
        let begun = Instant::now();
        let error = names.resolve("no/such").await.expect_err("nobody");
        assert_eq!((error.as_str(), begun.elapsed()), ("couldn't find service: no/such", NAME_TIMEOUT));
    }

    #[tokio::test]
    async fn what_is_no_entry_is_passed_over_and_what_is_forgotten_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = Names::new(folder.path());
        for (name, text) in [("a.1", "garbage"), ("a.2", "127.0.0.1:2"), (".a.3", "127.0.0.1:3")] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let found = names.resolve("a").await.expect("one");
        assert_eq!(found.address, at(2));
        found.forget();
        assert!(names.all("a").is_empty());
    }
}
