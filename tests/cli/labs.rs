//! A lab of a test, by its commands: named, looked at, signalled, and gone when the test is over.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::build::Artefact;
use serde_json::Value;

use crate::support::{lab, path_of, workspace};

/// The longest that anything here is waited for.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What these labs are made of: nothing that needs Node or compiles Wasm.
const SHAPE: [&str; 4] = ["--stack", "warp-rust", "--blob", "native"];

/// A lab's name; the lab is stopped, and its files are removed, when the test is over, however it ends.
pub struct Named(pub &'static str);

impl Named {
    /// `lab COMMAND… --lab NAME`.
    pub fn lab(&self, args: &[&str]) -> assert_cmd::Command {
        lab(&[args, &["--lab", self.0]].concat())
    }

    /// `lab up` with the usual shape.
    pub fn up(&self, args: &[&str]) -> assert_cmd::Command {
        self.lab(&[&["up"], &SHAPE[..], args].concat())
    }

    /// What a command prints with `--format json`, which must be as the schema of this name says.
    pub fn json(&self, args: &[&str], schema: &str) -> Value {
        let output =
            self.lab(&[args, &["--format", "json"]].concat()).assert().success().get_output().clone();
        let value: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON value");
        assert_valid(&value, schema);
        value
    }

    /// The supervisor's number, from the record of the lab's processes.
    pub fn supervisor(&self) -> u64 {
        let record = std::fs::read(workspace().lab(self.0).children()).expect("a record");
        let record: Value = serde_json::from_slice(&record).expect("a record");
        record["supervisor"]["pid"].as_u64().expect("a number")
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.lab(&["down"]).output();
        let _ = std::fs::remove_dir_all(workspace().lab(self.0).folder());
    }
}

/// Asserts that a value is as the schema of this name says.
pub fn assert_valid(value: &Value, schema: &str) {
    let path = workspace().root().join(format!("lab/schemas/{schema}.schema.json"));
    let schema = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema")).expect("a schema");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u64) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill is there").success(), "{name} to {pid}");
}

/// Makes a process hang, and waits until it does: the system stops its threads when each is next scheduled.
pub fn hang(pid: u64) {
    signal("STOP", pid);
    let begun = Instant::now();
    loop {
        let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
        let state = String::from_utf8(state.expect("ps is there").stdout).expect("a text");
        if state.starts_with('T') {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{pid} does not stop; its state is {state:?}");
    }
}

/// A command in the foreground, and what it says, on stdout and on stderr.
pub struct Foreground {
    child: std::process::Child,
    lines: BufReader<std::io::PipeReader>,
    said: String,
}

impl Foreground {
    /// `lab up` with the usual shape; waits until the lab is ready.
    pub fn up(named: &Named) -> Self {
        let mut foreground = Self::start(named, &[&["up"], &SHAPE[..]].concat());
        // The last line of what it shows: from then on it waits.
        foreground.until(&format!("cargo lab down --lab {}\n", named.0));
        foreground
    }

    /// `lab COMMAND… --lab NAME`.
    pub fn start(named: &Named, args: &[&str]) -> Self {
        let mut command = Command::new(path_of(Artefact::Lab));
        command.args(args).args(["--lab", named.0]).current_dir(workspace().root());
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
        let child = command.spawn().unwrap();
        Self { child, lines: BufReader::new(reader), said: String::new() }
    }

    /// Waits until it has said something.
    pub fn until(&mut self, what: &str) {
        while !self.said.contains(what) {
            let read = self.lines.read_line(&mut self.said).unwrap();
            assert!(read > 0, "it ended before it said {what:?}: {}", self.said);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        signal(name, self.child.id().into());
    }

    /// Waits until it ends; gives its code and all that it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.lines.read_to_string(&mut self.said).unwrap();
        (self.child.wait().unwrap().code(), self.said)
    }
}
