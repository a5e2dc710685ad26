//! Calls to the blob service: signed, tried again as azcore does, errors told as azcore tells them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::settings::BlobSettings;
use super::sign::Signer;
use crate::app::causes;
use crate::go::time::http_date_now;
use crate::limits::{
    BLOB_BYTES_MAX, BLOB_IDLE_CONNECTIONS_MAX, BLOB_IDLE_TIMEOUT, BLOB_RETRY_PAUSE, BLOB_TRY_TIMEOUT,
};

/// The version of the service's API that azblob 1.3.2 asks for.
const SERVICE_VERSION: HeaderValue = HeaderValue::from_static("2023-11-03");
const X_MS_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
const X_MS_DATE: HeaderName = HeaderName::from_static("x-ms-date");
const X_MS_ERROR_CODE: &str = "x-ms-error-code";

/// Calls one container.
#[derive(Debug)]
pub(super) struct BlobClient {
    http: Client<HttpConnector, Full<Bytes>>,
    signer: Signer,
    retries: u32,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The service answered, not as hoped.
    Status {
        /// Its error code, as in `x-ms-error-code`.
        code: String,
        /// The whole story in azcore's words.
        text: String,
        status: StatusCode,
    },
    /// There was no answer.
    Transport(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { text, .. } | Self::Transport(text) => f.write_str(text),
        }
    }
}

impl CallError {
    pub(super) fn has_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Status { code, .. } if code == wanted)
    }

    /// Whether another try may help (azcore's default status codes).
    fn is_retriable(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504),
        }
    }
}

impl BlobClient {
    pub(super) fn new(settings: &BlobSettings) -> Option<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(BLOB_IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(BLOB_IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let signer = Signer::new(&settings.account, &settings.key)?;
        Some(Self { http, signer, retries: settings.retries })
    }

    /// Calls the service; any 2xx is success. Further tries wait longer and longer, as azcore's do.
    pub(super) async fn call(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let mut pause = BLOB_RETRY_PAUSE.0;
        let mut tries = 0;
        loop {
            match self.call_once(&method, uri, headers.clone(), body.clone()).await {
                Err(error) if error.is_retriable() && tries < self.retries => {
                    tries += 1;
                    tracing::debug!(%uri, %error, "trying again");
                    tokio::time::sleep(jitter(pause)).await;
                    pause = (pause * 2).min(BLOB_RETRY_PAUSE.1);
                }
                outcome => return outcome,
            }
        }
    }

    /// Calls the service once.
    pub(super) async fn call_once(
        &self,
        method: &Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        let transport = |error: &dyn std::error::Error| {
            CallError::Transport(format!("{method} {:?}: {}", uri.to_string(), causes(error)))
        };
        headers.insert(X_MS_VERSION, SERVICE_VERSION);
        let date = HeaderValue::from_str(&http_date_now()).map_err(|error| transport(&error))?;
        headers.insert(X_MS_DATE, date);
        let authorization = self.signer.authorization(method, uri, &headers, body.len());
        headers
            .insert(AUTHORIZATION, HeaderValue::from_str(&authorization).map_err(|error| transport(&error))?);
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("dapr-emulator/", env!("CARGO_PKG_VERSION"))),
        );
        headers.remove(HOST);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| transport(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BLOB_BYTES_MAX).collect().await;
            let body = body.map_err(|error| transport(error.as_ref()))?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let response = tokio::time::timeout(BLOB_TRY_TIMEOUT, exchange)
            .await
            .map_err(|_| CallError::Transport(format!("{method} {uri}: context deadline exceeded")))??;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(status_error(method, uri, &response))
    }
}

fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + 0.5 * rand::random::<f64>())
}

/// azcore's account of an answer (`exported/response_error.go`).
fn status_error(method: &Method, uri: &Uri, response: &Response<Bytes>) -> CallError {
    const RULE: &str = "--------------------------------------------------------------------------------";
    let status = response.status();
    let code = response.headers().get(X_MS_ERROR_CODE).and_then(|code| code.to_str().ok());
    let code = code.unwrap_or("UNAVAILABLE").to_owned();
    let (number, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
    let body = String::from_utf8_lossy(response.body());
    let body =
        if body.is_empty() { "Response contained no body" } else { body.trim_start_matches('\u{feff}') };
    let base = uri.to_string();
    let base = base.split('?').next().unwrap_or_default();
    let text = format!(
        "{method} {base}\n{RULE}\nRESPONSE {number}: {number} {reason}\nERROR CODE: {code}\n{RULE}\n{body}\n{RULE}\n"
    );
    CallError::Status { code, text, status }
}
