//! Reports that are read again, and files with thresholds: what is refused, before anything runs, and with which words.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::labs::assert_valid;
use crate::support::{folder, lab, redacted, refusal};

const USAGE: i32 = 2;

/// A run as the lab wrote it when reports were of version 1.
const VERSION_1: &str = include_str!("../../lab/src/report/v1/report.json");

/// The text with one value replaced; paths are JSON pointers.
fn with(pointer: &str, value: Value) -> String {
    let mut report: Value = serde_json::from_str(VERSION_1).expect("JSON");
    *report.pointer_mut(pointer).expect("the report has it") = value;
    report.to_string()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[test]
fn two_runs_are_compared_figure_by_figure_and_old_ones_too() {
    let quicker = with("/measured/throughput_per_second", json!(650.0));
    let folder = folder(&[("first.json", VERSION_1), ("second.json", &quicker)]);
    let (first, second) = (path(folder.path(), "first.json"), path(folder.path(), "second.json"));
    let output = lab(&["compare", &first, &second]).assert().success().get_output().clone();
    let text = String::from_utf8(output.stdout).expect("a text");
    assert!(text.contains("  run: 1.30 × the orders/s; too few runs for an interval\n"), "{text}");
    assert!(text.contains("end_to_end_us_p99"), "{text}");
    let json = lab(&["compare", "--format", "json", &first, &second]).assert().success().get_output().clone();
    let value: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_valid(&value, "compare");
    assert_eq!(value["rows"][0]["finding"], "no-verdict");
}

#[test]
fn what_cannot_be_compared_is_refused_with_the_reason() {
    let cut = VERSION_1.get(..VERSION_1.len() / 2).expect("ASCII up to there");
    for (other, said) in [
        (with("/environment/cores", json!(64)), "on machines that differ: 2 cores and 64 cores"),
        (
            with("/environment/cpu_model", json!("Other")),
            "on machines that differ: Example CPU <7> and Other",
        ),
        (with("/schema_version", json!(9)), "second.json is of schema version 9, and this lab reads 1 to 2"),
        (with("/measured/clocks", json!("none")), "second.json is not what schema version 1 says"),
        (cut.to_owned(), "second.json is no whole JSON: it is truncated or damaged"),
        ("{}".to_owned(), "second.json is no report"),
    ] {
        let folder = folder(&[("first.json", VERSION_1), ("second.json", &other)]);
        let args = ["compare", &path(folder.path(), "first.json"), &path(folder.path(), "second.json")];
        let stderr = redacted(&refusal(lab(&args), USAGE), folder.path());
        assert!(stderr.contains(said), "{said} is not in\n{stderr}");
    }
    let stderr = refusal(lab(&["compare", "never-run", "never-run"]), USAGE);
    assert!(stderr.contains("there is no run 'never-run'") && stderr.contains("hint: "), "{stderr}");
}

#[test]
fn thresholds_and_rates_that_are_none_are_refused_before_anything_runs() {
    let folder = folder(&[
        ("unknown.toml", "[speed]\nmin = 1\n"),
        ("type.json", r#"{"throughput_per_second": {"min": "fast"}}"#),
        ("good.toml", "[throughput_per_second]\nmin = 1\n"),
    ]);
    let gate = |name: &str| path(folder.path(), name);
    let (unknown, wrong, good) = (gate("unknown.toml"), gate("type.json"), gate("good.toml"));
    let missing = gate("missing.toml");
    let all = "expected one of: throughput_per_second, ingress_queue_us_p99, distributor_us_p99, ";
    for (args, said) in [
        (vec!["bench", "--gate", &unknown], all),
        (vec!["bench", "--matrix", "--gate", &unknown], all),
        (vec!["bench", "--gate", &wrong], "min of throughput_per_second takes a number, not \"fast\""),
        (vec!["bench", "--gate", &missing], "failed to read the thresholds of [FOLDER]/missing.toml"),
        (vec!["bench", "--gate", &good, "--profile", "ramp"], "invalid value 'ramp' for '--profile"),
        (vec!["bench", "--profile", "steady"], "--rate <N>"),
        (vec!["bench", "--rate", "100"], "--rate 100 is of --profile steady"),
        (vec!["bench", "--profile", "steady", "--rate", "0"], "0 is not in 1..=50000"),
        (
            vec!["bench", "--profile", "steady", "--rate", "1", "--orders", "20000"],
            "20000 orders at 1 in a second take 19999 s, and a run may take 14400 s",
        ),
    ] {
        let stderr = redacted(&refusal(lab(&args), USAGE), folder.path());
        assert!(stderr.contains(said), "{args:?}: {said} is not in\n{stderr}");
    }
    assert!(fs::read_dir(folder.path()).expect("a folder").count() == 3, "nothing was written");
}
