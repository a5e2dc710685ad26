//! The operations on blobs as a whole. They read a request that is already allowed.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName};

use super::answer::{self, Answer};
use super::containers::{echoed, endpoint, included, marker, next_marker};
use super::headers::SentChecksum;
use super::service::{Call, max_results};
use super::xml::{self, ListHead};
use super::{body, headers};
use crate::auth::Access;
use crate::checksum::{self, Checksums, Hasher};
use crate::content::{Reader, Received, Upload};
use crate::error::StorageError;
use crate::store::{Blob, Conditions, Description, ListRange, NewBlob, TagMatch, Written};
use crate::{limits, time};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
pub(super) const BLOB_CONTENT_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");
const CONTENT_CRC64: HeaderName = HeaderName::from_static("x-ms-content-crc64");
/// Asked for with a range only ("Get Blob").
const RANGE_MD5: &str = "x-ms-range-get-content-md5";
const RANGE_CRC64: &str = "x-ms-range-get-content-crc64";
const SERVER_ENCRYPTED: HeaderName = HeaderName::from_static("x-ms-request-server-encrypted");

/// What a list of blobs may be asked to include. Nothing here has snapshots, versions, tags or leases, so a list
/// without them is right.
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
        uncommitted: false,
    };
    let include = included(call, &INCLUDES)?;
    let range = ListRange { uncommitted: include.contains(&"uncommittedblobs"), ..range };
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
        with_copy: include.contains(&"copy"),
    };
    Ok(answer::xml_document(xml::blob_list(&head, &page, &next_marker(page.next.as_deref()))))
}

/// Put Blob, of the block blob kind.
pub async fn put(
    call: &Call<'_>,
    container: &str,
    name: &str,
    body: &mut Incoming,
) -> Result<Answer, StorageError> {
    check_blob_type(call)?;
    let conditions = conditions_of_create(call)?;
    let (headers, metadata) =
        (headers::content_headers_of_put(call.headers)?, headers::metadata(call.headers)?);
    let kept_md5 = headers::md5(call.headers, BLOB_CONTENT_MD5.as_str())?;
    call.store.container(container)?;
    let received = receive(call, body, limits::MAX_BLOB_BYTES, false).await?;

    let checksums = received.checksums;
    let about = Description { md5: Some(kept_md5.unwrap_or(checksums.md5)), headers, metadata, copy: None };
    let new = NewBlob { received, about };
    let written = call.store.put_blob(container, name, new, &conditions, time::unix_us());
    let blob = created(call, written)?;
    let mut answer = with_version(StatusCode::CREATED, &blob);
    set_checksums(&mut answer, &checksums);
    Ok(answer)
}

/// Takes in a body of at most `max_bytes`, and holds it against the checksum that came with it.
///
/// # Errors
/// What the headers, the body, the limits or the disk say.
pub async fn receive(
    call: &Call<'_>,
    body: &mut Incoming,
    max_bytes: u64,
    whole_in_file: bool,
) -> Result<Received, StorageError> {
    let sent = SentChecksum::of(call.headers)?;
    if call.headers.contains_key("x-ms-structured-body") {
        let detail = "x-ms-structured-body; send x-ms-content-crc64 or Content-MD5".to_owned();
        return Err(StorageError::NotImplemented { detail });
    }
    expect_length(call)?;
    let shared = call.store.shared();
    let expected_bytes = hyper::body::Body::size_hint(body).lower();
    if expected_bytes > max_bytes {
        return Err(StorageError::RequestBodyTooLarge { max_bytes });
    }
    if shared.disk().is_none() {
        shared.budget.expect_room(expected_bytes)?;
    }
    let room = shared.budget.reserve();
    let mut upload = Upload::new(room, shared.disk().cloned(), expected_bytes, whole_in_file);
    body::receive(body, max_bytes, &mut upload).await?;
    let received = upload.finish().await?;
    sent.check(&received.checksums)?;
    Ok(received)
}

/// The conditions of an operation that makes a blob: who may only create must find nothing there.
///
/// # Errors
/// What the headers say.
pub fn conditions_of_create(call: &Call<'_>) -> Result<Conditions, StorageError> {
    let conditions = headers::conditions(call.headers)?;
    if call.access == Access::CreateOnly {
        return Ok(Conditions { if_none_match: Some(TagMatch::Any), ..Conditions::default() });
    }
    Ok(conditions)
}

/// Records a write that went well, and names a refusal as the caller must see it.
///
/// # Errors
/// That of the write.
pub fn created(call: &Call<'_>, written: Result<Written, StorageError>) -> Result<Arc<Blob>, StorageError> {
    let Written { container, name, blob } = written.map_err(|error| match (call.access, error) {
        (Access::CreateOnly, StorageError::BlobAlreadyExists) => {
            StorageError::AuthorizationPermissionMismatch
        }
        (_, error) => error,
    })?;
    call.recorder.written(&container, &name, blob.modified_us, blob.size_bytes());
    Ok(blob)
}

/// What the answer to a whole blob says about the body ("Put Blob": the MD5 is there though none was sent).
fn set_checksums(answer: &mut Answer, checksums: &Checksums) {
    answer::set(answer, CONTENT_MD5, checksum::md5_text(&checksums.md5));
    answer::set(answer, CONTENT_CRC64, checksum::crc64_text(checksums.crc64));
    answer::set_static(answer, SERVER_ENCRYPTED, "true");
}

/// What the answer to a block or a block list says about the body ("Put Block": the MD5 is there when one was sent).
pub fn set_checksum_as_sent(answer: &mut Answer, sent: SentChecksum, checksums: &Checksums) {
    match sent {
        SentChecksum::Md5(_) => answer::set(answer, CONTENT_MD5, checksum::md5_text(&checksums.md5)),
        _ => answer::set(answer, CONTENT_CRC64, checksum::crc64_text(checksums.crc64)),
    }
    answer::set_static(answer, SERVER_ENCRYPTED, "true");
}

/// Get Blob, whole or a range.
pub fn get(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let wanted = |name| headers::is_true(call.headers, name);
    let (md5_wanted, crc64_wanted) = (wanted(RANGE_MD5), wanted(RANGE_CRC64));
    let has_range = ["range", "x-ms-range"].iter().any(|name| call.headers.contains_key(*name));
    if (md5_wanted || crc64_wanted) && !has_range {
        let name = if md5_wanted { RANGE_MD5 } else { RANGE_CRC64 }.to_owned();
        return Err(StorageError::InvalidHeaderValue { name, value: "true".to_owned() });
    }
    let Some(range) = headers::range(call.headers, blob.size_bytes())? else {
        let mut answer = answer::content(StatusCode::OK, &blob, 0..blob.size_bytes());
        describe(call, &mut answer, &blob);
        if let Some(md5) = &blob.about.md5 {
            answer::set(&mut answer, CONTENT_MD5, checksum::md5_text(md5));
        }
        return Ok(answer);
    };
    if md5_wanted && crc64_wanted {
        return Err(StorageError::BothChecksums);
    }
    let checksums = if md5_wanted || crc64_wanted { Some(checksums_of(&blob, range.clone())?) } else { None };
    let mut answer = answer::content(StatusCode::PARTIAL_CONTENT, &blob, range.clone());
    describe(call, &mut answer, &blob);
    let of_whole = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size_bytes());
    answer::set(&mut answer, header::CONTENT_RANGE, of_whole);
    if let Some(md5) = &blob.about.md5 {
        answer::set(&mut answer, BLOB_CONTENT_MD5, checksum::md5_text(md5));
    }
    match checksums {
        Some(found) if md5_wanted => answer::set(&mut answer, CONTENT_MD5, checksum::md5_text(&found.md5)),
        Some(found) => answer::set(&mut answer, CONTENT_CRC64, checksum::crc64_text(found.crc64)),
        None => {}
    }
    Ok(answer)
}

fn checksums_of(blob: &Arc<Blob>, range: std::ops::Range<u64>) -> Result<Checksums, StorageError> {
    let bytes = range.end - range.start;
    if bytes > limits::MAX_RANGE_MD5_BYTES {
        return Err(StorageError::OutOfRangeQueryParameterValue {
            name: "x-ms-range".to_owned(),
            value: bytes.to_string(),
            reason: format!("a checksum is given for at most {} bytes", limits::MAX_RANGE_MD5_BYTES),
        });
    }
    let (mut hasher, mut reader) = (Hasher::new(), Reader::new(&blob.content, range));
    while let Some(part) = reader.next_part() {
        hasher.update(&part.map_err(|error| StorageError::DiskRefuses { detail: error.to_string() })?);
    }
    Ok(hasher.finish())
}

/// Get Blob Properties.
pub fn properties(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let mut answer = answer::empty(StatusCode::OK);
    describe(call, &mut answer, &blob);
    answer::set(&mut answer, header::CONTENT_LENGTH, blob.size_bytes().to_string());
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-access-tier"), "Hot");
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-access-tier-inferred"), "true");
    if let Some(md5) = &blob.about.md5 {
        answer::set(&mut answer, CONTENT_MD5, checksum::md5_text(md5));
    }
    Ok(answer)
}

/// Get Blob Metadata.
pub fn metadata(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let blob = find(call, container, name)?;
    let mut answer = with_version(StatusCode::OK, &blob);
    answer::set_metadata(&mut answer, &blob.about.metadata);
    Ok(answer)
}

/// Set Blob Metadata.
pub fn set_metadata(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let (metadata, conditions) = (headers::metadata(call.headers)?, headers::conditions(call.headers)?);
    let change = |about: &mut Description| about.metadata = metadata;
    let blob = call.store.update_blob(container, name, &conditions, time::unix_us(), change)?;
    let mut answer = with_version(StatusCode::OK, &blob);
    answer::set_static(&mut answer, SERVER_ENCRYPTED, "true");
    Ok(answer)
}

/// Set Blob Properties: the content headers and the digest.
pub fn set_properties(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let new_headers = headers::content_headers_of_set(call.headers)?;
    let md5 = headers::md5(call.headers, BLOB_CONTENT_MD5.as_str())?;
    let conditions = headers::conditions(call.headers)?;
    let change = |about: &mut Description| (about.headers, about.md5) = (new_headers, md5);
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

fn find(call: &Call<'_>, container: &str, name: &str) -> Result<Arc<Blob>, StorageError> {
    refuse_snapshot(call)?;
    let conditions = headers::conditions(call.headers)?;
    let blob = call.store.container(container)?.get(name);
    conditions.check_read(blob.as_ref().map(|blob| (blob.etag, blob.modified_us)))?;
    blob.ok_or(StorageError::BlobNotFound)
}

fn find_unconditionally(call: &Call<'_>, container: &str, name: &str) -> Result<Arc<Blob>, StorageError> {
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

/// An answer with tag and date of a blob.
pub fn with_version(status: StatusCode, blob: &Blob) -> Answer {
    let mut answer = answer::empty(status);
    answer::set_version(&mut answer, blob.etag, blob.modified_us);
    answer
}

/// What Get Blob and Get Blob Properties both say.
fn describe(call: &Call<'_>, answer: &mut Answer, blob: &Blob) {
    answer::set_version(answer, blob.etag, blob.modified_us);
    answer::set_content_headers(answer, &blob.about.headers);
    answer::set_metadata(answer, &blob.about.metadata);
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
    if let Some(copy) = &blob.about.copy {
        let (bytes, when) = (blob.size_bytes(), time::http_date(copy.completed_us));
        for (name, value) in [
            ("x-ms-copy-id", copy.id.to_string()),
            ("x-ms-copy-source", copy.source.to_string()),
            ("x-ms-copy-status", "success".to_owned()),
            ("x-ms-copy-progress", format!("{bytes}/{bytes}")),
            ("x-ms-copy-completion-time", when),
        ] {
            answer::set(answer, HeaderName::from_static(name), value);
        }
    }
    if call.query.get("sig").is_some() {
        override_headers(call, answer);
    }
}

/// A shared access signature may say what the answer's headers are ("Create a service SAS").
fn override_headers(call: &Call<'_>, answer: &mut Answer) {
    for (parameter, name) in [
        ("rscc", header::CACHE_CONTROL),
        ("rscd", header::CONTENT_DISPOSITION),
        ("rsce", header::CONTENT_ENCODING),
        ("rscl", header::CONTENT_LANGUAGE),
        ("rsct", header::CONTENT_TYPE),
    ] {
        if let Some(value) = call.query.get(parameter) {
            answer::set(answer, name, value.to_owned());
        }
    }
}
