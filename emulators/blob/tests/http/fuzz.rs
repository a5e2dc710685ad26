//! Requests of every shape, signed so that they get as far as they can: each is answered with a status that a client
//! can make sense of, and the server goes on.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::support::{Server, encoded};

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let server = Server::with_box();
    server.put("/box/a", &[("x-ms-meta-k", "v")], b"0123456789");
    server.put_block("/box/a", "YQ==", b"waits");
    server
});

/// Names of headers that mean something, and one that does not.
const HEADERS: [&str; 24] = [
    "Content-MD5",
    "Content-Type",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Unmodified-Since",
    "Range",
    "x-ms-blob-content-md5",
    "x-ms-blob-content-type",
    "x-ms-blob-public-access",
    "x-ms-blob-type",
    "x-ms-content-crc64",
    "x-ms-copy-source",
    "x-ms-delete-snapshots",
    "x-ms-if-tags",
    "x-ms-lease-id",
    "x-ms-meta-",
    "x-ms-meta-a",
    "x-ms-range",
    "x-ms-range-get-content-crc64",
    "x-ms-range-get-content-md5",
    "x-ms-source-if-match",
    "x-ms-structured-body",
    "X-Nothing",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,24}",
        "bytes=[0-9]{0,3}-[0-9]{0,3}",
        "http://127\\.0\\.0\\.1/devstoreaccount1/box/[a-c?%]{0,4}",
        "[A-Za-z0-9+/]{10,22}={0,2}",
        Just("BlockBlob".to_owned()),
        Just("Thu, 01 Jan 2026 00:00:00 GMT".to_owned()),
        Just("*".to_owned()),
        Just("true".to_owned()),
    ]
}

fn parameter() -> impl Strategy<Value = String> {
    let name =
        "(comp|restype|blockid|blocklisttype|prefix|marker|maxresults|delimiter|include|snapshot|timeout)";
    let known = "(list|metadata|properties|block|blocklist|container|all|uncommitted|copy|acl|lease|tags|5|0|-1|YQ==)";
    (name, prop_oneof![3 => known, 1 => "[ -~]{0,12}"])
        .prop_map(|(name, value)| format!("{name}={}", encoded(&value)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered(
        method in prop_oneof![Just("GET"), Just("HEAD"), Just("PUT"), Just("DELETE"), Just("POST")],
        path in prop_oneof![4 => Just("/box/a".to_owned()), 2 => Just("/box".to_owned()), 1 => "(/[a-z$%/]{0,8}){0,3}"],
        parameters in proptest::collection::vec(parameter(), 0..4),
        headers in proptest::collection::vec((0..HEADERS.len(), value()), 0..5),
        body in prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(any::<u8>(), 0..64),
            Just(b"<BlockList><Latest>YQ==</Latest></BlockList>".to_vec()),
        ],
    ) {
        // What may be written once only in a request that can be signed.
        let mut seen = std::collections::BTreeSet::new();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| seen.insert(*name))
            .map(|(name, value)| (HEADERS[*name], value.trim()))
            .collect();
        let path = if parameters.is_empty() { path } else { format!("{path}?{}", parameters.join("&")) };
        let answer = SERVER.signed(method, &path, &headers, &body);
        prop_assert!((200..=501).contains(&answer.status) && answer.status != 500, "{answer:?}");
        if answer.status >= 400 {
            prop_assert!(!answer.refusal().1.is_empty(), "{answer:?}");
        }
    }

    #[test]
    fn bytes_of_any_kind_end_at_most_their_own_connection(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut connection = SERVER.connect();
        let _ = std::io::Write::write_all(&mut connection.stream, &garbage);
        let _ = connection.stream.shutdown(std::net::Shutdown::Write);
        prop_assert!(connection.is_ended());
        let clock = b"GET /_emulator/clock HTTP/1.1\r\nHost: x\r\n\r\n";
        prop_assert_eq!(SERVER.send(clock).status, 200);
    }
}
