//! `lab bench --matrix`: one row a combination, whatever becomes of a run.

use predicates::prelude::*;
use serde_json::Value;

use crate::labs::{Foreground, Named, assert_valid};
use crate::support::{lab, refusal, workspace};

const USAGE: i32 = 2;
const START_FAILED: i32 = 10;
const INTERRUPTED: i32 = 130;

/// Few orders, and nothing that needs Node.
const SMALL: [&str; 4] = ["--orders", "100", "--warm-up", "0"];

/// What a matrix prints for programs, and how it ended.
fn matrix(named: &Named, axes: &str, more: &[&str], code: i32, env: Option<(&str, &str)>) -> Value {
    let mut command =
        named.lab(&[&["bench", "--matrix", axes, "--format", "json"], &SMALL[..], more].concat());
    if let Some((name, value)) = env {
        command.env(name, value);
    }
    let output = command.assert().code(code).get_output().clone();
    let value: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON value");
    assert_valid(&value, "matrix");
    value
}

fn forget(report: &Value) {
    let runs = workspace().labs().join("runs");
    let rows = report["rows"].as_array().expect("a list");
    let runs_of = rows.iter().flat_map(|row| row["runs"].as_array().expect("a list"));
    let names = runs_of.map(|run| &run["report"]).chain([&report["name"]]).filter_map(Value::as_str);
    for name in names {
        std::fs::remove_dir_all(runs.join(name)).expect("the run has a folder");
    }
}

#[test]
fn every_combination_is_a_row_and_its_runs_are_taken_in_turns() {
    let named = Named("cli-matrix");
    let axes = "stack=warp-rust,topology=sidecar,shared";
    let report = matrix(&named, axes, &["--repeat", "2"], 0, None);
    assert_eq!((&report["clean"], &report["complete"]), (&true.into(), &true.into()), "{report:#}");
    let rows = report["rows"].as_array().expect("a list");
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["warp-rust, sidecar", "warp-rust, shared"]);
    let run = |row: usize, number: usize| rows[row]["runs"][number]["report"].as_str().expect("a report");
    // A report's name begins with its instant.
    assert!(run(0, 0) < run(1, 0) && run(1, 0) < run(0, 1) && run(0, 1) < run(1, 1), "{report:#}");
    for row in rows {
        assert_eq!((&row["verified"], &row["expected"]), (&200.into(), &200.into()));
        assert_eq!(row["figures"]["stages"].as_array().expect("a list").len(), 5);
        assert!(row["figures"]["throughput_per_second"].as_f64().expect("a number") > 0.0);
    }
    let page =
        workspace().labs().join("runs").join(report["name"].as_str().expect("a name")).join("matrix.html");
    assert!(
        std::fs::read_to_string(page).expect("a page").contains("2 of 2 combinations, every order verified")
    );
    forget(&report);
}

#[test]
fn a_combination_that_fails_is_a_row_that_says_why_and_the_others_are_measured() {
    let named = Named("cli-matrix-fails");
    let axes = "stack=spin-rust,warp-rust,topology=sidecar";
    let report =
        matrix(&named, axes, &["--blob", "native"], START_FAILED, Some(("LAB_SPIN_BIN", "/bin/false")));
    assert_eq!((&report["clean"], &report["complete"]), (&false.into(), &true.into()), "{report:#}");
    let why = report["rows"][0]["runs"][0]["failure"].as_str().expect("a reason");
    assert!(why.contains("ended with exit status: 1 before it was ready"), "{why}");
    assert_eq!(report["rows"][0]["figures"], Value::Null);
    assert_eq!(report["rows"][1]["verified"], 100, "{report:#}");
    forget(&report);
}

#[test]
fn an_interrupted_matrix_keeps_what_it_measured() {
    let named = Named("cli-matrix-interrupted");
    let args = [
        "bench",
        "--matrix",
        "stack=warp-rust,topology=sidecar,shared",
        "--warm-up",
        "0",
        "--orders",
        "2000",
    ];
    let mut bench = Foreground::start(&named, &args);
    bench.until("run 2 of 2: warp-rust, shared");
    bench.until("flowing: ");
    bench.signal("INT");
    let (code, said) = bench.end();
    assert_eq!(code, Some(INTERRUPTED), "{said}");
    assert!(said.contains("1 of 2 combinations; it was not run to its end\n"), "{said}");
    assert!(said.contains("2,000 of 2,000"), "{said}");
    let page = said.lines().rev().find_map(|line| line.strip_prefix("report: ")).expect("a report");
    let json = std::fs::read_to_string(page.replace("matrix.html", "matrix.json")).expect("it was written");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["complete"], false);
    forget(&report);
}

#[test]
fn what_is_no_matrix_is_refused_before_anything_runs() {
    for (args, said) in [
        (&["bench", "--matrix", "color=red"][..], "unknown value 'color', expected one of: stack, topology"),
        (&["bench", "--matrix", "stack=warp"], "unknown value 'warp', expected one of: spin-rust, "),
        (&["bench", "--matrix", "shared"], "'shared' is of no axis; expected AXIS=VALUE"),
        (&["bench", "--matrix", "topology=shared", "--keep"], "cannot be used with"),
        (&["bench", "--matrix", "topology=shared", "--scale", "distributor=1:2"], "cannot be used with"),
        (&["bench", "--repeat", "2"], "--matrix"),
        (&["bench", "--matrix", "topology=shared", "--repeat", "0"], "0 is not in 1..=100"),
        (&["bench", "--matrix", "--dapr-replicas", "3"], "a sidecar stands beside each one"),
        (&["bench", "--scale", "distributor"], "expected RESOURCE=N:N"),
        (&["bench", "--scale", "distributor-dapr=1:2", "--lab", "cli-none"], "scale distributor"),
    ] {
        let stderr = refusal(lab(args), USAGE);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn a_lab_that_runs_is_left_alone() {
    let named = Named("cli-matrix-taken");
    named.up(&["--detach"]).assert().success();
    let stderr = refusal(named.lab(&["bench", "--matrix", "stack=warp-rust"]), START_FAILED);
    let expected = "error: a lab named 'cli-matrix-taken' is already running\n\
                    hint: cargo lab down --lab cli-matrix-taken\n";
    assert!(stderr.ends_with(expected), "{stderr}");
    named.lab(&["status"]).assert().success().stdout(predicate::str::contains("distributor-1"));
}
