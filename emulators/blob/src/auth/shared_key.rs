//! `Authorization: SharedKey account:signature` ("Authorize with Shared Key"). It knows the string that is signed
//! and how clients differ in building it; what the signer may do is not decided here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::Mac as _;
use hyper::HeaderMap;

use super::{Request, authentication_failed};
use crate::account::{Account, SigningKey};
use crate::error::StorageError;

/// The headers whose values are signed without their names, in order.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Prefix of the headers that are signed with their names.
const STORAGE_HEADER_PREFIX: &str = "x-ms-";

/// Checks the signature against each key of the account.
///
/// # Errors
/// `InvalidAuthenticationInfo` for a header that cannot be read; `AuthenticationFailed` for another scheme, another
/// account or a signature that does not verify.
pub(super) fn check(
    account: &Account,
    request: Request<'_>,
    authorization: &str,
) -> Result<(), StorageError> {
    let (scheme, credentials) =
        authorization.split_once(' ').ok_or(StorageError::InvalidAuthenticationInfo)?;
    if scheme != "SharedKey" {
        return Err(authentication_failed(format!(
            "the scheme {scheme} is not supported here; use SharedKey"
        )));
    }
    let (name, signature) =
        credentials.trim().split_once(':').ok_or(StorageError::InvalidAuthenticationInfo)?;
    let signature = BASE64.decode(signature).map_err(|_| StorageError::InvalidAuthenticationInfo)?;
    if name != account.name {
        return Err(authentication_failed(format!("the request is signed for the account {name}")));
    }
    let signed = |text: &str| account.keys.iter().any(|key| verifies(key, text, &signature));
    let text = string_to_sign(&account.name, request, Order::Ordinal);
    // The service sorts header names by a collation in which '-' weighs nothing; Azure's own SDKs imitate it, other
    // clients sort by bytes. Both are accepted; they differ only for metadata names with '_' and some others.
    if signed(&text) || signed(&string_to_sign(&account.name, request, Order::Collation)) {
        return Ok(());
    }
    Err(authentication_failed(format!("the signature does not verify; the string to sign is {text:?}")))
}

/// Whether `signature` is the HMAC-SHA256 of `text`, compared in constant time.
pub(super) fn verifies(key: &SigningKey, text: &str, signature: &[u8]) -> bool {
    let mut mac = key.clone();
    mac.update(text.as_bytes());
    mac.verify_slice(signature).is_ok()
}

/// How the names of the `x-ms-` headers are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// By bytes.
    Ordinal,
    /// As the service does: '-' is skipped, '_' comes before digits and letters.
    Collation,
}

fn string_to_sign(account: &str, request: Request<'_>, order: Order) -> String {
    let mut text = String::with_capacity(512);
    text.push_str(request.method.as_str());
    for name in SIGNED_HEADERS {
        text.push('\n');
        let value = header_text(request.headers, name);
        // Since version 2015-02-21 an empty body is signed as an empty length.
        if !(name == "content-length" && value == "0") {
            text.push_str(value);
        }
    }
    text.push('\n');
    push_storage_headers(&mut text, request.headers, order);
    // In path style the path begins with the account too, so that the account stands there twice.
    text.push('/');
    text.push_str(account);
    text.push_str(request.raw_path);
    push_query(&mut text, request);
    text
}

fn push_storage_headers(text: &mut String, headers: &HeaderMap, order: Order) {
    let names = headers.keys().map(hyper::header::HeaderName::as_str);
    let mut names: Vec<&str> = names.filter(|name| name.starts_with(STORAGE_HEADER_PREFIX)).collect();
    match order {
        Order::Ordinal => names.sort_unstable(),
        Order::Collation => names.sort_by(|a, b| collation_key(a).cmp(collation_key(b)).then(a.cmp(b))),
    }
    for name in names {
        text.push_str(name);
        let mut separator = ':';
        for value in headers.get_all(name) {
            text.push(separator);
            text.push_str(std::str::from_utf8(value.as_bytes()).unwrap_or_default().trim());
            separator = ',';
        }
        text.push('\n');
    }
}

fn collation_key(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes().filter(|byte| *byte != b'-').map(|byte| if byte == b'_' { 0 } else { byte })
}

fn push_query(text: &mut String, request: Request<'_>) {
    let mut last = None;
    for (name, value) in request.query.sorted() {
        if last == Some(name) {
            text.push(',');
        } else {
            text.push('\n');
            text.push_str(name);
            text.push(':');
        }
        text.push_str(value);
        last = Some(name);
    }
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;
    use crate::http::{Operation, Query};

    #[test]
    fn the_string_to_sign_has_every_part_in_its_place() {
        let query = Query::parse(Some("comp=metadata&Timeout=20&restype=container")).expect("readable");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-length", "0"),
            ("content-type", "text/plain"),
            ("if-none-match", "*"),
            ("x-ms-version", "2025-11-05"),
            ("x-ms-date", " Thu, 01 Jan 2026 00:00:00 GMT"),
            ("x-ms-meta-b", "2"),
            ("x-ms-meta-a", "1"),
        ] {
            headers.insert(name, value.parse().expect("a header value"));
        }
        let request = Request {
            method: &Method::PUT,
            raw_path: "/acc/box/a%20b",
            query: &query,
            headers: &headers,
            operation: Operation::PutBlob,
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let expected = "PUT\n\n\n\n\ntext/plain\n\n\n\n*\n\n\n\
            x-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\nx-ms-meta-a:1\nx-ms-meta-b:2\nx-ms-version:2025-11-05\n\
            /acc/acc/box/a%20b\ncomp:metadata\nrestype:container\ntimeout:20";
        assert_eq!(string_to_sign("acc", request, Order::Ordinal), expected);
    }

    #[test]
    fn the_two_orders_differ_for_underscores_and_hyphens() {
        let mut headers = HeaderMap::new();
        for name in ["x-ms-meta-a_b", "x-ms-meta-a1", "x-ms-meta-ab"] {
            headers
                .insert(hyper::header::HeaderName::from_static(name), "v".parse().expect("a header value"));
        }
        let (mut ordinal, mut collation) = (String::new(), String::new());
        push_storage_headers(&mut ordinal, &headers, Order::Ordinal);
        push_storage_headers(&mut collation, &headers, Order::Collation);
        assert_eq!(ordinal, "x-ms-meta-a1:v\nx-ms-meta-a_b:v\nx-ms-meta-ab:v\n");
        assert_eq!(collation, "x-ms-meta-a_b:v\nx-ms-meta-a1:v\nx-ms-meta-ab:v\n");
    }
}
