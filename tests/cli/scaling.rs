//! `lab scale`: what it changes, what it says, and what it refuses.

use serde_json::{Value, json};

use crate::labs::Named;
use crate::support::{lab, refusal};

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 13;

/// What `lab status` says there is: name, replicas, ready ones.
fn replicas(named: &Named) -> Vec<(String, u64, u64)> {
    let status = named.json(&["status"], "status");
    let row = |row: &Value| {
        let number = |key: &str| row[key].as_u64().expect("a number");
        (row["of"].as_str().expect("a name").to_owned(), number("count"), number("ready"))
    };
    status["replicas"].as_array().expect("a list").iter().map(row).collect()
}

fn names(rows: &Value) -> Vec<&str> {
    let mut names: Vec<_> =
        rows.as_array().expect("a list").iter().map(|row| row["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names
}

#[test]
fn applications_and_dapr_are_scaled_apart_where_dapr_is_shared() {
    let named = Named("cli-scale");
    named.up(&["--detach", "--topology", "shared"]).assert().success();
    let up = named.json(&["scale", "distributor", "--replicas", "3"], "scale");
    assert_eq!((&up["resource"], &up["from"], &up["to"]), (&json!("distributor"), &json!(1), &json!(3)));
    assert_eq!(names(&up["started"]), ["distributor-2", "distributor-3"]);
    for row in up["started"].as_array().expect("a list") {
        let ms = |key: &str| row[key].as_f64().expect("a number");
        assert!(ms("cold_start_ms") > 0.0 && ms("ready_after_ms") >= ms("cold_start_ms"), "{row}");
        assert!(ms("ready_after_ms") <= up["took_ms"].as_f64().expect("a number"), "{up}");
    }
    named.json(&["scale", "receiver-express-dapr", "--replicas", "2"], "scale");
    let expected = [
        ("distributor", 3),
        ("distributor-dapr", 1),
        ("receiver-express", 1),
        ("receiver-express-dapr", 2),
        ("receiver-standard", 1),
        ("receiver-standard-dapr", 1),
    ];
    assert_eq!(replicas(&named), expected.map(|(name, count)| (name.to_owned(), count, count)));
    let status = named.lab(&["status"]).assert().success().get_output().stdout.clone();
    let status = String::from_utf8(status).expect("a text");
    assert!(status.contains("replicas      3 distributor, 1 distributor-dapr, "), "{status}");
    assert!(status.contains(" distributor-3 "), "{status}");

    let down = named.json(&["scale", "distributor", "--replicas", "1"], "scale");
    assert_eq!(down["stopped"], json!(["distributor-2", "distributor-3"]));
    named
        .lab(&["scale", "distributor", "--replicas", "1"])
        .assert()
        .success()
        .stdout("distributor: 1, as before\n")
        .stderr("");
    assert_eq!(replicas(&named)[0], ("distributor".to_owned(), 1, 1));
}

/// A run that scales leaves a lab that stays with the replicas that it had, and tells when each was ready.
#[test]
fn a_run_that_scales_leaves_the_lab_as_it_was() {
    let named = Named("cli-scale-bench");
    named.up(&["--detach", "--topology", "shared"]).assert().success();
    named.json(&["scale", "distributor", "--replicas", "2"], "scale");
    let run = ["bench", "--orders", "300", "--warm-up", "0", "--scale", "distributor=1:3"];
    let report = named.json(&run, "report");
    assert_eq!(report["clean"], true, "{report:#}");
    let step = &report["measured"]["scaling"][0]["scaled"];
    assert_eq!((&step["from"], &step["to"]), (&json!(1), &json!(3)), "{report:#}");
    assert_eq!(names(&step["started"]), ["distributor-2", "distributor-3"]);
    let first = &report["measured"]["replicas"][0]["ready"];
    assert_eq!(first["distributor"], 1, "{report:#}");
    assert!(report["command"].as_str().expect("a text").ends_with(" --scale distributor=1:3"), "{report:#}");
    assert_eq!(replicas(&named)[0], ("distributor".to_owned(), 2, 2));

    // A run on a lab that was scaled says so: its settings alone would not make the same again.
    let report = named.json(&["bench", "--orders", "100", "--warm-up", "0"], "report");
    let notes = report["notes"].as_array().expect("a list");
    let scaled = json!("the lab had been scaled before the run: 2 distributor");
    assert!(notes.contains(&scaled), "{notes:?}");
}

#[test]
fn sidecars_follow_their_application_and_are_not_scaled_on_their_own() {
    let named = Named("cli-scale-sidecar");
    named.up(&["--detach"]).assert().success();
    let up = named.json(&["scale", "receiver-standard", "--replicas", "2"], "scale");
    assert_eq!(names(&up["started"]), ["receiver-standard-2", "receiver-standard-dapr-2"]);
    let stderr = refusal(named.lab(&["scale", "receiver-standard-dapr", "--replicas", "3"]), USAGE);
    let expected = "error: receiver-standard-dapr cannot be scaled on its own: a sidecar stands beside each application; \
                    scale receiver-standard\n";
    assert_eq!(stderr, expected);
    let text = named.lab(&["scale", "receiver-standard", "--replicas", "1"]).assert().success();
    let text = String::from_utf8(text.get_output().stdout.clone()).expect("a text");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("receiver-standard: 2 → 1 after "), "{text}");
    // Dapr first: what it has delivered is settled then.
    assert_eq!(
        lines[1..],
        ["  receiver-standard-dapr-2 stopped", "  receiver-standard-2      stopped"],
        "{text}"
    );
}

#[test]
fn what_cannot_be_scaled_is_refused_with_what_can() {
    let known = "'redis' cannot be scaled, only: distributor, distributor-dapr, receiver-express, \
                 receiver-express-dapr, receiver-standard, receiver-standard-dapr";
    for (args, said) in [
        (&["scale", "redis", "--replicas", "2"][..], known),
        (
            &["scale", "distributor-2", "--replicas", "2"],
            "'distributor-2' cannot be scaled, only: distributor, ",
        ),
        (&["scale", "distributor", "--replicas", "0"], "0 is not in 1..=32"),
        (&["scale", "distributor", "--replicas", "33"], "33 is not in 1..=32"),
        (&["scale", "distributor", "--replicas", "many"], "invalid value 'many' for '--replicas <N>'"),
        (&["scale", "distributor"], "--replicas <N>"),
        (&["scale", "--replicas", "2"], "<RESOURCE>"),
        (&["scale", "distributor", "--replicas", "2", "--lab", "A"], "'A' cannot be a lab's name"),
    ] {
        let stderr = refusal(lab(args), USAGE);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    let never = refusal(lab(&["scale", "distributor", "--replicas", "2", "--lab", "cli-none"]), UNAVAILABLE);
    let expected = "error: no lab named 'cli-none' is running\nhint: cargo lab up --detach --lab cli-none\n";
    assert_eq!(never, expected);
}
