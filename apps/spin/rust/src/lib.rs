//! The Spin Rust stack: one component that is distributor or receiver by the route that Dapr calls.
//!
//! It knows its variables and Dapr. What an order is and where it goes is the `order` crate's.

use futures::StreamExt;
use order::{BODY_BYTES_MAX, Route};
use spin_sdk::http::{IncomingRequest, Method, Request, Response, send};
use spin_sdk::http_component;

#[http_component]
async fn handle(request: IncomingRequest) -> Response {
    let path_with_query = request.path_with_query().unwrap_or_default();
    let path = path_with_query.split('?').next().unwrap_or_default();
    match (request.method(), path, Route::of_path(path)) {
        (Method::Post, _, Some(route)) => forward(route, request).await,
        (Method::Get, "/healthz", _) => answer(200, "ok"),
        (Method::Get, "/dapr-metadata", _) => dapr_metadata().await,
        // Dapr takes 405 in answer to its probe by OPTIONS for "subscribed".
        (_, "/healthz" | "/dapr-metadata", _) | (_, _, Some(_)) => answer(405, ""),
        _ => answer(404, ""),
    }
}

async fn forward(route: Route, request: IncomingRequest) -> Response {
    let body = match read(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let forward = match route.forward(&body) {
        Ok(forward) => forward,
        Err(refusal) => return answer(400, refusal.to_string()),
    };
    match dapr(Method::Post, &forward.path(), forward.request).await {
        Ok(response) if (200..300).contains(response.status()) => answer(200, ""),
        Ok(response) => {
            let reason = String::from_utf8_lossy(response.body());
            answer(502, format!("Dapr refused: {} {reason}", response.status()))
        }
        Err(error) => answer(502, error),
    }
}

/// Passes Dapr's own answer on.
async fn dapr_metadata() -> Response {
    match dapr(Method::Get, "/v1.0/metadata", Vec::new()).await {
        Ok(response) => Response::builder()
            .status(*response.status())
            .header("content-type", "application/json")
            .body(response.into_body())
            .build(),
        Err(error) => answer(502, error),
    }
}

async fn dapr(method: Method, path: &str, body: Vec<u8>) -> Result<Response, String> {
    let url =
        spin_sdk::variables::get("dapr_url").map_err(|error| format!("no variable dapr_url: {error}"))?;
    let request = Request::builder()
        .method(method)
        .uri(format!("{}{path}", url.trim_end_matches('/')))
        .header("content-type", "application/json")
        .body(body)
        .build();
    send(request).await.map_err(|error| format!("Dapr cannot be reached: {error}"))
}

/// Reads a body up to the limit that the contract names.
async fn read(request: IncomingRequest) -> Result<Vec<u8>, Response> {
    let mut chunks = std::pin::pin!(request.into_body_stream());
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| answer(400, "the body breaks off"))?;
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(answer(413, format!("a body has at most {BODY_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn answer(status: u16, text: impl Into<String>) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8")
        .body(text.into())
        .build()
}
