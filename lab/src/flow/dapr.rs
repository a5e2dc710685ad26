//! The lab as a Dapr app: output bindings of app id `lab` over Dapr's HTTP API. It knows no order.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::error::FlowError;
use super::http::{self, Answer};

/// The binding through which orders are scheduled.
pub const INGRESS: &str = "q-order-ingress-out";

/// The binding behind which the data set is kept.
pub const TEST_DATA: &str = "testdata";

/// Dapr's HTTP API for the lab.
#[derive(Debug, Clone)]
pub struct Dapr {
    client: reqwest::Client,
    base: Arc<str>,
}

impl Dapr {
    /// `base` is `http://host:port`, as in [`crate::backend::Endpoints::lab_dapr`].
    pub fn new(base: &str) -> Result<Self, FlowError> {
        Ok(Self { client: http::client()?, base: base.trim_end_matches('/').into() })
    }

    async fn invoke(&self, binding: &str, operation: &str, body: String) -> Result<Answer, FlowError> {
        let url = format!("{}/v1.0/bindings/{binding}", self.base);
        let request = self.client.post(&url).header("content-type", "application/json").body(body);
        http::send(operation, &url, request).await
    }

    async fn create(&self, binding: &str, what: &str, data: &str, metadata: &str) -> Result<(), FlowError> {
        let body = format!(r#"{{"operation":"create","metadata":{metadata},"data":{data}}}"#);
        let answer = self.invoke(binding, what, body).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(http::refused(what, &format!("{}/v1.0/bindings/{binding}", self.base), &answer))
    }

    /// Sends one message to the flow's first queue, due at `due` (RFC 3339), or at once.
    ///
    /// Components compare the metadata's key with its case: `ScheduledEnqueueTimeUtc`.
    pub async fn send(&self, data: &str, due: Option<&str>) -> Result<(), FlowError> {
        let metadata = match due {
            Some(due) => format!(r#"{{"ScheduledEnqueueTimeUtc":"{due}"}}"#),
            None => "{}".to_owned(),
        };
        self.create(INGRESS, "schedule an order", data, &metadata).await
    }

    /// Writes one blob of the data set. Dapr sorts the keys of `data` and compacts it.
    pub async fn store(&self, name: &str, data: &RawValue) -> Result<(), FlowError> {
        let metadata = format!(r#"{{"blobName":"{name}"}}"#);
        self.create(TEST_DATA, &format!("store {name}"), data.get(), &metadata).await
    }

    /// Reads one blob of the data set; `None` where there is none.
    pub async fn load(&self, name: &str) -> Result<Option<Vec<u8>>, FlowError> {
        let what = format!("load {name}");
        let body = format!(r#"{{"operation":"get","metadata":{{"blobName":"{name}"}}}}"#);
        let answer = self.invoke(TEST_DATA, &what, body).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            // Dapr has no status of its own for a blob that is not there, only the component's words.
            500 if is_missing(&answer.body) => Ok(None),
            _ => Err(http::refused(&what, &format!("{}/v1.0/bindings/{TEST_DATA}", self.base), &answer)),
        }
    }
}

/// The words are those of Dapr's component, or of the store where the component passes them on.
fn is_missing(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    ["blob not found", "blobnotfound", "blob does not exist", "containernotfound"]
        .iter()
        .any(|words| text.contains(words))
}
