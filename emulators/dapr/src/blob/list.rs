//! `list`: the request's options, the service's XML, and the items as Go prints azblob's structs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::go::{json, text::query_escape};
use crate::limits::BLOB_LIST_PAGE_MAX;

/// What a request may ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListOptions {
    pub(super) marker: String,
    pub(super) prefix: String,
    pub(super) max_results: i32,
    pub(super) include: Vec<&'static str>,
}

/// Names are in lower case: see [`lower_keys`].
#[derive(Deserialize, Default)]
#[serde(default)]
struct Payload {
    marker: Option<String>,
    prefix: Option<String>,
    #[serde(rename = "maxresults")]
    max_results: Option<i32>,
    include: Option<Include>,
}

/// As [`Payload`].
#[derive(Deserialize, Default)]
#[serde(default)]
struct Include {
    copy: Option<bool>,
    metadata: Option<bool>,
    snapshots: Option<bool>,
    #[serde(rename = "uncommittedblobs")]
    uncommitted_blobs: Option<bool>,
    deleted: Option<bool>,
}

/// Go's decoder finds a field without regard to case.
fn lower_keys(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    members.into_iter().map(|(key, value)| (key.to_lowercase(), lower_keys(value))).collect()
}

impl ListOptions {
    /// Reads a request's data, which may be missing.
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        if let Ok(document) = json::parse(data)
            && let root = document.root()
            && document.object(root).is_none()
            && !document.is_null(root)
        {
            let found = document.type_name(root);
            return Err(format!(
                "json: cannot unmarshal {found} into Go value of type blobstorage.listPayload"
            ));
        }
        let payload = serde_json::from_slice(data).map(lower_keys).and_then(serde_json::from_value);
        let payload: Option<Payload> = payload.map_err(|error| format!("json: {error}"))?;
        let payload = payload.unwrap_or_default();
        let include = payload.include.unwrap_or_default();
        let include = [
            (include.copy, "copy"),
            (include.deleted, "deleted"),
            (include.metadata, "metadata"),
            (include.snapshots, "snapshots"),
            (include.uncommitted_blobs, "uncommittedblobs"),
        ];
        Ok(Self {
            marker: payload.marker.unwrap_or_default(),
            prefix: payload.prefix.unwrap_or_default(),
            max_results: payload.max_results.filter(|&max| max > 0).unwrap_or(BLOB_LIST_PAGE_MAX),
            include: include.into_iter().filter(|(on, _)| *on == Some(true)).map(|(_, name)| name).collect(),
        })
    }

    /// The query of the request for the page at `marker`.
    pub(super) fn query(&self, marker: &str) -> String {
        let page = self.max_results.min(BLOB_LIST_PAGE_MAX);
        let mut query = format!("comp=list&maxresults={page}&restype=container");
        let include = self.include.join(",");
        for (name, value) in [("include", include.as_str()), ("marker", marker), ("prefix", &self.prefix)] {
            if !value.is_empty() {
                query.push_str(&format!("&{name}={}", query_escape(value).replace('+', "%20")));
            }
        }
        query
    }
}

/// One page of a list.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    pub(super) marker: String,
    pub(super) next_marker: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EnumerationResults {
    #[serde(default)]
    marker: Option<String>,
    #[serde(default)]
    blobs: Option<Blobs>,
    #[serde(default)]
    next_marker: Option<String>,
}

#[derive(Deserialize)]
struct Blobs {
    #[serde(default, rename = "Blob")]
    blobs: Vec<XmlItem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct XmlItem {
    name: String,
    #[serde(default)]
    deleted: Option<bool>,
    #[serde(default)]
    snapshot: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    is_current_version: Option<bool>,
    #[serde(default)]
    properties: std::collections::HashMap<String, Option<String>>,
    #[serde(default)]
    metadata: Option<std::collections::BTreeMap<String, Option<String>>>,
}

/// A blob as Go prints azblob's `BlobItem`: field names of the struct, null where nothing is known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    deleted: Option<bool>,
    name: String,
    properties: ItemProperties,
    snapshot: Option<String>,
    blob_tags: Option<()>,
    has_versions_only: Option<bool>,
    is_current_version: Option<bool>,
    metadata: Option<std::collections::BTreeMap<String, Option<String>>>,
    or_metadata: Option<()>,
    #[serde(rename = "VersionID")]
    version_id: Option<String>,
}

macro_rules! item_properties {
    ($($field:ident $name:literal = $element:literal as $kind:ident;)*) => {
        /// azblob's `BlobProperties`, in its order.
        #[derive(Debug, Serialize)]
        struct ItemProperties { $( #[serde(rename = $name)] $field: Option<item_properties!(@type $kind)>, )* }

        impl ItemProperties {
            fn read(elements: &std::collections::HashMap<String, Option<String>>) -> Self {
                let get = |element: &str| elements.get(element)?.as_deref().filter(|text| !text.is_empty());
                Self { $( $field: get($element).and_then(item_properties!(@read $kind)), )* }
            }
        }
    };
    (@type text) => { String };
    (@type time) => { String };
    (@type number) => { i64 };
    (@type truth) => { bool };
    (@read text) => { |text: &str| Some(text.to_owned()) };
    (@read time) => { rfc3339 };
    (@read number) => { |text: &str| text.parse().ok() };
    (@read truth) => { |text: &str| text.parse().ok() };
}

item_properties! {
    etag "ETag" = "Etag" as text;
    last_modified "LastModified" = "Last-Modified" as time;
    access_tier "AccessTier" = "AccessTier" as text;
    access_tier_change_time "AccessTierChangeTime" = "AccessTierChangeTime" as time;
    access_tier_inferred "AccessTierInferred" = "AccessTierInferred" as truth;
    archive_status "ArchiveStatus" = "ArchiveStatus" as text;
    blob_sequence_number "BlobSequenceNumber" = "x-ms-blob-sequence-number" as number;
    blob_type "BlobType" = "BlobType" as text;
    cache_control "CacheControl" = "Cache-Control" as text;
    content_disposition "ContentDisposition" = "Content-Disposition" as text;
    content_encoding "ContentEncoding" = "Content-Encoding" as text;
    content_language "ContentLanguage" = "Content-Language" as text;
    content_length "ContentLength" = "Content-Length" as number;
    content_md5 "ContentMD5" = "Content-MD5" as text;
    content_type "ContentType" = "Content-Type" as text;
    copy_completion_time "CopyCompletionTime" = "CopyCompletionTime" as time;
    copy_id "CopyID" = "CopyId" as text;
    copy_progress "CopyProgress" = "CopyProgress" as text;
    copy_source "CopySource" = "CopySource" as text;
    copy_status "CopyStatus" = "CopyStatus" as text;
    copy_status_description "CopyStatusDescription" = "CopyStatusDescription" as text;
    creation_time "CreationTime" = "Creation-Time" as time;
    customer_key "CustomerProvidedKeySHA256" = "CustomerProvidedKeySha256" as text;
    deleted_time "DeletedTime" = "DeletedTime" as time;
    destination_snapshot "DestinationSnapshot" = "DestinationSnapshot" as text;
    encryption_scope "EncryptionScope" = "EncryptionScope" as text;
    expires_on "ExpiresOn" = "Expiry-Time" as time;
    immutability_expires_on "ImmutabilityPolicyExpiresOn" = "ImmutabilityPolicyUntilDate" as time;
    immutability_mode "ImmutabilityPolicyMode" = "ImmutabilityPolicyMode" as text;
    incremental_copy "IncrementalCopy" = "IncrementalCopy" as truth;
    is_sealed "IsSealed" = "Sealed" as truth;
    last_accessed_on "LastAccessedOn" = "LastAccessTime" as time;
    lease_duration "LeaseDuration" = "LeaseDuration" as text;
    lease_state "LeaseState" = "LeaseState" as text;
    lease_status "LeaseStatus" = "LeaseStatus" as text;
    legal_hold "LegalHold" = "LegalHold" as truth;
    rehydrate_priority "RehydratePriority" = "RehydratePriority" as text;
    remaining_retention_days "RemainingRetentionDays" = "RemainingRetentionDays" as number;
    server_encrypted "ServerEncrypted" = "ServerEncrypted" as truth;
    tag_count "TagCount" = "TagCount" as number;
}

fn rfc3339(http_date: &str) -> Option<String> {
    let unix_ms = crate::go::time::unix_ms(http_date)?;
    jiff::Timestamp::from_millisecond(unix_ms).ok().map(|timestamp| timestamp.to_string())
}

/// Reads one page of the service's answer.
pub(super) fn page(xml: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(xml).map_err(|error| error.to_string())?.trim_start_matches('\u{feff}');
    let results: EnumerationResults = quick_xml::de::from_str(text).map_err(|error| error.to_string())?;
    let blobs = results.blobs.map(|blobs| blobs.blobs).unwrap_or_default();
    let items = blobs.into_iter().map(|blob| Item {
        deleted: blob.deleted,
        name: blob.name,
        properties: ItemProperties::read(&blob.properties),
        snapshot: blob.snapshot,
        blob_tags: None,
        has_versions_only: None,
        is_current_version: blob.is_current_version,
        metadata: blob.metadata,
        or_metadata: None,
        version_id: blob.version_id,
    });
    Ok(Page {
        items: items.collect(),
        marker: results.marker.unwrap_or_default(),
        next_marker: results.next_marker.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_asked_for() {
        let options = ListOptions::parse(
            br#"{"include":{"metadata":true,"copy":false},"marker":"m 1","maxResults":2,"prefix":"a/b"}"#,
        )
        .expect("valid");
        assert_eq!(
            options.query(&options.marker),
            "comp=list&maxresults=2&restype=container&include=metadata&marker=m%201&prefix=a%2Fb"
        );
        let in_other_case = ListOptions::parse(br#"{"MAXRESULTS":2,"Include":{"UncommittedBlobs":true}}"#);
        let query = in_other_case.expect("valid").query("");
        assert_eq!(query, "comp=list&maxresults=2&restype=container&include=uncommittedblobs");
        let none = ListOptions::parse(b"null").expect("valid");
        assert_eq!(none.query(""), "comp=list&maxresults=5000&restype=container");
    }

    #[test]
    fn data_that_is_no_object_is_refused() {
        for (data, found) in [(&b"\"x\""[..], "string"), (b"[]", "array"), (b"1", "number")] {
            let message = ListOptions::parse(data).expect_err("refused");
            assert!(message.contains(&format!("cannot unmarshal {found} into")), "{message}");
        }
        assert!(ListOptions::parse(br#"{"maxResults":"2"}"#).is_err());
    }

    #[test]
    fn a_page_is_read() {
        let xml = r#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://h/a" ContainerName="box">
            <Prefix/><Marker>m</Marker><MaxResults>2</MaxResults><Blobs><Blob><Name>one</Name><Properties>
            <Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>0x1</Etag><Content-Length>7</Content-Length>
            <Content-Type>application/json</Content-Type><Content-Encoding/><BlobType>BlockBlob</BlobType>
            <ServerEncrypted>true</ServerEncrypted></Properties><Metadata><k>v</k></Metadata></Blob>
            <Blob><Name>two</Name><Properties/></Blob></Blobs><NextMarker>n</NextMarker></EnumerationResults>"#;
        let page = page(xml.as_bytes()).expect("valid");
        assert_eq!((page.marker.as_str(), page.next_marker.as_str()), ("m", "n"));
        let json = serde_json::to_value(&page.items).expect("json");
        assert_eq!(json[0]["Name"], "one");
        assert_eq!(json[0]["Properties"]["ContentLength"], 7);
        assert_eq!(json[0]["Properties"]["LastModified"], "2026-01-01T00:00:00Z");
        assert_eq!(json[0]["Properties"]["ServerEncrypted"], true);
        assert_eq!(json[0]["Properties"]["ContentEncoding"], serde_json::Value::Null);
        assert_eq!(json[0]["Metadata"]["k"], "v");
        assert_eq!(json[1]["Metadata"], serde_json::Value::Null);
        assert!(super::page(b"<not xml").is_err());
    }
}
