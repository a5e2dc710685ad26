//! The blob store's REST API as far as the lab needs it: list, get, delete, signed with the account's key; and the recorder of
//! our own store. Orders are written by the applications through Dapr, never here.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::broker;
use super::error::FlowError;
use super::http;
use super::limits;
use crate::backend::BlobEndpoint;

/// The service version that every store of the lab speaks.
const SERVICE_VERSION: &str = "2021-12-02";

/// What a path segment may keep of a blob's name.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// One successful write, as the recorder of our own store saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// The container's name.
    pub container: String,
    /// The blob's name.
    pub blob: String,
    /// When it was written, microseconds since the Unix epoch, of the store's clock.
    pub written_us: u64,
    /// Its size.
    pub bytes: u64,
}

/// How far a list was read: nothing of it at first.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Where the next page begins; empty for the first one, `None` after the last one.
    marker: Option<String>,
    read: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self { marker: Some(String::new()), read: 0 }
    }
}

/// The blob store of a lab.
#[derive(Clone)]
pub struct Blobs {
    client: reqwest::Client,
    url: Arc<str>,
    origin: Arc<str>,
    path: Arc<str>,
    account: Arc<str>,
    signer: Hmac<Sha256>,
}

#[derive(Deserialize)]
struct ListAnswer {
    #[serde(rename = "Blobs", default)]
    blobs: ListedBlobs,
    #[serde(rename = "NextMarker", default)]
    next_marker: Option<String>,
}

#[derive(Default, Deserialize)]
struct ListedBlobs {
    #[serde(rename = "Blob", default)]
    blob: Vec<ListedBlob>,
}

#[derive(Deserialize)]
struct ListedBlob {
    #[serde(rename = "Name")]
    name: String,
}

impl Blobs {
    /// Reads the endpoint's key; no request is made.
    pub fn new(endpoint: &BlobEndpoint) -> Result<Self, FlowError> {
        let wrong_key = || FlowError::Key { account: endpoint.account.clone() };
        let key = STANDARD.decode(&endpoint.key).map_err(|_| wrong_key())?;
        let signer = Hmac::new_from_slice(&key).map_err(|_| wrong_key())?;
        let url = endpoint.url.trim_end_matches('/');
        let after_scheme = url.find("://").map_or(0, |at| at + 3);
        let path_at = url.get(after_scheme..).and_then(|rest| rest.find('/')).map(|at| at + after_scheme);
        let (origin, path) = url.split_at(path_at.unwrap_or(url.len()));
        Ok(Self {
            client: http::client()?,
            url: url.into(),
            origin: origin.into(),
            path: path.into(),
            account: endpoint.account.as_str().into(),
            signer,
        })
    }

    /// Names of all blobs of a container; none where there is no such container.
    pub async fn list(&self, container: &str) -> Result<Vec<String>, FlowError> {
        let mut names = Vec::new();
        let mut pages = Pages::default();
        while let Some(page) = self.page(container, &mut pages).await? {
            names.extend(page);
        }
        Ok(names)
    }

    /// Names of the next blobs of a container, at most [`limits::LIST_PAGE`]; `None` after the last ones.
    pub async fn page(&self, container: &str, pages: &mut Pages) -> Result<Option<Vec<String>>, FlowError> {
        let Some(marker) = pages.marker.take() else { return Ok(None) };
        pages.read += 1;
        if pages.read > limits::LIST_PAGES {
            let reason = format!("the list has more than {} pages", limits::LIST_PAGES);
            return Err(FlowError::Answer { url: format!("{}/{container}", self.url), reason });
        }
        let operation = format!("list the blobs of {container}");
        let page = limits::LIST_PAGE.to_string();
        let mut query = vec![("comp", "list"), ("maxresults", &page), ("restype", "container")];
        if !marker.is_empty() {
            query.push(("marker", &marker));
        }
        let (url, request) = self.request(Method::GET, container, &query);
        let answer = http::send(&operation, &url, request).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(http::refused(&operation, &url, &answer)),
        }
        let text = String::from_utf8_lossy(&answer.body);
        let answer: ListAnswer = quick_xml::de::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|error| FlowError::Answer { url, reason: error.to_string() })?;
        pages.marker = answer.next_marker.filter(|marker| !marker.is_empty());
        Ok(Some(answer.blobs.blob.into_iter().map(|blob| blob.name).collect()))
    }

    /// The content of one blob; `None` where there is none.
    pub async fn get(&self, container: &str, blob: &str) -> Result<Option<Vec<u8>>, FlowError> {
        let operation = format!("get {container}/{blob}");
        let (url, request) = self.request(Method::GET, &blob_path(container, blob), &[]);
        let answer = http::send(&operation, &url, request).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(http::refused(&operation, &url, &answer)),
        }
    }

    /// Deletes one blob; one that is not there is no error.
    pub async fn delete(&self, container: &str, blob: &str) -> Result<(), FlowError> {
        let operation = format!("delete {container}/{blob}");
        let (url, request) = self.request(Method::DELETE, &blob_path(container, blob), &[]);
        let answer = http::send(&operation, &url, request).await?;
        match answer.status {
            202 | 404 => Ok(()),
            _ => Err(http::refused(&operation, &url, &answer)),
        }
    }

    /// Deletes every blob of a container and tells how many there were.
    pub async fn clear(&self, container: &str) -> Result<u64, FlowError> {
        let mut all = 0;
        // Always the first page: what it named is gone when it is asked for again.
        while let Some(names) = self.page(container, &mut Pages::default()).await? {
            if names.is_empty() {
                break;
            }
            let (store, container, count) = (self.clone(), Arc::<str>::from(container), names.len());
            let names: Arc<[String]> = names.into();
            let deleted = http::each(count, move |index| {
                let (store, container, names) = (store.clone(), container.clone(), names.clone());
                async move {
                    match names.get(index) {
                        Some(name) => store.delete(&container, name).await,
                        None => Ok(()),
                    }
                }
            });
            all += deleted.await?.len() as u64;
        }
        Ok(all)
    }

    /// The clock of our own store. Other stores have none.
    pub async fn clock(&self) -> Result<u64, FlowError> {
        broker::clock(&self.client, &self.origin).await
    }

    /// Forgets what was recorded and records from now on; our own store only.
    pub async fn start_recorder(&self) -> Result<(), FlowError> {
        broker::start_recorder(&self.client, &self.origin, &serde_json::json!({})).await
    }

    /// Stops recording and frees the rows; our own store only.
    pub async fn stop_recorder(&self) -> Result<(), FlowError> {
        broker::stop_recorder(&self.client, &self.origin).await
    }

    /// What was recorded, and how many rows did not fit; our own store only.
    pub async fn rows(&self) -> Result<(Vec<BlobRow>, u64), FlowError> {
        let mut rows = Vec::new();
        let dropped = self.each_row(|row| rows.push(row)).await?;
        Ok((rows, dropped))
    }

    /// Hands out what was recorded, row by row, and tells how many rows did not fit; our own store only.
    pub async fn each_row(&self, take: impl FnMut(BlobRow)) -> Result<u64, FlowError> {
        let url = format!("{}/_emulator/recorder", self.origin);
        http::rows("read the blob store's recorder", &url, self.client.get(&url), take).await
    }

    /// A signed request: "Authorize with Shared Key" of the Blob service's reference, for requests without a body.
    /// `query` is sorted by name, and its values stand as they are.
    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> (String, RequestBuilder) {
        let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
        let mut query = query.to_vec();
        query.sort_unstable();
        let signature = self.sign(&string_to_sign(&method, &self.account, &self.path, path, &query, &date));
        let url = format!("{}/{path}", self.url);
        let mut request_url = url.clone();
        for (index, (name, value)) in query.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            request_url
                .push_str(&format!("{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
        let request = self
            .client
            .request(method, request_url)
            .header("x-ms-date", date)
            .header("x-ms-version", SERVICE_VERSION)
            .header("authorization", format!("SharedKey {}:{signature}", self.account));
        (url, request)
    }

    fn sign(&self, text: &str) -> String {
        let mut signer = self.signer.clone();
        signer.update(text.as_bytes());
        STANDARD.encode(signer.finalize().into_bytes())
    }
}

fn blob_path(container: &str, blob: &str) -> String {
    format!("{container}/{}", utf8_percent_encode(blob, NAME))
}

/// Eleven standard headers, all empty, then the two `x-ms-` ones and the resource. The emulators' account stands in the path, and
/// so twice in the resource.
fn string_to_sign(
    method: &Method,
    account: &str,
    account_path: &str,
    path: &str,
    query: &[(&str, &str)],
    date: &str,
) -> String {
    let mut text = format!("{method}{}x-ms-date:{date}\nx-ms-version:{SERVICE_VERSION}\n", "\n".repeat(12));
    text.push_str(&format!("/{account}{account_path}/{path}"));
    for (name, value) in query {
        text.push_str(&format!("\n{name}:{value}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_text_is_that_of_the_reference() {
        let text = string_to_sign(
            &Method::GET,
            "devstoreaccount1",
            "/devstoreaccount1",
            "express-outbox",
            &[("comp", "list"), ("restype", "container")],
            "Fri, 26 Jun 2015 23:39:12 GMT",
        );
        assert_eq!(
            text,
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2021-12-02\n\
             /devstoreaccount1/devstoreaccount1/express-outbox\ncomp:list\nrestype:container"
        );
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(blob_path("box", "a b/ü?%"), "box/a%20b/%C3%BC%3F%25");
    }

    #[test]
    fn lists_with_and_without_blobs() {
        let empty = r#"<?xml version="1.0"?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"#;
        let answer: ListAnswer = quick_xml::de::from_str(empty).unwrap();
        assert!(answer.blobs.blob.is_empty() && answer.next_marker.unwrap_or_default().is_empty());
        let two = "<EnumerationResults><Prefix/><Blobs><Blob><Name>1</Name><Properties><Etag>x</Etag></Properties></Blob>\
                   <Blob><Name>a&amp;b</Name></Blob></Blobs><NextMarker>m</NextMarker></EnumerationResults>";
        let answer: ListAnswer = quick_xml::de::from_str(two).unwrap();
        let names: Vec<_> = answer.blobs.blob.iter().map(|blob| blob.name.as_str()).collect();
        assert_eq!((names, answer.next_marker.as_deref()), (vec!["1", "a&b"], Some("m")));
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_being_told() {
        let endpoint = BlobEndpoint {
            store: crate::spec::BlobStore::Native,
            url: "http://127.0.0.1:1/a".into(),
            account: "a".into(),
            key: "not base64!".into(),
        };
        let error = Blobs::new(&endpoint).err().unwrap();
        assert!(!error.to_string().contains("not base64!"), "{error}");
    }
}
