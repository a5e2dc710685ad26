//! Help is a contract: every command explains itself, and what it says changes only on purpose.

use lab::build::Artefact;
use predicates::prelude::*;

use crate::support::{lab, program};

/// The commands that a help text lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        // A longer explanation goes on in lines that are indented further.
        line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next().map(str::to_owned)
    });
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_command_explains_itself() {
    let mut open: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = Vec::new();
    while let Some(command) = open.pop() {
        let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let output = lab(&args).assert().success().stderr("").get_output().clone();
        let help = String::from_utf8(output.stdout).expect("help is text");
        open.extend(listed(&help).into_iter().map(|name| [&command[..], &[name]].concat()));
        let name = if command.is_empty() { "lab".to_owned() } else { command.join("-") };
        insta::assert_snapshot!(format!("help-{name}"), help);
        seen.push(name);
    }
    seen.sort();
    let expected = [
        "bench",
        "build",
        "compare",
        "doctor",
        "down",
        "lab",
        "logs",
        "orders",
        "orders-generate",
        "scale",
        "service",
        "status",
        "up",
        "versions",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn without_a_command_it_shows_its_help_and_fails() {
    lab(&[]).assert().code(2).stdout("").stderr(predicate::str::contains("Usage: lab"));
}

#[test]
fn every_program_has_help_and_a_version() {
    for artefact in [
        Artefact::ServicebusEmulator,
        Artefact::DaprEmulator,
        Artefact::BlobEmulator,
        Artefact::SpinHost,
        Artefact::WarpRust,
        Artefact::ExpressTs,
    ] {
        let help = predicate::str::contains("Usage:").and(predicate::str::contains("--stop-on-stdin-eof"));
        program(artefact).arg("--help").assert().success().stdout(help);
        program(artefact).arg("--version").assert().success().stdout(predicate::str::contains("0.1.0"));
    }
}
