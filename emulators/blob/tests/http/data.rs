//! The data directory: what was answered is there again, however the program ended.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use blob_emulator::{BlobStore, Config, DEFAULT_KEY, OpenError, default_accounts, limits};
use tempfile::TempDir;

use super::program::{announced, ended, start};
use super::support::{Answer, Connection, Request, Server, sign};

fn config(directory: &Path) -> Config {
    let data = Some(directory.to_owned());
    Config { accounts: default_accounts(), memory_limit_bytes: 16 << 20, data }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn signed_put(path: &str, body: &[u8]) -> Vec<u8> {
    let path = format!("/devstoreaccount1{path}");
    sign(Request::new("PUT", &path, &[("x-ms-blob-type", "BlockBlob")], body), DEFAULT_KEY).bytes()
}

/// A body that tells of which blob it is, small or larger than what fits into the log.
fn body_of(number: usize) -> Vec<u8> {
    let bytes = if number.is_multiple_of(50) { limits::PART_BYTES + 1 + number } else { 700 };
    format!("{number:08}").into_bytes().into_iter().cycle().take(bytes).collect()
}

fn start_on(directory: &Path) -> (Child, SocketAddr) {
    let directory = directory.to_str().expect("a path in UTF-8");
    let mut child = start(&["--listen", "127.0.0.1:0", "--data", directory, "--stop-on-stdin-eof"], None);
    let address = announced(&mut child).parse().expect("an address");
    (child, address)
}

/// Everything that can be seen of a blob, but for what differs from answer to answer.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let passing = |name: &str| ["date", "x-ms-request-id"].contains(&name);
    let headers = answer.headers().filter(|(name, _)| !passing(name));
    (answer.status, headers.map(|(name, value)| (name.into(), value.into())).collect(), answer.body.clone())
}

#[test]
fn everything_is_there_again_after_an_orderly_end() {
    let directory = folder();
    let large: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    let paths = [
        "/box?restype=container",
        "/box/small",
        "/box/empty",
        "/box/large",
        "/box/blocks",
        "/box/blocks?comp=blocklist&blocklisttype=all",
        "/box/copy",
        "/box/copy-of-large",
        "/box/changed",
        "/box?restype=container&comp=list&include=metadata,copy,uncommittedblobs",
        "/gone/a",
        "/again/old",
        "/again/new",
        "/box/deleted",
    ];
    let before = {
        let server = Server::with(config(directory.path()));
        for name in ["box", "gone", "again"] {
            let headers = [("x-ms-meta-owner", "me"), ("x-ms-blob-public-access", "blob")];
            server.signed("PUT", &format!("/{name}?restype=container"), &headers, b"");
        }
        server.put("/box/small", &[("x-ms-meta-k", "ü"), ("Content-Type", "a/b")], b"small");
        server.put("/box/empty", &[], b"");
        server.put("/box/large", &[], &large);
        server.put_block("/box/blocks", "YQ==", b"one ");
        server.put_block("/box/blocks", "Yg==", &large);
        server.put_block_list("/box/blocks", &[("Latest", "Yg=="), ("Latest", "YQ==")], &[]);
        server.put_block("/box/blocks", "Yw==", b"waits");
        server.put_block("/box/waiting", "Yw==", b"waits");
        for (target, source) in [("copy", "small"), ("copy-of-large", "large")] {
            let source = format!("http://127.0.0.1/devstoreaccount1/box/{source}");
            let copied =
                server.signed("PUT", &format!("/box/{target}"), &[("x-ms-copy-source", &source)], b"");
            assert_eq!(copied.status, 202, "{copied:?}");
        }
        server.put("/box/changed", &[], b"changed");
        server.signed("PUT", "/box/changed?comp=metadata", &[("x-ms-meta-new", "1")], b"");
        server.put("/box/deleted", &[], &large);
        server.signed("DELETE", "/box/deleted", &[], b"");
        server.put("/gone/a", &[], b"x");
        server.signed("DELETE", "/gone?restype=container", &[], b"");
        server.put("/again/old", &[], b"x");
        server.signed("DELETE", "/again?restype=container", &[], b"");
        server.signed("PUT", "/again?restype=container", &[], b"");
        server.put("/again/new", &[], b"x");
        paths.map(|path| seen(&server.signed("GET", path, &[], b"")))
    };
    for life in 0..2 {
        let server = Server::with(config(directory.path()));
        for (path, before) in paths.iter().zip(&before) {
            let after = seen(&server.signed("GET", path, &[], b""));
            if before.0 < 400 {
                assert!(after == *before, "{life} {path}:\n{:?}\n{:?}", before.1, after.1);
            } else {
                assert_eq!(after.0, before.0, "{life} {path}");
            }
        }
    }
    let server = Server::with(config(directory.path()));
    // large, which a copy shares, two committed blocks and two that wait: nothing of what was deleted.
    assert_eq!(files(&directory.path().join("content")).len(), 5);
    let latest = server.put_block_list("/box/blocks", &[("Uncommitted", "Yw==")], &[]);
    assert_eq!(latest.status, 201, "{latest:?}");
    let older = before[1].1.iter().find(|(name, _)| name == "etag").map(|(_, tag)| tag.clone());
    assert!(latest.header("etag") > older.as_deref(), "tags go on where they were");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("it is there");
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

#[test]
fn what_was_answered_survives_kill_9_in_the_middle_of_a_load() {
    const CONNECTIONS: usize = 8;
    const KILLED_AFTER: usize = 400;
    let directory = folder();
    let (mut child, address) = start_on(directory.path());
    assert_eq!(
        Connection::open(address).try_status(&signed_put("/box?restype=container", b"")),
        Some(201),
        "the container"
    );
    let (next, answered) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let put = signed_put(&format!("/box/{number}"), &body_of(number));
                    // Without an answer the program is gone.
                    let Some(status) = connection.try_status(&put) else { return };
                    assert_eq!(status, 201);
                    answered.lock().expect("no thread panics").push(number);
                }
            });
        }
        while answered.lock().expect("no thread panics").len() < KILLED_AFTER {
            std::thread::yield_now();
        }
        child.kill().expect("it runs");
    });
    child.wait().expect("it was killed");
    let (attempted, answered) = (next.into_inner(), answered.into_inner().expect("no thread panics"));
    assert!(answered.len() >= KILLED_AFTER && attempted > answered.len(), "it was killed under load");

    let server = Server::with(config(directory.path()));
    for number in 0..attempted {
        let get = server.signed("GET", &format!("/box/{number}"), &[], b"");
        match get.status {
            200 => assert!(get.body == body_of(number), "{number} is not what was sent"),
            status => {
                assert!(status == 404 && !answered.contains(&number), "{number} was answered and is {status}")
            }
        }
    }
    let list = server.signed("GET", "/box?restype=container&comp=list", &[], b"");
    assert!(list.elements("Name").len() >= answered.len());
    // Bodies that were on their way leave nothing behind.
    let large = (0..attempted).filter(|number| body_of(*number).len() > limits::PART_BYTES);
    let there = |number: &usize| server.signed("HEAD", &format!("/box/{number}"), &[], b"").status == 200;
    assert_eq!(files(&directory.path().join("content")).len(), large.filter(there).count());
}

/// The log of a store with the blobs 0 to 9, and where the record of the last one begins.
fn log_of_ten(directory: &Path) -> (PathBuf, u64) {
    let server = Server::with(config(directory));
    server.signed("PUT", "/box?restype=container", &[], b"");
    let log = directory.join("log/0000000001.log");
    let mut before_last = 0;
    for number in 0..10 {
        before_last = std::fs::metadata(&log).expect("it is there").len();
        assert_eq!(server.put(&format!("/box/{number}"), &[], &body_of(number)).status, 201);
    }
    (log, before_last)
}

#[test]
fn a_torn_end_of_the_log_is_cut_off_wherever_it_is_torn() {
    let whole = folder();
    let (log, before_last) = log_of_ten(whole.path());
    let bytes = std::fs::read(&log).expect("it is there");
    let (first, last) = (usize::try_from(before_last).expect("small"), bytes.len());
    for end in (first..last).step_by(97).chain([first + 1, first + 15, first + 16, last - 1]) {
        for garbage in [&b""[..], &[0; 64], &[0xFF; 300]] {
            let directory = folder();
            std::fs::create_dir_all(directory.path().join("log")).expect("a folder");
            std::fs::create_dir_all(directory.path().join("content")).expect("a folder");
            std::fs::copy(
                files(&whole.path().join("content")).remove(0),
                directory.path().join("content/0000000001"),
            )
            .expect("blob 0 is in a file");
            let torn = directory.path().join("log/0000000001.log");
            std::fs::write(&torn, [&bytes[..end], garbage].concat()).expect("it can be written");
            let server = Server::with(config(directory.path()));
            let list = server.signed("GET", "/box?restype=container&comp=list", &[], b"");
            assert_eq!(list.elements("Name").len(), 9, "cut at {end} of {first}..{last}");
            assert_eq!(server.put("/box/9", &[], b"again").status, 201);
            drop(server);
            let server = Server::with(config(directory.path()));
            assert_eq!(server.signed("GET", "/box/9", &[], b"").text(), "again");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_what_to_do() {
    let directory = folder();
    let (log, _) = log_of_ten(directory.path());
    let refused = |config| match BlobStore::open(config) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    };
    let other = blob_emulator::parse_accounts("other:a2V5").expect("well-formed");
    let error = refused(Config { accounts: other, ..config(directory.path()) });
    assert!(matches!(error, OpenError::UnknownAccount { .. }), "{error}");

    let content = files(&directory.path().join("content")).remove(0);
    let kept = std::fs::read(&content).expect("it is there");
    std::fs::write(&content, &kept[1..]).expect("it can be written");
    let error = refused(config(directory.path()));
    assert!(matches!(error, OpenError::MissingContent { .. }), "{error}");
    std::fs::write(&content, kept).expect("it can be written");

    // A segment that is not the last one cannot be torn.
    std::fs::write(log.with_file_name("0000000002.log"), b"BLOBLOG1").expect("it can be written");
    let mut bytes = std::fs::read(&log).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).expect("it can be written");
    let error = refused(config(directory.path()));
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).expect("it can be written");
    drop(BlobStore::open(config(directory.path())).expect("it is whole again"));

    let elsewhere = directory.path().join("log/0000000002.log");
    std::fs::write(elsewhere, b"this is no log of ours").expect("it can be written");
    let error = refused(config(directory.path()));
    assert!(matches!(error, OpenError::Damaged { offset: 0, .. }), "{error}");
}

#[test]
fn only_one_program_has_a_directory() {
    let directory = folder();
    let (mut first, _) = start_on(directory.path());
    let path = directory.path().to_str().expect("a path in UTF-8");
    let (status, stderr) = ended(start(&["--listen", "127.0.0.1:0", "--data", path], None));
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("another blob-emulator uses"), "{stderr}");
    drop(first.stdin.take());
    assert!(ended(first).0.success());
    let (mut next, _) = start_on(directory.path());
    drop(next.stdin.take());
    assert!(ended(next).0.success());
}

/// The limit on the size of a file stands in for a full disk: writing fails, with what was written before intact.
#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let directory = folder();
    let path = directory.path().to_str().expect("a path in UTF-8");
    let limited = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} --listen 127.0.0.1:0 --data {path} --stop-on-stdin-eof",
        env!("CARGO_BIN_EXE_blob-emulator")
    );
    let mut child = super::program::spawn(std::process::Command::new("sh").args(["-c", &limited]));
    let address = announced(&mut child).parse().expect("an address");
    let mut connection = Connection::open(address);
    connection.try_status(&signed_put("/box?restype=container", b""));
    let statuses: Vec<_> = (0..200)
        .map(|number| connection.send(&signed_put(&format!("/box/{number}"), &[b'x'; 700])).status)
        .collect();
    let taken = statuses.iter().filter(|status| **status == 201).count();
    assert!(taken > 5 && statuses[199] == 507, "{statuses:?}");
    let large = connection.send(&signed_put("/box/large", &vec![b'x'; limits::PART_BYTES * 2]));
    assert_eq!(large.refusal(), (507, "InsufficientStorage"));
    child.stdin.take().expect("piped").flush().expect("it runs");
    assert!(ended(child).0.success());

    let server = Server::with(config(directory.path()));
    let list = server.signed("GET", "/box?restype=container&comp=list", &[], b"");
    assert_eq!(list.elements("Name").len(), taken);
    assert_eq!(server.put("/box/more", &[], b"x").status, 201);
}
