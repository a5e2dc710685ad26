//! Put, get, head, delete, metadata, content headers, ranges and conditions of a blob.

use super::support::{Request, Server, sign};

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_blob_comes_back_as_it_was_put_with_its_headers() {
    let server = Server::with_box();
    let put = server.put("/box/orders/1", &[JSON, ("x-ms-meta-kind", "ü order")], b"{\"a\":1}");
    assert_eq!(put.status, 201, "{put:?}");
    assert_eq!(put.header("content-md5"), Some("u2y1xo30ZSlByvZSo2by2A=="));
    assert!(put.header("x-ms-request-id").is_some_and(|id| id.len() == 36));
    assert_eq!(put.header("x-ms-version"), Some("2025-11-05"));
    assert!(put.header("date").is_some() && put.header("last-modified").is_some());

    let get = server.signed("GET", "/box/orders/1", &[], b"");
    assert_eq!((get.status, get.text().as_str()), (200, "{\"a\":1}"));
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", "7"),
        ("content-md5", "u2y1xo30ZSlByvZSo2by2A=="),
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-lease-status", "unlocked"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(get.header(name), Some(value), "{name}");
    }
    assert_eq!(get.header("x-ms-meta-kind").map(str::to_owned), Some("ü order".to_owned()));
    assert_eq!(get.header("etag"), put.header("etag"));

    let head = server.signed("HEAD", "/box/orders/1", &[], b"");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, Some("7")));
    assert_eq!(head.header("content-md5"), get.header("content-md5"));
}

#[test]
fn x_ms_headers_win_over_standard_ones_and_nothing_sent_means_octet_stream() {
    let server = Server::with_box();
    let headers = [
        JSON,
        ("x-ms-blob-content-type", "text/plain"),
        ("x-ms-blob-content-encoding", "br"),
        ("x-ms-blob-content-language", "de"),
        ("x-ms-blob-content-disposition", "inline"),
        ("x-ms-blob-cache-control", "no-store"),
    ];
    assert_eq!(server.put("/box/a", &headers, b"x").status, 201);
    let get = server.signed("GET", "/box/a", &[], b"");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-encoding", "br"),
        ("content-language", "de"),
        ("content-disposition", "inline"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(get.header(name), Some(value), "{name}");
    }
    server.put("/box/b", &[], b"");
    let empty = server.signed("GET", "/box/b", &[], b"");
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    assert_eq!(empty.header("content-type"), Some("application/octet-stream"));
}

#[test]
fn names_may_have_slashes_spaces_percent_signs_and_any_script() {
    let server = Server::with_box();
    for (path, name) in [
        ("/box/a/b/c", "a/b/c"),
        ("/box/a%20b", "a b"),
        ("/box/100%25+1", "100%+1"),
        ("/box/%E6%97%A5%E6%9C%AC", "日本"),
        ("/box/x%3Cy%3E%26", "x&lt;y&gt;&amp;"),
    ] {
        assert_eq!(server.put(path, &[], name.as_bytes()).status, 201, "{path}");
        assert_eq!(server.signed("GET", path, &[], b"").text(), name, "{path}");
        let list = server.signed("GET", "/box?restype=container&comp=list", &[], b"");
        assert!(list.elements("Name").contains(&name.to_owned()), "{name}: {}", list.text());
    }
    // A slash may be encoded: the name is the same.
    assert_eq!(server.signed("GET", "/box/a%2Fb%2Fc", &[], b"").text(), "a/b/c");
}

#[test]
fn overwriting_replaces_content_metadata_and_tag() {
    let server = Server::with_box();
    let first = server.put("/box/a", &[("x-ms-meta-one", "1")], b"first");
    let second = server.put("/box/a", &[], b"second!");
    assert_ne!(first.header("etag"), second.header("etag"));
    let get = server.signed("GET", "/box/a", &[], b"");
    assert_eq!((get.text().as_str(), get.header("x-ms-meta-one")), ("second!", None));
}

#[test]
fn what_is_not_there_is_404_with_its_code() {
    let server = Server::with_box();
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(server.signed(method, "/box/none", &[], b"").refusal(), (404, "BlobNotFound"), "{method}");
        assert_eq!(
            server.signed(method, "/none/a", &[], b"").refusal(),
            (404, "ContainerNotFound"),
            "{method}"
        );
    }
    assert_eq!(server.put("/none/a", &[], b"x").refusal(), (404, "ContainerNotFound"));
    server.put("/box/a", &[], b"x");
    for query in ["snapshot=2026-01-01T00:00:00.0000000Z", "versionid=2026-01-01T00:00:00.0000000Z"] {
        let older = server.signed("GET", &format!("/box/a?{query}"), &[], b"");
        assert_eq!(older.refusal(), (404, "BlobNotFound"), "{query}");
    }
}

#[test]
fn delete_removes_the_blob_but_not_when_only_snapshots_are_meant() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    assert_eq!(server.signed("DELETE", "/box/a", &[("x-ms-delete-snapshots", "only")], b"").status, 202);
    assert_eq!(server.signed("GET", "/box/a", &[], b"").status, 200);
    let bad = server.signed("DELETE", "/box/a", &[("x-ms-delete-snapshots", "all")], b"");
    assert_eq!(bad.refusal(), (400, "InvalidHeaderValue"));
    assert_eq!(server.signed("DELETE", "/box/a", &[("x-ms-delete-snapshots", "include")], b"").status, 202);
    assert_eq!(server.signed("DELETE", "/box/a", &[], b"").refusal(), (404, "BlobNotFound"));
}

#[test]
fn metadata_and_properties_can_be_set_without_the_content() {
    let server = Server::with_box();
    server.put("/box/a", &[JSON, ("x-ms-meta-old", "1")], b"content");
    assert_eq!(server.signed("PUT", "/box/a?comp=metadata", &[("x-ms-meta-new", "2")], b"").status, 200);
    let metadata = server.signed("GET", "/box/a?comp=metadata", &[], b"");
    assert_eq!((metadata.header("x-ms-meta-old"), metadata.header("x-ms-meta-new")), (None, Some("2")));
    let set = server.signed("PUT", "/box/a?comp=properties", &[("x-ms-blob-content-type", "a/b")], b"");
    assert_eq!(set.status, 200);
    let get = server.signed("GET", "/box/a", &[], b"");
    assert_eq!((get.text().as_str(), get.header("content-type")), ("content", Some("a/b")));
    // As on Azure, a digest that is not sent is cleared.
    assert_eq!(get.header("content-md5"), None);
    let none = server.signed("PUT", "/box/none?comp=metadata", &[("x-ms-meta-a", "1")], b"");
    assert_eq!(none.refusal(), (404, "BlobNotFound"));
}

#[test]
fn ranges_are_206_and_say_of_what() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"0123456789");
    let part = server.signed("GET", "/box/a", &[("x-ms-range", "bytes=2-4")], b"");
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), Some("bytes 2-4/10"));
    assert!(part.header("content-md5").is_none() && part.header("x-ms-blob-content-md5").is_some());
    let headers = [("Range", "bytes=8-99"), ("x-ms-range-get-content-md5", "true")];
    let tail = server.signed("GET", "/box/a", &headers, b"");
    assert_eq!((tail.status, tail.text().as_str()), (206, "89"));
    assert_eq!(tail.header("content-md5"), Some("dkeWa3NDwpBIZzJS5JD3Ng=="));
    let behind = server.signed("GET", "/box/a", &[("Range", "bytes=10-")], b"");
    assert_eq!(behind.refusal(), (416, "InvalidRange"));
    assert_eq!(behind.header("content-range"), Some("bytes */10"));
}

#[test]
fn conditions_decide_about_reads_and_writes() {
    let server = Server::with_box();
    let create = [("If-None-Match", "*")];
    let put = server.put("/box/a", &create, b"first");
    assert_eq!(put.status, 201);
    assert_eq!(server.put("/box/a", &create, b"second").refusal(), (409, "BlobAlreadyExists"));
    let tag = put.header("etag").expect("a tag").to_owned();
    assert_eq!(server.put("/box/a", &[("If-Match", "\"0x1\"")], b"x").refusal(), (412, "ConditionNotMet"));
    let known = server.signed("GET", "/box/a", &[("If-None-Match", &tag)], b"");
    assert_eq!((known.refusal(), known.body.len()), ((304, "ConditionNotMet"), 0));
    let other = server.signed("GET", "/box/a", &[("If-Match", "\"0x1\"")], b"");
    assert_eq!(other.refusal(), (412, "ConditionNotMet"));
    assert_eq!(server.signed("GET", "/box/a", &[("If-Match", &tag)], b"").text(), "first");
    let leased = server.signed("DELETE", "/box/a", &[("x-ms-lease-id", "x")], b"");
    assert_eq!(leased.refusal(), (412, "LeaseNotPresentWithBlobOperation"));
    assert_eq!(server.put("/box/a", &[("If-Match", &tag)], b"third").status, 201);
}

#[test]
fn a_digest_is_checked_and_a_wrong_one_leaves_no_blob() {
    let server = Server::with_box();
    let right = server.put("/box/a", &[("Content-MD5", "u2y1xo30ZSlByvZSo2by2A==")], b"{\"a\":1}");
    assert_eq!(right.status, 201);
    let wrong = server.put("/box/b", &[("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")], b"{\"a\":1}");
    assert_eq!(wrong.refusal(), (400, "Md5Mismatch"));
    assert_eq!(wrong.elements("ServerCalculatedMd5"), ["u2y1xo30ZSlByvZSo2by2A=="]);
    assert_eq!(server.put("/box/b", &[("Content-MD5", "AAAA")], b"x").refusal(), (400, "InvalidMd5"));
    assert_eq!(server.signed("GET", "/box/b", &[], b"").status, 404);
}

/// The checksum of `123456789` is the check value of CRC-64/NVME, least significant byte first.
#[test]
fn a_crc64_is_checked_and_given() {
    let server = Server::with_box();
    let crc64 = ("x-ms-content-crc64", "iJh5CoYUi64=");
    let put = server.put("/box/a", &[crc64], b"123456789");
    assert_eq!((put.status, put.header("x-ms-content-crc64")), (201, Some(crc64.1)), "{put:?}");
    let wrong = server.put("/box/b", &[crc64], b"12345678");
    assert_eq!(wrong.refusal(), (400, "Crc64Mismatch"));
    assert_eq!(wrong.elements("UserSpecifiedCrc"), [crc64.1]);
    let both = server.put("/box/b", &[crc64, ("Content-MD5", "JfnnlDI7RTiF9RgfG2JNCw==")], b"123456789");
    assert_eq!(both.refusal(), (400, "BothCrc64AndMd5HeaderPresent"));
    assert_eq!(server.signed("GET", "/box/b", &[], b"").status, 404);

    let range = [("x-ms-range", "bytes=0-8"), ("x-ms-range-get-content-crc64", "true")];
    let get = server.signed("GET", "/box/a", &range, b"");
    assert_eq!((get.status, get.header("x-ms-content-crc64")), (206, Some(crc64.1)));
    let both = [range[0], range[1], ("x-ms-range-get-content-md5", "true")];
    assert_eq!(server.signed("GET", "/box/a", &both, b"").status, 400);
}

#[test]
fn conditions_that_cannot_be_weighed_are_refused() {
    let server = Server::with_box();
    server.put("/box/a", &[], b"x");
    let any = server.signed("GET", "/box/a", &[("If-None-Match", "*")], b"");
    assert_eq!(any.refusal(), (400, "UnsatisfiableCondition"));
    let two = [("If-Match", "\"0x1\",\"0x2\"")];
    assert_eq!(
        server.signed("GET", "/box/a", &two, b"").refusal(),
        (400, "MultipleConditionHeadersNotSupported")
    );
    let odd = [("If-Match", "*"), ("If-None-Match", "*")];
    assert_eq!(server.put("/box/a", &odd, b"y").refusal(), (400, "MultipleConditionHeadersNotSupported"));
    let past = [("If-Unmodified-Since", "Thu, 01 Jan 2015 00:00:00 GMT")];
    for method in ["GET", "HEAD", "DELETE"] {
        assert_eq!(
            server.signed(method, "/box/a", &past, b"").refusal(),
            (412, "ConditionNotMet"),
            "{method}"
        );
    }
    let future = [("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT")];
    assert_eq!(server.signed("GET", "/box/a", &future, b"").refusal(), (304, "ConditionNotMet"));
    assert_eq!(
        server.signed("PUT", "/box/a?comp=metadata", &future, b"").refusal(),
        (412, "ConditionNotMet")
    );
    let missing = server.signed("GET", "/box/none", &[("If-Match", "\"0x1\"")], b"");
    assert_eq!(missing.refusal(), (412, "ConditionNotMet"));
}

#[test]
fn large_and_chunked_bodies_arrive_whole_and_expect_100_is_answered() {
    let server = Server::with_box();
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    assert_eq!(server.put("/box/large", &[], &large).status, 201);
    assert!(server.signed("GET", "/box/large", &[], b"").body == large);

    let path = "/devstoreaccount1/box/chunked";
    let headers =
        [("x-ms-blob-type", "BlockBlob"), ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
    let signed = sign(Request::new("PUT", path, &headers, b""), blob_emulator::DEFAULT_KEY);
    let head = String::from_utf8(signed.bytes()).expect("text").replace("Content-Length: 0\r\n", "");
    let mut connection = server.connect();
    assert_eq!(connection.send(head.as_bytes()).status, 100);
    assert_eq!(connection.send(b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n").status, 201);
    assert_eq!(server.signed("GET", "/box/chunked", &[], b"").text(), "abcdefg");
}

#[test]
fn a_path_of_two_segments_without_restype_is_a_blob_of_the_root_container() {
    let server = Server::start();
    assert_eq!(server.put("/a", &[], b"x").refusal(), (404, "ContainerNotFound"));
    assert_eq!(server.signed("PUT", "/$root?restype=container", &[], b"").status, 201);
    assert_eq!(server.put("/a", &[], b"x").status, 201);
    assert_eq!(server.signed("GET", "/$root/a", &[], b"").text(), "x");
}
