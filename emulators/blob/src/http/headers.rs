//! Request headers into values: metadata, content headers, digests, conditions, ranges. It reads and checks; what
//! follows from them is decided elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::HeaderMap;

use crate::error::StorageError;
use crate::limits;
use crate::store::{Conditions, ContentHeaders, Metadata, PublicAccess, TagMatch};
use crate::time;

const METADATA_PREFIX: &str = "x-ms-meta-";

/// The text of a header, if it is there.
///
/// # Errors
/// `InvalidHeaderValue` for what is no UTF-8.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, StorageError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| StorageError::InvalidHeaderValue {
        name: name.to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
    })
}

/// The `x-ms-meta-` headers ("Setting and retrieving properties and metadata for Blob service resources").
///
/// # Errors
/// `EmptyMetadataKey`, `InvalidMetadata`, `MetadataTooLarge`.
pub fn metadata(headers: &HeaderMap) -> Result<Metadata, StorageError> {
    let mut pairs = Vec::new();
    let mut bytes = 0;
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(METADATA_PREFIX) else { continue };
        if name.is_empty() {
            return Err(StorageError::EmptyMetadataKey);
        }
        let value = std::str::from_utf8(value.as_bytes()).map_err(|_| StorageError::InvalidMetadata)?;
        if !is_identifier(name) {
            return Err(StorageError::InvalidMetadata);
        }
        bytes += name.len() + value.len();
        if bytes > limits::MAX_METADATA_BYTES {
            return Err(StorageError::MetadataTooLarge);
        }
        pairs.push((name.into(), value.into()));
    }
    Ok(pairs.into_boxed_slice())
}

/// Names of metadata must be C# identifiers; header names are ASCII, which leaves letters, digits and `_`.
fn is_identifier(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(legal) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Content headers of Put Blob: `x-ms-blob-…`, and the standard header where that is missing ("Put Blob").
///
/// # Errors
/// `InvalidHeaderValue`.
pub fn content_headers_of_put(headers: &HeaderMap) -> Result<ContentHeaders, StorageError> {
    let either = |name: &str, standard: &str| -> Result<Option<Box<str>>, StorageError> {
        let value = match text(headers, name)? {
            Some(value) => Some(value),
            None => text(headers, standard)?,
        };
        Ok(value.filter(|value| !value.is_empty()).map(Box::from))
    };
    Ok(ContentHeaders {
        content_type: either("x-ms-blob-content-type", "content-type")?,
        encoding: either("x-ms-blob-content-encoding", "content-encoding")?,
        language: either("x-ms-blob-content-language", "content-language")?,
        disposition: either("x-ms-blob-content-disposition", "content-disposition")?,
        cache_control: either("x-ms-blob-cache-control", "cache-control")?,
    })
}

/// Content headers of Set Blob Properties: what is not sent is cleared ("Set Blob Properties").
///
/// # Errors
/// `InvalidHeaderValue`.
pub fn content_headers_of_set(headers: &HeaderMap) -> Result<ContentHeaders, StorageError> {
    let sent = |name: &str| -> Result<Option<Box<str>>, StorageError> {
        Ok(text(headers, name)?.filter(|value| !value.is_empty()).map(Box::from))
    };
    Ok(ContentHeaders {
        content_type: sent("x-ms-blob-content-type")?,
        encoding: sent("x-ms-blob-content-encoding")?,
        language: sent("x-ms-blob-content-language")?,
        disposition: sent("x-ms-blob-content-disposition")?,
        cache_control: sent("x-ms-blob-cache-control")?,
    })
}

/// An MD5 digest sent in a header.
///
/// # Errors
/// `InvalidMd5`.
pub fn md5(headers: &HeaderMap, name: &str) -> Result<Option<[u8; 16]>, StorageError> {
    let Some(value) = text(headers, name)? else { return Ok(None) };
    let decoded = BASE64.decode(value).map_err(|_| StorageError::InvalidMd5)?;
    decoded.try_into().map(Some).map_err(|_| StorageError::InvalidMd5)
}

/// An MD5 digest as headers write it.
pub fn md5_text(md5: &[u8; 16]) -> String {
    BASE64.encode(md5)
}

/// The four conditional headers.
///
/// # Errors
/// `InvalidHeaderValue`; `LeaseNotPresent` for a lease id, since nothing here is ever leased.
pub fn conditions(headers: &HeaderMap) -> Result<Conditions, StorageError> {
    if headers.contains_key("x-ms-lease-id") {
        return Err(StorageError::LeaseNotPresent);
    }
    let tag = |name: &str| -> Result<Option<TagMatch>, StorageError> {
        Ok(text(headers, name)?.map(|value| match value.trim() {
            "*" => TagMatch::Any,
            quoted if quoted.starts_with('"') => TagMatch::Tag(quoted.to_owned()),
            bare => TagMatch::Tag(format!("\"{bare}\"")),
        }))
    };
    let date = |name: &str| -> Result<Option<u64>, StorageError> {
        let Some(value) = text(headers, name)? else { return Ok(None) };
        let invalid = || StorageError::InvalidHeaderValue { name: name.to_owned(), value: value.to_owned() };
        time::parse_http_date(value).map(Some).ok_or_else(invalid)
    };
    Ok(Conditions {
        if_match: tag("if-match")?,
        if_none_match: tag("if-none-match")?,
        modified_since: date("if-modified-since")?,
        unmodified_since: date("if-unmodified-since")?,
    })
}

/// `x-ms-blob-public-access`.
///
/// # Errors
/// `InvalidHeaderValue`.
pub fn public_access(headers: &HeaderMap) -> Result<PublicAccess, StorageError> {
    match text(headers, "x-ms-blob-public-access")? {
        None => Ok(PublicAccess::None),
        Some("blob") => Ok(PublicAccess::Blob),
        Some("container") => Ok(PublicAccess::Container),
        Some(value) => Err(StorageError::InvalidHeaderValue {
            name: "x-ms-blob-public-access".to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// The part of a blob that is asked for by `x-ms-range` or `Range`, as `start..end` in bytes within `blob_bytes`.
///
/// # Errors
/// `InvalidHeaderValue` for what is not `bytes=a-b` or `bytes=a-`; `InvalidRange` for one behind the end.
pub fn range(headers: &HeaderMap, blob_bytes: u64) -> Result<Option<std::ops::Range<u64>>, StorageError> {
    let name = if headers.contains_key("x-ms-range") { "x-ms-range" } else { "range" };
    let Some(value) = text(headers, name)? else { return Ok(None) };
    let invalid = || StorageError::InvalidHeaderValue { name: name.to_owned(), value: value.to_owned() };
    let (first, last) =
        value.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let first: u64 = first.trim().parse().map_err(|_| invalid())?;
    let last: u64 = match last.trim() {
        "" => u64::MAX,
        last => last.parse().map_err(|_| invalid())?,
    };
    if last < first {
        return Err(invalid());
    }
    if first >= blob_bytes {
        return Err(StorageError::InvalidRange { blob_bytes });
    }
    Ok(Some(first..last.saturating_add(1).min(blob_bytes)))
}

/// True when a header says `true`.
pub fn is_true(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            (name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_nonsense_is_refused() {
        let of = |value: &str| range(&headers(&[("range", value)]), 10);
        assert_eq!(of("bytes=0-3"), Ok(Some(0..4)));
        assert_eq!(of("bytes=8-99"), Ok(Some(8..10)));
        assert_eq!(of("bytes=2-"), Ok(Some(2..10)));
        assert_eq!(of(&format!("bytes=0-{}", u64::MAX)), Ok(Some(0..10)));
        assert_eq!(of("bytes=10-"), Err(StorageError::InvalidRange { blob_bytes: 10 }));
        for nonsense in ["bytes=3-1", "bytes=-3", "bytes=a-b", "chars=0-1", "bytes=99999999999999999999-", ""]
        {
            assert!(matches!(of(nonsense), Err(StorageError::InvalidHeaderValue { .. })), "{nonsense}");
        }
        let both = headers(&[("range", "bytes=0-0"), ("x-ms-range", "bytes=1-1")]);
        assert_eq!(range(&both, 10), Ok(Some(1..2)));
    }

    #[test]
    fn metadata_names_are_identifiers_and_the_whole_is_bounded() {
        let good = metadata(&headers(&[("x-ms-meta-a_1", "ü"), ("x-ms-other", "x")])).expect("well-formed");
        assert_eq!(&*good, [("a_1".into(), "ü".into())]);
        for (name, error) in [
            ("x-ms-meta-", StorageError::EmptyMetadataKey),
            ("x-ms-meta-1a", StorageError::InvalidMetadata),
            ("x-ms-meta-a-b", StorageError::InvalidMetadata),
        ] {
            assert_eq!(metadata(&headers(&[(name, "x")])), Err(error), "{name}");
        }
        let large = "x".repeat(limits::MAX_METADATA_BYTES);
        assert_eq!(metadata(&headers(&[("x-ms-meta-a", &large)])), Err(StorageError::MetadataTooLarge));
    }

    #[test]
    fn digests_are_sixteen_bytes_of_base64() {
        let of = |value: &str| md5(&headers(&[("content-md5", value)]), "content-md5");
        assert_eq!(of("AAAAAAAAAAAAAAAAAAAAAA=="), Ok(Some([0; 16])));
        assert_eq!(of("AAAA"), Err(StorageError::InvalidMd5));
        assert_eq!(of("not base64"), Err(StorageError::InvalidMd5));
    }

    #[test]
    fn conditions_take_tags_with_and_without_quotes_and_refuse_a_bad_date() {
        let found =
            conditions(&headers(&[("if-match", "0x1"), ("if-none-match", "*")])).expect("well-formed");
        assert_eq!(found.if_match, Some(TagMatch::Tag("\"0x1\"".to_owned())));
        assert_eq!(found.if_none_match, Some(TagMatch::Any));
        let bad = conditions(&headers(&[("if-modified-since", "yesterday")]));
        assert!(matches!(bad, Err(StorageError::InvalidHeaderValue { .. })));
        assert_eq!(conditions(&headers(&[("x-ms-lease-id", "x")])), Err(StorageError::LeaseNotPresent));
    }
}
