//! The operations on blocks: Put Block, Put Block List, Get Block List. They read a request that is already allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::HeaderName;

use super::answer::{self, Answer};
use super::blobs::{
    BLOB_CONTENT_MD5, conditions_of_create, created, receive, set_checksum_as_sent, with_version,
};
use super::headers::{self, SentChecksum};
use super::service::Call;
use super::{body, xml, xml_in};
use crate::checksum::Hasher;
use crate::error::StorageError;
use crate::store::Description;
use crate::{limits, time};

/// Put Block.
pub async fn put(
    call: &Call<'_>,
    container: &str,
    name: &str,
    body: &mut Incoming,
) -> Result<Answer, StorageError> {
    let id = block_id(call)?;
    // Nothing is leased here, so this is all that a block can be asked.
    headers::conditions(call.headers)?;
    call.store.container(container)?;
    let received = receive(call, body, limits::MAX_BLOCK_BYTES, true).await?;
    if received.content.size_bytes() == 0 {
        let name = "content-length".to_owned();
        return Err(StorageError::InvalidHeaderValue { name, value: "0".to_owned() });
    }
    let checksums = received.checksums;
    call.store.stage_block(container, name, id, received)?;
    let mut answer = answer::empty(StatusCode::CREATED);
    set_checksum_as_sent(&mut answer, SentChecksum::of(call.headers)?, &checksums);
    Ok(answer)
}

/// Put Block List.
pub async fn put_list(
    call: &Call<'_>,
    container: &str,
    name: &str,
    body: &mut Incoming,
) -> Result<Answer, StorageError> {
    let conditions = conditions_of_create(call)?;
    let sent = SentChecksum::of(call.headers)?;
    let about = Description {
        md5: headers::md5(call.headers, BLOB_CONTENT_MD5.as_str())?,
        // The body is XML: only what is said about the blob counts.
        headers: headers::content_headers_of_set(call.headers)?,
        metadata: headers::metadata(call.headers)?,
        copy: None,
    };
    call.store.container(container)?;
    let document = body::read(body, limits::MAX_BLOCK_LIST_BYTES).await?;
    let mut hasher = Hasher::new();
    hasher.update(&document);
    let checksums = hasher.finish();
    sent.check(&checksums)?;
    let list = xml_in::block_list(&document)?;
    let written = call.store.commit_blocks((container, name), &list, about, &conditions, time::unix_us());
    let blob = created(call, written)?;
    let mut answer = with_version(StatusCode::CREATED, &blob);
    set_checksum_as_sent(&mut answer, sent, &checksums);
    Ok(answer)
}

/// Get Block List.
pub fn get_list(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let conditions = headers::conditions(call.headers)?;
    let kind = call.query.get("blocklisttype").unwrap_or("committed").to_ascii_lowercase();
    let (committed, uncommitted) = match kind.as_str() {
        "committed" => (true, false),
        "uncommitted" => (false, true),
        "all" => (true, true),
        _ => {
            return Err(StorageError::InvalidQueryParameterValue {
                name: "blocklisttype".to_owned(),
                value: kind,
                reason: "it is committed, uncommitted or all".to_owned(),
            });
        }
    };
    if call.query.get("snapshot").is_some() {
        return Err(StorageError::BlobNotFound);
    }
    let lists = call.store.container(container)?.block_lists(name)?;
    conditions.check_read(lists.blob.as_ref().map(|blob| (blob.etag, blob.modified_us)))?;
    let mut answer = answer::xml_document(xml::block_lists(&lists, committed, uncommitted));
    if let Some(blob) = &lists.blob {
        answer::set_version(&mut answer, blob.etag, blob.modified_us);
    }
    let bytes = lists.blob.as_ref().map_or(0, |blob| blob.size_bytes());
    answer::set(&mut answer, HeaderName::from_static("x-ms-blob-content-length"), bytes.to_string());
    Ok(answer)
}

/// The id of a block: base64 of at most 64 bytes.
fn block_id<'a>(call: &Call<'a>) -> Result<&'a str, StorageError> {
    let id = call.query.get("blockid").filter(|id| !id.is_empty());
    let id = id.ok_or(StorageError::MissingRequiredQueryParameter { name: "blockid" })?;
    let (name, value) = ("blockid".to_owned(), id.to_owned());
    match BASE64.decode(id) {
        Ok(bytes) if bytes.len() <= limits::MAX_BLOCK_ID_BYTES => Ok(id),
        Ok(_) => {
            let reason = format!("it is base64 of at most {} bytes", limits::MAX_BLOCK_ID_BYTES);
            Err(StorageError::OutOfRangeQueryParameterValue { name, value, reason })
        }
        Err(_) => {
            let reason = "Not a valid base64 string.".to_owned();
            Err(StorageError::InvalidQueryParameterValue { name, value, reason })
        }
    }
}
