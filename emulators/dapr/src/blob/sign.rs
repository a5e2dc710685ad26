//! Shared Key of Azure Storage: an HMAC over the request's canonical text ("Authorize with Shared Key", Blob service).

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};
use http::{Method, Uri};
use sha2::Sha256;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Signs for one account. The key is taken in once.
#[derive(Clone)]
pub(super) struct Signer {
    account: String,
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Signer {
    pub(super) fn new(account: &str, key: &[u8]) -> Option<Self> {
        Some(Self { account: account.to_owned(), mac: Hmac::new_from_slice(key).ok()? })
    }

    /// The `authorization` header of a request with these headers, `x-ms-date` among them.
    pub(super) fn authorization(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        content_length: usize,
    ) -> String {
        let text = self.string_to_sign(method, uri, headers, content_length);
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
        format!("SharedKey {}:{signature}", self.account)
    }

    fn string_to_sign(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        content_length: usize,
    ) -> String {
        let mut text = String::with_capacity(512);
        let mut line = |value: &str| {
            text.push_str(value);
            text.push('\n');
        };
        let header =
            |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        line(method.as_str());
        line(header(&CONTENT_ENCODING));
        line(header(&CONTENT_LANGUAGE));
        line(&if content_length == 0 { String::new() } else { content_length.to_string() });
        line(header(&CONTENT_MD5));
        line(header(&CONTENT_TYPE));
        // The date is in x-ms-date.
        line("");
        for name in [IF_MODIFIED_SINCE, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE] {
            line(header(&name));
        }
        let mut ours: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-ms-"))
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("").trim()))
            .collect();
        ours.sort_unstable();
        for (name, value) in ours {
            line(&format!("{name}:{value}"));
        }
        text.push('/');
        text.push_str(&self.account);
        text.push_str(uri.path());
        let mut query: Vec<(String, String)> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_ascii_lowercase(), unescape(value)))
            .collect();
        query.sort_unstable();
        for (name, value) in query {
            text.push('\n');
            text.push_str(&name);
            text.push(':');
            text.push_str(&value);
        }
        text
    }
}

fn unescape(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_canonical() {
        let signer = Signer::new("acc", b"key").expect("any key");
        let uri: Uri = "http://h:1/acc/box?restype=container&comp=list&prefix=a%2Fb".parse().expect("a uri");
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-version", "2023-11-03".parse().expect("text"));
        headers.insert("x-ms-date", "Thu, 01 Jan 2026 00:00:00 GMT".parse().expect("text"));
        headers.insert("content-type", "text/plain".parse().expect("text"));
        let text = signer.string_to_sign(&Method::PUT, &uri, &headers, 5);
        assert_eq!(
            text,
            "PUT\n\n\n5\n\ntext/plain\n\n\n\n\n\n\n\
             x-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\nx-ms-version:2023-11-03\n\
             /acc/acc/box\ncomp:list\nprefix:a/b\nrestype:container"
        );
    }
}
