//! Request bodies, part by part, within a bound and without holding on to network buffers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, header};

use crate::content::Upload;
use crate::error::StorageError;
use crate::limits;

/// Gives a body of at most `max_bytes` to an upload, as it arrives.
///
/// # Errors
/// `RequestBodyTooLarge` (also by the declared length, before anything is read), `BodyIncomplete`, or what the upload
/// says.
pub async fn receive(body: &mut Incoming, max_bytes: u64, upload: &mut Upload) -> Result<(), StorageError> {
    each_part(body, max_bytes, |part| upload.push(part)).await
}

/// Reads a small body of at most `max_bytes` as a whole.
///
/// # Errors
/// `RequestBodyTooLarge` or `BodyIncomplete`.
pub async fn read(body: &mut Incoming, max_bytes: u64) -> Result<Vec<u8>, StorageError> {
    let mut read = Vec::new();
    each_part(body, max_bytes, |part| {
        read.extend_from_slice(part);
        Ok(())
    })
    .await?;
    Ok(read)
}

/// Reads what is left of a body that nobody wanted, if it is short, so that the next request of the connection begins
/// where it should; false when the connection had better end.
pub async fn drain(headers: &HeaderMap, body: &mut Incoming) -> bool {
    if body.is_end_stream() {
        return true;
    }
    let short = body.size_hint().upper().is_some_and(|bytes| bytes <= limits::MAX_DRAIN_BYTES);
    // Who waits to be told to go on has sent nothing, and need not.
    if !short || headers.contains_key(header::EXPECT) {
        return false;
    }
    let rest = async { while let Ok(Some(_)) = next_part(body, limits::DRAIN_TIMEOUT).await {} };
    tokio::time::timeout(limits::DRAIN_TIMEOUT, rest).await.is_ok() && body.is_end_stream()
}

async fn each_part(
    body: &mut Incoming,
    max_bytes: u64,
    mut take: impl FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    if body.size_hint().lower() > max_bytes {
        return Err(StorageError::RequestBodyTooLarge { max_bytes });
    }
    let mut taken = 0;
    while let Some(part) = next_part(body, limits::BODY_TIMEOUT).await? {
        taken += part.len() as u64;
        if taken > max_bytes {
            return Err(StorageError::RequestBodyTooLarge { max_bytes });
        }
        take(&part)?;
    }
    Ok(())
}

async fn next_part(body: &mut Incoming, patience: Duration) -> Result<Option<Bytes>, StorageError> {
    loop {
        let frame = tokio::time::timeout(patience, body.frame()).await;
        match frame.map_err(|_| StorageError::BodyIncomplete)? {
            None => return Ok(None),
            Some(Err(_)) => return Err(StorageError::BodyIncomplete),
            Some(Ok(frame)) => {
                // Trailers carry nothing for us.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
