//! The routes: what comes in, what Dapr is told, what goes back.

use std::convert::Infallible;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::header::CONTENT_TYPE;
use order::{BODY_BYTES_MAX, Route};
use warp::http::{HeaderValue, Response, StatusCode};
use warp::path::FullPath;
use warp::{Filter, Rejection, Reply};

use crate::dapr::{Dapr, DaprError};

type Answer = Response<Bytes>;

/// All routes of the contract. A known path with another method is answered 405, which Dapr's subscription probe by
/// OPTIONS takes for "subscribed".
pub fn routes(dapr: Dapr) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let health = exactly("/healthz").and(warp::get()).map(|| answer(StatusCode::OK, "ok"));
    let with_dapr = warp::any().map(move || dapr.clone());
    let metadata = exactly("/dapr-metadata").and(warp::get()).and(with_dapr.clone()).then(dapr_metadata);
    let route =
        |path: FullPath| async move { Route::of_path(path.as_str()).ok_or_else(warp::reject::not_found) };
    let orders = warp::path::full()
        .and_then(route)
        .and(warp::post())
        .and(warp::body::stream())
        .and(with_dapr)
        .then(forward);
    health.or(metadata).or(orders)
}

/// This path and no other: warp's own filters also take one with a slash behind it.
fn exactly(path: &'static str) -> impl Filter<Extract = (), Error = Rejection> + Clone {
    let is_it = move |full: FullPath| async move {
        if full.as_str() == path { Ok(()) } else { Err(warp::reject::not_found()) }
    };
    warp::path::full().and_then(is_it).untuple_one()
}

async fn dapr_metadata(dapr: Dapr) -> Answer {
    match dapr.get("/v1.0/metadata").await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let mut answer = Answer::new(body);
            *answer.status_mut() = head.status;
            if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
                answer.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            }
            answer
        }
        Err(error) => bad_gateway(&error),
    }
}

async fn forward<B: Buf>(
    route: Route,
    body: impl Stream<Item = Result<B, warp::Error>>,
    dapr: Dapr,
) -> Answer {
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let forward = match route.forward(&body) {
        Ok(forward) => forward,
        Err(refusal) => return answer(StatusCode::BAD_REQUEST, refusal.to_string()),
    };
    let path = forward.path();
    match dapr.post(&path, forward.request).await {
        Ok(response) if response.status().is_success() => answer(StatusCode::OK, ""),
        Ok(response) => {
            let reason = String::from_utf8_lossy(response.body());
            tracing::warn!(binding = forward.binding, status = %response.status(), %reason, "Dapr refused an order");
            answer(StatusCode::BAD_GATEWAY, format!("Dapr refused: {} {reason}", response.status()))
        }
        Err(error) => bad_gateway(&error),
    }
}

/// Reads a body up to the limit that the contract names.
async fn read<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>) -> Result<Bytes, Answer> {
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|_| answer(StatusCode::BAD_REQUEST, "the body breaks off"))?;
        if read.len() + chunk.remaining() > BODY_BYTES_MAX {
            return Err(answer(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a body has at most {BODY_BYTES_MAX} bytes"),
            ));
        }
        read.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
    }
    Ok(read.freeze())
}

fn bad_gateway(error: &DaprError) -> Answer {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%error, cause, "a call of Dapr failed");
    answer(StatusCode::BAD_GATEWAY, error.to_string())
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Answer::new(text.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// Turns what no route took into a plain answer: 404, or 405 for a known path.
///
/// # Errors
/// Never; the type is warp's.
pub async fn refused(rejection: Rejection) -> Result<impl Reply, Infallible> {
    let status = if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        StatusCode::METHOD_NOT_ALLOWED
    } else {
        StatusCode::NOT_FOUND
    };
    Ok(answer(status, ""))
}
