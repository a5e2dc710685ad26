//! Request bodies into memory, within a bound and without holding on to network buffers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::error::StorageError;
use crate::limits;

/// First allocation for a body of several parts; the declared length is not believed beyond it.
const FIRST_PART_BYTES: u64 = 1 << 20;

/// Reads a body of at most `max_bytes`. The bytes that are returned own exactly their length. `make_room` hears of the
/// bytes of each part before they are kept, and may refuse them.
///
/// # Errors
/// `RequestBodyTooLarge` (also by the declared length, before anything is read), `BodyIncomplete`, or what `make_room`
/// says.
pub async fn read(
    mut body: Incoming,
    max_bytes: u64,
    mut make_room: impl FnMut(u64) -> Result<(), StorageError>,
) -> Result<Bytes, StorageError> {
    let declared = body.size_hint().lower();
    if declared > max_bytes {
        return Err(StorageError::RequestBodyTooLarge { max_bytes });
    }
    let mut read = Vec::new();
    while let Some(part) = next_part(&mut body, limits::BODY_TIMEOUT).await? {
        if (read.len() + part.len()) as u64 > max_bytes {
            return Err(StorageError::RequestBodyTooLarge { max_bytes });
        }
        make_room(part.len() as u64)?;
        if read.is_empty() && part.len() as u64 == declared {
            // The usual case: all of it came with the head. A copy, because the part is a slice of the
            // connection's buffer and would keep all of that alive as long as the blob lives.
            return Ok(Bytes::copy_from_slice(&part));
        }
        if read.is_empty() {
            read.reserve(usize::try_from(declared.min(FIRST_PART_BYTES)).unwrap_or_default());
        }
        read.extend_from_slice(&part);
    }
    Ok(Bytes::from(read.into_boxed_slice()))
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
