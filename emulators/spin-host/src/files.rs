//! Files of a component: copied to a directory of their own at start, shown to the guest as `/`, removed at the end.
//!
//! It must not let a pattern reach outside the application's directory. Rules: Spin 3.6.3,
//! `crates/loader/src/local.rs`, `crates/factor-wasi/src/lib.rs`.

use std::fs;
use std::io;
use std::path::{Component as Part, Path, PathBuf};

use tempfile::TempDir;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::manifest::{Component, Files};

/// Why a component's files cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A pattern or path of the manifest is wrong.
    #[error("files of component `{component}`: {entry:?} {reason}")]
    Entry {
        /// The component.
        component: String,
        /// The entry.
        entry: String,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// The disk.
    #[error("cannot copy files of component `{component}` to a temporary directory")]
    Copy {
        /// The component.
        component: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
}

/// A directory with copies of a component's files.
pub struct Mount {
    directory: TempDir,
    writable: bool,
}

impl Mount {
    /// Copies the files of a component; none is made for a component without any.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn prepare(
        id: &str,
        component: &Component,
        root: &Path,
        writable: bool,
    ) -> Result<Option<Self>, FileError> {
        if component.files.is_empty() {
            return Ok(None);
        }
        let copy_error = |source| FileError::Copy { component: id.to_owned(), source };
        let directory = tempfile::Builder::new().prefix("spin-host-").tempdir().map_err(copy_error)?;
        let copier = Copier { id, root, to: directory.path(), exclude: excluded(id, component)? };
        for entry in &component.files {
            match entry {
                Files::Pattern(pattern) => copier.pattern(pattern)?,
                Files::Placement { source, destination } => copier.placement(source, destination)?,
                Files::Content { content, destination } => copier.content(content, destination)?,
            }
        }
        Ok(Some(Self { directory, writable }))
    }

    /// Every file: where its copy is, and its path in the guest; in order of the paths.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn listed(&self) -> Result<Vec<(PathBuf, PathBuf)>, FileError> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.path().to_owned()];
        let failed = |source| FileError::Copy { component: "of an image".to_owned(), source };
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_type().map_err(failed)?.is_dir() {
                    directories.push(entry.path());
                } else {
                    let path = entry.path();
                    let inner = path.strip_prefix(self.directory.path()).unwrap_or(&path).to_owned();
                    found.push((path, inner));
                }
            }
        }
        found.sort_unstable_by(|one, other| one.1.cmp(&other.1));
        Ok(found)
    }

    /// Shows the files to a guest. A directory that has gone is logged, and the guest sees no files.
    pub fn mount(&self, builder: &mut WasiCtxBuilder) {
        let permissions = if self.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        if let Err(error) = builder.preopened_dir(self.directory.path(), "/", permissions) {
            tracing::error!(error = format!("{error:#}"), "the files of a component are gone");
        }
    }
}

fn excluded(id: &str, component: &Component) -> Result<Vec<glob::Pattern>, FileError> {
    let parse = |text: &String| {
        let reason = "is not a valid pattern; correct or remove it";
        glob::Pattern::new(text).map_err(|_| FileError::Entry {
            component: id.to_owned(),
            entry: text.clone(),
            reason,
        })
    };
    component.exclude_files.iter().map(parse).collect()
}

struct Copier<'a> {
    id: &'a str,
    root: &'a Path,
    to: &'a Path,
    exclude: Vec<glob::Pattern>,
}

impl Copier<'_> {
    fn wrong(&self, entry: &str, reason: &'static str) -> FileError {
        FileError::Entry { component: self.id.to_owned(), entry: entry.to_owned(), reason }
    }

    fn pattern(&self, entry: &str) -> Result<(), FileError> {
        if matches!(entry.rsplit('/').next(), Some("." | "..")) {
            return Err(self.wrong(entry, "ends in a directory; use a pattern that ends in **/*"));
        }
        if !stays_inside(Path::new(entry)) {
            return Err(self.wrong(entry, "is outside the application's directory; copy the files into it"));
        }
        let path = self.root.join(entry);
        if path.is_dir() {
            // As in Spin, the directory's own name appears twice in the guest.
            return self.matching(entry, &path.join("**/*"), self.root, &self.to.join(entry));
        }
        if path.exists() {
            return self.copy(&path, &self.to.join(entry));
        }
        if glob::Pattern::escape(entry) == entry {
            return Err(self.wrong(entry, "does not exist and is no pattern; correct or remove it"));
        }
        self.matching(entry, &path, self.root, self.to)
    }

    fn placement(&self, source: &str, destination: &str) -> Result<(), FileError> {
        let from = self.root.join(source);
        let inner = Path::new(destination.trim_start_matches('/'));
        if !stays_inside(Path::new(source)) || !stays_inside(inner) {
            return Err(self.wrong(source, "is outside the application's directory; copy the files into it"));
        }
        if from.is_dir() {
            return self.matching(source, &from.join("**/*"), &from, &self.to.join(inner));
        }
        if !from.exists() {
            return Err(self.wrong(source, "does not exist; correct or remove it"));
        }
        self.copy(&from, &self.to.join(inner))
    }

    fn content(&self, content: &[u8], destination: &str) -> Result<(), FileError> {
        let inner = Path::new(destination.trim_start_matches('/'));
        if !stays_inside(inner) || inner.file_name().is_none() {
            return Err(
                self.wrong(destination, "is no path within the guest's directory; write the image again")
            );
        }
        let to = self.to.join(inner);
        let directory = to.parent().map_or_else(PathBuf::new, Path::to_owned);
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(to, content))
            .map_err(|source| self.failed(source))
    }

    fn matching(&self, entry: &str, pattern: &Path, base: &Path, to: &Path) -> Result<(), FileError> {
        let invalid = || self.wrong(entry, "is not a valid pattern; correct or remove it");
        for path in glob::glob(pattern.to_str().ok_or_else(invalid)?).map_err(|_| invalid())? {
            let path = path.map_err(|error| self.failed(error.into()))?;
            let within_root = path.strip_prefix(self.root).unwrap_or(&path);
            if !path.is_file() || self.exclude.iter().any(|pattern| pattern.matches_path(within_root)) {
                continue;
            }
            self.copy(&path, &to.join(path.strip_prefix(base).unwrap_or(&path)))?;
        }
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        let directory = to.parent().map_or_else(PathBuf::new, Path::to_owned);
        fs::create_dir_all(directory)
            .and_then(|()| fs::copy(from, to))
            .map(drop)
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError::Copy { component: self.id.to_owned(), source }
    }
}

/// Whether a relative path never leaves where it starts.
fn stays_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Part::Normal(_) | Part::CurDir))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn component(files: Vec<Files>, exclude: &[&str]) -> Component {
        Component {
            source: PathBuf::new(),
            digest: None,
            description: String::new(),
            variables: BTreeMap::new(),
            environment: BTreeMap::new(),
            files,
            exclude_files: exclude.iter().map(|text| (*text).to_owned()).collect(),
            allowed_outbound_hosts: Vec::new(),
            build_command: None,
        }
    }

    fn application() -> TempDir {
        let root = tempfile::tempdir().expect("temporary directory");
        for path in ["a/one.txt", "a/two.tmp", "a/b/three.txt", "four.txt"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("directory");
            fs::write(&path, "x").expect("file");
        }
        root
    }

    fn mounted(files: Vec<Files>, exclude: &[&str]) -> Vec<String> {
        let root = application();
        let mount = Mount::prepare("c", &component(files, exclude), root.path(), false).expect("copies");
        let mount = mount.expect("has files");
        let all = mount.directory.path().join("**/*");
        let mut found: Vec<String> = glob::glob(all.to_str().expect("UTF-8"))
            .expect("pattern")
            .filter_map(Result::ok)
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(mount.directory.path()).expect("inside").display().to_string())
            .collect();
        found.sort();
        found
    }

    fn pattern(text: &str) -> Files {
        Files::Pattern(text.to_owned())
    }

    fn placement(source: &str, destination: &str) -> Files {
        Files::Placement { source: source.to_owned(), destination: destination.to_owned() }
    }

    #[test]
    fn patterns_and_placements_choose_files() {
        assert_eq!(mounted(vec![pattern("a/*")], &[]), ["a/one.txt", "a/two.tmp"]);
        assert_eq!(mounted(vec![pattern("**/*.txt")], &[]), ["a/b/three.txt", "a/one.txt", "four.txt"]);
        assert_eq!(mounted(vec![pattern("four.txt")], &[]), ["four.txt"]);
        assert_eq!(mounted(vec![placement("a", "/")], &[]), ["b/three.txt", "one.txt", "two.tmp"]);
        assert_eq!(mounted(vec![placement("four.txt", "/x/y.txt")], &[]), ["x/y.txt"]);
    }

    #[test]
    fn excluded_files_are_left_out() {
        assert_eq!(mounted(vec![placement("a", "/")], &["**/*.tmp", "a/b/*"]), ["one.txt"]);
    }

    #[test]
    fn nothing_outside_the_application_is_copied() {
        let root = application();
        for files in [
            pattern("../*"),
            pattern("/etc/*"),
            pattern("a/.."),
            pattern("missing"),
            pattern("[x"),
            placement("../a", "/"),
            placement("a", "/../x"),
            placement("missing", "/"),
        ] {
            let refused = Mount::prepare("c", &component(vec![files], &[]), root.path(), false);
            assert!(refused.is_err());
        }
        assert!(Mount::prepare("c", &component(vec![], &[]), root.path(), false).expect("allowed").is_none());
    }
}
