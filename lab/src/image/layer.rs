//! A layer: files for an image, as a tar archive that is the same whenever and wherever it is made. Sorted, of root,
//! with no time and no name of a user; not compressed, so that its digest depends on no compressor.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::ImageError;
use super::blob::Blob;

/// The media type of a layer that is not compressed.
pub const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder { mode: u32 },
    Bytes { content: Vec<u8>, mode: u32 },
    File { from: PathBuf, mode: u32 },
    Link { to: PathBuf },
}

/// The files of a layer, by their path in the image without the leading `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    entries: BTreeMap<PathBuf, Entry>,
}

/// Modes of what everybody may read; of what everybody may run, or enter; of what everybody may write into.
const READ: u32 = 0o644;
const RUN: u32 = 0o755;
const SHARED: u32 = 0o1777;

impl Files {
    /// A file with this content.
    pub fn text(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        self.insert(path, Entry::Bytes { content: content.into(), mode: READ });
    }

    /// A file of this machine, which only is to be read.
    pub fn data(&mut self, path: impl AsRef<Path>, from: &Path) {
        self.insert(path, Entry::File { from: from.to_owned(), mode: READ });
    }

    /// A file of this machine, which is to be run.
    pub fn program(&mut self, path: impl AsRef<Path>, from: &Path) {
        self.insert(path, Entry::File { from: from.to_owned(), mode: RUN });
    }

    /// A folder into which every user may write.
    pub fn shared_folder(&mut self, path: &str) {
        self.insert(path, Entry::Folder { mode: SHARED });
    }

    /// Everything in a folder of this machine.
    ///
    /// # Errors
    /// Names what could not be listed.
    pub fn tree(&mut self, path: &Path, from: &Path) -> Result<(), ImageError> {
        let failed = |source| ImageError::File { operation: "list", path: from.to_owned(), source };
        for entry in fs::read_dir(from).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (inner, outer) = (path.join(entry.file_name()), entry.path());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.tree(&inner, &outer)?;
            } else if kind.is_symlink() {
                let to = fs::read_link(&outer).map_err(failed)?;
                self.insert(inner, Entry::Link { to });
            } else if is_program(&entry.metadata().map_err(failed)?) {
                self.program(inner, &outer);
            } else {
                self.data(inner, &outer);
            }
        }
        Ok(())
    }

    /// Adds an entry and the folders that it is in.
    fn insert(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path).to_owned();
        for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.entries.entry(folder.to_owned()).or_insert(Entry::Folder { mode: RUN });
        }
        self.entries.insert(path, entry);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The archive.
    ///
    /// # Errors
    /// Names the file that could not be read.
    pub fn archive(&self) -> Result<Blob, ImageError> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry).map_err(|source| ImageError::File {
                operation: "put into a layer",
                path: match entry {
                    Entry::File { from, .. } => from.clone(),
                    _ => path.clone(),
                },
                source,
            })?;
        }
        let content = archive.into_inner().map_err(|source| ImageError::File {
            operation: "write",
            path: PathBuf::from("a layer"),
            source,
        })?;
        Ok(Blob::new(LAYER_TYPE, content))
    }
}

#[cfg(unix)]
fn is_program(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    match entry {
        Entry::Folder { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            archive.append_data(&mut header, path, io::empty())
        }
        Entry::Bytes { content, mode } => {
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())
        }
        Entry::File { from, mode } => {
            // All at once: the length in the header is the length of what follows, whoever writes the file meanwhile.
            let content = fs::read(from)?;
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())
        }
        Entry::Link { to } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, path, to)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn listed(blob: &Blob) -> Vec<(String, u32, u64, String)> {
        let mut archive = tar::Archive::new(blob.content.as_slice());
        let entries = archive.entries().expect("entries");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                assert_eq!((entry.header().uid().ok(), entry.header().gid().ok()), (Some(0), Some(0)));
                let path = entry.path().expect("a path").display().to_string();
                let (mode, mtime) =
                    (entry.header().mode().expect("a mode"), entry.header().mtime().expect("a time"));
                let mut content = String::new();
                entry.read_to_string(&mut content).expect("content");
                (path, mode, mtime, content)
            })
            .collect()
    }

    #[test]
    fn a_layer_is_the_same_whenever_it_is_made_and_in_whatever_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("program");
        fs::write(&file, "run").expect("a file");
        let mut one = Files::default();
        one.program("/bin/program", &file);
        one.text("/etc/passwd", "root");
        let before = one.archive().expect("an archive");
        // Another time, another mode and the other order.
        fs::write(&file, "run").expect("a file");
        let mut other = Files::default();
        other.text("etc/passwd", "root");
        other.program("bin/program", &file);
        assert_eq!(other.archive().expect("an archive").digest, before.digest);
        fs::write(&file, "walk").expect("a file");
        assert_ne!(one.archive().expect("an archive").digest, before.digest);
    }

    #[test]
    fn a_layer_holds_what_was_put_in_with_its_folders_and_no_time() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("deep")).expect("a folder");
        fs::write(folder.path().join("deep/file"), "x").expect("a file");
        std::os::unix::fs::symlink("deep/file", folder.path().join("link")).expect("a link");
        let mut files = Files::default();
        files.tree(Path::new("/app"), folder.path()).expect("a tree");
        files.shared_folder("/tmp");
        let listed = listed(&files.archive().expect("an archive"));
        let expected = [
            ("app/", 0o755, ""),
            ("app/deep/", 0o755, ""),
            ("app/deep/file", 0o644, "x"),
            ("app/link", 0o777, ""),
            ("tmp/", 0o1777, ""),
        ];
        let expected = expected.map(|(path, mode, content)| (path.to_owned(), mode, 0, content.to_owned()));
        let plain: Vec<_> = listed
            .into_iter()
            .map(|(path, mode, time, content)| (path.trim_end_matches('/').to_owned(), mode, time, content))
            .collect();
        let expected = expected
            .map(|(path, mode, time, content)| (path.trim_end_matches('/').to_owned(), mode, time, content));
        assert_eq!(plain, expected);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let mut files = Files::default();
        files.data("/data", Path::new("no/such/file"));
        let error = files.archive().expect_err("no file");
        assert!(error.to_string().contains("no/such/file"), "{error}");
    }
}
