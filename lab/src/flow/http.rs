//! Bounded HTTP for the flow: one client, one way to turn what goes wrong into a [`FlowError`], bounded concurrency.
//! It knows no route.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::error::FlowError;
use super::limits;

/// A client that keeps [`limits::CONNECTIONS`] connections to each host. reqwest sets TCP_NODELAY by itself.
pub(crate) fn client() -> Result<reqwest::Client, FlowError> {
    reqwest::Client::builder()
        .pool_max_idle_per_host(limits::CONNECTIONS)
        .pool_idle_timeout(limits::IDLE_CONNECTION)
        .timeout(limits::REQUEST)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|source| failed("prepare the HTTP client", "this machine", source))
}

fn failed(operation: &str, url: &str, source: reqwest::Error) -> FlowError {
    FlowError::Request { operation: operation.to_owned(), url: url.to_owned(), source: source.without_url() }
}

/// An answer as far as it is needed.
pub(crate) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Sends and reads the whole answer, whatever its status; at most [`limits::ANSWER_BYTES`].
pub(crate) async fn send(operation: &str, url: &str, request: RequestBuilder) -> Result<Answer, FlowError> {
    let mut response = request.send().await.map_err(|source| failed(operation, url, source))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| failed(operation, url, source))? {
        if body.len() + chunk.len() > limits::ANSWER_BYTES {
            let reason = format!("it is longer than {} bytes", limits::ANSWER_BYTES);
            return Err(FlowError::Answer { url: url.to_owned(), reason });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, body })
}

/// As [`send`], and a status other than 2xx is an error.
pub(crate) async fn expect(
    operation: &str,
    url: &str,
    request: RequestBuilder,
) -> Result<Vec<u8>, FlowError> {
    let answer = send(operation, url, request).await?;
    if (200..300).contains(&answer.status) {
        return Ok(answer.body);
    }
    Err(refused(operation, url, &answer))
}

/// The error for an answer that is a refusal.
pub(crate) fn refused(operation: &str, url: &str, answer: &Answer) -> FlowError {
    FlowError::Refused {
        operation: operation.to_owned(),
        url: url.to_owned(),
        status: answer.status,
        answer: FlowError::shown(&answer.body),
    }
}

/// As [`expect`], and the answer is JSON.
pub(crate) async fn json<T: DeserializeOwned>(
    operation: &str,
    url: &str,
    request: RequestBuilder,
) -> Result<T, FlowError> {
    let body = expect(operation, url, request).await?;
    serde_json::from_slice(&body)
        .map_err(|error| FlowError::Answer { url: url.to_owned(), reason: error.to_string() })
}

/// Newline-delimited JSON, row by row, so that no more than one is held; gives the header that counts what was dropped.
pub(crate) async fn rows<T: DeserializeOwned>(
    operation: &str,
    url: &str,
    request: RequestBuilder,
    mut take: impl FnMut(T),
) -> Result<u64, FlowError> {
    let mut response = request.send().await.map_err(|source| failed(operation, url, source))?;
    if !response.status().is_success() {
        let status = response.status().as_u16();
        let body = response.chunk().await.ok().flatten().unwrap_or_default().to_vec();
        return Err(refused(operation, url, &Answer { status, body }));
    }
    let dropped = dropped(response.headers());
    let mut rows = 0;
    let mut take_line = |line: &[u8]| parse(url, line, &mut rows, &mut take);
    let mut rest = Vec::new();
    while let Some(chunk) = next(operation, url, &mut response).await? {
        let mut lines = chunk.split(|byte| *byte == b'\n');
        // The first piece continues what the last chunk left; the last piece waits for its continuation.
        rest.extend_from_slice(lines.next().unwrap_or_default());
        for line in lines {
            take_line(&rest)?;
            rest.clear();
            rest.extend_from_slice(line);
        }
        if rest.len() > limits::RECORDER_LINE_BYTES {
            let reason = format!("a row is longer than {} bytes", limits::RECORDER_LINE_BYTES);
            return Err(FlowError::Answer { url: url.to_owned(), reason });
        }
    }
    take_line(&rest)?;
    Ok(dropped)
}

async fn next(operation: &str, url: &str, response: &mut Response) -> Result<Option<Vec<u8>>, FlowError> {
    let chunk = response.chunk().await.map_err(|source| failed(operation, url, source))?;
    Ok(chunk.map(|bytes| bytes.to_vec()))
}

fn dropped(headers: &HeaderMap) -> u64 {
    let value = headers.get("x-recorder-dropped").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn parse<T: DeserializeOwned>(
    url: &str,
    line: &[u8],
    rows: &mut u64,
    take: &mut impl FnMut(T),
) -> Result<(), FlowError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    *rows += 1;
    let row = serde_json::from_slice(line)
        .map_err(|error| FlowError::Answer { url: url.to_owned(), reason: format!("row {rows}: {error}") })?;
    take(row);
    Ok(())
}

/// Does `work` for 0..count with [`limits::CONNECTIONS`] at a time, and ends with the first error. The results come
/// in no order.
pub(crate) async fn each<R, F, W>(count: usize, work: W) -> Result<Vec<R>, FlowError>
where
    R: Send + 'static,
    F: Future<Output = Result<R, FlowError>> + Send + 'static,
    W: Fn(usize) -> F + Clone + Send + 'static,
{
    each_of(limits::CONNECTIONS, count, work).await
}

/// As [`each`], with so many at a time.
pub(crate) async fn each_of<R, F, W>(at_a_time: usize, count: usize, work: W) -> Result<Vec<R>, FlowError>
where
    R: Send + 'static,
    F: Future<Output = Result<R, FlowError>> + Send + 'static,
    W: Fn(usize) -> F + Clone + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_a_time.min(count) {
        let (next, work) = (next.clone(), work.clone());
        workers.spawn(async move {
            let mut results = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return Ok(results);
                }
                results.push(work(index).await?);
            }
        });
    }
    let mut results = Vec::with_capacity(count);
    // Dropping the set on the first error stops the other workers.
    while let Some(worker) = workers.join_next().await {
        results.extend(worker.map_err(FlowError::Task)??);
    }
    Ok(results)
}
