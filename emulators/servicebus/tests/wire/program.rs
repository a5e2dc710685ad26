//! The program: its announce line, its ends, its refusals to start.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use amqp::performative::Role;
use amqp::{Frame, Performative};
use bytes::BytesMut;
use servicebus_emulator::limits::CONFIG_BYTES_MAX;

use crate::support::{PATIENCE, Peer, attach, begin, message, open};

const ANY_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];

fn start(flags: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_servicebus-emulator"))
        .args(flags)
        .env_remove("EMULATOR_HTTP_PORT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Reads the announce line: the addresses of AMQP and HTTP.
fn announced(child: &mut Child) -> (String, String) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["program"], "servicebus-emulator");
    assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
    let address = |name: &str| line["listen"][name].as_str().expect("an address").to_owned();
    (address("amqp"), address("http"))
}

/// Waits for the end of the program; kills it when it does not come. Exit code and stderr.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("it can be asked").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it runs");
        }
        std::thread::yield_now();
    }
    let output = child.wait_with_output().expect("it ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

fn run(flags: &[&str]) -> Output {
    start(flags).wait_with_output().expect("it ends by itself")
}

#[test]
fn it_announces_where_it_answers_and_ends_with_stdin() {
    let mut child = start(&[&ANY_PORTS[..], &["--stop-on-stdin-eof"]].concat());
    let (amqp, http) = announced(&mut child);
    let mut peer = Peer::open(amqp.parse().expect("an address"), &open());
    // The queue of the official emulator's own configuration.
    let sender = peer.sender("queue.1");
    peer.must_send(sender, &message("hello"));
    std::net::TcpStream::connect(http).expect("it answers");
    drop(child.stdin.take());
    assert_eq!(ended(child).0, Some(0));
    assert_eq!(peer.closed_with(), "amqp:connection:forced");
}

#[test]
fn a_signal_ends_it_with_0() {
    for name in ["-TERM", "-INT"] {
        let mut child = start(&ANY_PORTS);
        announced(&mut child);
        signal(&child, name);
        let (code, stderr) = ended(child);
        assert_eq!(code, Some(0), "{name}: {stderr}");
        assert!(stderr.contains("Emulator Service is Successfully Up!"), "{stderr}");
    }
}

/// A client that neither reads nor leaves does not hold up the end for long.
#[test]
fn a_client_that_does_not_listen_does_not_keep_it() {
    let mut child = start(&ANY_PORTS);
    let (amqp, _) = announced(&mut child);
    let _silent = Peer::open(amqp.parse().expect("an address"), &open());
    let _never_opened = Peer::connect(amqp.parse().expect("an address"));
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(0));
}

#[test]
fn a_port_that_is_taken_is_one_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    for (flag, other) in [("--listen", "--http-listen"), ("--http-listen", "--listen")] {
        let output = run(&[flag, &address, other, "127.0.0.1:0"]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("cannot listen on {address}; choose another address with {flag}")));
        assert!(output.stdout.is_empty(), "nothing is announced");
    }
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let cases = [
        ["--no-such-flag", ""],
        ["--listen", "nonsense"],
        ["--max-message-bytes", "0"],
        ["--max-message-bytes", "104857601"],
        ["--worker-threads", "0"],
        ["--check-config", ""],
    ];
    for flags in cases {
        let flags: Vec<_> = flags.into_iter().filter(|flag| !flag.is_empty()).collect();
        let output = run(&flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{flags:?}");
    }
}

#[test]
fn a_config_file_is_used_or_refused_before_anything_starts() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("Config.json");
    let path_text = path.to_str().expect("text").to_owned();
    let flags = [&ANY_PORTS[..], &["--config", &path_text]].concat();

    let missing = run(&flags);
    let stderr = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr.contains(&format!("cannot read the config file {path_text}")), "{stderr}");

    let config = |properties: &str| {
        format!(
            "{{ \"UserConfig\": {{ \"Namespaces\": [ {{ \"Name\": \"sbemulatorns\",\n\"Queues\": [ {{ \"Name\": \"orders\",\n\
             \"Properties\": {{ {properties} }} }} ] }} ] }} }}"
        )
    };
    std::fs::write(&path, config(r#""LockDuratoin": "PT5S""#)).expect("a file");
    let wrong = run(&flags);
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!((wrong.status.code(), wrong.stdout.is_empty()), (Some(2), true));
    let place = format!("{path_text}:3: UserConfig.Namespaces[0].Queues[0].Properties.LockDuratoin: ");
    assert!(stderr.contains(&place) && stderr.contains("correct its spelling"), "{stderr}");

    std::fs::write(&path, [0xff, 0xfe, b'{']).expect("a file");
    assert!(String::from_utf8_lossy(&run(&flags).stderr).contains("save it as UTF-8"));

    std::fs::write(&path, config(r#""LockDuration": "PT5S""#)).expect("a file");
    let checked = run(&["--config", &path_text, "--check-config"]);
    let said = String::from_utf8_lossy(&checked.stdout);
    assert_eq!((checked.status.code(), &*said), (Some(0), "1 queues and 0 topics can be served\n"));
    let mut child = start(&flags);
    let (amqp, _) = announced(&mut child);
    let mut peer = Peer::open(amqp.parse().expect("an address"), &open());
    let sender = peer.sender("orders");
    peer.must_send(sender, &message("hello"));
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(0));
}

#[test]
fn the_largest_message_is_a_flag() {
    let mut child = start(&[&ANY_PORTS[..], &["--max-message-bytes", "100"]].concat());
    let (amqp, _) = announced(&mut child);
    let mut peer = Peer::open(amqp.parse().expect("an address"), &open());
    let sender = peer.sender("queue.1");
    peer.must_send(sender, &message("short"));
    let refused = peer.send(sender, &message(&"x".repeat(100)));
    assert_eq!(crate::support::rejected(&refused), "amqp:link:message-size-exceeded");
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(0));
}

/// Several threads, several clients on one queue: each message comes once, and is recorded.
#[test]
fn threads_share_a_queue_without_loss() {
    const SENDERS: usize = 4;
    const MESSAGES: usize = 200;
    let mut child = start(&[&ANY_PORTS[..], &["--worker-threads", "4", "--record-key", "id"]].concat());
    let (amqp, http) = announced(&mut child);
    let address = amqp.parse().expect("an address");
    let mut bodies: Vec<String> = std::thread::scope(|scope| {
        let work = |number: usize| {
            let mut peer = Peer::open(address, &open());
            let (sender, receiver) = (peer.sender("queue.1"), peer.receiver("queue.1"));
            let mut bodies = Vec::new();
            for index in 0..MESSAGES {
                peer.must_send(sender, &message(&format!("{{\"id\":{}}}", number * MESSAGES + index)));
                let received = peer.receive_one(receiver);
                peer.must_complete(&received);
                bodies.push(received.body());
            }
            bodies
        };
        let workers: Vec<_> = (0..SENDERS).map(|number| scope.spawn(move || work(number))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), SENDERS * MESSAGES);
    let mut stream = std::net::TcpStream::connect(http).expect("it listens");
    let request = "GET /_emulator/recorder HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("the connection stands");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer.matches("\"outcome\":\"completed\"").count(), SENDERS * MESSAGES);
    signal(&child, "-TERM");
    assert_eq!(ended(child).0, Some(0));
}

#[test]
fn help_explains_every_flag() {
    let output = run(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    for flag in [
        "--listen",
        "--http-listen",
        "--config",
        "--check-config",
        "--record-key",
        "--max-message-bytes",
        "--worker-threads",
        "--stop-on-stdin-eof",
        "UseDevelopmentEmulator=true",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
}

/// Memory that the program has in use, bytes.
fn resident_bytes(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// 6 KB from the wire used to cost 48 MiB: a place for every handle up to the one that was asked for.
#[test]
fn a_high_handle_costs_no_more_than_a_low_one() {
    const SESSIONS: u16 = 100;
    let mut child = start(&[&ANY_PORTS[..], &["--stop-on-stdin-eof"]].concat());
    let (amqp, _) = announced(&mut child);
    let mut peer = Peer::open(amqp.parse().expect("an address"), &open());
    let before = resident_bytes(&child);
    for channel in 1..=SESSIONS {
        let mut out = BytesMut::new();
        Frame::put(&mut out, channel, &begin(1).into());
        Frame::put(&mut out, channel, &attach(4095, Role::Sender, "none").into());
        peer.write(&out);
        let refused = |on: u16, p: &Performative| on == channel && matches!(p, Performative::Detach(_));
        peer.wait_for_any(refused).expect("the attach is refused");
    }
    let more = resident_bytes(&child).saturating_sub(before);
    assert!(more < 16 << 20, "{SESSIONS} refused links took {more} bytes");
    drop(child.stdin.take());
    assert_eq!(ended(child).0, Some(0));
}

/// A pipe says that it is empty, and may never end.
#[test]
fn a_config_is_read_no_further_than_one_may_be_long() {
    let mut child = start(&["--config", "/dev/stdin", "--check-config"]);
    let mut pipe = child.stdin.take().expect("piped");
    let blanks = vec![b' '; 64 << 10];
    // It may have seen enough before the last.
    let _ = (0..=CONFIG_BYTES_MAX / (64 << 10)).try_for_each(|_| pipe.write_all(&blanks));
    drop(pipe);
    let (code, stderr) = ended(child);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("larger than any configuration"), "{stderr}");
}
