//! Put Block, Put Block List, Get Block List, and what becomes of blocks.

use super::support::Server;

const LATEST: &str = "Latest";

#[test]
fn blocks_become_a_blob_in_the_order_of_the_list() {
    let server = Server::with_box();
    for (id, text) in [("MDAx", "one,"), ("MDAy", "two,"), ("MDAz", "three,")] {
        let put = server.put_block("/box/a", id, text.as_bytes());
        assert_eq!(put.status, 201, "{put:?}");
        assert!(put.header("content-md5").is_none() && put.header("x-ms-content-crc64").is_some());
    }
    let md5 = [("Content-MD5", "JfnnlDI7RTiF9RgfG2JNCw==")];
    let put = server.signed("PUT", "/box/a?comp=block&blockid=MDA0", &md5, b"123456789");
    assert_eq!((put.status, put.header("content-md5")), (201, Some(md5[0].1)));
    assert_eq!(server.signed("GET", "/box/a", &[], b"").refusal(), (404, "BlobNotFound"));
    let headers = [
        ("x-ms-blob-content-type", "text/csv"),
        ("x-ms-meta-kind", "list"),
        ("Content-Type", "application/xml"),
    ];
    let list = [("Uncommitted", "MDAz"), (LATEST, "MDAx"), (LATEST, "MDAx")];
    let committed = server.put_block_list("/box/a", &list, &headers);
    assert_eq!(committed.status, 201, "{committed:?}");
    let get = server.signed("GET", "/box/a", &[], b"");
    assert_eq!(get.text(), "three,one,one,");
    assert_eq!((get.header("content-type"), get.header("x-ms-meta-kind")), (Some("text/csv"), Some("list")));
    assert_eq!(get.header("etag"), committed.header("etag"));
    assert_eq!(get.header("content-md5"), None, "nobody said what it is");
    let part = server.signed("GET", "/box/a", &[("x-ms-range", "bytes=4-9")], b"");
    assert_eq!((part.status, part.text().as_str()), (206, "e,one,"));
}

#[test]
fn a_list_takes_blocks_of_the_blob_and_of_those_that_wait() {
    let server = Server::with_box();
    for (id, text) in [("YQ==", "old a "), ("Yg==", "old b ")] {
        server.put_block("/box/a", id, text.as_bytes());
    }
    server.put_block_list("/box/a", &[(LATEST, "YQ=="), (LATEST, "Yg==")], &[]);
    server.put_block("/box/a", "YQ==", b"new a ");
    let list = [("Committed", "YQ=="), ("Uncommitted", "YQ=="), (LATEST, "YQ=="), (LATEST, "Yg==")];
    assert_eq!(server.put_block_list("/box/a", &list, &[]).status, 201);
    assert_eq!(server.signed("GET", "/box/a", &[], b"").text(), "old a new a new a old b ");
    for (source, id) in [("Uncommitted", "Yg=="), ("Committed", "Yw=="), (LATEST, "Yw=="), ("Newest", "Yg==")]
    {
        let refused = server.put_block_list("/box/a", &[(source, id)], &[]);
        assert_eq!(refused.refusal(), (400, "InvalidBlockList"), "{source} {id}");
    }
    assert_eq!(server.put_block_list("/box/a", &[], &[]).status, 201);
    assert_eq!(server.signed("GET", "/box/a", &[], b"").text(), "");
}

#[test]
fn the_lists_are_told_apart() {
    let server = Server::with_box();
    assert_eq!(server.signed("GET", "/box/a?comp=blocklist", &[], b"").refusal(), (404, "BlobNotFound"));
    server.put_block("/box/a", "YQ==", b"123");
    let waiting = server.signed("GET", "/box/a?comp=blocklist&blocklisttype=all", &[], b"");
    assert_eq!((waiting.status, waiting.header("etag")), (200, None));
    assert_eq!(waiting.elements("UncommittedBlocks"), ["<Block><Name>YQ==</Name><Size>3</Size></Block>"]);
    server.put_block_list("/box/a", &[(LATEST, "YQ==")], &[]);
    server.put_block("/box/a", "Yg==", b"4567");
    for (kind, names) in [
        ("", vec!["YQ=="]),
        ("&blocklisttype=committed", vec!["YQ=="]),
        ("&blocklisttype=uncommitted", vec!["Yg=="]),
        ("&blocklisttype=all", vec!["YQ==", "Yg=="]),
    ] {
        let list = server.signed("GET", &format!("/box/a?comp=blocklist{kind}"), &[], b"");
        assert_eq!(
            (list.status, list.elements("Name")),
            (200, names.iter().map(|name| (*name).into()).collect())
        );
        assert_eq!(list.header("x-ms-blob-content-length"), Some("3"));
        assert!(list.header("etag").is_some());
    }
    let nonsense = server.signed("GET", "/box/a?comp=blocklist&blocklisttype=some", &[], b"");
    assert_eq!(nonsense.refusal(), (400, "InvalidQueryParameterValue"));
}

#[test]
fn what_takes_the_place_of_a_blob_drops_the_blocks_that_wait() {
    let server = Server::with_box();
    server.put_block("/box/a", "YQ==", b"x");
    server.put("/box/a", &[], b"whole");
    let list = server.signed("GET", "/box/a?comp=blocklist&blocklisttype=all", &[], b"");
    assert!(list.elements("Name").is_empty(), "{}", list.text());
    server.put_block("/box/a", "YQ==", b"x");
    assert_eq!(server.signed("PUT", "/box/a?comp=metadata", &[("x-ms-meta-a", "1")], b"").status, 200);
    assert_eq!(server.signed("GET", "/box/a", &[], b"").text(), "whole");
    assert_eq!(
        server.put_block_list("/box/a", &[("Uncommitted", "YQ==")], &[]).status,
        201,
        "it still waited"
    );
}

#[test]
fn names_with_blocks_only_are_listed_when_asked_for() {
    let server = Server::with_box();
    server.put("/box/b", &[], b"x");
    server.put_block("/box/a", "YQ==", b"x");
    let list = |include: &str| {
        let path = format!("/box?restype=container&comp=list{include}");
        server.signed("GET", &path, &[], b"").elements("Name")
    };
    assert_eq!(list(""), ["b"]);
    assert_eq!(list("&include=uncommittedblobs"), ["a", "b"]);
    assert_eq!(server.signed("DELETE", "/box/a", &[], b"").refusal(), (404, "BlobNotFound"));
}

#[test]
fn blocks_and_lists_that_cannot_be_taken_are_refused_by_kind() {
    let server = Server::with_box();
    let long = "A".repeat(88);
    for (query, status, code) in [
        ("", 400, "MissingRequiredQueryParameter"),
        ("&blockid=", 400, "MissingRequiredQueryParameter"),
        ("&blockid=not*base64", 400, "InvalidQueryParameterValue"),
        (&format!("&blockid={long}"), 400, "OutOfRangeQueryParameterValue"),
    ] {
        let refused = server.signed("PUT", &format!("/box/a?comp=block{query}"), &[], b"x");
        assert_eq!(refused.refusal(), (status, code), "{query}");
    }
    assert_eq!(server.put_block("/box/a", "YQ==", b"").refusal(), (400, "InvalidHeaderValue"));
    assert_eq!(server.put_block("/none/a", "YQ==", b"x").refusal(), (404, "ContainerNotFound"));
    assert_eq!(server.put_block("/box/a", "YQ==", b"x").status, 201);
    assert_eq!(server.put_block("/box/a", "YWFhYQ==", b"x").refusal(), (400, "InvalidBlobOrBlock"));
    for body in [&b""[..], b"<BlockList>", b"{}", b"\xff\xfe", b"<BlockList><Latest>YQ==</BlockList>"] {
        let refused = server.signed("PUT", "/box/a?comp=blocklist", &[], body);
        assert_eq!(refused.refusal(), (400, "InvalidXmlDocument"), "{body:?}");
    }
    let wrong = [("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")];
    assert_eq!(server.put_block_list("/box/a", &[], &wrong).refusal(), (400, "Md5Mismatch"));
    let only_new = [("If-None-Match", "*")];
    assert_eq!(server.put_block_list("/box/a", &[(LATEST, "YQ==")], &only_new).status, 201);
    assert_eq!(server.put_block_list("/box/a", &[], &only_new).refusal(), (409, "BlobAlreadyExists"));
}
