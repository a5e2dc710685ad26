//! A Dapr of its own for each test, with the files that the test writes and the application that it plays.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::response::IntoResponse as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for a single condition; only a broken program comes near it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Lines of a log that stand in the message of a test that failed.
const TAIL_LINES: usize = 5;

/// Another program that is to be tested, by its path.
pub fn real_daprd() -> Option<PathBuf> {
    std::env::var_os("LAB_DAPRD_BIN").map(PathBuf::from)
}

/// Whether the program is a real daprd; says what is left out then. For what is deliberately different.
pub fn is_real_daprd(left_out: &str) -> bool {
    let is_real = real_daprd().is_some();
    if is_real {
        eprintln!("not on a real daprd: {left_out}");
    }
    is_real
}

/// What a Dapr is started with.
#[derive(Default)]
pub struct Setup {
    files: BTreeMap<String, String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Setup {
    /// The app id is `orders`; no application.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file in the folder of the components. `FOLDER` in it becomes the folder's path.
    pub fn file(mut self, name: &str, text: impl Into<String>) -> Self {
        self.files.insert(name.to_owned(), text.into());
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The application's port.
    pub fn app(self, port: u16) -> Self {
        self.args(&["--app-port", &port.to_string()])
    }

    /// Starts it and waits until it takes calls.
    pub async fn start(self) -> Dapr {
        let port = any_port();
        let mut dapr = self.spawn(port);
        if port == 0 {
            dapr.port = dapr.announced().await;
        }
        let url = dapr.url("/v1.0/healthz/outbound");
        tests::until("Dapr to be outbound healthy", DEADLINE, || {
            dapr.assert_runs();
            let answer = reqwest::get(url.clone());
            async {
                match answer.await {
                    Ok(answer) if answer.status() == 204 => Ok(()),
                    other => Err(other.map(|answer| answer.status())),
                }
            }
        })
        .await;
        dapr
    }

    /// Starts it and does not wait for anything. On port 0 it finds a free one, where only it knows where that is.
    pub fn spawn(self, port: u16) -> Dapr {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        for (name, text) in self.files {
            std::fs::write(folder.path().join(name), text.replace("FOLDER", &path)).expect("a file");
        }
        let mut command = Command::new(real_daprd().unwrap_or_else(crate::dapr_emulator));
        for name in ["DAPR_API_TOKEN", "APP_API_TOKEN", "NAMESPACE", "POD_NAME", "RUST_LOG", "LOG_FORMAT"] {
            command.env_remove(name);
        }
        command
            .args(["--app-id", "orders", "--dapr-listen-addresses", "127.0.0.1", "--enable-metrics=false"])
            // daprd refuses 0 where there is no application: "conflicts with app-port".
            .args(["--dapr-http-port", &port.to_string(), "--dapr-grpc-port", &free_port().to_string()])
            .args(["--resources-path", &path])
            .args(self.args.iter().map(|arg| arg.replace("FOLDER", &path)))
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Text::default();
        // daprd logs to stdout.
        let out = if real_daprd().is_some() { log.clone() } else { Text::default() };
        let readers = [
            read_lines(child.stderr.take().expect("piped"), &log),
            read_lines(child.stdout.take().expect("piped"), &out),
        ];
        Dapr { child, port, log, out, readers: Some(readers), _folder: folder }
    }
}

/// What a program has written so far.
#[derive(Clone, Default)]
pub struct Text(Arc<Mutex<String>>);

impl Text {
    pub fn text(&self) -> String {
        self.0.lock().expect("no reader panics").clone()
    }

    /// Its last lines, for the message of a test that failed; the whole of it follows there.
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

fn read_lines(from: impl std::io::Read + Send + 'static, into: &Text) -> std::thread::JoinHandle<()> {
    let into = into.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            into.0.lock().expect("no reader panics").push_str(&(line + "\n"));
        }
    })
}

/// A port for a program that does not say which one it found: only an emulator does.
pub fn any_port() -> u16 {
    if real_daprd().is_none() { 0 } else { free_port() }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// A Dapr that runs. Killed when dropped.
pub struct Dapr {
    child: Child,
    pub port: u16,
    pub log: Text,
    out: Text,
    readers: Option<[std::thread::JoinHandle<()>; 2]>,
    _folder: tempfile::TempDir,
}

/// How a Dapr ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

/// What a call was answered with.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Dapr {
    fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("it can be asked") {
            panic!("Dapr ended with {status}: {}", self.log.text());
        }
    }

    async fn announced(&mut self) -> u16 {
        let line = tests::until("the announce line", DEADLINE, || {
            self.assert_runs();
            let text = self.out.text();
            std::future::ready(if text.ends_with('\n') { Ok(text) } else { Err(self.log.tail()) })
        })
        .await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["program"], "dapr-emulator");
        let address: SocketAddr =
            line["listen"]["http"].as_str().expect("an address").parse().expect("an address");
        address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Calls the API.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = reqwest::Client::new().request(method, self.url(path)).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.expect("a body").to_vec() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], b"").await
    }

    /// Calls an output binding.
    pub async fn bind(&self, name: &str, request: &Value) -> Answer {
        let path = format!("/v1.0/bindings/{name}");
        self.call(Method::POST, &path, &[], request.to_string().as_bytes()).await
    }

    /// Calls `create` of an output binding.
    pub async fn create(&self, name: &str, data: Value, metadata: Value) -> Answer {
        self.bind(name, &json!({ "operation": "create", "data": data, "metadata": metadata })).await
    }

    /// Waits until the whole start is over, the wait for the application included.
    pub async fn ready(&self) {
        tests::until("Dapr to be healthy", DEADLINE, async || match self.get("/v1.0/healthz").await {
            answer if answer.status == 204 => Ok(()),
            answer => Err((answer.text(), self.log.tail())),
        })
        .await;
    }

    /// Waits until this stands in the log.
    pub async fn logged(&self, text: &str) {
        tests::until(text, DEADLINE, async || {
            if self.log.text().contains(text) { Ok(()) } else { Err(self.log.tail()) }
        })
        .await;
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success(), "kill {signal} {pid}");
    }

    /// Waits for the end of the program.
    pub async fn ended(mut self) -> Ended {
        let status = tests::until("the end of the program", DEADLINE, || {
            let status = self.child.try_wait().expect("it can be asked");
            std::future::ready(status.ok_or_else(|| self.log.tail()))
        })
        .await;
        for reader in self.readers.take().into_iter().flatten() {
            reader.join().expect("no reader panics");
        }
        Ended { status, log: self.log.text() }
    }
}

impl Drop for Dapr {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of Dapr:\n{}", self.log.text());
        }
    }
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Status, code and message of an error in Dapr's envelope.
    pub fn refusal(&self) -> (u16, String, String) {
        let error = self.json();
        assert_eq!(self.header("content-type"), Some("application/json"), "{error}");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("errorCode"), text("message"))
    }
}

/// A call that the application got.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    pub path: String,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    async fn read(request: Request) -> Self {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole body").to_vec();
        Self { method: head.method, path: head.uri.path().to_owned(), headers: head.headers, body }
    }
}

/// The application, played by the test. Gone when dropped.
pub struct App {
    pub port: u16,
    calls: Calls,
    _serving: AbortOnDropHandle<()>,
}

type Calls = Arc<Mutex<Vec<Call>>>;

impl App {
    /// Answers each call with this status at once.
    pub async fn start(answers: impl Fn(&Call) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::answering(listener, move |call| std::future::ready(answers(&call)))
    }

    /// Answers each call with the status that comes of it.
    pub fn answering<F>(listener: TcpListener, answers: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = u16> + Send + 'static,
    {
        let port = listener.local_addr().expect("bound").port();
        let (calls, answers) = (Calls::default(), Arc::new(answers));
        let taken = Arc::clone(&calls);
        let take = move |request: Request| {
            let (taken, answers) = (Arc::clone(&taken), Arc::clone(&answers));
            async move {
                let call = Call::read(request).await;
                taken.lock().expect("no handler panics").push(call.clone());
                let status = StatusCode::from_u16(answers(call).await).expect("a status");
                (status, [("location", "/elsewhere")], "an answer that is no JSON").into_response()
            }
        };
        let router = axum::Router::new().fallback(take);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { port, calls, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no handler panics").clone()
    }

    /// Calls with this method and path.
    pub fn calls_of(&self, method: &Method, path: &str) -> Vec<Call> {
        let calls = self.calls().into_iter();
        calls.filter(|call| call.method == *method && call.path == path).collect()
    }

    /// Waits until there are this many calls with this method and path, and returns them.
    pub async fn called(&self, method: &Method, path: &str, count: usize) -> Vec<Call> {
        tests::until(&format!("{count} × {method} {path}"), DEADLINE, async || {
            let calls = self.calls_of(method, path);
            if calls.len() >= count { Ok(calls) } else { Err(calls.len()) }
        })
        .await
    }
}

/// A component file.
pub fn component(name: &str, component_type: &str, metadata: &[(&str, &str)]) -> String {
    let items: String = metadata
        .iter()
        .map(|(name, value)| {
            let (name, value) = (Value::from(*name), Value::from(*value));
            format!("  - {{name: {name}, value: {value}}}\n")
        })
        .collect();
    format!(
        "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: {name}}}\nspec:\n  type: {component_type}\n  \
         version: v1\n  metadata:\n{items}"
    )
}

/// A component of a queue at this broker (`host:port`).
pub fn queue(name: &str, broker: &str, more: &[(&str, &str)]) -> String {
    let connection = connection_string(broker);
    let metadata =
        [("connectionString", &*connection), ("queueName", name), ("disableEntityManagement", "true")];
    component(name, "bindings.azure.servicebusqueues", &[&metadata, more].concat())
}

/// The connection string of a broker on this machine.
pub fn connection_string(broker: &str) -> String {
    format!(
        "Endpoint=sb://{broker};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
         UseDevelopmentEmulator=true;"
    )
}
