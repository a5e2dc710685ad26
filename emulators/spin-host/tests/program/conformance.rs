//! What the conformance tests of Spin hosts (`fermyon/conformance-tests`) ask, under their names.
//!
//! Not asked, because spin-host does not provide it: `key-value`, `sqlite`, `outbound-redis`, `outbound-mqtt`,
//! `postgres` and their `-no-permission` forms. That it says so is tested in `own::refusals`.

use crate::guest::probe;
use crate::http::request;
use crate::support::Setup;
use crate::upstream::Upstream;

#[test]
fn a28_variables() {
    let host = Setup::probe("variables = { variable = \"value\" }").start();
    assert_eq!(host.get("/conformance").text(), "passed");
}

#[test]
fn a28_request_shape() {
    let source = probe().module.display().to_string();
    let setup = Setup::manifest(&format!(
        "spin_manifest_version = 2\n[application]\nname = \"shape\"\n[[trigger.http]]\n\
         route = \"/base/:path_segment/:path_end/...\"\ncomponent = \"request-shape\"\n[component.request-shape]\n\
         source = {source:?}\nenvironment = {{ ALWAYS = \"request\" }}\n"
    ));
    let host = setup.start();
    let asked = b"GET /base/path/end/rest?key=value HTTP/1.1\r\nhost: example.com\r\nuser-agent: my-agent\r\naccept: */*\r\n\
                  connection: close\r\n\r\n";
    let told = host.send(asked).text();
    let mut lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines.remove(0),
        "GET Some(Scheme::Http) Some(\"example.com\") Some(\"/base/path/end/rest?key=value\")"
    );
    let mut spin: Vec<&str> = lines.into_iter().filter(|line| line.starts_with("spin-")).collect();
    let client =
        spin.iter().position(|line| line.starts_with("spin-client-addr: ")).map(|at| spin.remove(at));
    let address = client.and_then(|line| line.strip_prefix("spin-client-addr: ")).expect("it is told");
    assert!(address.parse::<std::net::SocketAddr>().is_ok(), "{address}");
    assert_eq!(
        spin,
        [
            "spin-base-path: /",
            "spin-component-route: /base/:path_segment/:path_end",
            "spin-full-url: http://example.com/base/path/end/rest?key=value",
            "spin-matched-route: /base/:path_segment/:path_end/...",
            "spin-path-info: /rest",
            "spin-path-match-path-end: end",
            "spin-path-match-path-segment: path",
            "spin-raw-component-route: /base/:path_segment/:path_end/...",
        ]
    );
}

#[test]
fn a28_outbound_wasi_http_v0_2_0() {
    let upstream = Upstream::start();
    let host = Setup::probe(&format!("allowed_outbound_hosts = [\"http://{}\"]", upstream.address)).start();
    let answer =
        host.send(&request("POST", &format!("/post?{}", upstream.url("/echo")), &[], b"Hello, world!"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, world!"));
}

#[test]
fn a28_outbound_wasi_http_v0_2_0_no_perms() {
    let host = Setup::probe("").start();
    let answer = host.send(&request("POST", "/post?http://localhost:1234/", &[], b"Hello, world!"));
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("HttpRequestDenied"), "{}", answer.text());
}

#[test]
fn a28_tcp_sockets() {
    let upstream = Upstream::start();
    let port = upstream.address.rsplit(':').next().expect("a port").to_owned();
    let source = probe().module.display().to_string();
    let by_variables = format!(
        "spin_manifest_version = 2\n[application]\nname = \"tcp\"\n[variables]\naddr_prefix = {{ default = \"127.0.0.0\" }}\n\
         prefix_len = {{ default = \"24\" }}\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n[component.probe]\n\
         source = {source:?}\nallowed_outbound_hosts = [\"*://{{{{ addr_prefix }}}}/{{{{ prefix_len }}}}:{port}\"]\n"
    );
    let by = |entry: String| Setup::probe(&format!("allowed_outbound_hosts = [\"{entry}\"]"));
    for setup in [
        by(format!("*://127.0.0.1:{port}")),
        by(format!("tcp://127.0.0.1:{port}")),
        by(format!("*://127.0.0.0/24:{port}")),
        Setup::manifest(&by_variables),
    ] {
        let answer = setup.start().get(&format!("/tcp?{}", upstream.address)).text();
        assert_eq!(answer, "HTTP/1.1 200 OK");
    }
}

#[test]
fn a28_tcp_sockets_no_ip_permission_and_no_port_permission() {
    let upstream = Upstream::start();
    for entry in ["*://127.0.0.2:*", "*://127.0.0.1:1", "http://127.0.0.1:*"] {
        let host = Setup::probe(&format!("allowed_outbound_hosts = [\"{entry}\"]")).start();
        let answer = host.get(&format!("/tcp?{}", upstream.address)).text();
        assert!(answer.contains("access-denied"), "{entry}: {answer}");
    }
    assert_eq!(upstream.connections(), 0);
}
