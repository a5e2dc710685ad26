//! The TypeScript stacks' packages: one npm workspace with one lock file. It knows what is installed; it installs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::{BuildError, file};

/// The workspace's folder.
pub(super) const FOLDER: &str = "apps";

/// What every package of the workspace is built from, beside its own folder.
pub(super) const SHARED: [&str; 4] =
    ["apps/order/typescript", "apps/package.json", "apps/package-lock.json", "apps/tsconfig.json"];

/// A lock file, and what npm writes into `node_modules` when it has installed: the same, of what is there.
#[derive(Debug, Deserialize)]
struct Lock {
    packages: BTreeMap<String, Package>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Package {
    version: Option<String>,
    integrity: Option<String>,
    /// One for another platform is left out without a word.
    #[serde(default)]
    optional: bool,
}

/// Whether what the lock file of the workspace in `folder` names is what is installed.
///
/// # Errors
/// Fails when there is no lock file.
pub(super) fn is_installed(folder: &Path) -> Result<bool, BuildError> {
    let path = folder.join("package-lock.json");
    let wanted = fs::read(&path).map_err(file("read", &path))?;
    let installed = fs::read(folder.join("node_modules/.package-lock.json")).unwrap_or_default();
    let wanted: Lock = serde_json::from_slice(&wanted).map_err(|error| file("read", &path)(error.into()))?;
    // What npm did not finish says nothing.
    let Ok(installed) = serde_json::from_slice::<Lock>(&installed) else { return Ok(false) };
    Ok(wanted.packages.iter().filter(|(name, _)| name.contains("node_modules/")).all(|(name, package)| {
        match installed.packages.get(name) {
            Some(there) => there.version == package.version && there.integrity == package.integrity,
            None => package.optional,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"{"packages": {"": {"name": "apps"}, "order": {"version": "0.1.0"},
        "node_modules/a": {"version": "1.0.0", "integrity": "sha512-a"},
        "node_modules/b": {"version": "1.0.0", "integrity": "sha512-b", "optional": true}}}"#;

    fn installed(there: &str) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("node_modules")).expect("a folder");
        fs::write(folder.path().join("package-lock.json"), LOCK).expect("a file");
        fs::write(folder.path().join("node_modules/.package-lock.json"), there).expect("a file");
        is_installed(folder.path()).expect("a lock file")
    }

    #[test]
    fn what_the_lock_file_names_is_installed_whatever_the_clock_says() {
        assert!(installed(LOCK));
        let without_optional = LOCK.replace("node_modules/b", "node_modules/other");
        assert!(installed(&without_optional));
    }

    #[test]
    fn another_version_another_content_or_nothing_is_not() {
        assert!(!installed(&LOCK.replace("1.0.0", "1.0.1")));
        assert!(!installed(&LOCK.replace("sha512-a", "sha512-x")));
        assert!(!installed(&LOCK.replace("node_modules/a", "node_modules/other")));
        assert!(!installed(""), "npm was interrupted");
        assert!(is_installed(Path::new("nowhere")).is_err());
    }
}
