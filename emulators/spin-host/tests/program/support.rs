//! An application for a test, the program that runs it, and what the program says.
//!
//! The program is `spin-host`, or the real Spin that `LAB_SPIN_BIN` names: then every test that does not ask for
//! spin-host ([`Setup::own`]) is judged by that. What spin-host says in its own words is not asked of Spin.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::guest::{self, probe};
use crate::http::{Answer, Connection, PATIENCE, request};

/// The real Spin that the tests are run on, if they are.
pub fn judge() -> Option<PathBuf> {
    std::env::var_os("LAB_SPIN_BIN").map(PathBuf::from)
}

/// A directory with a `spin.toml`, and what the program is started with.
pub struct Setup {
    pub directory: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    cache: Option<PathBuf>,
    judge: Option<PathBuf>,
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
        let cache = Some(warm_cache());
        Self { directory, arguments: Vec::new(), environment: Vec::new(), cache, judge: judge() }
    }

    /// Run by spin-host in any case, because it asks for what only spin-host has.
    pub fn own(mut self) -> Self {
        self.judge = None;
        self
    }

    /// Whether a real Spin runs it.
    pub fn is_judged(&self) -> bool {
        self.judge.is_some()
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
        let mut command = match &self.judge {
            None => Command::new(env!("CARGO_BIN_EXE_spin-host")),
            Some(spin) => Command::new(spin),
        };
        command.env_clear();
        if self.is_judged() {
            self.spin_up(&mut command);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.directory.path()).args(&self.arguments);
        let says_where = self.arguments.iter().any(|argument| argument == "--listen")
            || self.environment.iter().any(|(name, _)| name == "SPIN_HTTP_LISTEN_ADDR");
        match &self.judge {
            _ if says_where => {}
            None => drop(command.args(["--listen", "127.0.0.1:0"])),
            // Spin calls itself at the port that it was told, so the port must be a real one.
            Some(_) => drop(command.arg("--listen").arg(free_address())),
        }
        if let (Some(cache), None) = (&self.cache, &self.judge) {
            command.arg("--cache-dir").arg(cache);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `spin up` with a home and a state directory of its own; compiled modules stay where they are for spin-host too.
    fn spin_up(&self, command: &mut Command) {
        command.env("HOME", self.path("home")).env("XDG_CACHE_HOME", guest::cache().with_extension("spin"));
        command.arg("up").arg("--state-dir").arg(self.path("state"));
        let says_from = self.arguments.iter().any(|argument| argument == "--from" || argument == "-f");
        if !says_from {
            command.args(["--from", "spin.toml"]);
        }
        // Spin runs its trigger as a child; both end with their group.
        command.process_group(0);
    }

    pub fn start(self) -> Host {
        let command = self.command();
        Host::start(command, self)
    }

    /// Starts what must not start; gives exit code and stderr.
    pub fn refused(&self) -> (Option<i32>, String) {
        let mut child = self.command().spawn().expect("the program starts");
        let stdout = Said::follow(child.stdout.take().expect("piped"));
        let stderr = Said::follow(child.stderr.take().expect("piped"));
        let serves = stdout.wait_until(|text| text.contains("Serving"));
        if serves || stdout.is_open() {
            end(&mut child, self.is_judged());
            panic!("it is not refused: {}{}", stdout.text(), stderr.text());
        }
        let status = child.wait().expect("it can be asked");
        let (announced, said) = (stdout.whole(), stderr.whole());
        assert!(
            !announced.contains("Serving") && !announced.contains("listen"),
            "it is announced: {announced}"
        );
        (status.code(), format!("{}{said}", if self.is_judged() { announced } else { String::new() }))
    }

    /// Starts what must not start. Spin says why in words of its own.
    pub fn refused_saying(&self, words: &[&str]) {
        let (code, said) = self.refused();
        if self.is_judged() {
            assert_ne!(code, Some(0), "{said}");
            return;
        }
        assert_eq!(code, Some(2), "{said}");
        for words in words {
            assert!(said.contains(words), "{words}: {said}");
        }
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
        Setup { directory, arguments: Vec::new(), environment: Vec::new(), cache: cache_of, judge: None }
            .start();
        cache
    };
    WARM.get_or_init(warm).clone()
}

/// The running program. Killed when it goes, if it still runs.
pub struct Host {
    child: Child,
    pub address: String,
    /// What it prints on stdout, after the line that announces it.
    printed: Arc<Said>,
    said: Arc<Said>,
    pub setup: Setup,
}

impl Host {
    pub fn start(mut command: Command, setup: Setup) -> Self {
        let mut child = command.spawn().expect("the program starts");
        if setup.is_judged() {
            return Self::judged(child, setup);
        }
        let said = Said::follow(child.stderr.take().expect("piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let announced: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("not announced: {line:?}; stderr:\n{}", said.whole()));
        assert_eq!(announced["program"], "spin-host");
        let address = announced["listen"]["http"].as_str().expect("an address").to_owned();
        let printed = Said::follow(stdout);
        printed.wait_for("Available Routes:");
        Self { child, address, printed, said, setup }
    }

    /// Spin says where it serves, for people; what else it and its guests print is taken together.
    fn judged(mut child: Child, setup: Setup) -> Self {
        let said = Said::follow(child.stderr.take().expect("piped"));
        said.add(child.stdout.take().expect("piped"));
        if !said.wait_within(JUDGE_START, |text| text.contains("Available Routes:")) {
            end(&mut child, true);
            panic!("Spin does not serve it:\n{}", said.text());
        }
        let greeting = said.text();
        let address = greeting.split("Serving http://").nth(1).and_then(|rest| rest.lines().next());
        let address = address.expect("the line has it").trim().to_owned();
        Self { child, address, printed: Arc::clone(&said), said, setup }
    }

    /// Waits for this on stdout; gives all of it so far.
    pub fn prints(&self, words: &str) -> String {
        self.printed.wait_for(words);
        self.printed.text()
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

    /// Waits until stderr holds this so often.
    pub fn wait_for_many(&self, words: &str, count: usize) {
        let came = self.said.wait_until(|text| text.matches(words).count() >= count);
        assert!(came, "{words} came {} times", self.said().matches(words).count());
    }

    /// Waits until the program has said this, if it is spin-host: Spin has words of its own.
    pub fn says(&self, words: &str) {
        if !self.setup.is_judged() {
            self.said.wait_for(words);
        }
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
        end(&mut self.child, self.setup.is_judged());
        // A guest's panic has the guest's mark before it.
        let said = self.said();
        let panicked = !self.setup.is_judged()
            && said.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
        assert!(!panicked || std::thread::panicking(), "the host panicked:\n{said}");
    }
}

/// Longest start of Spin, which compiles what it has not met: 12 MB of a TypeScript application.
const JUDGE_START: Duration = Duration::from_secs(120);

/// Kills the program, with its group where that is its own.
fn end(child: &mut Child, has_group: bool) {
    if has_group {
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

/// The lines of an output as they come.
#[derive(Default)]
struct Said {
    /// The text so far, and how many outputs have not ended.
    state: Mutex<(String, usize)>,
    more: Condvar,
}

impl Said {
    fn follow(output: impl std::io::Read + Send + 'static) -> Arc<Self> {
        let said = Arc::new(Self::default());
        said.add(output);
        said
    }

    /// Takes the lines of one more output.
    fn add(self: &Arc<Self>, output: impl std::io::Read + Send + 'static) {
        let writer = Arc::clone(self);
        writer.state.lock().expect("no panic").1 += 1;
        std::thread::spawn(move || {
            let mut reader = BufReader::new(output);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                writer.state.lock().expect("no panic").0.push_str(&String::from_utf8_lossy(&line));
                writer.more.notify_all();
                line.clear();
            }
            writer.state.lock().expect("no panic").1 -= 1;
            writer.more.notify_all();
        });
    }

    fn text(&self) -> String {
        self.state.lock().expect("no panic").0.clone()
    }

    /// Waits until the text is so; gives whether it became so before its end.
    fn wait_until(&self, is_so: impl Fn(&str) -> bool) -> bool {
        self.wait_within(PATIENCE, is_so)
    }

    fn wait_within(&self, patience: Duration, is_so: impl Fn(&str) -> bool) -> bool {
        let state = self.state.lock().expect("no panic");
        let waiting = |(text, open): &mut (String, usize)| !is_so(text) && *open > 0;
        let (state, _) = self.more.wait_timeout_while(state, patience, waiting).expect("no panic");
        is_so(&state.0)
    }

    fn is_open(&self) -> bool {
        self.state.lock().expect("no panic").1 > 0
    }

    fn wait_for(&self, words: &str) -> String {
        self.wait_until(|text| text.contains(words));
        let text = self.text();
        let line = text.lines().find(|line| line.contains(words));
        line.unwrap_or_else(|| panic!("the output has no {words:?}:\n{text}")).to_owned()
    }

    /// All of it, once the program has ended.
    fn whole(&self) -> String {
        let state = self.state.lock().expect("no panic");
        self.more.wait_timeout_while(state, PATIENCE, |(_, open)| *open > 0).expect("no panic").0.0.clone()
    }
}
