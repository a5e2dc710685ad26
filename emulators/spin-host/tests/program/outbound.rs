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
fn a18_an_allowed_host_is_reached() {
    let upstream = Upstream::start();
    let host = allowing(&format!("\"http://{}\"", upstream.address)).start();
    assert_eq!(fetch(&host, &upstream.url("/path?q=1")), "200 hello");
    let head = upstream.last_head().to_lowercase();
    assert!(head.starts_with("get /path?q=1 http/1.1"), "{head}");
    assert!(head.contains(&format!("host: {}", upstream.address)), "{head}");
}

#[test]
fn a18_a_variable_may_name_the_allowed_host() {
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
fn a18_another_host_is_refused_with_the_line_that_would_allow_it() {
    let upstream = Upstream::start();
    for hosts in ["", "\"http://other.test\"", "\"https://*:*\"", "\"http://127.0.0.1:1\""] {
        let host = allowing(hosts).start();
        let outcome = fetch(&host, &upstream.url("/"));
        assert!(outcome.contains("HttpRequestDenied"), "{hosts}: {outcome}");
        host.says(&format!(
            "add allowed_outbound_hosts = [\"http://{}\"] to [component.probe]",
            upstream.address
        ));
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a20_connections_are_kept_and_used_again() {
    let upstream = Upstream::start();
    let host = allowing("\"http://*:*\"").start();
    for _ in 0..20 {
        assert_eq!(fetch(&host, &format!("500*{}", upstream.url("/"))), "200 hello");
    }
    assert_eq!(upstream.requests(), 10_000);
    let connections = upstream.connections();
    assert!(connections < 50, "{connections} connections");
    if !host.setup.is_judged() {
        assert_eq!(connections, 1, "of one instance after the other");
    }
}

/// A listener whose queue is full: the system answers no more calls, so that a connection is waited for.
fn full_listener() -> (socket2::Socket, Vec<std::net::TcpStream>, String) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("it listens");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    let wait = std::time::Duration::from_millis(50);
    let mut queued = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, wait) {
        queued.push(stream);
    }
    (socket, queued, address.to_string())
}

#[test]
fn a20_limits_that_the_guest_asks_for_are_kept() {
    let host = allowing("\"http://*:*\"").start();
    let (_socket, _queued, address) = full_listener();
    assert_eq!(host.get(&format!("/impatient?connect*{address}")).text(), "ErrorCode::ConnectionTimeout");
    let upstream = Upstream::start();
    let impatient = |what: &str| host.get(&format!("/impatient?{what}*{}", upstream.address)).text();
    assert_eq!(impatient("first-byte"), "ErrorCode::ConnectionReadTimeout");
    let between = impatient("between-bytes");
    assert!(between.starts_with("200 2 StreamError::LastOperationFailed"), "{between}");
}

#[test]
fn a20_a_host_that_cannot_be_reached_is_an_error_of_the_guest() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let host = allowing("\"*://*:*\"").start();
    let refused = fetch(&host, &format!("http://{address}/"));
    assert!(refused.contains("ConnectionRefused"), "{refused}");
    let unknown = fetch(&host, "http://nowhere.invalid/");
    assert!(unknown.contains("DnsError"), "{unknown}");
}

#[test]
fn a19_a_guest_calls_its_own_application_where_that_is_allowed() {
    let host = allowing("\"http://self\"").start();
    let answer = fetch(&host, "/request");
    assert!(answer.starts_with("200 GET"), "{answer}");
    let host = allowing("\"http://other.test\"").start();
    assert!(fetch(&host, "/request").contains("HttpRequestDenied"));
}

#[test]
fn a19_a_component_is_called_in_process_by_its_name() {
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
