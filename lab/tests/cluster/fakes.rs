//! Stand-ins for what a cluster comes from: programs on `PATH` that write down how they were called and answer as the case
//! says, and an API server that answers what a case has put there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use lab::cluster::Settings;
use lab::paths::Workspace;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The programs that may be called.
pub const PROGRAMS: [&str; 5] = ["docker", "helm", "k3d", "kind", "kubectl"];

/// The name of the variable that holds the folder of a case; it is set in the process of the case alone.
const FOLDER: &str = "SPIN_LAB_TEST_FAKES";

/// Runs a case in a process of its own, whose `PATH` leads to the fakes and nowhere else.
pub fn case(name: &str, body: impl AsyncFnOnce(Fakes)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(async { body(Fakes::at(PathBuf::from(folder)).await).await });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env("PATH", &bin)
        .env(FOLDER, folder.path())
        .env_remove("LAB_CHARTS")
        .env_remove("LAB_NODE_IMAGE")
        .output()
        .expect("the case runs");
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (shown(&output.stdout), shown(&output.stderr));
    assert!(stdout.contains("1 passed"), "{name} did not pass:\n{stdout}\n{stderr}");
}

/// The fakes of one case.
pub struct Fakes {
    folder: PathBuf,
    rules: Vec<(String, String)>,
    pub api: Api,
}

impl Fakes {
    async fn at(folder: PathBuf) -> Self {
        let workspace = folder.join("workspace");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for file in ["versions.toml", "cluster.yaml", "kind.yaml"] {
            std::fs::create_dir_all(workspace.join("k3d")).expect("a folder");
            std::fs::copy(root.join("k3d").join(file), workspace.join("k3d").join(file)).expect("a file");
        }
        Self { folder, rules: Vec::new(), api: Api::start().await }
    }

    /// A workspace with the files of `k3d/` and nothing else.
    pub fn workspace(&self) -> Workspace {
        Workspace::at(self.folder.join("workspace"))
    }

    /// The settings of a lab `main` of that workspace.
    pub fn settings(&self) -> Settings {
        Settings::new(self.workspace(), "main").expect("settings")
    }

    /// A line of a call that matches the pattern of a shell's `case` is answered by these lines of a shell; earlier rules win.
    /// Without a rule a program prints nothing and ends well.
    pub fn on(&mut self, pattern: &str, answer: &str) -> &mut Self {
        self.rules.push((pattern.to_owned(), answer.to_owned()));
        self
    }

    /// The same fakes with a rule before all others.
    pub fn with_first(mut self, pattern: &str, answer: &str) -> Self {
        self.rules.insert(0, (pattern.to_owned(), answer.to_owned()));
        self
    }

    /// Takes that rule back.
    pub fn without_first(&mut self) {
        self.rules.remove(0);
    }

    /// The file of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    /// Makes a file that rules can look for.
    pub fn touch(&self, name: &str) {
        std::fs::write(self.folder.join(name), "").expect("a file");
    }

    /// Puts the programs on `PATH`, all but those `without`.
    pub fn install(&self, without: &[&str]) {
        use std::os::unix::fs::PermissionsExt;
        let rules: String =
            self.rules.iter().map(|(pattern, answer)| format!("{pattern})\n{answer}\n;;\n")).collect();
        let here = self.folder.display();
        let script = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\ncd '{here}'\nline=\"${{0##*/}} $*\"\nprintf '%s\\n' \"$line\" >> calls\n\
             case \"$line\" in\n{rules}*) ;;\nesac\n"
        );
        for program in PROGRAMS.iter().filter(|program| !without.contains(program)) {
            let path = self.folder.join("bin").join(program);
            std::fs::write(&path, &script).expect("a program");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it can be run");
        }
    }

    /// The calls since the last look, one line each.
    pub fn calls(&self) -> Vec<String> {
        let path = self.folder.join("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        text.lines().map(str::to_owned).collect()
    }

    /// A file of the lab.
    pub fn lab_file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.workspace().lab("main").folder().join(name)).ok()
    }
}

/// The answers of an API server, by path.
#[derive(Clone)]
pub struct Api {
    url: String,
    answers: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    requests: Arc<Mutex<Vec<String>>>,
    asked: Arc<Notify>,
}

impl Api {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let api = Self { url, answers: Arc::default(), requests: Arc::default(), asked: Arc::default() };
        let router = Router::new().fallback(answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        api
    }

    /// Answers requests of a path.
    pub fn put(&self, path: &str, status: u16, value: Value) {
        self.answers.lock().expect("the answers").insert(path.to_owned(), (status, value));
    }

    /// The requests so far: `DELETE /api/v1/…`.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("the requests").clone()
    }

    /// Waits for a request.
    pub async fn asked(&self, request: &str) {
        let asked = async {
            loop {
                let next = self.asked.notified();
                if self.requests().iter().any(|known| known == request) {
                    return;
                }
                next.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), asked).await;
        assert!(waited.is_ok(), "waited for {request}; seen: {:?}", self.requests());
    }

    /// A cluster that can take pods.
    pub fn put_ready(&self, nodes: &[&str]) {
        let nodes: Vec<Value> = nodes.iter().map(|name| node(name, true)).collect();
        self.put("/api/v1/nodes", 200, list("NodeList", "v1", nodes));
        let dns = json!({
            "metadata": { "name": "coredns" }, "status": { "availableReplicas": 1 },
            "spec": { "selector": {}, "template": {} }
        });
        self.put(
            "/apis/apps/v1/namespaces/kube-system/deployments",
            200,
            list("DeploymentList", "apps/v1", vec![dns]),
        );
        let account =
            json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "default" } });
        self.put("/api/v1/namespaces/default/serviceaccounts/default", 200, account);
    }

    /// A kubeconfig whose current context, of this name, is this server. It is JSON, which is YAML.
    pub fn kubeconfig(&self, context: &str) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{ "name": "fake", "cluster": { "server": self.url } }],
            "users": [{ "name": "somebody", "user": { "token": "secret" } }],
            "contexts": [{ "name": context, "context": { "cluster": "fake", "user": "somebody" } }],
        })
        .to_string()
    }
}

async fn answer(State(api): State<Api>, method: Method, uri: Uri) -> Response {
    api.requests.lock().expect("the requests").push(format!("{method} {}", uri.path()));
    api.asked.notify_waiters();
    let found = api.answers.lock().expect("the answers").get(uri.path()).cloned();
    let (status, value) = found.unwrap_or_else(|| (404, failure(404, "not found")));
    (StatusCode::from_u16(status).expect("a status"), axum::Json(value)).into_response()
}

/// What an API server answers instead.
pub fn failure(code: u16, message: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": message })
}

/// A list of objects.
pub fn list(kind: &str, version: &str, items: Vec<Value>) -> Value {
    json!({ "kind": kind, "apiVersion": version, "metadata": {}, "items": items })
}

/// A node.
pub fn node(name: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    let info = json!({
        "architecture": "amd64", "containerRuntimeVersion": "containerd://2.1.5", "kubeletVersion": "v1.35.2+k3s1",
        "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux",
        "osImage": "", "systemUUID": ""
    });
    json!({
        "metadata": { "name": name, "labels": { "pool": "wasm" } },
        "status": { "conditions": [{ "type": "Ready", "status": status }], "nodeInfo": info }
    })
}
