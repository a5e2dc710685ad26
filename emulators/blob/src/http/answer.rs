//! Answers: status, headers, body, and how a refusal looks on the wire. It decides nothing.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::xml;
use crate::content::{Content, Reader};
use crate::error::StorageError;
use crate::limits;
use crate::recorder::Row;
use crate::store::{Blob, ContentHeaders, Metadata};
use crate::time;

/// A body that is at hand, or one that is read or written while it is sent.
#[derive(Debug)]
pub enum AnswerBody {
    /// Content of a blob, part by part.
    Content(Reader<BlobContent>),
    /// All bytes; `None` when there are none (left).
    Full(Option<Bytes>),
    /// Recorder rows, one JSON object a line.
    Rows(std::vec::IntoIter<Row>),
}

/// A blob for the sake of its content.
#[derive(Debug)]
pub struct BlobContent(pub Arc<Blob>);

impl AsRef<Content> for BlobContent {
    fn as_ref(&self) -> &Content {
        &self.0.content
    }
}

/// What a request is answered.
pub type Answer = Response<AnswerBody>;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let part = match self.get_mut() {
            Self::Content(content) => content.next_part(),
            Self::Full(bytes) => bytes.take().map(Ok),
            Self::Rows(rows) => next_part(rows).map(Ok),
        };
        if let Some(Err(error)) = &part {
            // The head is sent: all that is left is to end the connection, so that nobody takes it for the whole.
            tracing::error!(%error, "cannot read content from the data directory");
        }
        Poll::Ready(part.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Content(content) => content.left_bytes() == 0,
            Self::Full(bytes) => bytes.is_none(),
            Self::Rows(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Content(content) => SizeHint::with_exact(content.left_bytes()),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Rows(_) => SizeHint::default(),
        }
    }
}

fn next_part(rows: &mut std::vec::IntoIter<Row>) -> Option<Bytes> {
    let mut part = BytesMut::new();
    while part.len() < limits::ANSWER_PART_BYTES {
        let Some(row) = rows.next() else { break };
        let line = serde_json::json!({
            "container": &*row.container,
            "blob": &*row.blob,
            "written_us": row.written_us,
            "bytes": row.bytes,
        });
        part.extend_from_slice(line.to_string().as_bytes());
        part.extend_from_slice(b"\n");
    }
    (!part.is_empty()).then(|| part.freeze())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    with_body(status, AnswerBody::Full(None))
}

/// An answer with these bytes.
pub fn bytes(status: StatusCode, content: Bytes) -> Answer {
    with_body(status, AnswerBody::Full((!content.is_empty()).then_some(content)))
}

/// An answer with this range of a blob.
pub fn content(status: StatusCode, blob: &Arc<Blob>, range: Range<u64>) -> Answer {
    with_body(status, AnswerBody::Content(Reader::new(BlobContent(Arc::clone(blob)), range)))
}

/// An answer with this XML document.
pub fn xml_document(document: String) -> Answer {
    let mut answer = bytes(StatusCode::OK, document.into());
    set_static(&mut answer, header::CONTENT_TYPE, "application/xml");
    answer
}

/// An answer with this JSON document.
pub fn json_document(status: StatusCode, document: &serde_json::Value) -> Answer {
    let mut answer = bytes(status, document.to_string().into());
    set_static(&mut answer, header::CONTENT_TYPE, "application/json");
    answer
}

/// The recorder's rows.
pub fn rows(rows: Vec<Row>) -> Answer {
    let mut answer = with_body(StatusCode::OK, AnswerBody::Rows(rows.into_iter()));
    set_static(&mut answer, header::CONTENT_TYPE, "application/x-ndjson");
    answer
}

/// A refusal, with Azure's XML body (none for 304, which has none by its nature).
pub fn refusal(error: &StorageError, request_id: &str) -> Answer {
    let (status, code) = error.status_and_code();
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = if status == StatusCode::NOT_MODIFIED {
        empty(status)
    } else {
        let document = xml::error_document(code, error, request_id, &time::iso_date(time::unix_us()));
        let mut answer = bytes(status, document.into());
        set_static(&mut answer, header::CONTENT_TYPE, "application/xml");
        answer
    };
    set_static(&mut answer, HeaderName::from_static("x-ms-error-code"), code);
    if let StorageError::InvalidRange { blob_bytes } = error {
        set(&mut answer, header::CONTENT_RANGE, format!("bytes */{blob_bytes}"));
    }
    answer
}

/// Sets a header to a text that is known to be a header value; one that is none is left out.
pub fn set(answer: &mut Answer, name: HeaderName, value: impl Into<Bytes>) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.into()) {
        answer.headers_mut().insert(name, value);
    }
}

/// Sets a header to a constant.
pub fn set_static(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// Sets `ETag` and `Last-Modified`.
pub fn set_version(answer: &mut Answer, etag: crate::store::ETag, modified_us: u64) {
    set(answer, header::ETAG, etag.to_string());
    set(answer, header::LAST_MODIFIED, time::http_date(modified_us));
}

/// Sets one `x-ms-meta-` header for each pair.
pub fn set_metadata(answer: &mut Answer, metadata: &Metadata) {
    for (name, value) in metadata {
        let Ok(name) = HeaderName::from_bytes(format!("x-ms-meta-{name}").as_bytes()) else { continue };
        set(answer, name, Bytes::copy_from_slice(value.as_bytes()));
    }
}

/// Sets the content headers that a blob was stored with.
pub fn set_content_headers(answer: &mut Answer, headers: &ContentHeaders) {
    let content_type = headers.content_type.as_deref().unwrap_or("application/octet-stream");
    set(answer, header::CONTENT_TYPE, Bytes::copy_from_slice(content_type.as_bytes()));
    for (name, value) in [
        (header::CONTENT_ENCODING, &headers.encoding),
        (header::CONTENT_LANGUAGE, &headers.language),
        (header::CONTENT_DISPOSITION, &headers.disposition),
        (header::CACHE_CONTROL, &headers.cache_control),
    ] {
        if let Some(value) = value {
            set(answer, name, Bytes::copy_from_slice(value.as_bytes()));
        }
    }
}

fn with_body(status: StatusCode, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
