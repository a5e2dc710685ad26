//! `/v1.0/invoke/{app id}/method/{path}`, and every other path with an app id in a header (dapr,
//! `pkg/api/http/directmessaging.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, utf8_percent_encode};

use super::reply::error;
use super::{Call, Reply, ReplyBody};
use crate::app::{API_TOKEN, AppAnswer, RequestBody};
use crate::go::text::PATH_SEGMENT;
use crate::go::text::clean_path;
use crate::invocation::{self, Invocation, end_to_end};
use crate::resiliency::policy::Failed;
use crate::runtime::Runtime;
use crate::trace::TRACEPARENT;

/// What stays as it is in a path (Go, `net/url`, `EscapedPath`).
const PATH: &AsciiSet = &PATH_SEGMENT
    .remove(b',')
    .remove(b'/')
    .remove(b';')
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*');

const APP_ID: &str = "dapr-app-id";

/// Which method of which application is called.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub id: String,
    pub method: String,
}

impl Target {
    /// What a call is for: by its header `dapr-app-id`, by the user of that name in a basic authorization, or by its
    /// path. `path` is decoded.
    pub(super) fn of(path: &str, headers: &HeaderMap) -> Option<Self> {
        let whole_path = || clean_path(path).trim_start_matches('/').to_owned();
        let id = headers.get(APP_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        if let Some(id) = id.map(str::to_owned).or_else(|| id_of_user(headers)) {
            return Some(Self { id, method: whole_path() });
        }
        let path = path.trim_start_matches('/').strip_prefix("v1.0")?;
        let path = path.trim_start_matches('/').strip_prefix("invoke/")?.trim_start_matches('/');
        let (id, method) = path.split_once("/method/").filter(|(id, _)| !id.is_empty())?;
        Some(Self { id: id.to_owned(), method: clean_path(method).trim_start_matches('/').to_owned() })
    }
}

/// `http://dapr-app-id:<id>@host/`.
fn id_of_user(headers: &HeaderMap) -> Option<String> {
    let credentials = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let credentials = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, id) = credentials.split_once(':')?;
    (user.eq_ignore_ascii_case(APP_ID) && !id.contains(':')).then(|| id.to_owned())
}

pub(super) async fn invoke(runtime: &Runtime, target: &Target, call: Call) -> Reply {
    let Target { id, method } = target;
    let failure = |cause: &str| {
        let message = format!("failed to invoke, id: {id}, err: {cause}");
        error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_DIRECT_INVOKE", &message)
    };
    let path = match path(method, call.head.uri.query()) {
        Ok(path) => path,
        Err(cause) => return failure(&cause),
    };
    let headers = headers(runtime, &call);
    let verb = call.head.method.clone();
    let is_streaming =
        call.head.headers.get(CONTENT_LENGTH).is_none() && !hyper::body::Body::is_end_stream(&call.body);
    let url = format!("http://{}{path}", runtime.app_address());
    let body = match call.body(runtime.options.body_bytes_max()).await {
        Ok(body) if is_streaming => RequestBody::chunked(body),
        Ok(body) => RequestBody::whole(body),
        Err(cause) => {
            let verb = crate::app::go_operation(&verb);
            return failure(&format!("{verb} \"{url}\": {cause}"));
        }
    };
    let invocation = Invocation { verb, path, headers, body, is_streaming };
    let once = || async {
        let answer = invocation::invoke(runtime, id, &invocation).await;
        let answer = answer.map_err(|error| Failed { is_permanent: is_streaming, ..Failed::plain(error) })?;
        let status = answer.status.as_u16();
        if (200..400).contains(&status) {
            return Ok(answer);
        }
        let (status, error) = (Some(status), format!("status {status}"));
        Err(Failed { value: Some(answer), error, status, is_permanent: is_streaming })
    };
    let outcome = match runtime.resiliency.endpoint(id, method) {
        Some(policy) => policy.run(once).await,
        None => once().await,
    };
    match outcome {
        Ok(answer) | Err(Failed { value: Some(answer), .. }) => reply(answer),
        Err(failed) => failure(&failed.error),
    }
}

/// What the caller sent along, with the call's span.
fn headers(runtime: &Runtime, call: &Call) -> HeaderMap {
    let mut headers = end_to_end(&call.head.headers);
    headers.remove(APP_ID);
    if runtime.tokens.api.is_some() {
        headers.remove(&API_TOKEN);
    }
    if let Some(value) = call.span.and_then(|span| HeaderValue::from_str(&span.traceparent()).ok()) {
        headers.insert(TRACEPARENT, value);
    }
    headers
}

/// Path and query of the call to the application (dapr, `pkg/messaging/method`, `NormalizeMethod`).
fn path(method: &str, query: Option<&str>) -> Result<PathAndQuery, String> {
    const INVALID: &str = "rpc error: code = InvalidArgument desc = invalid method: method contains";
    if method.contains(['#', '?', '\0']) {
        return Err(format!("{INVALID} forbidden character: {method:?}"));
    }
    if let Some(place) = method.bytes().position(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(format!("{INVALID} control character at position {place}: {method:?}"));
    }
    let path = utf8_percent_encode(&clean_path(method), PATH).to_string();
    let parsed = match query {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse(),
    };
    parsed.map_err(|error| format!("rpc error: code = InvalidArgument desc = invalid method: {error}"))
}

/// The application's answer as the caller gets it: what is well in chunks, as it comes.
fn reply(answer: AppAnswer) -> Reply {
    let mut reply = Reply::new(ReplyBody::default());
    *reply.status_mut() = answer.status;
    *reply.headers_mut() = end_to_end(&answer.headers);
    let is_well = (200..400).contains(&answer.status.as_u16());
    if !is_well {
        let json = HeaderValue::from_static("application/json");
        reply.headers_mut().entry(CONTENT_TYPE).or_insert(json);
    }
    *reply.body_mut() = ReplyBody::App(if is_well { answer.body.in_chunks() } else { answer.body });
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, headers: &[(&'static str, &str)]) -> Option<(String, String)> {
        let headers = headers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        });
        let target = Target::of(path, &headers.collect())?;
        Some((target.id, target.method))
    }

    fn pair(id: &str, method: &str) -> Option<(String, String)> {
        Some((id.to_owned(), method.to_owned()))
    }

    #[test]
    fn an_application_is_named_by_path_header_or_user() {
        assert_eq!(target("/v1.0/invoke/b/method/x/y", &[]), pair("b", "x/y"));
        assert_eq!(target("/v1.0/invoke/b/method/", &[]), pair("b", ""));
        assert_eq!(target("/v1.0/invoke/b/method/a//../c", &[]), pair("b", "c"));
        assert_eq!(target("/z", &[("dapr-app-id", "b")]), pair("b", "z"));
        assert_eq!(
            target("/v1.0/invoke/a/method/z", &[("dapr-app-id", "b")]),
            pair("b", "v1.0/invoke/a/method/z")
        );
        let user = STANDARD.encode("Dapr-App-Id:b");
        assert_eq!(target("/z", &[("authorization", &format!("Basic {user}"))]), pair("b", "z"));
    }

    #[test]
    fn what_names_none_names_none() {
        for path in [
            "/",
            "/z",
            "/v1.0/invoke/b",
            "/v1.0/invoke/b/method",
            "/v1.0/invoke//method/x",
            "/v2/invoke/b/method/x",
        ] {
            assert_eq!(target(path, &[]), None, "{path}");
        }
        let user = STANDARD.encode("other:b");
        assert_eq!(target("/z", &[("authorization", &format!("Basic {user}"))]), None);
        assert_eq!(target("/z", &[("authorization", "Bearer x")]), None);
    }

    #[test]
    fn a_method_becomes_a_path_or_is_refused_in_daprs_words() {
        let made = |method: &str| path(method, Some("q=1")).map(|path| path.to_string());
        assert_eq!(made("a b/ü"), Ok("/a%20b/%C3%BC?q=1".to_owned()));
        assert_eq!(made(""), Ok("/?q=1".to_owned()));
        let error = made("a?b").expect_err("refused");
        assert!(error.ends_with("invalid method: method contains forbidden character: \"a?b\""), "{error}");
        assert!(made("a\nb").expect_err("refused").contains("control character at position 1"));
    }
}
