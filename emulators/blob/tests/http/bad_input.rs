//! Requests that no client should send: each gets its status and disturbs nobody else.

use std::io::Write as _;

use super::support::{Request, Server, sign};

#[test]
fn requests_that_name_no_operation_are_refused_by_kind() {
    let server = Server::with_box();
    for (method, path, status, code) in [
        ("PATCH", "/box/a", 405, "UnsupportedHttpVerb"),
        ("POST", "/box?restype=container", 405, "UnsupportedHttpVerb"),
        ("DELETE", "", 405, "UnsupportedHttpVerb"),
        ("GET", "/box?restype=container&comp=nonsense", 400, "InvalidQueryParameterValue"),
        ("GET", "/box?restype=nonsense", 400, "InvalidQueryParameterValue"),
        ("PUT", "/box/a?comp=appendblock", 501, "NotImplemented"),
        ("POST", "/box/a?comp=blocklist", 405, "UnsupportedHttpVerb"),
        ("PUT", "/box/a?comp=lease", 501, "NotImplemented"),
        ("PUT", "/box?restype=container&comp=acl", 501, "NotImplemented"),
        ("GET", "?restype=service&comp=properties", 501, "NotImplemented"),
    ] {
        assert_eq!(server.signed(method, path, &[], b"").refusal(), (status, code), "{method} {path}");
    }
}

#[test]
fn headers_that_cannot_be_taken_are_refused_by_name() {
    let server = Server::with_box();
    let block = ("x-ms-blob-type", "BlockBlob");
    let large = "x".repeat(9000);
    for (headers, status, code) in [
        (&[("x-ms-meta-a", "1")][..], 400, "MissingRequiredHeader"),
        (&[("x-ms-blob-type", "Nonsense")], 400, "InvalidHeaderValue"),
        (&[("x-ms-blob-type", "PageBlob")], 501, "NotImplemented"),
        (&[block, ("x-ms-copy-source", "http://127.0.0.1/x")], 501, "NotImplemented"),
        (&[block, ("x-ms-structured-body", "XSM/1.0; properties=crc64")], 501, "NotImplemented"),
        (&[block, ("x-ms-content-crc64", "AAAA")], 400, "InvalidHeaderValue"),
        (&[block, ("x-ms-if-tags", "a = 'b'")], 501, "NotImplemented"),
        (&[block, ("x-ms-meta-1a", "x")], 400, "InvalidMetadata"),
        (&[block, ("x-ms-meta-", "x")], 400, "EmptyMetadataKey"),
        (&[block, ("x-ms-meta-a", &large)], 400, "MetadataTooLarge"),
        (&[block, ("If-Modified-Since", "yesterday")], 400, "InvalidHeaderValue"),
    ] {
        assert_eq!(server.signed("PUT", "/box/a", headers, b"x").refusal(), (status, code), "{code}");
    }
    for method in ["GET", "DELETE"] {
        let leased = server.signed(method, "/box?restype=container", &[("x-ms-lease-id", "x")], b"");
        assert_eq!(leased.refusal(), (412, "LeaseNotPresentWithContainerOperation"), "{method}");
    }
    assert_eq!(server.put("/box/there", &[], b"x").status, 201);
    for name in ["x-ms-range-get-content-md5", "x-ms-range-get-content-crc64"] {
        let without_range = server.signed("GET", "/box/there", &[(name, "true")], b"");
        assert_eq!(without_range.refusal(), (400, "InvalidHeaderValue"), "{name}");
        let whole = [(name, "true"), ("x-ms-range", "bytes=0-")];
        assert_eq!(server.signed("GET", "/box/there", &whole, b"").status, 206, "{name}");
    }
    let version = server.unsigned("GET", "/devstoreaccount1?comp=list", &[("x-ms-version", "latest")], b"");
    assert_eq!(version.refusal(), (400, "InvalidHeaderValue"));
    assert_eq!(server.signed("GET", "/box/a", &[], b"").refusal(), (404, "BlobNotFound"));
}

#[test]
fn a_body_needs_a_length_and_a_bound() {
    let server = Server::with_box();
    let path = "/devstoreaccount1/box/a";
    let signed =
        sign(Request::new("PUT", path, &[("x-ms-blob-type", "BlockBlob")], b""), blob_emulator::DEFAULT_KEY);
    let without = String::from_utf8(signed.bytes()).expect("text").replace("Content-Length: 0\r\n", "");
    assert_eq!(server.send(without.as_bytes()).refusal(), (411, "MissingContentLengthHeader"));

    // Only the head is sent: the refusal must come by the declared length alone.
    let declared = (blob_emulator::limits::MAX_BLOB_BYTES + 1).to_string();
    let mut huge = Request::new("PUT", path, &[("x-ms-blob-type", "BlockBlob")], b"");
    huge.target = format!("{path}?{}", super::support::account_sas(&[]));
    let head = String::from_utf8(huge.bytes()).expect("text");
    let head = head.replace("Content-Length: 0", &format!("Content-Length: {declared}"));
    assert_eq!(server.send(head.as_bytes()).refusal(), (413, "RequestBodyTooLarge"));
    let allowed = head.replace(&declared, &blob_emulator::limits::MAX_BLOB_BYTES.to_string());
    assert_eq!(server.send(allowed.as_bytes()).refusal(), (507, "InsufficientStorage"));
}

#[test]
fn the_memory_limit_refuses_and_deleting_makes_room() {
    let server = Server::with_memory_limit(3000);
    server.signed("PUT", "/box?restype=container", &[], b"");
    assert_eq!(server.put("/box/a", &[], &[b'x'; 2000]).status, 201);
    assert_eq!(server.put("/box/b", &[], &[b'x'; 2000]).refusal(), (507, "InsufficientStorage"));
    assert_eq!(server.signed("DELETE", "/box/a", &[], b"").status, 202);
    assert_eq!(server.put("/box/b", &[], &[b'x'; 2000]).status, 201);
}

/// Bodies of no declared length used to count only when they were whole: a few of them took many times the limit.
#[test]
fn the_memory_limit_holds_for_bodies_that_are_not_whole_yet() {
    const LIMIT_BYTES: usize = 256 << 10;
    let server = Server::with_memory_limit(LIMIT_BYTES as u64);
    server.signed("PUT", "/box?restype=container", &[], b"");
    let mut request = Request::new("PUT", "/devstoreaccount1/box/a", &[("x-ms-blob-type", "BlockBlob")], b"");
    request.target = format!("{}?{}", request.target, super::support::account_sas(&[]));
    let head = String::from_utf8(request.bytes()).expect("text");
    let head = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    assert!(head.contains("chunked"), "{head}");
    let chunk = [format!("{LIMIT_BYTES:x}\r\n").as_bytes(), &[b'x'; LIMIT_BYTES], b"\r\n"].concat();

    // There is no last chunk: only the limit can end this.
    assert_eq!(server.send(&[head.as_bytes(), &chunk].concat()).refusal(), (507, "InsufficientStorage"));
    let half = LIMIT_BYTES / 2;
    assert_eq!(server.put("/box/b", &[], &vec![b'x'; half]).status, 201, "its room was given back");
    assert_eq!(server.send(&[head.as_bytes(), &chunk].concat()).refusal(), (507, "InsufficientStorage"));
    let fits = [head.as_bytes(), b"3\r\nabc\r\n0\r\n\r\n"].concat();
    assert_eq!(server.send(&fits).status, 201);
}

#[test]
fn a_half_sent_body_leaves_no_blob() {
    let server = Server::with_box();
    let request = Request::new(
        "PUT",
        "/devstoreaccount1/box/half",
        &[("x-ms-blob-type", "BlockBlob")],
        b"twelve bytes",
    );
    let signed = sign(request, blob_emulator::DEFAULT_KEY).bytes();
    let mut connection = server.connect();
    connection.stream.write_all(&signed[..signed.len() - 5]).expect("it listens");
    connection.stream.shutdown(std::net::Shutdown::Write).expect("it is open");
    assert!(connection.is_ended());
    assert_eq!(server.signed("GET", "/box/half", &[], b"").refusal(), (404, "BlobNotFound"));
}

#[test]
fn bytes_that_are_no_http_end_their_own_connection_only() {
    let server = Server::with_box();
    let mut bystander = server.connect();
    for garbage in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"AMQP\x00\x01\x00\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\nHeader without colon\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        let mut connection = server.connect();
        connection.stream.write_all(garbage).expect("it listens");
        assert!(connection.is_ended(), "{:?}", String::from_utf8_lossy(garbage));
    }
    let clock = b"GET /_emulator/clock HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(bystander.send(clock).status, 200);
    // Over-long heads and too many headers are refused with 431.
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(blob_emulator::limits::MAX_HEAD_BYTES));
    let many = "a: b\r\n".repeat(blob_emulator::limits::MAX_HEADERS + 1);
    for head in [long, format!("GET / HTTP/1.1\r\n{many}\r\n")] {
        let status = server.send(head.as_bytes()).status;
        assert!([414, 431].contains(&status), "{status}");
    }
    assert_eq!(bystander.send(clock).status, 200);
}

#[test]
fn paths_that_cannot_be_read_are_refused() {
    let server = Server::with_box();
    let long = "x".repeat(1025);
    for (path, code) in [
        ("/devstoreaccount1/box/%FF", "InvalidUri"),
        ("/devstoreaccount1/box/a%00b", "InvalidUri"),
        ("/", "InvalidUri"),
        (&format!("/devstoreaccount1/box/{long}"), "OutOfRangeInput"),
        (&format!("/devstoreaccount1?{}", "a=b&".repeat(100)), "OutOfRangeQueryParameterValue"),
    ] {
        assert_eq!(server.unsigned("GET", path, &[], b"").refusal(), (400, code), "{path}");
    }
}

/// A refused PUT used to be answered before its body had come, and the connection ended then: the next request on it,
/// which the Python SDK sends at once, found it closed.
#[test]
fn a_refused_body_that_comes_late_leaves_the_connection_usable() {
    let server = Server::with_box();
    let late =
        Request::new("PUT", "/devstoreaccount1/none/a", &[("x-ms-blob-type", "BlockBlob")], b"twelve bytes");
    let late = sign(late, blob_emulator::DEFAULT_KEY).bytes();
    let (head, body) = late.split_at(late.len() - 12);
    let mut connection = server.connect();
    for _ in 0..20 {
        connection.stream.write_all(head).expect("it listens");
        // Another connection is served meanwhile, so the head is surely there before the body.
        assert_eq!(server.signed("GET", "/box/none", &[], b"").status, 404);
        assert_eq!(connection.send(body).refusal(), (404, "ContainerNotFound"));
    }
    // More than is worth reading ends the connection, and says so.
    let huge = String::from_utf8(head.to_vec()).expect("text");
    let huge = huge.replace("Content-Length: 12", "Content-Length: 12345678");
    let refused = connection.send(huge.as_bytes());
    assert_eq!((refused.status, refused.header("connection")), (403, Some("close")));
    assert!(connection.is_ended());
}
