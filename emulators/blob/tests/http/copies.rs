//! Copy Blob: from this store only, and only what the caller may read.

use blob_emulator::{Config, parse_accounts};

use super::support::{Answer, Server, account_sas, service_sas};

fn copy(server: &Server, source: &str, headers: &[(&str, &str)]) -> Answer {
    let source = format!("http://127.0.0.1{source}");
    server.signed("PUT", "/box/copy", &[&[("x-ms-copy-source", source.as_str())], headers].concat(), b"")
}

#[test]
fn a_copy_has_content_headers_and_metadata_of_its_source() {
    let server = Server::with_box();
    server.put("/box/a%20b", &[("Content-Type", "a/b"), ("x-ms-meta-k", "v")], b"content");
    let copied = copy(&server, "/devstoreaccount1/box/a%20b", &[]);
    assert_eq!((copied.status, copied.header("x-ms-copy-status")), (202, Some("success")), "{copied:?}");
    server.signed("DELETE", "/box/a%20b", &[], b"");
    let get = server.signed("GET", "/box/copy", &[], b"");
    assert_eq!((get.text().as_str(), get.header("content-type")), ("content", Some("a/b")));
    assert_eq!((get.header("x-ms-meta-k"), get.header("x-ms-copy-progress")), (Some("v"), Some("7/7")));
    assert_eq!(get.header("x-ms-copy-id"), copied.header("x-ms-copy-id"));
    let list = server.signed("GET", "/box?restype=container&comp=list&include=copy", &[], b"");
    assert_eq!(list.elements("CopyStatus"), ["success"]);

    server.put("/box/c", &[("x-ms-meta-k", "v")], b"other");
    assert_eq!(copy(&server, "/devstoreaccount1/box/c", &[("x-ms-meta-own", "1")]).status, 202);
    let get = server.signed("GET", "/box/copy", &[], b"");
    assert_eq!((get.header("x-ms-meta-k"), get.header("x-ms-meta-own")), (None, Some("1")));
}

#[test]
fn a_copy_of_blocks_keeps_them() {
    let server = Server::with_box();
    server.put_block("/box/a", "YQ==", b"12");
    server.put_block_list("/box/a", &[("Latest", "YQ==")], &[]);
    assert_eq!(copy(&server, "/devstoreaccount1/box/a", &[]).status, 202);
    let list = server.signed("GET", "/box/copy?comp=blocklist", &[], b"");
    assert_eq!(
        (list.elements("Name"), list.elements("Size")),
        (vec!["YQ==".to_owned()], vec!["2".to_owned()])
    );
}

#[test]
fn what_cannot_be_copied_is_refused_by_kind() {
    let server = Server::with_box();
    let put = server.put("/box/a", &[], b"x");
    let etag = put.header("etag").expect("a tag");
    for (source, status, code) in [
        ("/devstoreaccount1/box/none", 404, "BlobNotFound"),
        ("/devstoreaccount1/none/a", 404, "ContainerNotFound"),
        ("/unknown/box/a", 404, "ResourceNotFound"),
        ("/devstoreaccount1/box/%FF", 400, "InvalidUri"),
        ("/devstoreaccount1", 400, "InvalidHeaderValue"),
        ("", 400, "InvalidHeaderValue"),
        (".example.org/devstoreaccount1/box/a", 404, "CannotVerifyCopySource"),
    ] {
        assert_eq!(copy(&server, source, &[]).refusal(), (status, code), "{source}");
    }
    let no_url = server.signed("PUT", "/box/copy", &[("x-ms-copy-source", "box/a")], b"");
    assert_eq!(no_url.refusal(), (400, "InvalidHeaderValue"));
    let source = "/devstoreaccount1/box/a";
    for (name, value) in [("x-ms-source-if-match", "\"0x1\""), ("x-ms-source-if-none-match", etag)] {
        assert_eq!(
            copy(&server, source, &[(name, value)]).refusal(),
            (412, "SourceConditionNotMet"),
            "{name}"
        );
    }
    assert_eq!(copy(&server, source, &[("If-None-Match", "*")]).status, 202);
    assert_eq!(copy(&server, source, &[("If-None-Match", "*")]).refusal(), (409, "BlobAlreadyExists"));
}

/// A caller who may only write must not learn by copying what it may not read.
#[test]
fn who_has_no_key_must_be_allowed_to_read_the_source() {
    let server = Server::with_box();
    server.put("/box/secret", &[], b"secret");
    let writer = account_sas(&[("sp", "cw")]);
    let with = |source: &str| {
        let source = format!("http://127.0.0.1/devstoreaccount1/box/secret{source}");
        let headers = [("x-ms-copy-source", source.as_str())];
        server.unsigned("PUT", &format!("/devstoreaccount1/box/copy?{writer}"), &headers, b"")
    };
    assert_eq!(with("").refusal(), (404, "CannotVerifyCopySource"));
    assert_eq!(with(&format!("?{writer}")).refusal(), (404, "CannotVerifyCopySource"));
    let granted = with(&format!("?{}", service_sas("/box/secret", &[])));
    assert_eq!(granted.status, 202, "{granted:?}");
    let shown = server.signed("HEAD", "/box/copy", &[], b"");
    assert!(
        !shown.header("x-ms-copy-source").expect("it is a copy").contains("sig="),
        "a grant is not given on"
    );
}

#[test]
fn accounts_do_not_see_each_other() {
    let list = format!("devstoreaccount1:{};other:a2V5", blob_emulator::DEFAULT_KEY);
    let accounts = parse_accounts(&list).expect("well-formed");
    let server = Server::with(Config { accounts, memory_limit_bytes: 1 << 20, data: None });
    server.signed("PUT", "/box?restype=container", &[], b"");
    server.put("/box/a", &[], b"x");
    let other = |method, path: &str| {
        let request = super::support::Request::new(method, &format!("/other{path}"), &[], b"");
        server.send(&super::support::sign_as(request, "other", "a2V5").bytes())
    };
    assert_eq!(other("GET", "/box/a").refusal(), (404, "ContainerNotFound"));
    assert_eq!(other("PUT", "/box?restype=container").status, 201);
    assert_eq!(other("GET", "/box/a").refusal(), (404, "BlobNotFound"));
    assert_eq!(copy(&server, "/other/box/a", &[]).refusal(), (404, "CannotVerifyCopySource"));
    let foreign = super::support::Request::new("GET", "/other/box/a", &[], b"");
    let foreign = super::support::sign(foreign, blob_emulator::DEFAULT_KEY);
    assert_eq!(server.send(&foreign.bytes()).refusal(), (403, "AuthenticationFailed"));
}
