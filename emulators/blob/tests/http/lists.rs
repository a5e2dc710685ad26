//! List Blobs: prefix, pages, delimiter, what is included, and what is wrong with a query.

use super::support::Server;

const LIST: &str = "/box?restype=container&comp=list";

fn server_with(names: &[&str]) -> Server {
    let server = Server::with_box();
    for name in names {
        assert_eq!(server.put(&format!("/box/{name}"), &[("x-ms-meta-k", "a&b")], b"xyz").status, 201);
    }
    server
}

#[test]
fn a_list_describes_each_blob() {
    let server = server_with(&["a"]);
    let list = server.signed("GET", &format!("{LIST}&include=metadata"), &[], b"");
    assert_eq!((list.status, list.header("content-type")), (200, Some("application/xml")));
    assert!(
        list.text().contains("ServiceEndpoint=\"http://127.0.0.1/devstoreaccount1/\" ContainerName=\"box\"")
    );
    for (element, text) in [
        ("Name", "a"),
        ("Content-Length", "3"),
        ("Content-Type", "application/octet-stream"),
        ("Content-MD5", "0W+zbwkR+HiZjBNhka9wXg=="),
        ("BlobType", "BlockBlob"),
        ("k", "a&amp;b"),
    ] {
        assert_eq!(list.elements(element), [text], "{element}");
    }
    let without = server.signed("GET", LIST, &[], b"");
    assert!(without.elements("Metadata").is_empty());
}

#[test]
fn pages_cover_every_name_once() {
    let names: Vec<String> = (0..23).map(|number| format!("p/{number:02}")).collect();
    let server = server_with(&names.iter().map(String::as_str).chain(["a", "z"]).collect::<Vec<_>>());
    let (mut found, mut marker, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = server.signed("GET", &format!("{LIST}&prefix=p/&maxresults=5&marker={marker}"), &[], b"");
        assert_eq!(page.status, 200);
        found.extend(page.elements("Name"));
        pages += 1;
        match page.elements("NextMarker").pop() {
            Some(next) => marker = next,
            None => break,
        }
    }
    assert_eq!((found, pages), (names, 5));
}

#[test]
fn a_delimiter_gives_prefixes() {
    let server = server_with(&["a/1", "a/2", "b", "c/d/3"]);
    let list = server.signed("GET", &format!("{LIST}&delimiter=/"), &[], b"");
    assert_eq!(list.elements("BlobPrefix"), ["<Name>a/</Name>", "<Name>c/</Name>"]);
    assert_eq!(list.elements("Name"), ["a/", "b", "c/"]);
}

#[test]
fn names_that_xml_cannot_have_are_encoded() {
    let server = server_with(&["a%01b"]);
    let list = server.signed("GET", LIST, &[], b"");
    assert!(list.text().contains("<Name Encoded=\"true\">a%01b</Name>"), "{}", list.text());
}

#[test]
fn a_query_that_cannot_be_served_is_refused_by_name() {
    let server = server_with(&["a"]);
    for (query, status, code) in [
        ("&maxresults=many", 400, "InvalidQueryParameterValue"),
        ("&maxresults=-1", 400, "InvalidQueryParameterValue"),
        ("&maxresults=0", 400, "OutOfRangeQueryParameterValue"),
        ("&marker=not!a!marker", 400, "InvalidQueryParameterValue"),
        ("&include=everything", 400, "InvalidQueryParameterValue"),
        ("&prefix=%FF", 400, "InvalidUri"),
    ] {
        // What cannot be decoded cannot be signed either; it is refused before the signature is looked at.
        let answer = if query.contains("%FF") {
            server.unsigned("GET", &format!("/devstoreaccount1{LIST}{query}"), &[], b"")
        } else {
            server.signed("GET", &format!("{LIST}{query}"), &[], b"")
        };
        assert_eq!(answer.refusal(), (status, code), "{query}");
    }
    assert_eq!(server.signed("GET", &format!("{LIST}&maxresults=9999"), &[], b"").status, 200);
    let none = server.signed("GET", "/none?restype=container&comp=list", &[], b"");
    assert_eq!(none.refusal(), (404, "ContainerNotFound"));
}
