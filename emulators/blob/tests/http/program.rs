//! The program: its announce line, its ends, its refusals to start.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub fn start(arguments: &[&str], accounts: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blob-emulator"));
    command.args(arguments);
    if let Some(accounts) = accounts {
        command.env("AZURITE_ACCOUNTS", accounts);
        return spawn_with(&mut command);
    }
    spawn(&mut command)
}

/// Starts a command that knows no accounts but the default one.
pub fn spawn(command: &mut Command) -> Child {
    spawn_with(command.env_remove("AZURITE_ACCOUNTS"))
}

fn spawn_with(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Reads the announce line and returns the address in it.
pub fn announced(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["program"], "blob-emulator");
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    line["listen"]["http"].as_str().expect("an address").to_owned()
}

/// Waits for the end of the program; kills it when it does not come.
pub fn ended(mut child: Child) -> (ExitStatus, String) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().expect("it can be asked").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it runs");
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("it ended");
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn it_announces_where_it_answers_and_ends_with_stdin() {
    let mut child = start(&["--listen", "127.0.0.1:0", "--stop-on-stdin-eof"], None);
    let address = announced(&mut child);
    let idle = std::net::TcpStream::connect(&address).expect("it answers");
    drop(child.stdin.take());
    assert!(ended(child).0.success());
    drop(idle);
}

#[test]
fn it_takes_the_flags_that_azurite_is_started_with() {
    let directory = tempfile::tempdir().expect("a folder");
    let location = directory.path().to_str().expect("a path in UTF-8");
    let common =
        ["--blobHost", "127.0.0.1", "--blobPort", "0", "--silent", "--loose", "--skipApiVersionCheck"];
    for kind in [&["--inMemoryPersistence", "--extentMemoryLimit", "64"][..], &["--location", location]] {
        let rest = ["--disableTelemetry", "--disableProductStyleUrl", "--stop-on-stdin-eof"];
        let mut child = start(&[&common, kind, &rest[..]].concat(), None);
        let address = announced(&mut child);
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        drop(child.stdin.take());
        assert!(ended(child).0.success());
    }
}

#[test]
fn a_signal_ends_it_with_0() {
    for signal in ["-TERM", "-INT"] {
        let mut child = start(&["--listen", "127.0.0.1:0"], Some("other:a2V5"));
        announced(&mut child);
        let sent =
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there");
        assert!(sent.success());
        assert!(ended(child).0.success(), "{signal}");
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("bound").to_string();
    for (arguments, accounts, code, said) in [
        (&["--listen", &taken][..], None, 1, "choose another with --listen"),
        (&["--listen", "nowhere"], None, 2, "invalid value 'nowhere' for '--listen"),
        (&["--cert", "a.pem"], None, 2, "cannot take Azurite's --cert: there is no HTTPS here"),
        (&["--oauth", "basic"], None, 2, "cannot take Azurite's --oauth"),
        (&["--debug", "log"], None, 2, "set RUST_LOG=debug"),
        (&["--blobKeepAliveTimeout", "5"], None, 2, "leave the flag away"),
        (
            &["--location", "x", "--inMemoryPersistence"],
            None,
            2,
            "cannot be used with '--inMemoryPersistence'",
        ),
        (&["--listen", "127.0.0.1:0", "--blobPort", "0"], None, 2, "cannot be used with '--blobPort"),
        (&["--nonsense"], None, 2, "unexpected argument '--nonsense'"),
        (&["--listen", "127.0.0.1:0"], Some("name-without-key"), 2, "account 1 is not of the form name:key"),
        (&["--listen", "127.0.0.1:0"], Some("name:c2VjcmV0-c2VjcmV0"), 2, "a key of account 1 is not base64"),
    ] {
        let (status, stderr) = ended(start(arguments, accounts));
        assert_eq!(status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("c2VjcmV0"), "a key must not be shown: {stderr}");
    }
}
