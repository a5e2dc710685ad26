//! What guests send: to allowed hosts only, over connections that are kept, also to their own application.

use crate::guest::probe;
use crate::support::{Host, Setup};
use crate::upstream::Upstream;

fn allowing(hosts: &str) -> Setup {
    Setup::probe(&format!("allowed_outbound_hosts = [{hosts}]"))
}

fn fetch(host: &Host, url: &str) -> String {
    host.get(&format!("/fetch?{url}")).text()
}

#[test]
fn an_allowed_host_is_reached() {
    let upstream = Upstream::start();
    let host = allowing(&format!("\"http://{}\"", upstream.address)).start();
    assert_eq!(fetch(&host, &upstream.url("/path?q=1")), "200 hello");
    let head = upstream.last_head().to_lowercase();
    assert!(head.starts_with("get /path?q=1 http/1.1"), "{head}");
    assert!(head.contains(&format!("host: {}", upstream.address)), "{head}");
}

#[test]
fn a_variable_may_name_the_allowed_host() {
    let upstream = Upstream::start();
    let source = probe().module.display().to_string();
    let setup = Setup::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"v\"\n[variables]\n\
         dapr_url = {{ default = \"http://localhost:3500\" }}\n[[trigger.http]]\nroute = \"/...\"\n\
         component = \"probe\"\n[component.probe]\nsource = {source:?}\n\
         allowed_outbound_hosts = [\"{{{{ dapr_url }}}}\"]\n"
    ));
    let host = setup.arguments(&["--variable", &format!("dapr_url={}", upstream.url(""))]).start();
    assert_eq!(fetch(&host, &upstream.url("/")), "200 hello");
}

#[test]
fn another_host_is_refused_with_the_line_that_would_allow_it() {
    let upstream = Upstream::start();
    for hosts in ["", "\"http://other.test\"", "\"https://*:*\"", "\"http://127.0.0.1:1\""] {
        let host = allowing(hosts).start();
        let outcome = fetch(&host, &upstream.url("/"));
        assert!(outcome.contains("HttpRequestDenied"), "{hosts}: {outcome}");
        let said = host.stop();
        let line =
            format!("add allowed_outbound_hosts = [\"http://{}\"] to [component.probe]", upstream.address);
        assert!(said.contains(&line), "{hosts}: {said}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn connections_are_kept_and_used_again() {
    let upstream = Upstream::start();
    let host = allowing("\"http://*:*\"").start();
    for _ in 0..20 {
        assert_eq!(fetch(&host, &format!("50*{}", upstream.url("/"))), "200 hello");
    }
    assert_eq!(upstream.requests(), 1_000);
    assert_eq!(upstream.connections(), 1, "of one instance after the other");
}

#[test]
fn a_host_that_cannot_be_reached_is_an_error_of_the_guest() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let host = allowing("\"*://*:*\"").start();
    let refused = fetch(&host, &format!("http://{address}/"));
    assert!(refused.contains("ConnectionRefused"), "{refused}");
    let tls = fetch(&host, &format!("https://{address}/"));
    assert!(tls.contains("TlsProtocolError"), "{tls}");
    assert!(host.stop().contains("spin-host does not speak TLS to other hosts"));
}

#[test]
fn a_guest_calls_its_own_application_where_that_is_allowed() {
    let host = allowing("\"http://self\"").start();
    let answer = fetch(&host, "/request");
    assert!(answer.starts_with("200 GET"), "{answer}");
    let host = allowing("\"http://other.test\"").start();
    assert!(fetch(&host, "/request").contains("HttpRequestDenied"));
}

#[test]
fn a_component_is_called_in_process_by_its_name() {
    let source = probe().module.display().to_string();
    let setup = Setup::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"chain\"\n[[trigger.http]]\nroute = \"/...\"\n\
         component = \"front\"\n[[trigger.http]]\nroute = {{ private = true }}\ncomponent = \"back\"\n\
         [component.front]\nsource = {source:?}\nallowed_outbound_hosts = [\"http://back.spin.internal\"]\n\
         [component.back]\nsource = {source:?}\nenvironment = {{ WHO = \"back\" }}\n"
    ));
    let host = setup.start();
    assert_eq!(fetch(&host, "http://back.spin.internal/environment"), "200 WHO=back\n");
    assert!(fetch(&host, "http://front.spin.internal/environment").contains("HttpRequestDenied"));
    assert_eq!(host.get("/environment").text(), "", "a private route is not reached from outside");
}

#[test]
fn a_component_that_calls_itself_without_end_is_stopped() {
    let host = allowing("\"http://*.spin.internal\"").start();
    let mut url = "http://probe.spin.internal/request".to_owned();
    assert!(fetch(&host, &url).starts_with("200 GET"));
    // Each call unwraps one layer of the URL.
    for _ in 0..40 {
        url = format!("http://probe.spin.internal/fetch?{url}");
    }
    let outcome = fetch(&host, &url);
    assert!(outcome.contains("LoopDetected"), "{outcome}");
    assert!(host.stop().contains("too long a chain"));
}
