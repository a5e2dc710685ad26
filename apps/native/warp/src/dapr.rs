//! Calls of Dapr's HTTP API over kept connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long Dapr may take for one call. It retries a broken broker for minutes; a message that waits longer than this is
/// better given back.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The most of an answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why Dapr did not answer. The message comes back when the application says so with 502.
#[derive(Debug, thiserror::Error)]
pub enum DaprError {
    /// The address cannot be part of a URL.
    #[error("the Dapr URL and '{0}' make no URL")]
    Url(String),
    /// The request cannot be made.
    #[error("the request to Dapr cannot be made")]
    Request(#[source] hyper::http::Error),
    /// Dapr cannot be reached, or broke off.
    #[error("Dapr cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Dapr was too slow.
    #[error("Dapr did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
}

/// Dapr's HTTP API.
#[derive(Debug, Clone)]
pub struct Dapr {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Dapr {
    /// Dapr at `url`, such as `http://localhost:3500`.
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { url: url.trim_end_matches('/').to_owned(), client }
    }

    /// Posts JSON to a path of the API.
    ///
    /// # Errors
    /// When no whole answer came in time; an answer with an error status is an answer.
    pub async fn post(&self, path: &str, json: Vec<u8>) -> Result<Response<Bytes>, DaprError> {
        self.call(Method::POST, path, json.into()).await
    }

    /// Gets a path of the API.
    ///
    /// # Errors
    /// See [`Dapr::post`].
    pub async fn get(&self, path: &str) -> Result<Response<Bytes>, DaprError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Bytes>, DaprError> {
        let uri: Uri = format!("{}{path}", self.url).parse().map_err(|_| DaprError::Url(path.to_owned()))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(DaprError::Request)?;
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| DaprError::Unreachable(error.into()))?;
            let (head, body) = response.into_parts();
            let body =
                Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(DaprError::Unreachable)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(CALL_TIMEOUT, exchange).await.map_err(|_| DaprError::Timeout)?
    }
}
