//! A lab by its commands, from `up` to the second `down`: what each prints, for people and for programs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use lab::backend::{AfterKill, Lab, Part, running_labs};
use lab::build::Artefact;
use lab::flow::blobs::Blobs;
use lab::flow::broker::Broker;
use lab::spec::Role;
use predicates::prelude::*;
use serde_json::Value;

use crate::labs::{DEADLINE, Foreground, Named, assert_valid, hang};
use crate::support::{executable, folder, lab, path_of, refusal, workspace};

const USAGE: i32 = 2;
const START_FAILED: i32 = 10;
const RESOURCE_FAILED: i32 = 12;
const UNAVAILABLE: i32 = 13;
const INTERRUPTED: i32 = 130;

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
    named
        .up(&["--detach"])
        .assert()
        .success()
        .stderr("lab 'cli-life' is running already, as it was asked for: all of it was kept\n");
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

/// Every command waited for its answer for ever, and `down` ended nothing.
#[test]
fn a_supervisor_that_hangs_is_told_and_ended() {
    let named = Named("cli-hangs");
    named.up(&["--detach"]).assert().success();
    hang(named.supervisor());
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

/// It waited for an orderly end, whatever was pressed.
#[test]
fn a_second_signal_ends_a_lab_in_the_foreground_at_once() {
    let named = Named("cli-twice");
    let mut foreground = Foreground::up(&named);
    // So that no orderly end comes before the second signal.
    hang(named.supervisor());
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
    // What was measured until then is kept, and is no throughput.
    assert!(said.contains("a part: interrupted with ") && !said.contains(" orders/s"), "{said}");
    let page = said.lines().rev().find_map(|line| line.strip_prefix("report: ")).expect("a report");
    let json = std::fs::read_to_string(page.replace("report.html", "report.json")).expect("it was written");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&report["measured"]["interrupted"], &report["clean"]), (&true.into(), &false.into()));
    // A recorder that is stopped has freed its rows.
    assert_eq!(broker.rows().await.expect("rows").0.len(), 0);
    assert_eq!(blobs.rows().await.expect("rows").0.len(), 0);
    named.lab(&["status"]).assert().success();
}

/// It ended without a word where it had not begun to listen yet.
#[tokio::test]
async fn a_signal_ends_a_lab_that_is_on_its_way() {
    let named = Named("cli-on-its-way");
    let mut foreground = Foreground::start(&named, &["up", "--stack", "warp-rust", "--blob", "native"]);
    foreground.until("✓ ");
    foreground.signal("INT");
    let (code, said) = foreground.end();
    assert_eq!(code, Some(INTERRUPTED), "{said}");
    assert!(said.ends_with("stopping\n"), "{said}");
    until_it_is_gone(&named).await;
}

async fn until_it_is_gone(named: &Named) {
    tests::until("the lab to end", DEADLINE, || async {
        let running = running_labs(workspace());
        if running.iter().any(|name| name == named.0) { Err(running) } else { Ok(()) }
    })
    .await;
    // Nor is any of its parts left.
    named.lab(&["down"]).assert().success().stdout("nothing was running\n").stderr("");
}

/// A program that takes a stand-in's place is named with its version, and so is what stands in.
#[test]
fn a_report_says_what_was_real_and_of_which_version() {
    let named = Named("cli-real");
    let folder = folder(&[]);
    let daprd = folder.path().join("daprd");
    let stand_in = path_of(Artefact::DaprEmulator);
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 1.18.3 && exit\nexec {} \"$@\"\n",
        stand_in.display()
    );
    executable(&daprd, &text);
    let run = ["bench", "--stack", "warp-rust", "--orders", "50", "--warm-up", "0", "--format", "json"];
    let output = named.lab(&run).env("LAB_DAPRD_BIN", &daprd).assert().success().get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON value");
    assert_valid(&report, "report");
    let parts = report["parts"].as_array().expect("a list");
    let part = |component: &str| parts.iter().find(|part| part["component"] == component).expect("a part");
    let dapr = part("Dapr");
    let told = (dapr["program"].as_str(), dapr["version"].as_str(), dapr["real"].as_bool());
    assert_eq!(told, (Some("daprd"), Some("1.18.3"), Some(true)));
    let broker = part("Azure Service Bus");
    assert_eq!(
        (broker["program"].as_str(), broker["real"].as_bool()),
        (Some("servicebus-emulator"), Some(false))
    );
    assert!(broker["version"].is_string(), "{broker}");
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

/// Nobody tested what a killed terminal leaves.
#[tokio::test]
async fn a_lab_in_the_foreground_ends_with_who_started_it_however_that_ends() {
    let named = Named("cli-foreground-killed");
    let foreground = Foreground::up(&named);
    foreground.signal("KILL");
    let (code, said) = foreground.end();
    assert_eq!(code, None, "{said}");
    until_it_is_gone(&named).await;
}

/// The hint was `lab doctor`, which finds nothing, and the code that of a lab that could not be started.
#[tokio::test]
async fn a_part_that_does_not_come_back_has_failed_later() {
    let named = Named("cli-gone");
    let folder = folder(&[]);
    let (daprd, broken) = (folder.path().join("daprd"), folder.path().join("broken"));
    let stand_in = path_of(Artefact::DaprEmulator);
    let text =
        format!("#!/bin/sh\n[ -e {} ] && exit 1\nexec {} \"$@\"\n", broken.display(), stand_in.display());
    executable(&daprd, &text);
    named.up(&["--detach"]).env("LAB_DAPRD_BIN", &daprd).assert().success();
    let lab = Lab::attach_in(workspace(), named.0).await.expect("it runs");
    std::fs::write(&broken, "").unwrap();
    lab.kill(Part::Dapr(Role::Distributor), 1, AfterKill::Policy).await.expect("it can be killed");
    let _failure = lab.ended().await;
    let status = named.lab(&["status"]).assert().code(RESOURCE_FAILED);
    let hint =
        "hint: cargo lab logs distributor-dapr-1 --lab cli-gone   # then: cargo lab down --lab cli-gone\n";
    let told = predicate::str::starts_with(
        "error: distributor-dapr-1 ended with exit status: 1 before it was ready",
    );
    status.stderr(told.and(predicate::str::ends_with(hint)));
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
