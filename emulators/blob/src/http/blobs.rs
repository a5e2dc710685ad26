//! The operations on blobs. They read a request that is already allowed.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};
use md5::{Digest as _, Md5};

use super::answer::{self, Answer};
use super::containers::{echoed, endpoint, included, marker, next_marker};
use super::service::{Call, max_results};
use super::xml::{self, ListHead};
use super::{body, headers};
use crate::auth::Access;
use crate::error::StorageError;
use crate::store::{Blob, Conditions, ListRange, NewBlob, TagMatch, Written};
use crate::{limits, time};

/// What a list of blobs may be asked to include. Nothing here has snapshots, versions, tags, leases or copies, so
/// a list without them is right.
const INCLUDES: [&str; 10] = [
    "copy",
    "deleted",
    "deletedwithversions",
    "immutabilitypolicy",
    "legalhold",
    "metadata",
    "snapshots",
    "tags",
    "uncommittedblobs",
    "versions",
];

/// List Blobs.
pub fn list(call: &Call<'_>, container: &str) -> Result<Answer, StorageError> {
    let range = ListRange {
        prefix: call.query.get("prefix").unwrap_or_default().to_owned(),
        from: marker(call)?,
        delimiter: call.query.get("delimiter").filter(|text| !text.is_empty()).map(str::to_owned),
        max_results: max_results(call.query)?,
    };
    let include = included(call, &INCLUDES)?;
    let container = call.store.container(container)?;
    let page = container.list(&range);
    let endpoint = endpoint(call);
    let parameters = [
        ("prefix", "Prefix"),
        ("marker", "Marker"),
        ("maxresults", "MaxResults"),
        ("delimiter", "Delimiter"),
    ];
    let head = ListHead {
        endpoint: &endpoint,
        container: Some(&container.name),
        parameters: echoed(call, &parameters),
        with_metadata: include.contains(&"metadata"),
    };
    Ok(answer::xml_document(xml::blob_list(&head, &page, &next_marker(page.next.as_deref()))))
}

/// Put Blob, of the block blob kind.
pub async fn put(
    call: &Call<'_>,
    container: &str,
    name: &str,
    body: Incoming,
) -> Result<Answer, StorageError> {
    check_blob_type(call)?;
    let mut conditions = headers::conditions(call.headers)?;
    let (headers, metadata) =
        (headers::content_headers_of_put(call.headers)?, headers::metadata(call.headers)?);
    let sent_md5 = headers::md5(call.headers, "content-md5")?;
    let kept_md5 = headers::md5(call.headers, "x-ms-blob-content-md5")?;
    expect_length(call)?;
    call.store.container(container)?;
    call.budget.expect_room(hyper::body::Body::size_hint(&body).lower())?;

    let mut room = call.budget.reserve();
    let content = body::read(body, limits::MAX_BLOB_BYTES, |bytes| room.grow(bytes)).await?;
    let md5: [u8; 16] = Md5::digest(&content).into();
    if let Some(sent) = sent_md5.filter(|sent| *sent != md5) {
        let (specified, calculated) = (headers::md5_text(&sent), headers::md5_text(&md5));
        return Err(StorageError::Md5Mismatch { specified, calculated });
    }
    if call.access == Access::CreateOnly {
        conditions.if_none_match = Some(TagMatch::Any);
    }
    let new = NewBlob { content, room, md5: Some(kept_md5.unwrap_or(md5)), headers, metadata };
    let written = call.store.put_blob(container, name, new, &conditions, time::unix_us());
    let Written { container, name, blob } = written.map_err(|error| match (call.access, error) {
        (Access::CreateOnly, StorageError::BlobAlreadyExists) => {
            StorageError::AuthorizationPermissionMismatch
        }
        (_, error) => error,
    })?;
    call.recorder.written(&container, &name, blob.modified_us, blob.size_bytes());

    let mut answer = with_version(StatusCode::CREATED, &blob);
    answer::set(&mut answer, HeaderName::from_static("content-md5"), headers::md5_text(&md5));
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-request-server-encrypted"), "true");
    Ok(answer)
}

/// Get Blob, whole or a range.
pub fn get(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let Some(range) = headers::range(call.headers, blob.size_bytes())? else {
        let mut answer = answer::bytes(StatusCode::OK, blob.content.clone());
        describe(&mut answer, &blob);
        if let Some(md5) = &blob.md5 {
            answer::set(&mut answer, HeaderName::from_static("content-md5"), headers::md5_text(md5));
        }
        return Ok(answer);
    };
    let part = slice(&blob.content, &range);
    let part_md5 = headers::is_true(call.headers, "x-ms-range-get-content-md5").then(|| part.clone());
    let mut answer = answer::bytes(StatusCode::PARTIAL_CONTENT, part);
    describe(&mut answer, &blob);
    let of_whole = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size_bytes());
    answer::set(&mut answer, header::CONTENT_RANGE, of_whole);
    if let Some(md5) = &blob.md5 {
        answer::set(&mut answer, HeaderName::from_static("x-ms-blob-content-md5"), headers::md5_text(md5));
    }
    if let Some(part) = part_md5 {
        if part.len() as u64 > limits::MAX_RANGE_MD5_BYTES {
            return Err(StorageError::OutOfRangeQueryParameterValue {
                name: "x-ms-range-get-content-md5".to_owned(),
                value: part.len().to_string(),
                reason: format!("a digest is given for at most {} bytes", limits::MAX_RANGE_MD5_BYTES),
            });
        }
        let md5 = headers::md5_text(&Md5::digest(&part).into());
        answer::set(&mut answer, HeaderName::from_static("content-md5"), md5);
    }
    Ok(answer)
}

/// Get Blob Properties.
pub fn properties(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let mut answer = answer::empty(StatusCode::OK);
    describe(&mut answer, &blob);
    answer::set(&mut answer, header::CONTENT_LENGTH, blob.size_bytes().to_string());
    if let Some(md5) = &blob.md5 {
        answer::set(&mut answer, HeaderName::from_static("content-md5"), headers::md5_text(md5));
    }
    Ok(answer)
}

/// Get Blob Metadata.
pub fn metadata(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let mut answer = with_version(StatusCode::OK, &blob);
    answer::set_metadata(&mut answer, &blob.metadata);
    Ok(answer)
}

/// Set Blob Metadata.
pub fn set_metadata(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let (metadata, conditions) = (headers::metadata(call.headers)?, headers::conditions(call.headers)?);
    let change = |blob: &mut Blob| blob.metadata = metadata;
    let blob = call.store.update_blob(container, name, &conditions, time::unix_us(), change)?;
    Ok(with_version(StatusCode::OK, &blob))
}

/// Set Blob Properties: the content headers and the digest.
pub fn set_properties(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let new_headers = headers::content_headers_of_set(call.headers)?;
    let md5 = headers::md5(call.headers, "x-ms-blob-content-md5")?;
    let conditions = headers::conditions(call.headers)?;
    let change = |blob: &mut Blob| (blob.headers, blob.md5) = (new_headers, md5);
    let blob = call.store.update_blob(container, name, &conditions, time::unix_us(), change)?;
    Ok(with_version(StatusCode::OK, &blob))
}

/// Delete Blob.
pub fn delete(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let conditions = headers::conditions(call.headers)?;
    refuse_snapshot(call)?;
    match headers::text(call.headers, "x-ms-delete-snapshots")? {
        // There are no snapshots; the blob itself must stay.
        Some("only") => find_unconditionally(call, container, name).map(drop)?,
        None | Some("include") => call.store.delete_blob(container, name, &conditions)?,
        Some(value) => {
            let name = "x-ms-delete-snapshots".to_owned();
            return Err(StorageError::InvalidHeaderValue { name, value: value.to_owned() });
        }
    }
    let mut answer = answer::empty(StatusCode::ACCEPTED);
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-delete-type-permanent"), "true");
    Ok(answer)
}

fn find(call: &Call<'_>, container: &str, name: &str) -> Result<std::sync::Arc<Blob>, StorageError> {
    refuse_snapshot(call)?;
    let conditions: Conditions = headers::conditions(call.headers)?;
    let blob = find_unconditionally(call, container, name)?;
    conditions.check_read(blob.etag, blob.modified_us)?;
    Ok(blob)
}

fn find_unconditionally(
    call: &Call<'_>,
    container: &str,
    name: &str,
) -> Result<std::sync::Arc<Blob>, StorageError> {
    call.store.container(container)?.get(name).ok_or(StorageError::BlobNotFound)
}

/// No blob here has a snapshot or an older version, so one that is asked for is not found.
fn refuse_snapshot(call: &Call<'_>) -> Result<(), StorageError> {
    let older = ["snapshot", "versionid"].iter().any(|name| call.query.get(name).is_some());
    if older { Err(StorageError::BlobNotFound) } else { Ok(()) }
}

fn check_blob_type(call: &Call<'_>) -> Result<(), StorageError> {
    match headers::text(call.headers, "x-ms-blob-type")? {
        Some("BlockBlob") => Ok(()),
        Some(kind @ ("AppendBlob" | "PageBlob")) => {
            Err(StorageError::NotImplemented { detail: format!("{kind}; block blobs are") })
        }
        Some(value) => Err(StorageError::InvalidHeaderValue {
            name: "x-ms-blob-type".to_owned(),
            value: value.to_owned(),
        }),
        None => Err(StorageError::MissingRequiredHeader { name: "x-ms-blob-type" }),
    }
}

fn expect_length(call: &Call<'_>) -> Result<(), StorageError> {
    let told = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    if told.iter().any(|name| call.headers.contains_key(name)) {
        return Ok(());
    }
    Err(StorageError::MissingContentLength)
}

fn slice(content: &Bytes, range: &std::ops::Range<u64>) -> Bytes {
    let bound = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
    content.slice(bound(range.start)..bound(range.end))
}

fn with_version(status: StatusCode, blob: &Blob) -> Answer {
    let mut answer = answer::empty(status);
    answer::set_version(&mut answer, blob.etag, blob.modified_us);
    answer
}

/// What Get Blob and Get Blob Properties both say.
fn describe(answer: &mut Answer, blob: &Blob) {
    answer::set_version(answer, blob.etag, blob.modified_us);
    answer::set_content_headers(answer, &blob.headers);
    answer::set_metadata(answer, &blob.metadata);
    answer::set_static(answer, header::ACCEPT_RANGES, "bytes");
    answer::set(answer, HeaderName::from_static("x-ms-creation-time"), time::http_date(blob.created_us));
    for (name, value) in [
        ("x-ms-blob-type", "BlockBlob"),
        ("x-ms-lease-status", "unlocked"),
        ("x-ms-lease-state", "available"),
        ("x-ms-server-encrypted", "true"),
    ] {
        answer::set_static(answer, HeaderName::from_static(name), value);
    }
}
