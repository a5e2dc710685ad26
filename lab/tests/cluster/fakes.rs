//! Stand-ins for what a cluster comes from: programs on `PATH` that write down how they were called and answer as the case
//! says, and an API server, to which the current kubeconfig context and `LAB_REGISTRY` lead.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::cluster::Settings;
use lab::paths::Workspace;

pub use crate::api::{Api, failure, list, node};

/// The programs that may be called.
pub const PROGRAMS: [&str; 5] = ["docker", "helm", "k3d", "kind", "kubectl"];

/// The name of the variable that holds the folder of a case; it is set in the process of the case alone.
const FOLDER: &str = "SPIN_LAB_TEST_FAKES";

/// Runs a case in a process of its own, whose `PATH` leads to the fakes and nowhere else.
pub fn case(name: &str, body: impl AsyncFnOnce(Fakes)) {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(async { body(Fakes::at(PathBuf::from(folder))).await });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin).expect("a folder");
    // The address of its API server is known here already: what it is told in its environment may name it.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env("PATH", &bin)
        .env(FOLDER, folder.path())
        .env("KUBECONFIG", folder.path().join("kubeconfig"))
        .env("LAB_REGISTRY", listener.local_addr().expect("an address").to_string())
        .stdin(OwnedFd::from(listener))
        .env("HOME", folder.path())
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
    fn at(folder: PathBuf) -> Self {
        let workspace = folder.join("workspace");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for file in ["versions.toml", "cluster.yaml", "kind.yaml"] {
            std::fs::create_dir_all(workspace.join("k3d")).expect("a folder");
            std::fs::copy(root.join("k3d").join(file), workspace.join("k3d").join(file)).expect("a file");
        }
        let listener = std::io::stdin().as_fd().try_clone_to_owned().expect("the listener");
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true).expect("a listener");
        let api = Api::serve(tokio::net::TcpListener::from_std(listener).expect("a listener"));
        std::fs::write(folder.join("kubeconfig"), api.kubeconfig("mine")).expect("a file");
        Self { folder, rules: Vec::new(), api }
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

    /// Takes the kubeconfig away.
    pub fn without_kubeconfig(&self) {
        std::fs::remove_file(self.folder.join("kubeconfig")).expect("it was there");
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
