//! The cache of compiled components: used when sound, replaced when not, never needed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::component;
use crate::guest;
use crate::support::{Host, Setup, warm_cache};

fn setup(cache: &Path) -> Setup {
    super::probe("").cache(Some(cache.to_owned()))
}

/// How many components a start had to compile.
fn compiled(host: &Host) -> String {
    let line = host.wait_for("wasmtime 48");
    line.rsplit_once("compiled=").expect("the line has it").1.to_owned()
}

fn entries(cache: &Path, extension: &str) -> Vec<PathBuf> {
    let listed =
        fs::read_dir(cache).expect("the cache is there").map(|entry| entry.expect("readable").path());
    listed.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// A cache with the probe in it: a copy of the one that all tests share, since compiling takes long.
fn filled() -> tempfile::TempDir {
    let cache = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(warm_cache()).expect("it is there").map(|entry| entry.expect("readable")) {
        fs::copy(entry.path(), cache.path().join(entry.file_name())).expect("a copy");
    }
    cache
}

#[test]
fn a23_the_second_start_compiles_nothing() {
    let cache = tempfile::tempdir().expect("a directory");
    let first = setup(cache.path()).start();
    assert_eq!(compiled(&first), "1");
    assert_eq!((entries(cache.path(), "cwasm").len(), entries(cache.path(), "sha256").len()), (1, 1));
    let host = setup(cache.path()).start();
    assert_eq!(compiled(&host), "0");
    assert_eq!(host.get("/counter").text(), "1");
    let tuned = setup(cache.path()).arguments(&["--engine-profile", "tuned"]).start();
    assert_eq!(compiled(&tuned), "0", "the profiles share it");
}

/// Damages the files with this extension; the next start must notice, compile again and repair the one it needs.
fn is_repaired(extension: &str, damage: impl Fn(&Path)) {
    let cache = filled();
    entries(cache.path(), extension).iter().for_each(|path| damage(path));
    let host = setup(cache.path()).start();
    assert_eq!(compiled(&host), "1");
    assert_eq!(host.get("/counter").text(), "1");
    host.wait_for("compiled code is not used and will be replaced");
    drop(host);
    let host = setup(cache.path()).start();
    assert_eq!(compiled(&host), "0", "it was repaired");
    assert!(!host.stop().contains("WARN"));
}

#[test]
fn a23_a_changed_entry_is_compiled_again() {
    is_repaired("cwasm", |code| {
        let mut bytes = fs::read(code).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(code, bytes).expect("writable");
    });
}

#[test]
fn a23_a_short_entry_is_compiled_again() {
    is_repaired("cwasm", |code| {
        fs::File::options().write(true).open(code).and_then(|file| file.set_len(1_000)).expect("writable");
    });
}

#[test]
fn a23_an_entry_of_another_digest_is_compiled_again() {
    is_repaired("sha256", |digest| {
        fs::write(digest, "0".repeat(64)).expect("writable");
    });
}

#[test]
fn a23_an_entry_that_others_may_write_is_compiled_again() {
    is_repaired("cwasm", |code| {
        fs::set_permissions(code, fs::Permissions::from_mode(0o666)).expect("ours");
    });
}

#[test]
fn a23_another_module_is_another_entry() {
    let cache = tempfile::tempdir().expect("a directory");
    assert_eq!(compiled(&setup(cache.path()).start()), "1");
    let host = component(&guest::probe().component).cache(Some(cache.path().to_owned())).start();
    assert_eq!(compiled(&host), "1");
    assert_eq!(entries(cache.path(), "cwasm").len(), 2);
}

/// Each setting of the engine that compiled code depends on is in the entry's name; one that is not, is not.
#[test]
fn a23_another_engine_is_another_entry() {
    let cache = filled();
    let without_pool = setup(cache.path()).arguments(&["--disable-pooling"]).start();
    assert_eq!(compiled(&without_pool), "0", "code does not depend on where memory comes from");
    for path in entries(cache.path(), "cwasm").into_iter().chain(entries(cache.path(), "sha256")) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let (module, engine) = name.split_once('-').expect("both are in the name");
        let other = format!("{module}-0{}", &engine[1..]).replace("-00", "-01");
        fs::rename(&path, path.with_file_name(other)).expect("ours");
    }
    assert_eq!(compiled(&setup(cache.path()).start()), "1", "an entry of another engine is not found");
}

#[test]
fn a23_the_oldest_entries_make_room() {
    let cache = tempfile::tempdir().expect("a directory");
    for (name, bytes) in [("old.cwasm", 1_u64 << 30), ("old.sha256", 64), ("other.txt", 64)] {
        // Sparse: it takes no room on the disk.
        let file = fs::File::create(cache.path().join(name)).expect("a file");
        file.set_len(bytes).and_then(|()| file.set_modified(std::time::UNIX_EPOCH)).expect("a file");
    }
    assert_eq!(compiled(&setup(cache.path()).start()), "1");
    let left = (entries(cache.path(), "cwasm").len(), entries(cache.path(), "sha256").len());
    assert_eq!(left, (1, 1), "the new one");
    assert!(cache.path().join("other.txt").exists(), "what is no entry stays");
    assert_eq!(compiled(&setup(cache.path()).start()), "0");
}

#[test]
fn a23_a_cache_that_cannot_be_written_is_only_slower() {
    let setup = super::probe("").file("taken", "a file, not a directory");
    let cache = setup.path("taken/cache");
    let host = setup.cache(Some(cache)).start();
    assert_eq!(host.get("/counter").text(), "1");
    host.wait_for("compiled code is not kept; the next start compiles again");
}

#[test]
fn a23_the_cache_is_the_users_unless_named_or_switched_off() {
    for (name, value, expected) in
        [("XDG_CACHE_HOME", "xdg", "xdg/spin-host"), ("HOME", "home", "home/.cache/spin-host")]
    {
        let setup = super::probe("").cache(None);
        let (value, expected) = (setup.path(value), setup.path(expected));
        let host = setup.environment(name, &value.display().to_string()).start();
        assert_eq!(compiled(&host), "1");
        assert_eq!(entries(&expected, "cwasm").len(), 1, "{name}");
        let mode = fs::metadata(&expected).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "for the user alone");
    }
    let setup = super::probe("").cache(None).arguments(&["--disable-cache"]);
    let home = setup.path("home");
    let host = setup.environment("HOME", &home.display().to_string()).start();
    assert_eq!(compiled(&host), "1");
    assert!(!home.exists(), "nothing is written");
}
