//! A guest for the tests of a Spin host: each path does one thing that a host must get right.
//!
//! It must not work around anything: what the host gives it is what the tests see.

mod outbound;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use spin_sdk::http::{
    Fields, IncomingRequest, IncomingResponse, Method, OutgoingResponse, Request, ResponseOutparam,
};
use spin_sdk::http_component;

static COUNTER: AtomicU32 = AtomicU32::new(0);

#[http_component]
async fn handle(request: IncomingRequest, out: ResponseOutparam) {
    let path_with_query = request.path_with_query().unwrap_or_default();
    let (path, query) = path_with_query.split_once('?').unwrap_or((&path_with_query, ""));
    let query = decode(query);
    // A route with a prefix in the manifest may lead here as well: the last segment decides.
    let named = path.rsplit('/').next().unwrap_or_default().to_owned();
    match std::env::var("ALWAYS").unwrap_or(named).as_str() {
        "request" => text(out, 200, describe(&request)).await,
        "upload" => upload(request, out).await,
        "echo" => echo(request, out).await,
        "stream" => stream(out, number(&query)).await,
        "trap" => panic!("asked to trap"),
        "trap-late" => trap_late(request, out, query == "chunked").await,
        "no-response" => {}
        "counter" => text(out, 200, (COUNTER.fetch_add(1, Ordering::Relaxed) + 1).to_string()).await,
        "variable" => variable(out, &query).await,
        "environment" => text(out, 200, environment()).await,
        "fetch" => fetch(out, &query).await,
        "post" => post(request, out, &query).await,
        "flood" => flood(out, &query).await,
        "impatient" => text(out, 200, outbound::impatient(&query)).await,
        "tcp" => text(out, 200, outbound::tcp(&query)).await,
        "memory" => memory(out, number(&query)).await,
        "touch" => touch(out, number(&query)).await,
        "eat" => eat(),
        "compute" => compute(number(&query)),
        "print" => {
            println!("out {query}");
            eprintln!("err {query}");
            print!("no line break");
            std::io::stdout().flush().expect("the host takes it");
            text(out, 200, String::new()).await;
        }
        "read" => text(out, 200, format!("{:?}", std::fs::read_to_string(&query))).await,
        "write" => text(out, 200, format!("{:?}", std::fs::write(&query, "written"))).await,
        "big-header" => big_header(out, number(&query)).await,
        "list" => text(out, 200, list(&query)).await,
        "conformance" => text(out, 200, variables_as_in_the_conformance_test()).await,
        "status" => text(out, u16::try_from(number(&query)).unwrap_or(500), String::new()).await,
        _ => text(out, 404, "the probe knows no such path".to_owned()).await,
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(0)
}

fn decode(query: &str) -> String {
    query.replace("%20", " ").replace("%3A", ":").replace("%2F", "/").replace("%3F", "?")
}

async fn text(out: ResponseOutparam, status: u16, body: String) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a valid status");
    out.set_with_body(response, body.into_bytes()).await.expect("the host takes the body");
}

/// Method, scheme, authority and path, then all header fields in order of their names.
fn describe(request: &IncomingRequest) -> String {
    let mut text = format!(
        "{} {:?} {:?} {:?}\n",
        request.method(),
        request.scheme(),
        request.authority(),
        request.path_with_query()
    );
    let mut fields = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in request.headers().entries() {
        fields.entry(name).or_default().push(String::from_utf8_lossy(&value).into_owned());
    }
    for (name, values) in fields {
        let _ = writeln!(text, "{name}: {}", values.join(" | "));
    }
    text
}

/// Counts a body without keeping it.
async fn upload(request: IncomingRequest, out: ResponseOutparam) {
    let mut chunks = std::pin::pin!(request.into_body_stream());
    let mut bytes = 0_usize;
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => bytes += chunk.len(),
            Err(error) => return text(out, 400, format!("after {bytes}: {error}")).await,
        }
    }
    text(out, 200, bytes.to_string()).await;
}

/// Sends each piece of the body back as it comes.
async fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let mut body = std::pin::pin!(response.take_body());
    out.set(response);
    let mut chunks = std::pin::pin!(request.into_body_stream());
    while let Some(Ok(chunk)) = chunks.next().await {
        body.send(chunk).await.expect("the host takes the body");
    }
}

/// Sends so many pieces of 64 KiB.
async fn stream(out: ResponseOutparam, pieces: usize) {
    let response = OutgoingResponse::new(Fields::new());
    let mut body = std::pin::pin!(response.take_body());
    out.set(response);
    for _ in 0..pieces {
        if body.send(vec![b'x'; 64 * 1024]).await.is_err() {
            eprintln!("the client has gone");
            return;
        }
    }
}

/// Begins a response, and traps when the request's body has ended.
async fn trap_late(request: IncomingRequest, out: ResponseOutparam, is_chunked: bool) {
    let fields = Fields::new();
    if !is_chunked {
        fields.set(&"content-length".to_owned(), &[b"1000".to_vec()]).expect("allowed");
    }
    let response = OutgoingResponse::new(fields);
    let mut body = std::pin::pin!(response.take_body());
    out.set(response);
    body.send(b"part of it".to_vec()).await.expect("the host takes the body");
    let mut chunks = std::pin::pin!(request.into_body_stream());
    while chunks.next().await.is_some() {}
    panic!("asked to trap late");
}

async fn variable(out: ResponseOutparam, name: &str) {
    let body = match spin_sdk::variables::get(name) {
        Ok(value) => value,
        Err(error) => format!("{error:?}"),
    };
    text(out, 200, body).await;
}

fn environment() -> String {
    let all: BTreeMap<_, _> = std::env::vars().collect();
    all.into_iter().fold(String::new(), |text, (name, value)| format!("{text}{name}={value}\n"))
}

/// Calls a URL, so many times where the query begins with `<times>*`, and shows the last outcome.
async fn fetch(out: ResponseOutparam, query: &str) {
    let (times, url) = query.split_once('*').map_or((1, query), |(times, url)| (number(times), url));
    let mut outcome = String::new();
    for _ in 0..times {
        let request = Request::builder().method(Method::Get).uri(url).build();
        outcome = match spin_sdk::http::send::<_, IncomingResponse>(request).await {
            Ok(response) => {
                let status = response.status();
                match response.into_body().await {
                    Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body)),
                    Err(error) => format!("{status} then {error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        };
    }
    text(out, 200, outcome).await;
}

/// Sends the request's body on to a URL and the answer back, both piece by piece.
async fn post(request: IncomingRequest, out: ResponseOutparam, url: &str) {
    let url = url.to_owned();
    let mut chunks = std::pin::pin!(request.into_body_stream());
    let mut body = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        body.extend(chunk);
    }
    let length = body.len().to_string();
    let request =
        Request::builder().method(Method::Post).uri(url).header("content-length", length).body(body).build();
    match spin_sdk::http::send::<_, IncomingResponse>(request).await {
        Ok(answer) => {
            let response = OutgoingResponse::new(answer.headers().clone());
            response.set_status_code(answer.status()).expect("a valid status");
            let mut to = std::pin::pin!(response.take_body());
            out.set(response);
            let mut from = std::pin::pin!(answer.take_body_stream());
            while let Some(Ok(chunk)) = from.next().await {
                to.send(chunk).await.expect("the host takes the body");
            }
        }
        Err(error) => text(out, 500, format!("{error:?}")).await,
    }
}

/// Calls `<times>*<url>` so often at once; counts the outcomes.
async fn flood(out: ResponseOutparam, query: &str) {
    let (times, url) = query.split_once('*').unwrap_or(("1", query));
    let calls = (0..number(times)).map(|_| async {
        let request = Request::builder().method(Method::Get).uri(url).build();
        match spin_sdk::http::send::<_, IncomingResponse>(request).await {
            Ok(response) => response.status().to_string(),
            Err(error) => {
                eprintln!("flooding: {error:?}");
                format!("{error:?}")
            }
        }
    });
    let mut outcomes = BTreeMap::<String, usize>::new();
    for outcome in futures::future::join_all(calls).await {
        *outcomes.entry(outcome).or_default() += 1;
    }
    let lines = outcomes.into_iter().map(|(outcome, count)| format!("{count} {outcome}\n"));
    text(out, 200, lines.collect()).await;
}

async fn memory(out: ResponseOutparam, mebibytes: usize) {
    let mut bytes = Vec::<u8>::new();
    match bytes.try_reserve_exact(mebibytes << 20) {
        Ok(()) => text(out, 200, "allocated".to_owned()).await,
        Err(error) => panic!("{error}"),
    }
}

/// Writes into so much memory.
async fn touch(out: ResponseOutparam, mebibytes: usize) {
    let bytes = std::hint::black_box(vec![1_u8; mebibytes << 20]);
    text(out, 200, bytes.len().to_string()).await;
}

/// Takes memory until there is none.
fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Names of what is in a directory.
fn list(path: &str) -> String {
    let names = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}

/// What Spin's conformance test `variables` asks.
fn variables_as_in_the_conformance_test() -> String {
    use spin_sdk::variables::{Error, get};
    let checks = [
        ("variable", matches!(get("variable"), Ok(value) if value == "value")),
        ("non_existent", matches!(get("non_existent"), Err(Error::Undefined(_)))),
        ("invalid-name", matches!(get("invalid-name"), Err(Error::InvalidName(_)))),
        ("invalid!name", matches!(get("invalid!name"), Err(Error::InvalidName(_)))),
        ("4invalidname", matches!(get("4invalidname"), Err(Error::InvalidName(_)))),
    ];
    let failed: Vec<&str> = checks.iter().filter(|(_, holds)| !holds).map(|(name, _)| *name).collect();
    if failed.is_empty() { "passed".to_owned() } else { format!("failed: {}", failed.join(", ")) }
}

/// Computes for so many milliseconds, or for ever, without giving way; then ends without a response.
fn compute(milliseconds: usize) {
    let begun = std::time::Instant::now();
    while milliseconds == 0 || begun.elapsed().as_millis() < milliseconds as u128 {
        std::hint::black_box(COUNTER.fetch_add(1, Ordering::Relaxed));
    }
}

async fn big_header(out: ResponseOutparam, bytes: usize) {
    let fields = Fields::new();
    let set = fields.set(&"x-big".to_owned(), &[vec![b'x'; bytes]]);
    let response = OutgoingResponse::new(fields);
    match set {
        Ok(()) => out.set_with_body(response, Vec::new()).await.expect("the host takes the body"),
        Err(error) => text(out, 200, format!("{error:?}")).await,
    }
}
