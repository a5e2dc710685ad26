//! Manifests with a mistake name file, line, key and remedy; requests with a mistake disturb nobody.

use crate::guest::probe;
use crate::support::Setup;

/// A sound manifest; each case changes one thing.
fn sound() -> String {
    let source = probe().module.display().to_string();
    format!(
        r#"spin_manifest_version = 2
[application]
name = "app"
[variables]
url = {{ default = "http://localhost:3500" }}
[[trigger.http]]
route = "/..."
component = "probe"
[component.probe]
source = {source:?}
description = "d"
allowed_outbound_hosts = ["{{{{ url }}}}"]
[component.probe.build]
command = "make"
"#
    )
}

/// The sound manifest with one change, which must be refused.
fn refused(from: &str, to: &str, said: &[&str]) {
    let sound = sound();
    assert!(sound.contains(from), "{from}");
    Setup::manifest(&sound.replacen(from, to, 1)).refused_saying(said);
}

#[test]
fn a01_a_manifest_with_a_mistake_names_file_line_and_key() {
    assert_eq!(Setup::manifest(&sound()).start().get("/counter").text(), "1", "without it, it starts");
    for (from, to, said) in [
        ("name = \"app\"", "nmae = \"app\"", "spin.toml:3: unknown field `nmae`, expected one of"),
        ("name = \"app\"", "name = 7", "spin.toml:3: `application.name`: invalid type: integer `7`"),
        ("route = ", "rout = ", "spin.toml:7: unknown field `rout`, expected one of"),
        ("command = \"make\"", "command = 7", "spin.toml:14: `component.probe.build.command`: invalid type"),
        ("description = \"d\"", "descriptoin = \"d\"", "spin.toml:11: unknown field `descriptoin`"),
        ("component = \"probe\"", "component = \"prob\"", "spin.toml:6: the trigger names component `prob`"),
        ("{{ url }}", "localhost:80", "spin.toml:12: \"localhost:80\" is not an allowed outbound host"),
        ("default = ", "defualt = ", "spin.toml:5: unknown field `defualt`"),
        ("[component.probe]", "[component.probe", "spin.toml:9: "),
    ] {
        refused(from, to, &[said]);
    }
}

#[test]
fn a01_a_mistake_comes_with_its_remedy() {
    for (from, to, remedy) in [
        ("name = \"app\"", "nmae = \"app\"", "correct or remove it"),
        ("name = \"app\"", "", "add it"),
        ("name = \"app\"", "name = \"app\"\nname = \"b\"", "remove one of the two"),
        ("{{ url }}", "localhost:80", "write <scheme>://<host>[:<port>]"),
    ] {
        refused(from, to, &[remedy]);
    }
}

/// Spin starts, and refuses what the entry might have allowed.
#[test]
fn a01_an_unknown_variable_of_an_allowed_host_stops_the_start() {
    let text = sound().replacen("{{ url }}", "{{ ulr }}", 1);
    let said = "spin.toml:12: unknown variable \"ulr\"; declare it under [variables]";
    Setup::manifest(&text).own().refused_saying(&[said]);
}

#[test]
fn a01_a_variable_is_required_or_has_a_default() {
    let variable = "{ default = \"http://localhost:3500\" }";
    refused(variable, "{ }", &["spin.toml:5: variable `url` has neither `required = true` nor `default`"]);
    let both = "{ default = \"x\", required = true }";
    refused(variable, both, &["spin.toml:5: variable `url` has both `required = true` and `default`"]);
}

#[test]
fn a01_a_trigger_has_a_component_or_a_static_response() {
    let component = "component = \"probe\"";
    refused(component, "", &["spin.toml:6: the trigger has neither `component` nor `static_response`"]);
    let both = "component = \"probe\"\nstatic_response = { body = \"x\" }";
    refused(component, both, &["spin.toml:6: the trigger has both `component` and `static_response`"]);
}

#[test]
fn a01_what_has_another_form_in_spin_is_refused_in_a_sentence() {
    let redis = "[[trigger.redis]]\nchannel = \"c\"";
    let route = "[[trigger.http]]\nroute = \"/...\"";
    refused(route, redis, &["spin.toml:6: trigger type `redis` is not supported by spin-host"]);
    let version = "spin_manifest_version = 2";
    refused(
        version,
        "spin_manifest_version = \"1\"",
        &["spin.toml:1: manifest version 1 is not supported; convert it"],
    );
    let wagi = "route = \"/...\"\nexecutor = { type = \"wagi\" }";
    refused("route = \"/...\"", wagi, &["spin.toml:8: executor `wagi` is not supported by spin-host"]);
}

#[test]
fn a12_requests_that_are_none_disturb_nobody() {
    let host = Setup::probe("").start();
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(1 << 20));
    for bytes in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /request HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
        b"GET http://other/request HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut connection = host.connect();
        connection.write(bytes);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        match connection.answer_if_any() {
            Some(answer) => assert!(answer.status >= 400, "{shown:?}: {answer:?}"),
            None => assert!(host.setup.is_judged(), "Spin closes some without a word, not {shown:?}"),
        }
        assert_eq!(host.get("/counter").text(), "1");
    }
    // These are requests, if rare ones.
    for bytes in [
        &b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"[..],
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
        b"GET /status?100 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /status?99 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ] {
        let mut connection = host.connect();
        connection.write(bytes);
        let answer = connection.answer_if_any();
        let is_refused = answer.as_ref().map_or(host.setup.is_judged(), |answer| answer.status >= 400);
        assert!(is_refused, "{}: {answer:?}", String::from_utf8_lossy(bytes));
        assert_eq!(host.get("/counter").text(), "1");
    }
}
