//! How an application starts: from where, at which address, and what stops it.

use std::net::TcpListener;
use std::path::Path;

use crate::guest::probe;
use crate::support::{Setup, manifest};

#[test]
fn a21_it_prints_where_it_answers_and_its_routes() {
    let host = Setup::probe("description = \"what it is\"").start();
    host.prints(&format!("Serving http://{}", host.address));
    host.prints(&format!("  probe: http://{} (wildcard)", host.address));
    host.prints("    what it is");
}

#[test]
fn a21_the_address_is_a_flag_or_a_variable_and_may_be_a_name() {
    let named = Setup::probe("").arguments(&["--listen", "localhost:0"]).start();
    assert!(named.address.starts_with("127.0.0.1:"), "{}", named.address);
    let variable = || Setup::probe("").environment("SPIN_HTTP_LISTEN_ADDR", "[::1]:0");
    let started = variable().arguments(&["--listen", "127.0.0.1:0"]).start();
    assert!(started.address.starts_with("127.0.0.1:"), "the flag wins: {}", started.address);
    Setup::probe("")
        .environment("SPIN_HTTP_LISTEN_ADDR", "nowhere")
        .refused_saying(&["invalid value 'nowhere' for '--listen"]);
}

#[test]
fn a21_a_taken_port_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let (code, said) = Setup::probe("").arguments(&["--listen", &address]).refused();
    assert!(code == Some(1) && said.contains(&address), "{code:?}: {said}");
}

#[test]
fn a02_the_manifest_may_be_named_by_its_directory_or_by_its_path() {
    assert_eq!(Setup::probe("").arguments(&["--from", "."]).start().get("/counter").status, 200);
    assert_eq!(Setup::probe("").arguments(&["-f", "spin.toml"]).start().get("/counter").status, 200);
    Setup::probe("")
        .arguments(&["--from", "other.toml"])
        .refused_saying(&["cannot read the manifest other.toml; name it with --from"]);
}

#[test]
fn a02_a_module_is_found_beside_its_manifest() {
    let setup = Setup::manifest(&manifest(Path::new("within/probe.wasm"), "")).file("within/x", "");
    std::fs::copy(&probe().module, setup.path("within/probe.wasm")).expect("a copy");
    let elsewhere = setup.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a directory");
    let from = setup.path("spin.toml").display().to_string();
    let setup = setup.arguments(&["--from", &from]);
    let mut command = setup.command();
    command.current_dir(elsewhere);
    assert_eq!(crate::support::Host::start(command, setup).get("/counter").text(), "1");
}

#[test]
fn a02_a_missing_module_is_named_with_how_to_build_it() {
    let missing = Path::new("missing.wasm");
    let setup = Setup::manifest(&manifest(missing, ""));
    setup.refused_saying(&["missing.wasm of component `probe`; correct its `source`"]);
    let build = "[component.probe.build]\ncommand = \"make the-app\"";
    Setup::manifest(&manifest(missing, build)).refused_saying(&["build it with `make the-app`"]);
}

#[test]
fn a02_a_module_from_elsewhere_is_refused_or_checked() {
    let setup = Setup::manifest(&manifest(Path::new("x"), "").replace(
        "source = \"x\"",
        "source = { url = \"http://127.0.0.1:1/a.wasm\", digest = \"sha256:0\" }",
    ));
    setup.refused_saying(&["spin.toml:10: a component from a URL or a registry is not fetched by spin-host"]);
}

#[test]
fn a03_modules_and_components_are_run_alike() {
    for source in [&probe().module, &probe().component] {
        let host = Setup::manifest(&manifest(source, "")).start();
        assert_eq!(host.get("/counter").text(), "1", "{source:?}");
    }
}

#[test]
fn a03_what_is_no_usable_module_is_refused() {
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
        let setup = Setup::manifest(&manifest(Path::new("bad.wasm"), ""));
        std::fs::write(setup.path("bad.wasm"), bytes).expect("a file");
        setup.refused_saying(&[said]);
    }
}

/// The applications of the lab, those that are built (`cargo lab build --stack spin-rust`, `--stack spin-ts`). The
/// contract suite, which builds them, asks more of them, on every host.
#[test]
fn a04_the_applications_of_the_lab_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (app, artefact) in [("rust", "spin-rust.wasm"), ("typescript", "spin-ts.wasm")] {
        if !root.join("dist").join(artefact).is_file() {
            eprintln!("not built: dist/{artefact}");
            continue;
        }
        let from = root.join("apps/spin").join(app).join("spin.toml").display().to_string();
        let host = Setup::probe("").arguments(&["--from", &from]).start();
        assert_eq!(host.get("/healthz").status, 200, "{app}");
        let refused = host.send(&crate::http::request("POST", "/q-order-ingress", &[], b"no order"));
        assert!((400..500).contains(&refused.status), "{app}: {refused:?}");
    }
}
