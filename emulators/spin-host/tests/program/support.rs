//! An application for a test, the program that runs it, and what the program says.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use tempfile::TempDir;

use crate::guest::{self, probe};
use crate::http::{Answer, Connection, PATIENCE, request};

/// A directory with a `spin.toml`, and what the program is started with.
pub struct Setup {
    pub directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    cache: Option<PathBuf>,
}

impl Setup {
    /// The probe on all paths; the lines go into its component.
    pub fn probe(lines: &str) -> Self {
        Self::manifest(&manifest(&probe().module, lines))
    }

    /// A manifest of its own.
    pub fn manifest(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("spin.toml"), text).expect("a file");
        Self { directory, arguments: Vec::new(), environment: Vec::new(), cache: Some(warm_cache()) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
        self
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a cache directory of its own, or with none named.
    pub fn cache(mut self, directory: Option<PathBuf>) -> Self {
        self.cache = directory;
        self
    }

    /// The command, with nothing of this process's environment and the application's directory as its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spin-host"));
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path()).args(&self.arguments);
        let says_where = self.arguments.iter().any(|argument| argument == "--listen")
            || self.environment.iter().any(|(name, _)| name == "SPIN_HTTP_LISTEN_ADDR");
        if !says_where {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if let Some(cache) = &self.cache {
            command.arg("--cache-dir").arg(cache);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn start(self) -> Host {
        let command = self.command();
        Host::start(command, self)
    }

    /// Starts what must not start; gives exit code and stderr.
    pub fn refused(&self) -> (Option<i32>, String) {
        let output = self.command().output().expect("the program starts");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(stdout.is_empty(), "nothing is announced: {stdout}");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A manifest with one component on all paths.
pub fn manifest(source: &Path, lines: &str) -> String {
    format!(
        "spin_manifest_version = 2\n[application]\nname = \"probe-app\"\nversion = \"1.2.3\"\n[variables]\n\
         [[trigger.http]]\nroute = \"/...\"\ncomponent = \"probe\"\n[component.probe]\nsource = {:?}\n{lines}\n",
        source.display().to_string()
    )
}

/// A cache that holds the probe, so that only one test compiles it.
pub fn warm_cache() -> PathBuf {
    static WARM: OnceLock<PathBuf> = OnceLock::new();
    let warm = || {
        let cache = guest::cache();
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("spin.toml"), manifest(&probe().module, "")).expect("a file");
        let cache_of = Some(cache.clone());
        Setup { directory, arguments: Vec::new(), environment: Vec::new(), cache: cache_of }.start();
        cache
    };
    WARM.get_or_init(warm).clone()
}

/// The running program. Killed when it goes, if it still runs.
pub struct Host {
    child: Child,
    pub address: String,
    /// What it printed on stdout, after the line that announces it.
    pub greeting: String,
    said: Arc<Said>,
    pub setup: Setup,
}

impl Host {
    pub fn start(mut command: Command, setup: Setup) -> Self {
        let mut child = command.spawn().expect("the program starts");
        let said = Said::follow(child.stderr.take().expect("piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let announced: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("not announced: {line:?}; stderr:\n{}", said.whole()));
        assert_eq!(announced["program"], "spin-host");
        let address = announced["listen"]["http"].as_str().expect("an address").to_owned();
        let mut greeting = String::new();
        while !greeting.contains("Available Routes:") {
            assert!(stdout.read_line(&mut greeting).expect("a line") > 0, "no greeting: {greeting}");
        }
        // Routes follow in the same write; the pipe is kept open by a thread that reads on.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, address, greeting, said, setup }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.address)
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send(&request("GET", target, &[], b""))
    }

    pub fn send(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.write(bytes);
        connection.answer()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Everything on stderr so far.
    pub fn said(&self) -> String {
        self.said.text()
    }

    /// Waits for a line on stderr that holds this.
    pub fn wait_for(&self, words: &str) -> String {
        self.said.wait_for(words)
    }

    pub fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.id().to_string()]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for the end of the program; gives its status and all of stderr.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end; stderr:\n{}", self.said());
            std::thread::yield_now();
        };
        (status, self.said.whole())
    }

    /// Ends it by SIGTERM; gives all of stderr.
    pub fn stop(self) -> String {
        self.signal("-TERM");
        let (status, said) = self.ended();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A guest's panic has the guest's mark before it.
        let said = self.said();
        let panicked = said.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
        assert!(!panicked || std::thread::panicking(), "the host panicked:\n{said}");
    }
}

/// The lines of stderr as they come.
#[derive(Default)]
struct Said {
    state: Mutex<(String, bool)>,
    more: Condvar,
}

impl Said {
    fn follow(stderr: impl std::io::Read + Send + 'static) -> Arc<Self> {
        let said = Arc::new(Self::default());
        let writer = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stderr);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                writer.state.lock().expect("no panic").0.push_str(&String::from_utf8_lossy(&line));
                writer.more.notify_all();
                line.clear();
            }
            writer.state.lock().expect("no panic").1 = true;
            writer.more.notify_all();
        });
        said
    }

    fn text(&self) -> String {
        self.state.lock().expect("no panic").0.clone()
    }

    fn wait_for(&self, words: &str) -> String {
        let state = self.state.lock().expect("no panic");
        let waiting = |(text, ended): &mut (String, bool)| !text.contains(words) && !*ended;
        let (state, _) = self.more.wait_timeout_while(state, PATIENCE, waiting).expect("no panic");
        let line = state.0.lines().find(|line| line.contains(words));
        line.unwrap_or_else(|| panic!("stderr has no {words:?}:\n{}", state.0)).to_owned()
    }

    /// All of it, once the program has ended.
    fn whole(&self) -> String {
        let state = self.state.lock().expect("no panic");
        self.more.wait_timeout_while(state, PATIENCE, |(_, ended)| !*ended).expect("no panic").0.0.clone()
    }
}
