//! Values of variables: where they come from, who sees them, what happens without one.

use crate::guest::probe;
use crate::support::{Host, Setup};

/// The probe with the application's variables (TOML) and its own.
fn setup(declared: &str, own: &str) -> Setup {
    let source = probe().module.display().to_string();
    Setup::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"variables\"\n[variables]\n{declared}\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n[component.probe]\nsource = {source:?}\n\
         environment = {{ OWN = \"manifest\" }}\n[component.probe.variables]\n{own}\n"
    ))
}

fn value(host: &Host, name: &str) -> String {
    host.get(&format!("/variable?{name}")).text()
}

#[test]
fn a15_a_flag_wins_over_the_environment_over_dotenv_over_the_default() {
    let setup = || setup("dapr_url = { default = \"default\" }", "url = \"<{{ dapr_url }}>\"");
    assert_eq!(value(&setup().start(), "url"), "<default>");
    let dotenv = || setup().file(".env", "# values\nSPIN_VARIABLE_DAPR_URL=dotenv\n");
    assert_eq!(value(&dotenv().start(), "url"), "<dotenv>");
    let environment = || dotenv().environment("SPIN_VARIABLE_DAPR_URL", "environment");
    assert_eq!(value(&environment().start(), "url"), "<environment>");
    assert_eq!(value(&environment().arguments(&["--variable", "dapr_url=flag"]).start(), "url"), "<flag>");
    let unprefixed = setup().environment("DAPR_URL", "x").environment("dapr_url", "y");
    assert_eq!(value(&unprefixed.start(), "url"), "<default>", "only the prefixed name counts");
}

#[test]
fn a15_a_flag_may_name_a_file() {
    let setup = setup("a = { required = true }\nb = { required = true }", "a = \"{{a}}\"\nb = \"{{ b }}\"");
    let setup = setup.file("a.txt", "from a file").file("b.toml", "b = \"from a table\"");
    let host = setup.arguments(&["--variable", "a=@a.txt", "--variable", "@b.toml"]).start();
    assert_eq!((value(&host, "a"), value(&host, "b")), ("from a file".into(), "from a table".into()));
}

#[test]
fn a15_a_required_variable_without_a_value_stops_the_start() {
    let declared = "first = { required = true }\nsecond = { required = true }\nthird = { default = \"\" }";
    let setup = setup(declared, "a = \"{{ first }}\"");
    setup.refused_saying(&[
        "no provider resolved required variable(s): first, second;",
        "--variable NAME=VALUE",
    ]);
    let (_, said) = setup.refused();
    assert!(said.contains("first") && said.contains("second") && !said.contains("third"), "{said}");
}

#[test]
fn a15_a_component_sees_its_own_variables_only() {
    let host = setup("app_only = { default = \"x\" }", "own = \"1\"").start();
    assert_eq!(value(&host, "own"), "1");
    assert!(value(&host, "app_only").contains("Undefined"), "{}", value(&host, "app_only"));
    assert!(value(&host, "Not-A-Name").contains("InvalidName"), "{}", value(&host, "Not-A-Name"));
}

#[test]
fn a17_a_guest_sees_the_environment_of_its_manifest_and_flags_and_no_other() {
    let setup = setup("", "").environment("SECRET_OF_THE_HOST", "x");
    let host = setup.arguments(&["--env", "ADDED=flag", "-e", "EMPTY="]).start();
    assert_eq!(host.get("/environment").text(), "ADDED=flag\nEMPTY=\nOWN=manifest\n");
}

/// Reproducer: `std::env::vars` panics on a value that is not text.
#[cfg(unix)]
#[test]
fn a15_an_environment_that_is_not_text_is_no_reason_to_fail() {
    use std::os::unix::ffi::OsStrExt as _;
    let setup = setup("v = { default = \"default\" }", "v = \"{{ v }}\"").own();
    let mut command = setup.command();
    command.env("SPIN_VARIABLE_V", std::ffi::OsStr::from_bytes(b"\xff"));
    assert_eq!(value(&Host::start(command, setup), "v"), "default");
}

/// Reproducer: a `.env` that could not be read was taken for an empty one.
#[test]
fn a15_a_dotenv_that_cannot_be_read_is_named() {
    let setup = setup("", "").file(".env/inside", "");
    setup.own().refused_saying(&["cannot read .env"]);
}

#[test]
fn a15_a_secret_is_in_no_message() {
    let declared = "token = { required = true, secret = true }";
    let source = probe().module.display().to_string();
    let setup = Setup::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"s\"\n[variables]\n{declared}\n[[trigger.http]]\n\
         route = \"/...\"\ncomponent = \"probe\"\n[component.probe]\nsource = {source:?}\n\
         allowed_outbound_hosts = [\"http://{{{{ token }}}}:80\"]\n"
    ));
    let setup = setup.own().arguments(&["--variable", "token=hunter2/hunter2"]);
    let (code, stderr) = setup.refused();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("allowed_outbound_hosts of component `probe`"), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}
