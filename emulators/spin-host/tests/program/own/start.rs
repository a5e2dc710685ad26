//! How spin-host starts: what it announces, its flags, its versions.

use std::process::Command;

use super::{manifest, probe};
use crate::guest;
use crate::support::Setup;

#[test]
fn a21_it_prints_one_line_for_programs_and_then_what_spin_prints() {
    let host = probe("").start();
    let printed = host.prints("(wildcard)");
    assert!(
        printed.starts_with(&format!("\nServing http://{}\nAvailable Routes:\n", host.address)),
        "{printed}"
    );
}

#[test]
fn a29_the_versions_that_are_compared_are_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_spin-host")).arg("--version").output().expect("it starts");
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(version.contains("wasmtime 48, compared with Spin 3.6.3 on wasmtime 42"), "{version}");
    let host = probe("").start();
    assert!(host.wait_for("wasmtime 48").contains("engine_profile=\"spin\""));
}

#[test]
fn a21_a_taken_port_is_named_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, stderr) = probe("").arguments(&["--listen", &address]).refused();
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    assert!(stderr.contains("name another address with --listen"), "{stderr}");
}

#[test]
fn a21_flags_that_are_wrong_are_named() {
    for (arguments, said) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["--listen", "nowhere"], "invalid value 'nowhere' for '--listen"),
        (&["--env", "NOEQUALS"], "write NAME=VALUE"),
        (&["--variable", "noequals"], "--variable noequals: write key=value"),
        (&["--variable", "@missing.json"], "cannot read missing.json that --variable names"),
        (&["--engine-profile", "fast"], "invalid value 'fast' for '--engine-profile"),
        (&["--max-instance-memory", "much"], "invalid value 'much' for '--max-instance-memory"),
        (&["--request-timeout", "0"], "write seconds (30s) or milliseconds (500ms)"),
        (&["--request-timeout", "5m"], "write seconds (30s) or milliseconds (500ms)"),
        (&["--follow", "probe", "--quiet"], "cannot be used with"),
    ] {
        probe("").arguments(arguments).refused_saying(&[said]);
    }
    probe("")
        .environment("SPIN_MAX_INSTANCE_COUNT", "many")
        .refused_saying(&["environment variable SPIN_MAX_INSTANCE_COUNT=many is not a number"]);
}

/// The application's variables as the containerd shim sets them from the environment of its container.
fn in_container(arguments: &[&str]) -> Setup {
    let source = guest::probe().module.display().to_string();
    manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"c\"\n[variables]\ndapr_url = {{ default = \"default\" }}\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n[component.probe]\nsource = {source:?}\n\
         variables = {{ url = \"{{{{ dapr_url }}}}\" }}\n"
    ))
    .arguments(arguments)
}

#[test]
fn a16_the_bare_name_wins_where_the_shim_is_followed_and_counts_nowhere_else() {
    let value = |setup: Setup| setup.start().get("/variable?url").text();
    let shim: fn() -> Setup = || in_container(&["--shim-compat"]);
    assert_eq!(value(shim().environment("DAPR_URL", "bare")), "bare");
    let both = |setup: Setup| {
        setup.environment("DAPR_URL", "bare").environment("SPIN_VARIABLE_DAPR_URL", "prefixed")
    };
    assert_eq!(value(both(shim())), "bare", "as the shim has it");
    assert_eq!(value(shim().environment("SPIN_VARIABLE_DAPR_URL", "prefixed")), "prefixed");
    assert_eq!(value(shim()), "default");
    assert_eq!(value(both(in_container(&["--shim-compat", "--variable", "dapr_url=flag"]))), "flag");
    assert_eq!(value(in_container(&[]).environment("DAPR_URL", "bare")), "default", "only where asked");
}
