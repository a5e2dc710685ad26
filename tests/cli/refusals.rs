//! Settings that describe no lab: one clear error, the code for usage, and nothing is started.

use assert_cmd::Command;
use lab::build::Artefact;
use predicates::prelude::*;

use crate::support::{clean, folder, install, lab, path_of, program, redacted, refusal, workspace};

const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 13;

/// A lab that these tests never start.
const NEVER: &str = "cli-never-started";

#[test]
fn what_is_no_setting_is_named_with_what_would_be_one() {
    for (args, said) in [
        (
            &["up", "--stack", "warp"][..],
            "unknown value 'warp', expected one of: spin-rust, spin-ts, warp-rust, express-ts",
        ),
        (&["up", "--stack", "distributor=warp-rust"], "role receiver-express has no stack"),
        (&["up", "--stack", "queue=warp-rust"], "unknown value 'queue', expected one of: distributor"),
        (&["up", "--topology", "daemonset"], "unknown value 'daemonset', expected one of: sidecar, shared"),
        (&["up", "--blob", "s3"], "unknown value 's3', expected one of: azurite, native"),
        (&["up", "--engine-profile", "fast"], "unknown value 'fast', expected one of: spin, tuned"),
        (&["up", "--replicas", "many"], "invalid value 'many' for '--replicas <N>'"),
        (&["up", "--replicas", "0"], "replicas is 0, but must be from 1 to"),
        (
            &["up", "--topology", "shared", "--dapr-replicas", "100000"],
            "dapr-replicas is 100000, but must be",
        ),
        (&["up", "--dapr-replicas", "3"], "3 Dapr replicas for 1 of the application"),
        (&["up", "--lock-seconds", "1"], "lock-seconds is 1, but must be from 5 to 300"),
        (&["up", "--max-delivery-count", "0"], "max-delivery-count is 0, but must be from 1 to 2000"),
        (
            &["build", "--stack", "spin"],
            "unknown value 'spin', expected one of: spin-rust, spin-ts, warp-rust, express-ts",
        ),
        (&["bench", "--preset", "aks"], "invalid value 'aks' for '--preset <NAME>'"),
        (&["bench", "--orders", "-1"], "unexpected argument '-1' found"),
        (&["bench", "--orders", "0"], "0 is not in 1..=1000000"),
        (&["bench", "--orders", "1000001"], "1000001 is not in 1..=1000000"),
        (&["orders", "generate", "--count", "0"], "0 is not in 1..=1000000"),
        (&["bench", "--replicas", "0"], "replicas is 0, but must be from 1 to"),
        (&["status", "--format", "yaml"], "invalid value 'yaml' for '--format <FORMAT>'"),
        (&["orders", "generate", "--count", "x"], "invalid value 'x' for '--count <N>'"),
        (&["service", "--listen", "nowhere"], "invalid value 'nowhere' for '--listen <ADDR>'"),
        (&["down", "--all", "--lab", "x"], "cannot be used with"),
        (&["explode"], "unrecognized subcommand 'explode'"),
    ] {
        let stderr = refusal(lab(args), USAGE);
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

/// The question was asked by `up` alone.
#[test]
fn every_command_that_starts_a_lab_asks_before_it_touches_a_cluster_that_the_lab_did_not_make() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let cluster = r#"{ "name": "c", "cluster": { "server": "https://cluster.example:6443" } }"#;
    let context = r#"{ "name": "theirs", "context": { "cluster": "c", "user": "u" } }"#;
    let config = format!(
        r#"{{ "apiVersion": "v1", "kind": "Config", "current-context": "theirs", "clusters": [{cluster}],
            "users": [{{ "name": "u", "user": {{}} }}], "contexts": [{context}] }}"#
    );
    std::fs::write(kubeconfig.path(), config).unwrap();
    for args in
        [&["up", "--detach"][..], &["bench", "--orders", "1"], &["bench", "--matrix", "--orders", "1"]]
    {
        let mut command = lab(args);
        command.args(["--backend", "kubernetes", "--lab", NEVER]).env("KUBECONFIG", kubeconfig.path());
        let stderr = refusal(command, USAGE);
        let said = "in context 'theirs' (https://cluster.example:6443), which this lab did not make";
        assert!(stderr.contains(said) && stderr.contains("hint: --yes"), "{args:?}: {stderr}");
    }
}

#[test]
fn a_setting_from_the_environment_is_checked_like_a_flag() {
    for (name, value, said) in [
        (
            "LAB_STACK",
            "warp",
            "unknown value 'warp', expected one of: spin-rust, spin-ts, warp-rust, express-ts",
        ),
        ("LAB_TOPOLOGY", "x", "unknown value 'x', expected one of: sidecar, shared"),
        ("LAB_BLOB", "x", "unknown value 'x', expected one of: azurite, native"),
        ("LAB_NAME", "../x", "'../x' cannot be a lab's name"),
        ("LAB_FORMAT", "x", "invalid value 'x' for '--format <FORMAT>'"),
    ] {
        let mut command = lab(&["up"]);
        command.env(name, value);
        let stderr = refusal(command, USAGE);
        assert!(stderr.contains(said), "{name}: {stderr}");
    }
}

#[test]
fn an_application_is_not_started_with_a_dapr_that_is_no_url() {
    for url in ["nonsense", "localhost:3500", "https://localhost:3500", "http://"] {
        for artefact in [Artefact::WarpRust, Artefact::ExpressTs] {
            let mut command = program(artefact);
            command.args(["--listen", "127.0.0.1:0"]).env("DAPR_URL", url);
            let stderr = refusal(command, USAGE);
            let said = stderr.contains("--dapr-url") && stderr.contains("http://localhost:3500");
            assert!(said, "{}: {url}: {stderr}", artefact.name());
        }
    }
}

#[test]
fn no_command_takes_a_name_that_is_no_folders() {
    for name in ["", "Main", "a/b", "..", "-a"] {
        let named = format!("--lab={name}");
        for args in [&["up", &named][..], &["down", &named], &["status", &named], &["logs", &named]] {
            let stderr = refusal(lab(args), USAGE);
            assert!(stderr.contains("cannot be a lab's name"), "{args:?}: {stderr}");
        }
        let stderr = refusal(lab(&["orders", "generate", &named]), USAGE);
        assert!(stderr.contains("cannot be a lab's name"), "{name}: {stderr}");
        let stderr = refusal(lab(&["bench", &named]), USAGE);
        assert!(stderr.contains("cannot be a lab's name"), "{name}: {stderr}");
    }
}

#[test]
fn a_lab_that_is_not_running_is_said_to_be_not_running() {
    for args in [&["status"][..], &["logs"], &["orders", "generate"]] {
        let stderr = refusal(lab(&[args, &["--lab", NEVER]].concat()), UNAVAILABLE);
        let expected =
            format!("error: no lab named '{NEVER}' is running\nhint: cargo lab up --detach --lab {NEVER}\n");
        assert_eq!(stderr, expected, "{args:?}");
    }
    assert!(!workspace().lab(NEVER).folder().exists(), "asking creates nothing");
}

#[test]
fn nothing_to_stop_is_success() {
    lab(&["down", "--lab", NEVER]).assert().success().stdout("nothing was running\n").stderr("");
}

#[test]
fn outside_of_a_checkout_it_says_so() {
    let elsewhere = folder(&[]);
    let copy = elsewhere.path().join("lab");
    install(&path_of(Artefact::Lab), &copy);
    for args in
        [&["up"][..], &["down"], &["status"], &["logs"], &["build"], &["bench"], &["orders", "generate"]]
    {
        let mut command = clean(Command::new(&copy));
        command.current_dir(elsewhere.path()).args(args);
        let stderr = redacted(&refusal(command, USAGE), elsewhere.path());
        let expected = "error: found no workspace at or above [FOLDER], nor beside the program\n\
                        hint: run it within the checkout, or set LAB_ROOT\n";
        assert_eq!(stderr, expected, "{args:?}");
    }
}

#[test]
fn a_relay_that_cannot_listen_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    lab(&["service", "--listen", &address])
        .assert()
        .code(10)
        .stdout("")
        .stderr(predicate::str::contains(format!("error: failed to serve on {address}\n")))
        .stderr(predicate::str::contains("hint: choose another address with --listen\n"));
}
