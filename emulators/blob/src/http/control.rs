//! `/_emulator/…`: the clock and the recorder, which Azure has not. No account can have a name with `_`, so nothing
//! of the store is hidden by it. No credentials: it shows names and instants to whoever reaches the
//! program (by default this machine only), and no content.

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};

use super::answer::{self, Answer};
use super::body;
use crate::error::StorageError;
use crate::recorder::Recorder;
use crate::{limits, time};

/// What these paths begin with.
pub const PREFIX: &str = "/_emulator/";

/// Answers a request to the route behind [`PREFIX`].
///
/// # Errors
/// `ResourceNotFound` for another route, `UnsupportedHttpVerb`, or what is wrong with the body.
pub async fn answer(
    method: &Method,
    route: &str,
    body: &mut Incoming,
    recorder: &Recorder,
) -> Result<Answer, StorageError> {
    match (route, method) {
        ("clock", &Method::GET) => {
            let document = serde_json::json!({ "unix_us": time::unix_us() });
            Ok(answer::json_document(StatusCode::OK, &document))
        }
        ("recorder", &Method::PUT) => {
            let settings = body::read(body, limits::MAX_CONTROL_BODY_BYTES as u64).await?;
            check_settings(&settings)?;
            recorder.start();
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        ("recorder", &Method::GET) => {
            let (rows, dropped) = recorder.snapshot();
            let mut answer = answer::rows(rows);
            let name = HeaderName::from_static("x-recorder-dropped");
            answer::set(&mut answer, name, dropped.to_string());
            Ok(answer)
        }
        ("recorder", &Method::DELETE) => {
            recorder.stop();
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        ("clock" | "recorder", _) => Err(StorageError::UnsupportedHttpVerb),
        _ => Err(StorageError::ResourceNotFound),
    }
}

/// The recorder has no settings: nothing, or an empty JSON object.
fn check_settings(settings: &[u8]) -> Result<(), StorageError> {
    let parsed = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(settings);
    if settings.is_empty() || parsed.is_ok_and(|settings| settings.is_empty()) {
        return Ok(());
    }
    Err(StorageError::InvalidQueryParameterValue {
        name: "body".to_owned(),
        value: String::from_utf8_lossy(settings).into_owned(),
        reason: "the recorder of the blob store takes {} and no setting".to_owned(),
    })
}
