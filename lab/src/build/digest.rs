//! From what an artefact is made: its package, the packages of this workspace that it is built on, and the lock file.
//! The digest is of their contents, so that a checkout, a touch or a clock change nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{BuildError, file};

/// Folders of a package that nothing built depends on.
const PASSED_OVER: [&str; 6] = ["benches", "build", "docs", "node_modules", "target", "tests"];

/// Files at the root that every build depends on.
const OF_ALL: [&str; 3] = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

/// The digest of these packages and files (relative to `root`), and of everything that the packages are built from.
pub(super) fn of_sources(root: &Path, sources: &[&str]) -> Result<String, BuildError> {
    let mut packages = BTreeSet::new();
    let mut files = BTreeSet::new();
    for source in sources {
        let path = root.join(source);
        if path.is_file() {
            files.insert(path);
            continue;
        }
        collect_packages(root, Path::new(source), &mut packages)?;
        if path.join("Cargo.toml").exists() && !path.join("Cargo.lock").exists() {
            files.extend(OF_ALL.iter().map(|name| root.join(name)).filter(|path| path.exists()));
        }
    }
    for package in &packages {
        let path = root.join(package);
        collect_files(&path, &mut files).map_err(file("list", &path))?;
    }
    let mut digest = Sha256::new();
    for path in files {
        let content = fs::read(&path).map_err(file("read", &path))?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
        digest.update((content.len() as u64).to_le_bytes());
        digest.update(content);
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect_files(folder: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            // A package of npm's inside of one of cargo's is another one.
            let other = entry.path().join("package.json").exists();
            if !other && !PASSED_OVER.iter().any(|passed| name == *passed) {
                collect_files(&entry.path(), files)?;
            }
        } else if !name.to_string_lossy().ends_with(".md") {
            files.insert(entry.path());
        }
    }
    Ok(())
}

/// Adds a package and those that it depends on by path, in its own words or in the workspace's.
fn collect_packages(root: &Path, folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), BuildError> {
    if !found.insert(folder.to_owned()) {
        return Ok(());
    }
    let path = root.join(folder).join("Cargo.toml");
    if !path.exists() {
        return Ok(());
    }
    let manifest = read(&path)?;
    let workspace = read(&root.join("Cargo.toml"))?;
    let shared = workspace.get("workspace").and_then(|table| table.get("dependencies"));
    let tables = ["dependencies", "build-dependencies"].map(|name| manifest.get(name));
    for (name, dependency) in tables.into_iter().flatten().filter_map(toml::Value::as_table).flatten() {
        let inherits = dependency.get("workspace").and_then(toml::Value::as_bool) == Some(true);
        let (base, dependency) = match inherits {
            true => (Path::new(""), shared.and_then(|shared| shared.get(name))),
            false => (folder, Some(dependency)),
        };
        let path = dependency.and_then(|dependency| dependency.get("path")).and_then(toml::Value::as_str);
        if let Some(path) = path {
            collect_packages(root, &plain(&base.join(path)), found)?;
        }
    }
    Ok(())
}

/// A relative path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

fn read(path: &Path) -> Result<toml::Table, BuildError> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    toml::from_str(&text)
        .map_err(|source| BuildError::Manifest { path: path.to_owned(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with a program, the library it is built on, one it is not built on, and a guest.
    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in [
            ("Cargo.toml", "[workspace.dependencies]\nbase = { path = \"libs/base\" }\n"),
            ("Cargo.lock", "1"),
            ("program/Cargo.toml", "[dependencies]\nbase.workspace = true\nserde = \"1\"\n"),
            ("program/src/main.rs", "fn main() {}"),
            ("program/tests/it.rs", ""),
            ("program/README.md", ""),
            ("libs/base/Cargo.toml", "[package]\n"),
            ("libs/base/src/lib.rs", ""),
            ("libs/other/src/lib.rs", ""),
            ("guest/Cargo.toml", "[dependencies]\nbase = { path = \"../libs/base\" }\n"),
            ("guest/Cargo.lock", "1"),
            ("libs/base/script/package.json", "{}"),
            ("libs/base/script/src/index.ts", ""),
            ("script/package.json", "{}"),
            ("script/src/index.ts", ""),
            ("script/build/bundle.js", ""),
            ("package-lock.json", "{}"),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    fn changes(name: &str, of: &str) -> bool {
        changes_any(name, &[of])
    }

    fn changes_any(name: &str, of: &[&str]) -> bool {
        let folder = workspace();
        let digest = || of_sources(folder.path(), of).expect("a digest");
        let before = digest();
        assert_eq!(before, digest());
        fs::write(folder.path().join(name), "changed = 1").expect("a file");
        before != digest()
    }

    #[test]
    fn what_it_is_built_from_changes_the_digest() {
        for name in ["program/src/main.rs", "program/src/new.rs", "libs/base/src/lib.rs", "Cargo.lock"] {
            assert!(changes(name, "program"), "{name}");
        }
        assert!(changes("libs/base/src/lib.rs", "guest"));
        assert!(changes("guest/Cargo.lock", "guest"));
    }

    #[test]
    fn what_it_is_not_built_from_does_not() {
        for name in ["program/tests/it.rs", "program/README.md", "libs/other/src/lib.rs"] {
            assert!(!changes(name, "program"), "{name}");
        }
        assert!(!changes("Cargo.lock", "guest"), "a guest has a lock file of its own");
        assert!(!changes("program/src/main.rs", "guest"));
        assert!(!changes("libs/base/script/src/index.ts", "program"), "a package of npm's is another one");
    }

    #[test]
    fn a_package_of_npms_is_built_from_what_is_named() {
        let script = ["script", "libs/base/script", "package-lock.json"];
        for name in ["script/src/index.ts", "libs/base/script/src/index.ts", "package-lock.json"] {
            assert!(changes_any(name, &script), "{name}");
        }
        for name in ["script/build/bundle.js", "libs/base/src/lib.rs", "Cargo.lock"] {
            assert!(!changes_any(name, &script), "{name}");
        }
    }

    #[test]
    fn a_manifest_that_is_none_is_named() {
        let folder = workspace();
        fs::write(folder.path().join("program/Cargo.toml"), "[[[").expect("a file");
        let error = of_sources(folder.path(), &["program"]).expect_err("no manifest");
        assert!(error.to_string().contains("program/Cargo.toml"), "{error}");
    }
}
