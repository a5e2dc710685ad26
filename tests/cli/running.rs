//! A lab by its commands, from `up` to the second `down`: what each prints, for people and for programs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use lab::backend::{AfterKill, Lab, Part};
use lab::build::Artefact;
use lab::flow::blobs::Blobs;
use lab::flow::broker::Broker;
use predicates::prelude::*;
use serde_json::Value;

use crate::support::{executable, folder, lab, path_of, refusal, workspace};

const USAGE: i32 = 2;
const START_FAILED: i32 = 10;
const RESOURCE_FAILED: i32 = 12;
const UNAVAILABLE: i32 = 13;
const INTERRUPTED: i32 = 130;

/// What these labs are made of: nothing that needs Node or compiles Wasm.
const SHAPE: [&str; 4] = ["--stack", "warp-rust", "--blob", "native"];

/// A lab's name; the lab is stopped, and its files are removed, when the test is over, however it ends.
struct Named(&'static str);

impl Named {
    /// `lab COMMAND… --lab NAME`.
    fn lab(&self, args: &[&str]) -> assert_cmd::Command {
        lab(&[args, &["--lab", self.0]].concat())
    }

    /// `lab up` with the usual shape.
    fn up(&self, args: &[&str]) -> assert_cmd::Command {
        self.lab(&[&["up"], &SHAPE[..], args].concat())
    }

    /// What a command prints with `--format json`, which must be as the schema of this name says.
    fn json(&self, args: &[&str], schema: &str) -> Value {
        let output =
            self.lab(&[args, &["--format", "json"]].concat()).assert().success().get_output().clone();
        let value: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON value");
        assert_valid(&value, schema);
        value
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]).output();
        let _ = std::fs::remove_dir_all(workspace().lab(self.0).folder());
    }
}

fn assert_valid(value: &Value, schema: &str) {
    let path = workspace().root().join(format!("lab/schemas/{schema}.schema.json"));
    let schema = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema")).expect("a schema");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

#[test]
fn a_lab_from_up_to_the_second_down() {
    let named = Named("cli-life");
    let up = named.up(&["--detach", "--format", "json"]).assert().success();
    let up = up
        .stderr(predicate::str::contains("✓ servicebus"))
        .stderr(predicate::str::contains("is ready after"));
    let started: Value = serde_json::from_slice(&up.get_output().stdout).expect("stdout is one JSON value");
    assert_valid(&started, "status");

    let status = named.json(&["status"], "status");
    assert_eq!(status["endpoints"], started["endpoints"]);
    let resources = status["resources"].as_array().expect("a list");
    assert!(resources.iter().all(|resource| resource["state"] == "ready"), "{resources:#?}");
    let text = named.lab(&["status"]).assert().success().stderr("");
    let text = String::from_utf8(text.get_output().stdout.clone()).expect("a text");
    for resource in resources {
        assert!(text.contains(resource["name"].as_str().expect("a name")), "{text}");
    }
    assert!(text.contains("stop          cargo lab down --lab cli-life\n"), "{text}");

    // Again is no error, unless it should be another lab.
    named.up(&["--detach"]).assert().success().stderr("lab 'cli-life' is running already\n");
    let stderr = refusal(named.up(&["--detach", "--topology", "shared"]), USAGE);
    assert_eq!(
        stderr,
        "error: lab 'cli-life' is running with other settings: topology sidecar instead of shared\n\
         hint: cargo lab down --lab cli-life, then up again; or another name with --lab\n"
    );

    let generate = ["orders", "generate", "--count", "100", "--seed", "7"];
    assert_eq!(named.json(&generate, "orders")["count"], 100);
    named
        .lab(&generate)
        .assert()
        .success()
        .stdout(predicate::str::starts_with("orders-100-seed-7: 100 orders of seed 7 already stored, "));

    let logs = named.lab(&["logs", "servicebus"]).assert().success().stderr("");
    logs.stdout(predicate::str::contains("servicebus│ ").and(predicate::str::contains("blob│").not()));
    let stderr = refusal(named.lab(&["logs", "redis"]), USAGE);
    assert!(stderr.contains("redis") && stderr.contains("servicebus"), "{stderr}");

    named.lab(&["down"]).assert().success().stdout("stopped: cli-life\n").stderr("");
    assert_eq!(named.json(&["down"], "down")["stopped"], serde_json::json!([]));
    named.lab(&["status"]).assert().code(UNAVAILABLE);
    // What was said can still be read.
    named.lab(&["logs", "servicebus"]).assert().success().stdout(predicate::str::contains("stopping"));
}

/// `status` used to answer with the failure alone, and every command hinted at `doctor`, which finds nothing wrong.
#[tokio::test]
async fn a_lab_that_failed_after_it_was_ready_can_be_looked_at_and_stopped() {
    let named = Named("cli-failed");
    let started = named.up(&["--detach", "--format", "json"]).assert().success().get_output().clone();
    let started: Value = serde_json::from_slice(&started.stdout).expect("stdout is one JSON value");
    let lab = Lab::attach_in(workspace(), named.0).await.expect("it runs");
    lab.kill(Part::Broker, 1, AfterKill::Policy).await.expect("it can be killed");
    let _failure = lab.ended().await;

    let hint = "hint: cargo lab logs servicebus --lab cli-failed   # then: cargo lab down --lab cli-failed\n";
    let told =
        || predicate::str::starts_with("error: servicebus was killed (").and(predicate::str::ends_with(hint));
    let status = named.lab(&["status"]).assert().code(RESOURCE_FAILED).stderr(told());
    let status = String::from_utf8(status.get_output().stdout.clone()).expect("a text");
    for resource in started["resources"].as_array().expect("a list") {
        assert!(status.contains(resource["name"].as_str().expect("a name")), "{status}");
    }
    assert!(!status.contains("cargo lab bench"), "{status}");
    let view = named.lab(&["status", "--format", "json"]).assert().code(RESOURCE_FAILED);
    let view: Value = serde_json::from_slice(&view.get_output().stdout).expect("stdout is one JSON value");
    assert_valid(&view, "status");
    let broker = |row: &&Value| row["name"] == "servicebus";
    let broker = view["resources"].as_array().expect("a list").iter().find(broker).expect("the broker");
    assert_eq!(broker["state"], "failed");

    named.up(&["--detach"]).assert().code(RESOURCE_FAILED).stdout("").stderr(told());
    named.lab(&["logs", "servicebus"]).assert().success();
    named.lab(&["down"]).assert().success().stdout("stopped: cli-failed\n").stderr("");
}

#[test]
fn a_measured_run_tells_programs_what_it_tells_people() {
    let named = Named("cli-bench");
    let run = ["bench", "--stack", "warp-rust", "--orders", "200", "--warm-up", "0"];
    let report = named.json(&run, "report");
    assert_eq!(report["clean"], true, "{report:#}");
    // The lab that it started is stopped.
    named.lab(&["status"]).assert().code(UNAVAILABLE);
}

/// Sends a signal to a process.
fn signal(name: &str, pid: u64) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success(), "{name} to {pid}");
}

impl Named {
    /// The supervisor's number, from the record of the lab's processes.
    fn supervisor(&self) -> u64 {
        let record = std::fs::read(workspace().lab(self.0).children()).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("a record");
        record["supervisor"]["pid"].as_u64().expect("a number")
    }
}

/// Every command waited for its answer for ever, and `down` ended nothing.
#[test]
fn a_supervisor_that_hangs_is_told_and_ended() {
    let named = Named("cli-hangs");
    named.up(&["--detach"]).assert().success();
    signal("STOP", named.supervisor());
    let stderr = refusal(named.lab(&["status"]), UNAVAILABLE);
    let expected = "error: failed to look at lab 'cli-hangs' through its supervisor\n\
                    caused by: no answer within 5 s\n\
                    hint: cargo lab down --lab cli-hangs\n";
    assert_eq!(stderr, expected);
    let stderr = refusal(named.up(&["--detach"]), UNAVAILABLE);
    assert!(stderr.ends_with("hint: cargo lab down --lab cli-hangs\n"), "{stderr}");
    let killed = predicate::str::contains("lab 'cli-hangs' did not answer and was killed");
    named.lab(&["down"]).assert().success().stdout("stopped: cli-hangs\n").stderr(killed);
    named.lab(&["down"]).assert().success().stdout("nothing was running\n").stderr("");
}

/// A command in the foreground, and what it says on stderr.
struct Foreground {
    child: std::process::Child,
    lines: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Foreground {
    /// `lab up` with the usual shape; waits until the lab is ready.
    fn up(named: &Named) -> Self {
        let mut foreground = Self::start(named, &[&["up"], &SHAPE[..]].concat());
        foreground.until("is ready after");
        foreground
    }

    /// `lab COMMAND… --lab NAME`.
    fn start(named: &Named, args: &[&str]) -> Self {
        let mut command = Command::new(path_of(Artefact::Lab));
        command.args(args).args(["--lab", named.0]).current_dir(workspace().root());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, lines, said: String::new() }
    }

    /// Waits until it has said something.
    fn until(&mut self, what: &str) {
        while !self.said.contains(what) {
            let read = self.lines.read_line(&mut self.said).unwrap();
            assert!(read > 0, "it ended before it said {what:?}: {}", self.said);
        }
    }

    fn signal(&self, name: &str) {
        signal(name, self.child.id().into());
    }

    /// Waits until it ends; gives its code and all that it said.
    fn end(mut self) -> (Option<i32>, String) {
        self.lines.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code(), self.said)
    }
}

/// It waited for an orderly end, whatever was pressed.
#[test]
fn a_second_signal_ends_a_lab_in_the_foreground_at_once() {
    let named = Named("cli-twice");
    let mut foreground = Foreground::up(&named);
    // So that no orderly end comes before the second signal.
    signal("STOP", named.supervisor());
    foreground.signal("INT");
    foreground.until("stopping\n");
    foreground.signal("INT");
    let (code, said) = foreground.end();
    assert_eq!(code, Some(INTERRUPTED), "{said}");
    assert!(said.ends_with("stopping\nkilling\n"), "{said}");
    named.lab(&["down"]).assert().success().stdout("nothing was running\n");
}

/// Both recorders went on, and cost the next run time and memory.
#[tokio::test]
async fn an_interrupted_run_leaves_no_recorder_on_in_a_lab_that_stays() {
    let named = Named("cli-bench-interrupted");
    named.up(&["--detach"]).assert().success();
    let lab = Lab::attach_in(workspace(), named.0).await.expect("it runs");
    let broker = Broker::new(&lab.endpoints().servicebus_http).expect("a client");
    let blobs = Blobs::new(&lab.endpoints().blob).expect("a client");
    let mut bench = Foreground::start(&named, &["bench", "--orders", "10000"]);
    bench.until("flowing: ");
    assert!(!broker.rows().await.expect("rows").0.is_empty());
    assert!(!blobs.rows().await.expect("rows").0.is_empty());
    bench.signal("INT");
    let (code, said) = bench.end();
    assert_eq!(code, Some(INTERRUPTED), "{said}");
    // A recorder that is stopped has freed its rows.
    assert_eq!(broker.rows().await.expect("rows").0.len(), 0);
    assert_eq!(blobs.rows().await.expect("rows").0.len(), 0);
    named.lab(&["status"]).assert().success();
}

#[test]
fn a_signal_ends_a_lab_in_the_foreground() {
    for (name, named) in [("INT", Named("cli-interrupted")), ("TERM", Named("cli-terminated"))] {
        let foreground = Foreground::up(&named);
        named.json(&["status"], "status");
        foreground.signal(name);
        let (code, said) = foreground.end();
        assert_eq!(code, Some(INTERRUPTED), "{name}: {said}");
        assert!(said.ends_with("stopping\n"), "{said}");
        named.lab(&["status"]).assert().code(UNAVAILABLE);
    }
}

#[test]
fn a_well_known_port_that_is_taken_is_named_and_nothing_stays_behind() {
    let named = Named("cli-taken");
    // Where that fails, somebody else has it, which is just as well.
    let _taken = TcpListener::bind("127.0.0.1:5672");
    let stderr = refusal(named.up(&["--detach", "--fixed-ports"]), START_FAILED);
    assert!(stderr.contains("port 5672 is taken") && stderr.contains("hint: "), "{stderr}");
    named.lab(&["status"]).assert().code(UNAVAILABLE);
}

/// A file that a part refuses is a mistake in a file; a part that ends otherwise could not be started.
#[test]
fn a_part_that_refuses_its_files_is_told_from_one_that_breaks() {
    for (status, code) in [(USAGE, USAGE), (1, START_FAILED)] {
        let named = Named("cli-refused");
        let folder = folder(&[]);
        let daprd = folder.path().join("daprd");
        executable(&daprd, &format!("#!/bin/sh\necho queue.yaml:7: sepc >&2\nexit {status}\n"));
        let mut up = named.up(&["--detach"]);
        up.env("LAB_DAPRD_BIN", &daprd);
        let stderr = refusal(up, code);
        assert!(stderr.contains("dapr") && stderr.contains("queue.yaml:7: sepc"), "{stderr}");
        named.lab(&["status"]).assert().code(UNAVAILABLE);
    }
}

/// `lab logs | head` panicked.
#[test]
fn nobody_who_reads_is_no_failure() {
    let named = Named("cli-unread");
    let folder = workspace().lab(named.0).logs();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("part.log"), "a line\n".repeat(20_000)).unwrap();
    for args in
        [&["logs", "--tail", "0"][..], &["logs", "--follow"], &["down"], &["down", "--format", "json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(path_of(Artefact::Lab));
        command.args(args).args(["--lab", named.0]).current_dir(workspace().root());
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn what_was_built_and_what_the_machine_has_is_told_to_programs() {
    for (args, schema) in
        [(&["build", "--stack", "warp-rust", "--blob", "native"][..], "build"), (&["doctor"], "doctor")]
    {
        let output = lab(&[args, &["--format", "json"]].concat()).assert().success().get_output().clone();
        assert_valid(&serde_json::from_slice(&output.stdout).expect("stdout is one JSON value"), schema);
    }
}
