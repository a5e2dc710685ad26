//! How the program starts: what it prints, and what it says when it cannot start.

use std::net::TcpListener;
use std::process::Command;

use crate::guest::probe;
use crate::support::{Setup, manifest};

#[test]
fn it_prints_where_it_answers_and_its_routes() {
    let host = Setup::probe("").start();
    assert!(host.greeting.contains(&format!("Serving http://{}\n", host.address)), "{}", host.greeting);
    let output = Command::new(env!("CARGO_BIN_EXE_spin-host")).arg("--version").output().expect("it starts");
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(version.contains("wasmtime 48, compared with Spin 3.6.3 on wasmtime 42"), "{version}");
}

#[test]
fn the_address_is_a_flag_or_a_variable_and_may_be_a_name() {
    let named = Setup::probe("").arguments(&["--listen", "localhost:0"]).start();
    assert!(named.address.starts_with("127.0.0.1:"), "{}", named.address);
    let variable = || Setup::probe("").environment("SPIN_HTTP_LISTEN_ADDR", "[::1]:0");
    let started = variable().arguments(&["--listen", "127.0.0.1:0"]).start();
    assert!(started.address.starts_with("127.0.0.1:"), "the flag wins: {}", started.address);
    let wrong = Setup::probe("").environment("SPIN_HTTP_LISTEN_ADDR", "nowhere").refused();
    assert_eq!(wrong.0, Some(2));
    assert!(wrong.1.contains("invalid value 'nowhere' for '--listen"), "{}", wrong.1);
}

#[test]
fn the_manifest_may_be_named_by_its_directory_or_be_where_it_is_started() {
    assert_eq!(Setup::probe("").arguments(&["--from", "."]).start().get("/counter").status, 200);
    assert_eq!(Setup::probe("").arguments(&["-f", "spin.toml"]).start().get("/counter").status, 200);
    assert_eq!(Setup::probe("").start().get("/counter").status, 200);
    let (code, stderr) = Setup::probe("").arguments(&["--from", "other.toml"]).refused();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("cannot read the manifest other.toml; name it with --from"), "{stderr}");
}

#[test]
fn a_taken_port_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, stderr) = Setup::probe("").arguments(&["--listen", &address]).refused();
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    assert!(stderr.contains("name another address with --listen"), "{stderr}");
}

#[test]
fn a_missing_module_is_named_with_how_to_build_it() {
    let missing = std::path::Path::new("missing.wasm");
    let (code, stderr) = Setup::manifest(&manifest(missing, "")).refused();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("missing.wasm of component `probe`; correct its `source`"), "{stderr}");
    let build = "[component.probe.build]\ncommand = \"make the-app\"";
    let (code, stderr) = Setup::manifest(&manifest(missing, build)).refused();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("build it with `make the-app`"), "{stderr}");
}

#[test]
fn what_is_no_usable_module_is_refused() {
    let module = std::fs::read(&probe().module).expect("readable");
    // A component without any import or export.
    let empty = b"\0asm\x0d\0\x01\0";
    for (bytes, said) in [
        (&b""[..], "is not a usable WebAssembly file: it does not start as one"),
        (b"#!/bin/sh", "is not a usable WebAssembly file: it does not start as one"),
        (&module[..1_000], "is not a usable WebAssembly file: it cannot be made a component"),
        (b"\0asm\x01\0\0\0", "the HTTP trigger needs a component that handles requests"),
        (empty, "the HTTP trigger needs a component that handles requests"),
    ] {
        let setup = Setup::manifest(&manifest(std::path::Path::new("bad.wasm"), ""));
        std::fs::write(setup.path("bad.wasm"), bytes).expect("a file");
        let (code, stderr) = setup.refused();
        assert_eq!(code, Some(2), "{said}: {stderr}");
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}

/// A component that imports or exports an interface without functions, and nothing else.
fn component(section: u8, interface: &str) -> Vec<u8> {
    const EXPORTS: u8 = 11;
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // An instance type and an instance, both empty: what an import has the type of, and what an export gives.
    bytes.extend_from_slice(&[7, 3, 1, 0x42, 0]);
    if section == EXPORTS {
        bytes.extend_from_slice(&[5, 3, 1, 1, 0]);
    }
    let length = u8::try_from(interface.len()).expect("a short name");
    let mut body = vec![1, 0, length];
    body.extend_from_slice(interface.as_bytes());
    body.extend_from_slice(if section == EXPORTS { &[5, 0, 0] } else { &[5, 0] });
    bytes.extend_from_slice(&[section, u8::try_from(body.len()).expect("short")]);
    [bytes, body].concat()
}

#[test]
fn a_component_that_needs_more_is_refused_in_a_sentence() {
    const IMPORTS: u8 = 10;
    const EXPORTS: u8 = 11;
    for (section, interface, said) in [
        (IMPORTS, "fermyon:spin/key-value@2.0.0", "spin-host has no key-value stores"),
        (IMPORTS, "wasi:keyvalue/store@0.2.0-draft2", "spin-host has no key-value stores"),
        (IMPORTS, "spin:sqlite/sqlite@3.0.0", "spin-host has no SQLite databases"),
        (IMPORTS, "fermyon:spin/redis@2.0.0", "spin-host has no Redis client"),
        (IMPORTS, "fermyon:spin/mqtt@2.0.0", "spin-host has no MQTT client"),
        (IMPORTS, "fermyon:spin/llm@2.0.0", "spin-host has no language models"),
        (
            IMPORTS,
            "spin:postgres/postgres@3.0.0",
            "spin-host does not provide it; run the application on Spin",
        ),
        (IMPORTS, "wasi:http/types@0.3.0", "that is WASI 0.3, which needs Spin 4"),
        (EXPORTS, "wasi:http/handler@0.3.0", "exports wasi:http/handler@0.3.0, which needs Spin 4"),
        (EXPORTS, "fermyon:spin/inbound-http", "was made with a Spin SDK of version 2 or older"),
        (EXPORTS, "wasi:cli/run@0.2.0", "exports no wasi:http/incoming-handler@0.2.*"),
    ] {
        let setup = Setup::manifest(&manifest(std::path::Path::new("other.wasm"), ""));
        std::fs::write(setup.path("other.wasm"), component(section, interface)).expect("a file");
        let (code, stderr) = setup.refused();
        assert_eq!(code, Some(2), "{interface}: {stderr}");
        assert!(stderr.contains("component `probe`") && stderr.contains(said), "{interface}: {stderr}");
    }
}

#[test]
fn flags_that_are_wrong_are_named() {
    for (arguments, said) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["--listen", "nowhere"], "invalid value 'nowhere' for '--listen"),
        (&["--env", "NOEQUALS"], "write NAME=VALUE"),
        (&["--variable", "noequals"], "--variable noequals: write key=value"),
        (&["--variable", "@missing.json"], "cannot read missing.json that --variable names"),
        (&["--engine-profile", "fast"], "invalid value 'fast' for '--engine-profile"),
        (&["--max-instance-memory", "much"], "invalid value 'much' for '--max-instance-memory"),
        (&["--follow", "probe", "--quiet"], "cannot be used with"),
    ] {
        let (code, stderr) = Setup::probe("").arguments(arguments).refused();
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    let (code, stderr) = Setup::probe("").environment("SPIN_MAX_INSTANCE_COUNT", "many").refused();
    assert_eq!(code, Some(2));
    assert!(stderr.contains("environment variable SPIN_MAX_INSTANCE_COUNT=many is not a number"), "{stderr}");
}
