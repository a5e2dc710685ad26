//! One suite: a file of cases, run by its language; one JSON line a case comes back.
//!
//! It must not know what a case does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::emulator::Emulator;
use crate::install::{Interpreter, Language};

/// The longest that all cases of a suite may take together; each has a deadline of its own within.
const SUITE_DEADLINE: Duration = Duration::from_secs(300);

/// Names of cases, by commas: only these are run.
const CASES: &str = "LAB_SDK_CASES";

/// What a suite is told by its environment.
pub type Variables = BTreeMap<&'static str, String>;

/// A file of cases.
#[derive(Debug)]
pub struct Suite {
    interpreter: Interpreter,
    file: &'static str,
}

/// A case, before it is run.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Its name.
    #[serde(rename = "case")]
    pub name: String,
    /// The name of the queue or container that it has to itself.
    pub argument: String,
}

/// How a case ended.
#[derive(Debug, Deserialize)]
struct Outcome {
    #[serde(rename = "case")]
    name: String,
    error: Option<String>,
    ms: u64,
}

impl Suite {
    /// The suite in the file of this name, without its extension.
    pub fn new(interpreter: Interpreter, file: &'static str) -> Self {
        Self { interpreter, file }
    }

    /// Its name, of which files can be named.
    pub fn name(&self) -> String {
        format!("{}-{}", self.interpreter.language.name(), self.file)
    }

    /// The cases that are to be run: all of them, or those that the environment names.
    pub async fn cases(&self) -> Vec<Case> {
        let output = self.output(&["--list"], &Variables::new()).await;
        let cases: Vec<Case> = self.lines(&output);
        assert!(output.status.success() && !cases.is_empty(), "{} has no cases: {output:?}", self.name());
        let Ok(wanted) = std::env::var(CASES) else { return cases };
        let wanted: Vec<_> = wanted.split(',').collect();
        let unknown = wanted.iter().find(|name| cases.iter().all(|case| case.name != **name));
        assert!(unknown.is_none(), "{CASES} names {unknown:?}, which {} does not have", self.name());
        cases.into_iter().filter(|case| wanted.contains(&case.name.as_str())).collect()
    }

    /// Runs the cases and prints how each ended.
    ///
    /// # Panics
    /// When one failed, with the name and the error of each that did.
    pub async fn run(&self, cases: &[Case], variables: &Variables, emulator: &Emulator) {
        let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        let output = self.output(&names, variables).await;
        let outcomes: Vec<Outcome> = self.lines(&output);
        let mut failures = String::new();
        for case in cases {
            let name = &case.name;
            let outcome = outcomes.iter().find(|outcome| outcome.name == *name);
            let (mark, ms, error) = match outcome {
                Some(Outcome { error: None, ms, .. }) => ("ok", *ms, None),
                Some(Outcome { error: Some(error), ms, .. }) => ("FAILED", *ms, Some(error.as_str())),
                None => ("FAILED", 0, Some("it told nothing")),
            };
            println!("{:<40} {name:<45} {mark:<6} {ms:>6} ms", self.name());
            if let Some(error) = error {
                let _ = write!(failures, "\n--- {name}\n{}\n", error.trim());
            }
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let status = output.status;
        assert!(
            failures.is_empty() && status.success(),
            "{} ended with {status}; the emulator's log is {}\n{failures}\n--- stderr\n{}",
            self.name(),
            emulator.log().display(),
            stderr.trim(),
        );
    }

    /// Plays a table against one store, and gives the lines that it printed.
    ///
    /// # Panics
    /// When a step does what is neither an answer nor a refusal.
    pub async fn play<T: for<'de> Deserialize<'de>>(&self, table: &str, variables: &Variables) -> Vec<T> {
        let output = self.output(&[table], variables).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} ended with {}\n{stderr}", self.name(), output.status);
        self.lines(&output)
    }

    async fn output(&self, args: &[&str], variables: &Variables) -> Output {
        let Interpreter { language, program, packages } = &self.interpreter;
        let mut command = Command::new(program);
        let extension = match language {
            Language::Python => Some("py"),
            Language::JavaScript => Some("cjs"),
            // The program is the suite.
            Language::Go => None,
        };
        let file = extension.map(|extension| language.sources().join(self.file).with_extension(extension));
        command
            .args(file)
            .args(args)
            .env("NODE_PATH", packages.join("node_modules"))
            // No compiled files among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(variables)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(SUITE_DEADLINE, command.output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{} is not done after {SUITE_DEADLINE:?}", self.name()));
        output.unwrap_or_else(|error| panic!("{} cannot be started: {error}", program.display()))
    }

    fn lines<T: for<'de> Deserialize<'de>>(&self, output: &Output) -> Vec<T> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let parsed = stdout.lines().map(|line| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{} says '{line}': {error}", self.name()))
        });
        parsed.collect()
    }
}
