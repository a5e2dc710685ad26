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

fn refused(from: &str, to: &str) -> String {
    let sound = sound();
    assert!(sound.contains(from), "{from}");
    let (code, stderr) = Setup::manifest(&sound.replacen(from, to, 1)).refused();
    assert_eq!(code, Some(2), "{to}: {stderr}");
    stderr
}

#[test]
fn a_manifest_with_a_mistake_names_file_line_key_and_remedy() {
    assert_eq!(Setup::manifest(&sound()).start().get("/counter").text(), "1", "without it, it starts");
    for (from, to, said) in [
        ("name = \"app\"", "nmae = \"app\"", "spin.toml:3: unknown field `nmae`, expected one of"),
        ("name = \"app\"", "name = 7", "spin.toml:3: `application.name`: invalid type: integer `7`"),
        ("route = ", "rout = ", "spin.toml:7: unknown field `rout`, expected one of"),
        ("command = \"make\"", "command = 7", "spin.toml:14: `component.probe.build.command`: invalid type"),
        ("description = \"d\"", "descriptoin = \"d\"", "spin.toml:11: unknown field `descriptoin`"),
        ("component = \"probe\"", "component = \"prob\"", "spin.toml:6: the trigger names component `prob`"),
        ("{{ url }}", "{{ ulr }}", "spin.toml:12: unknown variable \"ulr\"; declare it under [variables]"),
        ("{{ url }}", "localhost:80", "spin.toml:12: \"localhost:80\" is not an allowed outbound host"),
        ("default = ", "defualt = ", "spin.toml:5: unknown field `defualt`"),
        ("[component.probe]", "[component.probe", "spin.toml:9: "),
    ] {
        let stderr = refused(from, to);
        assert!(stderr.contains(said), "{to}: {stderr}");
        assert!(
            ["correct", "add", "declare", "write"].iter().any(|remedy| stderr.contains(remedy)),
            "{to} has a remedy: {stderr}"
        );
    }
}

#[test]
fn what_only_spin_does_is_refused_in_a_sentence() {
    for (line, said) in [
        ("key_value_stores = [\"default\"]", "key-value stores are not provided by spin-host"),
        ("sqlite_databases = [\"default\"]", "SQLite databases are not provided by spin-host"),
        ("ai_models = [\"llama2-chat\"]", "AI models are not provided by spin-host"),
        ("allowed_http_hosts = [\"a.b\"]", "`allowed_http_hosts` is deprecated and not read by spin-host"),
        ("dependencies = { \"a:b\" = \">=1\" }", "component dependencies are not composed by spin-host"),
    ] {
        let stderr = refused("description = \"d\"", line);
        assert!(stderr.contains(&format!("spin.toml:11: {said}")), "{line}: {stderr}");
    }
    let redis = refused("[[trigger.http]]\nroute = \"/...\"", "[[trigger.redis]]\nchannel = \"c\"");
    assert!(redis.contains("spin.toml:6: trigger type `redis` is not supported by spin-host"), "{redis}");
    let old = refused("spin_manifest_version = 2", "spin_manifest_version = \"1\"");
    assert!(old.contains("spin.toml:1: manifest version 1 is not supported; convert it"), "{old}");
    let wagi = refused("route = \"/...\"", "route = \"/...\"\nexecutor = { type = \"wagi\" }");
    assert!(wagi.contains("spin.toml:8: executor `wagi` is not supported by spin-host"), "{wagi}");
    let source = probe().module.display().to_string();
    let remote =
        refused(&format!("{source:?}"), "{ url = \"https://a.test/a.wasm\", digest = \"sha256:0\" }");
    assert!(remote.contains("spin.toml:10: a component from a URL or a registry is not fetched"), "{remote}");
}

#[test]
fn requests_that_are_none_disturb_nobody() {
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
        let answer = connection.answer();
        assert!(
            answer.status >= 400,
            "{:?}: {answer:?}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
        );
        assert_eq!(host.get("/counter").text(), "1");
    }
    // These are requests, if rare ones.
    for bytes in [
        &b"OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"[..],
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
        b"GET /status?100 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /status?99 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ] {
        let answer = host.send(bytes);
        assert!(answer.status >= 400, "{}: {answer:?}", String::from_utf8_lossy(bytes));
        assert_eq!(host.get("/counter").text(), "1");
    }
}
