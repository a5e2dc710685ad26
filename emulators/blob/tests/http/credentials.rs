//! Who may do what, and what everybody else is answered.

use super::support::{Answer, Request, Server, account_sas, service_sas, sign};

const BLOCK: [(&str, &str); 1] = [("x-ms-blob-type", "BlockBlob")];

fn with_sas(server: &Server, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let separator = if path.contains('?') { '&' } else { '?' };
    let target = format!("/devstoreaccount1{path}{separator}{}", account_sas(fields));
    server.unsigned(method, &target, &BLOCK, if method == "PUT" { b"x" } else { b"" })
}

#[test]
fn without_credentials_the_answer_is_the_one_that_clients_take_for_readiness() {
    let server = Server::with_box();
    let probe = server.unsigned("GET", "/devstoreaccount1?comp=list", &[], b"");
    assert_eq!(probe.refusal(), (403, "AuthorizationFailure"));
    let put = server.unsigned("PUT", "/devstoreaccount1/box/a", &BLOCK, b"x");
    assert_eq!(put.refusal(), (403, "AuthorizationFailure"));
    assert_eq!(server.signed("GET", "/box/a", &[], b"").status, 404);
}

#[test]
fn a_wrong_key_is_refused_and_told_what_was_to_be_signed() {
    let server = Server::start();
    let request = Request::new("PUT", "/devstoreaccount1/box?restype=container", &[], b"");
    let refused = server.send(&sign(request, "d3Jvbmc=").bytes());
    assert_eq!(refused.refusal(), (403, "AuthenticationFailed"));
    let detail = refused.elements("AuthenticationErrorDetail").remove(0);
    assert!(detail.contains("/devstoreaccount1/devstoreaccount1/box\\nrestype:container"), "{detail}");
}

#[test]
fn every_signed_part_counts() {
    let server = Server::with_box();
    let path = "/devstoreaccount1/box/a?timeout=20";
    let headers = [("x-ms-blob-type", "BlockBlob"), ("Content-Type", "text/plain"), ("x-ms-meta-a", "1")];
    let signed = sign(Request::new("PUT", path, &headers, b"body"), blob_emulator::DEFAULT_KEY);
    let text = String::from_utf8(signed.bytes()).expect("text");
    assert_eq!(server.send(text.as_bytes()).status, 201);
    for (from, to) in [
        ("PUT /dev", "DELETE /dev"),
        ("/box/a", "/box/b"),
        ("timeout=20", "timeout=21"),
        ("text/plain", "text/html"),
        ("x-ms-meta-a: 1", "x-ms-meta-a: 2"),
        ("00:00:00 GMT", "00:00:01 GMT"),
        ("Content-Length: 4", "Content-Length: 3"),
        ("SharedKey devstoreaccount1:", "SharedKey devstoreaccount2:"),
        ("SharedKey ", "SharedKeyLite "),
    ] {
        assert!(text.contains(from), "{from}");
        let answer = server.send(text.replace(from, to).as_bytes());
        assert_eq!(answer.refusal(), (403, "AuthenticationFailed"), "{from} -> {to}");
    }
}

#[test]
fn an_authorization_that_cannot_be_read_is_400_or_403() {
    let server = Server::start();
    for (value, status, code) in [
        ("SharedKey", 400, "InvalidAuthenticationInfo"),
        ("SharedKey devstoreaccount1", 400, "InvalidAuthenticationInfo"),
        ("SharedKey devstoreaccount1:not base64", 400, "InvalidAuthenticationInfo"),
        ("SharedKey devstoreaccount1:", 403, "AuthenticationFailed"),
        ("Bearer token", 403, "AuthenticationFailed"),
        ("\u{fc}", 400, "InvalidAuthenticationInfo"),
    ] {
        let headers = [("Authorization", value)];
        let refused = server.unsigned("GET", "/devstoreaccount1?comp=list", &headers, b"");
        assert_eq!(refused.refusal(), (status, code), "{value}");
    }
    let unknown = server.unsigned("GET", "/unknown?comp=list", &[], b"");
    assert_eq!(unknown.refusal(), (404, "ResourceNotFound"));
}

#[test]
fn an_account_sas_grants_what_it_says() {
    let server = Server::with_box();
    for sv in ["2019-12-12", "2022-11-02"] {
        assert_eq!(with_sas(&server, "PUT", "/box/a", &[("sv", sv)]).status, 201, "{sv}");
        assert_eq!(with_sas(&server, "GET", "/box/a", &[("sv", sv), ("spr", "https,http")]).status, 200);
    }
    assert_eq!(with_sas(&server, "GET", "/box?restype=container&comp=list", &[]).status, 200);
    assert_eq!(with_sas(&server, "GET", "/?comp=list", &[("st", "2020-01-01")]).status, 200);
    assert_eq!(with_sas(&server, "GET", "/box/a", &[("sip", "127.0.0.0-127.0.0.9")]).status, 200);
}

#[test]
fn an_account_sas_grants_nothing_else() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    for (method, path, field, code) in [
        ("PUT", "/box/b", ("sp", "r"), "AuthorizationPermissionMismatch"),
        ("DELETE", "/box/a", ("sp", "rwlc"), "AuthorizationPermissionMismatch"),
        ("GET", "/box?restype=container&comp=list", ("sp", "r"), "AuthorizationPermissionMismatch"),
        ("GET", "/box/a", ("srt", "sc"), "AuthorizationResourceTypeMismatch"),
        ("GET", "/?comp=list", ("srt", "co"), "AuthorizationResourceTypeMismatch"),
        ("GET", "/box/a", ("ss", "qft"), "AuthorizationServiceMismatch"),
        ("GET", "/box/a", ("spr", "https"), "AuthorizationProtocolMismatch"),
        ("GET", "/box/a", ("sip", "10.0.0.1"), "AuthorizationSourceIPMismatch"),
        ("GET", "/box/a", ("se", "2020-01-01T00:00:00Z"), "AuthenticationFailed"),
        ("GET", "/box/a", ("se", "someday"), "AuthenticationFailed"),
        ("GET", "/box/a", ("st", "2099-01-01T00:00:00Z"), "AuthenticationFailed"),
    ] {
        assert_eq!(
            with_sas(&server, method, path, &[field]).refusal(),
            (403, code),
            "{method} {path} {field:?}"
        );
    }
    assert_eq!(server.signed("GET", "/box/a", &[], b"").status, 200);
}

#[test]
fn a_sas_that_was_touched_is_worth_nothing() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    let sas = account_sas(&[("sp", "r")]);
    for broken in [
        sas.replace("sp=r", "sp=rw"),
        sas.replace("se=2100", "se=2101"),
        sas.replace("sig=", "sig=AAAA"),
        sas.replace("sig=", "sig=%21"),
        sas.replace("ss=b", "sr=b"),
        sas.replace("sv=2022-11-02&", ""),
        "sig=".to_owned(),
    ] {
        let refused = server.unsigned("GET", &format!("/devstoreaccount1/box/a?{broken}"), &[], b"");
        assert_eq!(refused.refusal(), (403, "AuthenticationFailed"), "{broken}");
    }
}

#[test]
fn a_sas_that_may_only_create_does_not_overwrite() {
    let server = Server::with_box();
    assert_eq!(with_sas(&server, "PUT", "/box/new", &[("sp", "c")]).status, 201);
    let again = with_sas(&server, "PUT", "/box/new", &[("sp", "c")]);
    assert_eq!(again.refusal(), (403, "AuthorizationPermissionMismatch"));
}

#[test]
fn a_public_container_is_readable_by_anybody_as_far_as_it_says() {
    let server = Server::start();
    for (name, access) in [("open", "container"), ("half", "blob")] {
        let header = [("x-ms-blob-public-access", access)];
        assert_eq!(server.signed("PUT", &format!("/{name}?restype=container"), &header, b"").status, 201);
        server.put(&format!("/{name}/a"), &[], b"x");
        assert_eq!(server.unsigned("GET", &format!("/devstoreaccount1/{name}/a"), &[], b"").text(), "x");
        let write = server.unsigned("PUT", &format!("/devstoreaccount1/{name}/b"), &BLOCK, b"x");
        assert_eq!(write.refusal(), (403, "AuthorizationFailure"));
    }
    let list = |name: &str| {
        server
            .unsigned("GET", &format!("/devstoreaccount1/{name}?restype=container&comp=list"), &[], b"")
            .status
    };
    assert_eq!((list("open"), list("half")), (200, 403));
    let bad = server.signed("PUT", "/bad?restype=container", &[("x-ms-blob-public-access", "all")], b"");
    assert_eq!(bad.refusal(), (400, "InvalidHeaderValue"));
}

fn with_service_sas(
    server: &Server,
    method: &str,
    path: &str,
    resource: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let separator = if path.contains('?') { '&' } else { '?' };
    let target = format!("/devstoreaccount1{path}{separator}{}", service_sas(resource, fields));
    server.unsigned(method, &target, &BLOCK, if method == "PUT" { b"x" } else { b"" })
}

#[test]
fn a_service_sas_grants_one_blob_or_one_container() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    for version in ["2015-04-05", "2018-11-09", "2020-12-06", "2025-11-05"] {
        let fields = [("sv", version), ("spr", "https,http"), ("sip", "127.0.0.1")];
        for resource in ["/box/a", "/box"] {
            let get = with_service_sas(&server, "GET", "/box/a", resource, &fields);
            assert_eq!((get.status, get.text().as_str()), (200, "x"), "{version} {resource}: {get:?}");
        }
    }
    let list = "/box?restype=container&comp=list";
    assert_eq!(with_service_sas(&server, "GET", list, "/box", &[("sp", "rl")]).status, 200);
    assert_eq!(with_service_sas(&server, "PUT", "/box/b/c", "/box/b/c", &[("sp", "c")]).status, 201);
    let again = with_service_sas(&server, "PUT", "/box/b/c", "/box/b/c", &[("sp", "c")]);
    assert_eq!(again.refusal(), (403, "AuthorizationPermissionMismatch"), "it may only create");
    let block = "/box/d?comp=block&blockid=YQ==";
    assert_eq!(with_service_sas(&server, "PUT", block, "/box", &[("sp", "w")]).status, 201);
}

#[test]
fn a_service_sas_may_say_what_headers_are_answered() {
    let server = Server::with_box();
    server.put("/box/a", &[("Content-Type", "text/plain")], b"x");
    let fields = [("rsct", "a/b"), ("rscd", "attachment; filename=\"x y\""), ("rscc", "no-store")];
    let get = with_service_sas(&server, "GET", "/box/a", "/box/a", &fields);
    assert_eq!((get.status, get.header("content-type")), (200, Some("a/b")));
    assert_eq!(get.header("content-disposition"), Some("attachment; filename=\"x y\""));
    assert_eq!(get.header("cache-control"), Some("no-store"));
    // Without a signature they are parameters like any other.
    let get = server.signed("GET", "/box/a?rsct=a/b", &[], b"");
    assert_eq!(get.header("content-type"), Some("text/plain"));
}

#[test]
fn a_service_sas_grants_nothing_else() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    server.put("/box/b", &[], b"x");
    for (method, path, resource, fields, code) in [
        ("GET", "/box/b", "/box/a", &[("sp", "r")][..], "AuthenticationFailed"),
        ("GET", "/other/a", "/box", &[("sp", "r")], "AuthenticationFailed"),
        ("GET", "/?comp=list", "/box", &[("sp", "rl")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("sr", "d")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("si", "policy")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("skoid", "somebody")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("se", "2020-01-01")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("sv", "2012-02-12")], "AuthenticationFailed"),
        ("GET", "/box/a", "/box/a", &[("spr", "https")], "AuthorizationProtocolMismatch"),
        ("GET", "/box/a", "/box/a", &[("sip", "10.0.0.1")], "AuthorizationSourceIPMismatch"),
        ("GET", "/box/a", "/box/a", &[("sp", "wdl")], "AuthorizationPermissionMismatch"),
        ("DELETE", "/box/a", "/box", &[("sp", "rw")], "AuthorizationPermissionMismatch"),
        ("DELETE", "/box?restype=container", "/box", &[("sp", "rwd")], "AuthorizationPermissionMismatch"),
        ("GET", "/box?restype=container", "/box", &[("sp", "rl")], "AuthorizationPermissionMismatch"),
        (
            "GET",
            "/box?restype=container&comp=list",
            "/box",
            &[("sp", "r")],
            "AuthorizationPermissionMismatch",
        ),
        (
            "GET",
            "/box?restype=container&comp=list",
            "/box",
            &[("sp", "l"), ("sr", "b")],
            "AuthorizationPermissionMismatch",
        ),
    ] {
        let refused = with_service_sas(&server, method, path, resource, fields);
        assert_eq!(refused.refusal(), (403, code), "{method} {path} {fields:?}");
    }
}
