//! `/v1.0/invoke/{app id}/method/{path}`: only the own application is known, so only it can be called.

use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::reply::error;
use super::{Call, Reply};
use crate::go::text::clean_path;
use crate::limits::APP_RESPONSE_BYTES_MAX;
use crate::runtime::Runtime;

/// What stays as it is in a path's segment.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

const FAILURE: (StatusCode, &str) = (StatusCode::INTERNAL_SERVER_ERROR, "ERR_DIRECT_INVOKE");

pub(super) async fn invoke(runtime: &Runtime, id: &str, method: &[&str], call: Call) -> Reply {
    let failure =
        |cause: &str| error(FAILURE.0, FAILURE.1, &format!("failed to invoke, id: {id}, err: {cause}"));
    if id != runtime.options.app_id {
        return failure("dapr-emulator has no name resolution: only its own application can be invoked");
    }
    let Some(app) = &runtime.app else { return failure("app channel not initialized") };
    let Ok(path) = target(method, call.head.uri.query()) else { return failure("the method is no path") };
    let http_method = call.head.method.clone();
    let mut headers = end_to_end(&call.head.headers);
    for name in ["dapr-caller-app-id", "dapr-callee-app-id"] {
        if let Ok(value) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some(value) = call.span.and_then(|span| HeaderValue::from_str(&span.traceparent()).ok()) {
        headers.insert(crate::trace::TRACEPARENT, value);
    }
    let body = match call.body(runtime.options.body_bytes_max()).await {
        Ok(body) => body,
        Err(cause) => return failure(&cause.to_string()),
    };
    match app.call(http_method, path, headers, body).await {
        Ok(response) if !response.is_whole => {
            failure(&format!("the app's answer has more than {APP_RESPONSE_BYTES_MAX} bytes"))
        }
        Ok(response) => {
            let mut reply = Reply::new(Full::new(response.body));
            *reply.status_mut() = response.status;
            *reply.headers_mut() = end_to_end(&response.headers);
            reply
        }
        Err(cause) => failure(&format!("error invoking app: {cause}")),
    }
}

fn target(method: &[&str], query: Option<&str>) -> Result<PathAndQuery, http::uri::InvalidUri> {
    let clean = clean_path(&method.join("/"));
    let escaped: Vec<String> =
        clean.split('/').map(|segment| utf8_percent_encode(segment, PATH_SEGMENT).to_string()).collect();
    let path = escaped.join("/");
    match query {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse(),
    }
}

/// Headers that are meant for the other end.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for name in [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING] {
        kept.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "te", "trailer", "upgrade", "dapr-api-token"] {
        kept.remove(name);
    }
    kept
}
