//! Request headers into values: metadata, content headers, digests, conditions, ranges. It reads and checks; what
//! follows from them is decided elsewhere.

use hyper::HeaderMap;

use crate::checksum::{self, Checksums};
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
    checksum::decode(value).map(Some).ok_or(StorageError::InvalidMd5)
}

/// The checksum that a body is sent with: the headers `Content-MD5` or `x-ms-content-crc64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentChecksum {
    /// Neither.
    None,
    /// MD5.
    Md5([u8; 16]),
    /// CRC64.
    Crc64(u64),
}

impl SentChecksum {
    /// Reads it.
    ///
    /// # Errors
    /// `InvalidMd5`, `InvalidHeaderValue` for a CRC64 that is none, `BothChecksums`.
    pub fn of(headers: &HeaderMap) -> Result<Self, StorageError> {
        let (md5, name) = (md5(headers, "content-md5")?, "x-ms-content-crc64");
        let Some(value) = text(headers, name)? else { return Ok(md5.map_or(Self::None, Self::Md5)) };
        if md5.is_some() {
            return Err(StorageError::BothChecksums);
        }
        let invalid = || StorageError::InvalidHeaderValue { name: name.to_owned(), value: value.to_owned() };
        Ok(Self::Crc64(u64::from_le_bytes(checksum::decode(value).ok_or_else(invalid)?)))
    }

    /// Holds it against what arrived.
    ///
    /// # Errors
    /// `Md5Mismatch` or `Crc64Mismatch`.
    pub fn check(self, found: &Checksums) -> Result<(), StorageError> {
        match self {
            Self::Md5(sent) if sent != found.md5 => Err(StorageError::Md5Mismatch {
                specified: checksum::md5_text(&sent),
                calculated: checksum::md5_text(&found.md5),
            }),
            Self::Crc64(sent) if sent != found.crc64 => Err(StorageError::Crc64Mismatch {
                specified: checksum::crc64_text(sent),
                calculated: checksum::crc64_text(found.crc64),
            }),
            _ => Ok(()),
        }
    }
}

/// The four conditional headers.
///
/// # Errors
/// `InvalidHeaderValue`; `MultipleConditionHeaders` for more than one tag in a header; `LeaseNotPresent` for a lease
/// id, since nothing here is ever leased; `NotImplemented` for a condition on tags.
pub fn conditions(headers: &HeaderMap) -> Result<Conditions, StorageError> {
    if headers.contains_key("x-ms-lease-id") {
        return Err(StorageError::LeaseNotPresent);
    }
    if headers.contains_key("x-ms-if-tags") {
        return Err(StorageError::NotImplemented {
            detail: "x-ms-if-tags; no blob here has tags".to_owned(),
        });
    }
    let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
    conditions_in(headers, names)
}

/// The conditions on the source of a copy.
///
/// # Errors
/// As [`conditions`].
pub fn source_conditions(headers: &HeaderMap) -> Result<Conditions, StorageError> {
    let names = [
        "x-ms-source-if-match",
        "x-ms-source-if-none-match",
        "x-ms-source-if-modified-since",
        "x-ms-source-if-unmodified-since",
    ];
    conditions_in(headers, names)
}

fn conditions_in(headers: &HeaderMap, names: [&str; 4]) -> Result<Conditions, StorageError> {
    let [if_match, if_none_match, modified_since, unmodified_since] = names;
    let tag = |name: &str| -> Result<Option<TagMatch>, StorageError> {
        let Some(value) = text(headers, name)?.map(str::trim).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        match value {
            several if several.contains(',') => Err(StorageError::MultipleConditionHeaders),
            "*" | "\"*\"" => Ok(Some(TagMatch::Any)),
            quoted if quoted.starts_with('"') => Ok(Some(TagMatch::Tag(quoted.to_owned()))),
            bare => Ok(Some(TagMatch::Tag(format!("\"{bare}\"")))),
        }
    };
    let date = |name: &str| -> Result<Option<u64>, StorageError> {
        let Some(value) = text(headers, name)? else { return Ok(None) };
        let invalid = || StorageError::InvalidHeaderValue { name: name.to_owned(), value: value.to_owned() };
        time::parse_http_date(value).map(Some).ok_or_else(invalid)
    };
    Ok(Conditions {
        if_match: tag(if_match)?,
        if_none_match: tag(if_none_match)?,
        modified_since: date(modified_since)?,
        unmodified_since: date(unmodified_since)?,
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

/// The part of a blob that is asked for by `x-ms-range` or `Range`, as `start..end` in bytes within `blob_bytes`. What
/// is no range of bytes from a first one on is not looked at, as RFC 9110 §14.2 has it and Azurite does.
///
/// # Errors
/// `InvalidRange` for one behind the end.
pub fn range(headers: &HeaderMap, blob_bytes: u64) -> Result<Option<std::ops::Range<u64>>, StorageError> {
    let name = if headers.contains_key("x-ms-range") { "x-ms-range" } else { "range" };
    let Some((first, last)) = headers.get(name).and_then(|value| parse_range(value.as_bytes())) else {
        return Ok(None);
    };
    if first >= blob_bytes {
        // All of nothing is nothing: SDKs ask for the first part of a blob before they know that it is empty.
        return if blob_bytes == 0 && last == u64::MAX && first == 0 {
            Ok(None)
        } else {
            Err(StorageError::InvalidRange { blob_bytes })
        };
    }
    Ok(Some(first..last.saturating_add(1).min(blob_bytes)))
}

/// First and last byte of `bytes=first-last` or `bytes=first-`.
fn parse_range(value: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = std::str::from_utf8(value).ok()?.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| match text.trim() {
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u64>().ok(),
        _ => None,
    };
    let first = number(first)?;
    let last = if last.trim().is_empty() { u64::MAX } else { number(last)? };
    (first <= last).then_some((first, last))
}

/// True when a header says `true`.
pub fn is_true(headers: &HeaderMap, name: &str) -> bool {
    headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            (name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn ranges_are_cut_at_the_end_and_nonsense_is_no_range() {
        let of = |value: &str| range(&headers(&[("range", value)]), 10);
        assert_eq!(of("bytes=0-3"), Ok(Some(0..4)));
        assert_eq!(of("bytes=8-99"), Ok(Some(8..10)));
        assert_eq!(of("bytes=2-"), Ok(Some(2..10)));
        assert_eq!(of(&format!("bytes=0-{}", u64::MAX)), Ok(Some(0..10)));
        assert_eq!(of("bytes=10-"), Err(StorageError::InvalidRange { blob_bytes: 10 }));
        for nonsense in [
            "bytes=3-1",
            "bytes=-3",
            "bytes=a-b",
            "chars=0-1",
            "bytes=99999999999999999999-",
            "bytes=+1-2",
            "",
        ] {
            assert_eq!(of(nonsense), Ok(None), "{nonsense}");
        }
        let of_nothing = |value: &str| range(&headers(&[("range", value)]), 0);
        assert_eq!(of_nothing("bytes=0-"), Ok(None));
        assert_eq!(of_nothing("bytes=0-9"), Err(StorageError::InvalidRange { blob_bytes: 0 }));
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
        let two = conditions(&headers(&[("if-match", "\"0x1\", \"0x2\"")]));
        assert_eq!(two, Err(StorageError::MultipleConditionHeaders));
        assert_eq!(conditions(&headers(&[("x-ms-lease-id", "x")])), Err(StorageError::LeaseNotPresent));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_header_is_read_or_refused(name in 0..12_usize, value in proptest::collection::vec(32_u8..255, 0..40)) {
            let names = [
                "range", "x-ms-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
                "content-md5", "x-ms-content-crc64", "x-ms-meta-a", "x-ms-blob-public-access", "content-type",
                "x-ms-blob-content-md5",
            ];
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let headers: HeaderMap = [(HeaderName::from_static(names[name]), value)].into_iter().collect();
            let _ = (conditions(&headers), SentChecksum::of(&headers), metadata(&headers), public_access(&headers));
            let _ = (content_headers_of_put(&headers), content_headers_of_set(&headers), range(&headers, 10));
        }

        #[test]
        fn any_range_lies_within_the_blob(text in "bytes=[0-9 +-]{0,24}|[a-z0-9=, -]{0,20}", blob_bytes in 0..200_u64) {
            if let Ok(Some(found)) = range(&headers(&[("range", &text)]), blob_bytes) {
                prop_assert!(found.start < found.end && found.end <= blob_bytes);
            }
        }

        #[test]
        fn a_range_that_was_written_is_read_again(first in 0..100_u64, more in 0..100_u64, blob_bytes in 1..200_u64) {
            let last = first + more;
            let found = range(&headers(&[("x-ms-range", &format!("bytes={first}-{last}"))]), blob_bytes);
            if first < blob_bytes {
                prop_assert_eq!(found, Ok(Some(first..(last + 1).min(blob_bytes))));
            } else {
                prop_assert_eq!(found, Err(StorageError::InvalidRange { blob_bytes }));
            }
        }

        #[test]
        fn checksums_survive_their_headers(md5 in any::<[u8; 16]>(), crc64 in any::<u64>()) {
            let sent = SentChecksum::of(&headers(&[("content-md5", &checksum::md5_text(&md5))]));
            prop_assert_eq!(sent, Ok(SentChecksum::Md5(md5)));
            let sent = SentChecksum::of(&headers(&[("x-ms-content-crc64", &checksum::crc64_text(crc64))]));
            prop_assert_eq!(sent, Ok(SentChecksum::Crc64(crc64)));
        }
    }
}
