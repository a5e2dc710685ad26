//! Create, describe, list and delete containers.

use super::support::Server;

#[test]
fn a_container_is_created_once_described_and_deleted_with_its_blobs() {
    let server = Server::start();
    let path = "/box?restype=container";
    let created = server.signed("PUT", path, &[("x-ms-meta-owner", "me")], b"");
    assert_eq!(created.status, 201);
    assert!(created.header("etag").is_some() && created.header("last-modified").is_some());
    assert_eq!(server.signed("PUT", path, &[], b"").refusal(), (409, "ContainerAlreadyExists"));
    for method in ["GET", "HEAD"] {
        let described = server.signed(method, path, &[], b"");
        assert_eq!((described.status, described.header("x-ms-meta-owner")), (200, Some("me")), "{method}");
        assert_eq!(described.header("x-ms-lease-state"), Some("available"));
    }
    server.put("/box/a", &[], b"x");
    assert_eq!(server.signed("DELETE", path, &[], b"").status, 202);
    assert_eq!(server.signed("DELETE", path, &[], b"").refusal(), (404, "ContainerNotFound"));
    assert_eq!(server.signed("GET", "/box/a", &[], b"").refusal(), (404, "ContainerNotFound"));
    assert_eq!(server.signed("PUT", path, &[], b"").status, 201);
    assert_eq!(server.signed("GET", "/box/a", &[], b"").refusal(), (404, "BlobNotFound"));
}

#[test]
fn metadata_of_a_container_can_be_replaced() {
    let server = Server::with_box();
    let path = "/box?restype=container&comp=metadata";
    assert_eq!(server.signed("PUT", path, &[("x-ms-meta-a", "1")], b"").status, 200);
    assert_eq!(server.signed("GET", path, &[], b"").header("x-ms-meta-a"), Some("1"));
    assert_eq!(server.signed("PUT", path, &[("x-ms-meta-1a", "1")], b"").refusal(), (400, "InvalidMetadata"));
    let none = server.signed("PUT", "/none?restype=container&comp=metadata", &[], b"");
    assert_eq!(none.refusal(), (404, "ContainerNotFound"));
}

#[test]
fn names_outside_the_rules_are_refused() {
    let server = Server::start();
    for (name, code) in [
        ("Upper", "InvalidResourceName"),
        ("a--b", "InvalidResourceName"),
        ("with_underscore", "InvalidResourceName"),
        ("%C3%BCber", "InvalidResourceName"),
        ("ab", "OutOfRangeInput"),
        (&"x".repeat(64), "OutOfRangeInput"),
    ] {
        let refused = server.signed("PUT", &format!("/{name}?restype=container"), &[], b"");
        assert_eq!(refused.refusal(), (400, code), "{name}");
    }
}

#[test]
fn containers_are_listed_by_prefix_and_in_pages() {
    let server = Server::start();
    for name in ["out-b", "in-a", "out-a", "out-c"] {
        server.signed("PUT", &format!("/{name}?restype=container"), &[("x-ms-meta-k", "v")], b"");
    }
    let first = server.signed("GET", "/?comp=list&prefix=out-&maxresults=2&include=metadata", &[], b"");
    assert_eq!((first.status, first.elements("Name")), (200, vec!["out-a".to_owned(), "out-b".to_owned()]));
    assert_eq!(first.elements("k"), ["v", "v"]);
    let marker = first.elements("NextMarker").remove(0);
    let second = server.signed("GET", &format!("/?comp=list&prefix=out-&marker={marker}"), &[], b"");
    assert_eq!(second.elements("Name"), ["out-c"]);
    assert!(second.text().contains("<NextMarker />"));
}

#[test]
fn account_information_is_given_on_every_level() {
    let server = Server::with_box();
    for path in ["", "/box", "/box/a"] {
        let answer = server.signed("GET", &format!("{path}?restype=account&comp=properties"), &[], b"");
        assert_eq!((answer.status, answer.header("x-ms-account-kind")), (200, Some("StorageV2")), "{path}");
    }
}
