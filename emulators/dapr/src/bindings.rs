//! What an output binding is to the API: operations by name, data and metadata in, data and metadata out.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::blob::operations::BlobOutput;
use crate::servicebus::output::QueueOutput;

/// What an operation answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The body of the answer.
    pub data: Bytes,
    /// Its metadata, which becomes headers.
    pub metadata: Vec<(String, String)>,
}

/// An output binding of any type.
#[derive(Debug)]
pub enum OutputBinding {
    /// `bindings.azure.servicebusqueues`
    Queue(Box<QueueOutput>),
    /// `bindings.azure.blobstorage`
    Blob(Box<BlobOutput>),
}

impl OutputBinding {
    /// The operations it knows, in its own order.
    #[must_use]
    pub fn operations(&self) -> &'static [&'static str] {
        match self {
            Self::Queue(_) => &["create"],
            Self::Blob(_) => &["create", "get", "delete", "list"],
        }
    }

    /// Carries out an operation; `None` when it answers nothing. `name` is the component's.
    ///
    /// # Errors
    /// In the words of daprd or of the component.
    pub async fn invoke(
        &self,
        name: &str,
        operation: &str,
        data: Bytes,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Option<Answer>, String> {
        match (self, operation) {
            (Self::Queue(queue), "create") => queue.create(data, metadata).await.map(|()| None),
            (Self::Blob(blob), "create") => blob.create(data, metadata).await.map(Some),
            (Self::Blob(blob), "get") => blob.get(metadata).await.map(Some),
            (Self::Blob(blob), "delete") => blob.delete(metadata).await.map(|()| None),
            (Self::Blob(blob), "list") => blob.list(&data).await.map(Some),
            _ => Err(format!(
                "binding {name} does not support operation {operation}. supported operations:{}",
                self.operations().join(" ")
            )),
        }
    }
}

/// Serializes as Go's `json.Marshal` does: `<`, `>`, `&`, U+2028 and U+2029 escaped.
///
/// # Errors
/// When the value has no JSON form.
pub fn go_json(value: &impl Serialize) -> Result<Bytes, String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    // These characters stand in strings only.
    let escaped = text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Ok(escaped.into())
}
