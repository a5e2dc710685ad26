//! What Spin runs and spin-host does not: refused at the start, in a sentence that says so.

use std::path::Path;

use super::{component, probe};
use crate::guest;
use crate::support::Setup;

/// A component that imports or exports an interface without functions, and nothing else.
fn made_of(section: u8, interface: &str) -> Vec<u8> {
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

const IMPORTS: u8 = 10;
const EXPORTS: u8 = 11;

fn with(bytes: &[u8]) -> Setup {
    let setup = component(Path::new("other.wasm"));
    std::fs::write(setup.path("other.wasm"), bytes).expect("a file");
    setup
}

#[test]
fn a05_a_component_for_another_spin_is_refused_with_the_export_that_shows_it() {
    for (interface, said) in [
        ("wasi:http/handler@0.3.0", "exports wasi:http/handler@0.3.0, which needs Spin 4"),
        (
            "wasi:http/handler@0.3.0-rc-2026-01-06",
            "exports wasi:http/handler@0.3.0-rc-2026-01-06, which needs Spin 4",
        ),
        ("fermyon:spin/inbound-http", "was made with a Spin SDK of version 2 or older"),
        ("wasi:http/incoming-handler@0.2.0-rc-2023-11-10", "was made with a Spin SDK of version 2 or older"),
        ("wasi:cli/run@0.2.0", "exports no wasi:http/incoming-handler@0.2.*"),
    ] {
        with(&made_of(EXPORTS, interface)).refused_saying(&["component `probe`", said]);
    }
}

#[test]
fn a06_imports_that_there_are_not_are_refused_by_name() {
    for (interface, said) in [
        ("fermyon:spin/key-value@2.0.0", "spin-host has no key-value stores"),
        ("wasi:keyvalue/store@0.2.0-draft2", "spin-host has no key-value stores"),
        ("spin:sqlite/sqlite@3.0.0", "spin-host has no SQLite databases"),
        ("fermyon:spin/redis@2.0.0", "spin-host has no Redis client"),
        ("fermyon:spin/mqtt@2.0.0", "spin-host has no MQTT client"),
        ("fermyon:spin/llm@2.0.0", "spin-host has no language models"),
        ("spin:postgres/postgres@3.0.0", "spin-host does not provide it; run the application on Spin"),
        ("wasi:http/types@0.3.0", "that is WASI 0.3, which needs Spin 4"),
    ] {
        let words = format!("component `probe` imports {interface}: ");
        with(&made_of(IMPORTS, interface)).refused_saying(&[&words, said, "--trap-unknown-imports"]);
    }
}

#[test]
fn a06_imports_that_there_are_not_trap_where_asked() {
    let setup = component(&guest::probe().needy);
    setup.refused_saying(&["imports fermyon:spin/redis@2.0.0"]);
    let host = setup.arguments(&["--trap-unknown-imports"]).start();
    host.wait_for("a call of this import will trap");
    assert_eq!(host.get("/").text(), "there was no need");
    let answer = host.get("/redis");
    assert_eq!((answer.status, answer.body.len()), (500, 0));
    assert!(host.stop().contains(
        "it called fermyon:spin/redis@2.0.0#[static]connection.open, which spin-host does not provide"
    ));
}

#[test]
fn a01_what_only_spin_does_is_refused_in_a_sentence() {
    for (line, said) in [
        ("key_value_stores = [\"default\"]", "key-value stores are not provided by spin-host"),
        ("sqlite_databases = [\"default\"]", "SQLite databases are not provided by spin-host"),
        ("ai_models = [\"llama2-chat\"]", "AI models are not provided by spin-host"),
        ("allowed_http_hosts = [\"a.b\"]", "`allowed_http_hosts` is deprecated and not read by spin-host"),
        ("dependencies = { \"a:b\" = \">=1\" }", "component dependencies are not composed by spin-host"),
    ] {
        probe(line).refused_saying(&[&format!("spin.toml:11: {said}")]);
    }
}
