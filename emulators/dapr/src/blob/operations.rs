//! The operations of the component (`blobstorage.go`, `request.go`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use percent_encoding::utf8_percent_encode;
use serde::Serialize;

use super::client::BlobClient;
use super::list::{self, ListOptions};
use super::settings::BlobSettings;
use crate::bindings::{Answer, go_json};
use crate::go::json;
use crate::go::text::PATH_SEGMENT;
use crate::limits::COMPONENT_INIT_RETRY;

/// Metadata names, in lower case, that set the blob's own headers.
const HTTP_HEADERS: &[(&str, &str)] = &[
    ("contenttype", "x-ms-blob-content-type"),
    ("contentmd5", "x-ms-blob-content-md5"),
    ("contentencoding", "x-ms-blob-content-encoding"),
    ("contentlanguage", "x-ms-blob-content-language"),
    ("contentdisposition", "x-ms-blob-content-disposition"),
    ("cachecontrol", "x-ms-blob-cache-control"),
];

/// An output binding on one container.
#[derive(Debug)]
pub struct BlobOutput {
    settings: BlobSettings,
    client: BlobClient,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    #[serde(rename = "blobURL")]
    blob_url: &'a str,
    blob_name: &'a str,
}

impl BlobOutput {
    /// A binding that has not called yet; `None` when the key cannot be used.
    #[must_use]
    pub fn new(settings: BlobSettings) -> Option<Self> {
        let client = BlobClient::new(&settings)?;
        Some(Self { settings, client })
    }

    /// Makes the container unless it is there or is not to be made. A service that cannot be reached yet is tried
    /// again until the caller gives up.
    ///
    /// # Errors
    /// In the component's words, when the service refuses.
    pub async fn init(&self) -> Result<(), String> {
        if !self.settings.create_container {
            return Ok(());
        }
        let uri = self.container_uri("restype=container")?;
        let mut headers = HeaderMap::new();
        if let Some(level) = &self.settings.public_access {
            let level = HeaderValue::from_str(level).map_err(|error| error.to_string())?;
            headers.insert("x-ms-blob-public-access", level);
        }
        let mut pause = COMPONENT_INIT_RETRY.0;
        loop {
            match self.client.call_once(&Method::PUT, &uri, headers.clone(), Bytes::new()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.has_code("ContainerAlreadyExists") => return Ok(()),
                Err(error) if error.has_code("ResourceAlreadyExists") => return Ok(()),
                Err(super::client::CallError::Transport(error)) => {
                    tracing::debug!(error, "the blob service cannot be reached yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(COMPONENT_INIT_RETRY.1);
                }
                Err(error) => {
                    let container = &self.settings.container;
                    return Err(format!("failed to create Azure Storage container {container}: {error}"));
                }
            }
        }
    }

    /// `create`: writes a blob, over one of the same name.
    ///
    /// # Errors
    /// In the component's words.
    pub async fn create(&self, data: Bytes, metadata: &BTreeMap<String, String>) -> Result<Answer, String> {
        let name = match metadata.get("blobName") {
            Some(name) if !name.is_empty() => name.clone(),
            _ => uuid::Uuid::new_v4().to_string(),
        };
        let headers = upload_headers(metadata)?;
        let mut data = unquoted(data);
        if self.settings.decode_base64 {
            data = go_base64(&data)?.into();
        }
        let uri = self.blob_uri(&name, "")?;
        self.client
            .call(Method::PUT, &uri, &headers, data)
            .await
            .map_err(|error| format!("error uploading az blob: {error}"))?;
        let created = Created { blob_url: &uri.to_string(), blob_name: &name };
        Ok(Answer { data: go_json(&created)?, metadata: vec![("blobName".to_owned(), name)] })
    }

    /// `get`: a blob's bytes, and its metadata when asked for.
    ///
    /// # Errors
    /// In the component's words.
    pub async fn get(&self, metadata: &BTreeMap<String, String>) -> Result<Answer, String> {
        let name = blob_name(metadata)?;
        if metadata.get("filePath").is_some_and(|path| !path.is_empty()) {
            return Err("filePath is not supported by dapr-emulator".to_owned());
        }
        let uri = self.blob_uri(name, "")?;
        let response = self.client.call(Method::GET, &uri, &HeaderMap::new(), Bytes::new()).await;
        let response = response.map_err(|error| {
            if error.has_code("BlobNotFound") {
                return "blob not found".to_owned();
            }
            format!("error downloading az blob: {error}")
        })?;
        let include = metadata.get("includeMetadata").map_or(Ok(false), |text| parse_bool(text));
        let mut user_metadata = Vec::new();
        if include.map_err(|error| format!("error parsing metadata: {error}"))? {
            for (name, value) in response.headers() {
                if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("x-ms-meta-"), value.to_str()) {
                    user_metadata.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        Ok(Answer { data: response.into_body(), metadata: user_metadata })
    }

    /// `delete`: removes a blob.
    ///
    /// # Errors
    /// In the component's words.
    pub async fn delete(&self, metadata: &BTreeMap<String, String>) -> Result<(), String> {
        let name = blob_name(metadata)?;
        let mut headers = HeaderMap::new();
        if let Some(option) = metadata.get("deleteSnapshots") {
            if !["include", "only"].contains(&option.as_str()) {
                return Err(format!(
                    "invalid delete snapshot option type: {option}; allowed: [include only]"
                ));
            }
            let option = HeaderValue::from_str(option).map_err(|error| error.to_string())?;
            headers.insert("x-ms-delete-snapshots", option);
        }
        let uri = self.blob_uri(name, "")?;
        match self.client.call(Method::DELETE, &uri, &headers, Bytes::new()).await {
            Ok(_) => Ok(()),
            Err(error) if error.has_code("BlobNotFound") => Err("blob not found".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// `list`: the blobs of the container, page after page until `maxResults` are there.
    ///
    /// # Errors
    /// In the component's words.
    pub async fn list(&self, data: &[u8]) -> Result<Answer, String> {
        let options = ListOptions::parse(data)?;
        let mut items = Vec::new();
        let (mut marker, mut pages) = (options.marker.clone(), 0_u32);
        let last_marker = loop {
            let uri = self.container_uri(&options.query(&marker))?;
            let response = self.client.call(Method::GET, &uri, &HeaderMap::new(), Bytes::new()).await;
            let response = response.map_err(|error| format!("error listing blobs: {error}"))?;
            let page =
                list::page(response.body()).map_err(|error| format!("error listing blobs: {error}"))?;
            pages += 1;
            items.extend(page.items);
            let enough = usize::try_from(options.max_results).is_ok_and(|max| items.len() >= max);
            if enough || page.next_marker.is_empty() {
                break page.marker;
            }
            marker = page.next_marker;
        };
        let metadata = vec![
            ("marker".to_owned(), last_marker),
            ("number".to_owned(), items.len().to_string()),
            ("pagesTraversed".to_owned(), pages.to_string()),
        ];
        Ok(Answer { data: go_json(&items)?, metadata })
    }

    fn blob_uri(&self, name: &str, query: &str) -> Result<Uri, String> {
        let name = utf8_percent_encode(name, PATH_SEGMENT);
        let question = if query.is_empty() { "" } else { "?" };
        parse_uri(&format!("{}/{name}{question}{query}", self.settings.container_url))
    }

    fn container_uri(&self, query: &str) -> Result<Uri, String> {
        parse_uri(&format!("{}?{query}", self.settings.container_url))
    }
}

fn parse_uri(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|error| format!("parse {text:?}: {error}"))
}

fn blob_name(metadata: &BTreeMap<String, String>) -> Result<&str, String> {
    let name = metadata.get("blobName").filter(|name| !name.is_empty());
    name.map(String::as_str).ok_or_else(|| "blobName is a required attribute".to_owned())
}

/// `strconv.Unquote`, as far as re-marshalled JSON goes: a string becomes its text, anything else stays.
fn unquoted(data: Bytes) -> Bytes {
    if data.first() != Some(&b'"') {
        return data;
    }
    let text = json::parse(&data).ok().and_then(|document| {
        document.string(document.root()).map(|text| Bytes::copy_from_slice(text.as_bytes()))
    });
    text.unwrap_or(data)
}

/// Go's `base64.StdEncoding.DecodeString`, which passes over line ends.
fn go_base64(data: &[u8]) -> Result<Vec<u8>, String> {
    let compact: Vec<u8> = data.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    STANDARD.decode(&compact).map_err(|error| {
        let offset = match error {
            base64::DecodeError::InvalidByte(offset, _) => offset,
            _ => compact.len(),
        };
        format!("illegal base64 data at input byte {offset}")
    })
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "error parsing metadata `includeMetadata` with value `{text}` as bool: strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

/// Headers of an upload: the blob's own, and user metadata with what headers cannot hold taken out.
fn upload_headers(metadata: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    for (key, value) in metadata {
        if key == "blobName" || key == "signTTL" {
            continue;
        }
        let lower = key.to_lowercase();
        let own = HTTP_HEADERS.iter().find(|(name, _)| *name == lower && !value.is_empty());
        let (header, text) = match own {
            Some(("contentmd5", header)) => {
                check_md5(value)?;
                headers.insert("content-md5", header_value(value.as_bytes())?);
                ((*header).to_owned(), value.clone().into_bytes())
            }
            Some((_, header)) => ((*header).to_owned(), value.clone().into_bytes()),
            None => {
                let name: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
                let value = value.bytes().filter(|byte| matches!(byte, b'\t' | b' '..=b'~')).collect();
                (format!("x-ms-meta-{name}"), value)
            }
        };
        let name = HeaderName::from_bytes(header.to_ascii_lowercase().as_bytes());
        headers.insert(name.map_err(|error| error.to_string())?, header_value(&text)?);
    }
    Ok(headers)
}

fn header_value(bytes: &[u8]) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(bytes).map_err(|_| "net/http: invalid header field value".to_owned())
}

fn check_md5(value: &str) -> Result<(), String> {
    match STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == 16 => Ok(()),
        _ => Err("the MD5 value specified in Content MD5 is invalid, MD5 value must be 128 bits and base64 encoded"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Result<HeaderMap, String> {
        let metadata = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        upload_headers(&metadata)
    }

    #[test]
    fn a_string_is_stored_without_quotes_and_all_else_as_it_is() {
        let stored = |data: &'static [u8]| unquoted(Bytes::from_static(data));
        assert_eq!(&stored(br#""a\u003cb\n\"c\"""#)[..], b"a<b\n\"c\"");
        for same in [&b"{\"a\":\"b\"}"[..], b"[1]", b"null", b"1"] {
            assert_eq!(unquoted(Bytes::from_static(same)), same);
        }
    }

    #[test]
    fn metadata_sets_the_blobs_headers_in_any_case() {
        let headers =
            headers(&[("ContentType", "text/plain"), ("CACHEcontrol", "no-cache"), ("blobName", "x")])
                .expect("usable");
        assert_eq!(headers["x-ms-blob-content-type"], "text/plain");
        assert_eq!(headers["x-ms-blob-cache-control"], "no-cache");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("x-ms-meta-")));
    }

    #[test]
    fn the_rest_is_user_metadata_without_what_headers_cannot_hold() {
        let headers = headers(&[("my-key_1", "a\u{e9}b\tc\u{1}\u{7f} d"), ("traceparent", "00-1-2-00")])
            .expect("usable");
        assert_eq!(headers["x-ms-meta-mykey1"], "ab\tc d");
        assert_eq!(headers["x-ms-meta-traceparent"], "00-1-2-00");
    }

    #[test]
    fn a_digest_is_checked_and_sent_twice() {
        let right = headers(&[("contentMD5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).expect("usable");
        assert_eq!(right["content-md5"], right["x-ms-blob-content-md5"]);
        assert!(headers(&[("contentMD5", "short")]).expect_err("refused").contains("must be 128 bits"));
    }

    #[test]
    fn base64_is_gos() {
        assert_eq!(go_base64(b"aGk=").expect("valid"), b"hi");
        assert_eq!(go_base64(b"aG\nk=").expect("valid"), b"hi");
        assert_eq!(go_base64(b"a*k=").expect_err("invalid"), "illegal base64 data at input byte 1");
    }
}
