//! What a guest is told about its request: the URI with scheme and host, and the `spin-*` header fields.
//!
//! It must not know wasmtime. Rules: Spin 3.6.3, `crates/trigger-http/src/{headers,server,wasi}.rs`.

use std::net::SocketAddr;

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Uri, request};

/// What the route adds to what the guest is told.
#[derive(Debug)]
pub struct RouteFacts<'a> {
    /// What the trailing wildcard stands for.
    pub path_info: &'a str,
    /// The route with its leading slash.
    pub matched: &'a str,
    /// The route as in the manifest.
    pub raw: &'a str,
    /// The same without `/...`.
    pub component: &'a str,
    /// Values of `:name` segments.
    pub parameters: Vec<(&'a str, &'a str)>,
}

/// Why a request is not passed to a guest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Neither the request line nor `Host` names a host.
    #[error("the request has no `Host` header")]
    NoAuthority,
    /// `Host` cannot be read.
    #[error("the `Host` header is not a valid authority")]
    BadHost,
    /// They name different hosts.
    #[error("the `Host` header and the request line name different hosts")]
    TwoAuthorities,
    /// A field's value is not UTF-8.
    #[error("the value of header `{0}` is not UTF-8")]
    NotUtf8(HeaderName),
    /// The URI cannot be made absolute.
    #[error("the request's URI is not valid")]
    Uri,
}

/// Makes the request's URI absolute.
///
/// # Errors
/// [`RequestError`].
pub fn set_uri(parts: &mut request::Parts, scheme: Scheme) -> Result<(), RequestError> {
    let host = match parts.headers.get(HOST) {
        None => None,
        Some(value) => Some(Authority::try_from(value.as_bytes()).map_err(|_| RequestError::BadHost)?),
    };
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    let authority = match (host, uri.authority.take()) {
        (None, None) => return Err(RequestError::NoAuthority),
        (Some(host), Some(line)) if host != line => return Err(RequestError::TwoAuthorities),
        (Some(one), _) | (None, Some(one)) => one,
    };
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| RequestError::Uri)?;
    Ok(())
}

/// Adds the `spin-*` fields behind those that came with the request, as Spin does, also where they have the same name.
///
/// # Errors
/// [`RequestError::NotUtf8`].
pub fn add_spin_fields(
    parts: &mut request::Parts,
    facts: &RouteFacts<'_>,
    client: SocketAddr,
) -> Result<(), RequestError> {
    let not_utf8 = parts.headers.iter().find(|(_, value)| std::str::from_utf8(value.as_bytes()).is_err());
    if let Some((name, _)) = not_utf8 {
        return Err(RequestError::NotUtf8(name.clone()));
    }
    let host = parts.headers.get(HOST).map_or(&b"localhost"[..], HeaderValue::as_bytes);
    let mut full_url = Vec::with_capacity(64);
    full_url.extend_from_slice(parts.uri.scheme_str().unwrap_or("http").as_bytes());
    full_url.extend_from_slice(b"://");
    full_url.extend_from_slice(host);
    full_url.extend_from_slice(parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());

    let mut add = |name: HeaderName, value: &[u8]| {
        // A value that no header field can hold is left out, as Spin does.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            parts.headers.append(name, value);
        }
    };
    add(HeaderName::from_static("spin-path-info"), facts.path_info.as_bytes());
    add(HeaderName::from_static("spin-full-url"), &full_url);
    add(HeaderName::from_static("spin-matched-route"), facts.matched.as_bytes());
    add(HeaderName::from_static("spin-base-path"), b"/");
    add(HeaderName::from_static("spin-raw-component-route"), facts.raw.as_bytes());
    add(HeaderName::from_static("spin-component-route"), facts.component.as_bytes());
    add(HeaderName::from_static("spin-client-addr"), client.to_string().as_bytes());
    for (name, value) in &facts.parameters {
        let name = format!("spin-path-match-{}", name.replace('_', "-").to_ascii_lowercase());
        if let Ok(name) = HeaderName::try_from(name) {
            add(name, value.as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &[u8])]) -> request::Parts {
        let mut parts = http::Request::get(uri).body(()).expect("a request").into_parts().0;
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a name");
            parts.headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        parts
    }

    fn facts() -> RouteFacts<'static> {
        RouteFacts {
            path_info: "/rest",
            matched: "/base/:path_segment/...",
            raw: "/base/:path_segment/...",
            component: "/base/:path_segment",
            parameters: vec![("path_segment", "path")],
        }
    }

    fn client() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8777))
    }

    #[test]
    fn the_uri_takes_its_host_from_the_header_or_the_line() {
        let uri =
            |mut parts: request::Parts| set_uri(&mut parts, Scheme::HTTP).map(|()| parts.uri.to_string());
        assert_eq!(uri(request("/a?b", &[("host", b"x.dev:80")])).as_deref(), Ok("http://x.dev:80/a?b"));
        assert_eq!(uri(request("http://x.dev/a", &[])).as_deref(), Ok("http://x.dev/a"));
        assert_eq!(uri(request("http://x.dev/a", &[("host", b"x.dev")])).as_deref(), Ok("http://x.dev/a"));
        assert_eq!(uri(request("http://x.dev/a", &[("host", b"y.dev")])), Err(RequestError::TwoAuthorities));
        assert_eq!(uri(request("/a", &[])), Err(RequestError::NoAuthority));
        assert_eq!(uri(request("/a", &[("host", b"a b")])), Err(RequestError::BadHost));
    }

    #[test]
    fn the_guest_is_told_what_spin_tells_it() {
        let mut parts = request("/base/path/rest?key=value", &[("host", b"fermyon.dev"), ("accept", b"x")]);
        set_uri(&mut parts, Scheme::HTTP).expect("valid");
        add_spin_fields(&mut parts, &facts(), client()).expect("valid");
        for (name, value) in [
            ("spin-path-info", "/rest"),
            ("spin-full-url", "http://fermyon.dev/base/path/rest?key=value"),
            ("spin-matched-route", "/base/:path_segment/..."),
            ("spin-base-path", "/"),
            ("spin-raw-component-route", "/base/:path_segment/..."),
            ("spin-component-route", "/base/:path_segment"),
            ("spin-client-addr", "127.0.0.1:8777"),
            ("spin-path-match-path-segment", "path"),
        ] {
            let values: Vec<_> = parts.headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
        assert_eq!(parts.headers.len(), 10);
    }

    #[test]
    fn fields_of_the_client_stay_first() {
        let mut parts = request("/a", &[("host", b"x.dev"), ("spin-path-info", b"mine")]);
        set_uri(&mut parts, Scheme::HTTP).expect("valid");
        add_spin_fields(&mut parts, &facts(), client()).expect("valid");
        let values: Vec<_> = parts.headers.get_all("spin-path-info").iter().collect();
        assert_eq!(values, ["mine", "/rest"]);
    }

    #[test]
    fn a_value_that_is_not_utf8_ends_the_request() {
        let mut parts = request("http://x.dev/a", &[("x-binary", b"\xff")]);
        let error = add_spin_fields(&mut parts, &facts(), client()).expect_err("not UTF-8");
        assert_eq!(error, RequestError::NotUtf8(HeaderName::from_static("x-binary")));
    }
}
