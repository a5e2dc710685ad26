//! One call of an external program as data: it can be printed, so that a person can paste it, and carried out with a deadline
//! and captured output. There is no shell: arguments stay arguments.

use std::fmt;
use std::time::Duration;

use super::limits;
use crate::process::{NotRun, Ran, ToRun, run};

/// A call that has not been made yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The program's name.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beyond the inherited ones.
    pub env: Vec<(String, String)>,
    /// What it reads on stdin.
    pub stdin: String,
    /// How long it may take.
    pub within: Duration,
}

impl Call {
    /// A call that only looks, until told otherwise.
    pub fn new<A: Into<String>>(program: &'static str, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program, args, env: Vec::new(), stdin: String::new(), within: limits::LOOK }
    }

    /// The same with more arguments.
    #[must_use]
    pub fn and<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The same with another time to take.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// The same with something to read.
    #[must_use]
    pub fn reading(mut self, stdin: impl Into<String>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Makes the call and gives what the program printed.
    ///
    /// # Errors
    /// Fails when the program is missing, does not end in time or ends with another status than 0.
    pub async fn run(&self) -> Result<String, CallError> {
        self.ran().await.map(|ran| ran.stdout)
    }

    /// The same, with what it wrote to stderr after it: of programs whose logs go there.
    pub(super) async fn run_both(&self) -> Result<String, CallError> {
        self.ran().await.map(|ran| ran.stdout + &ran.stderr)
    }

    async fn ran(&self) -> Result<Ran, CallError> {
        let what = ToRun {
            program: self.program,
            args: &self.args,
            env: &self.env,
            stdin: self.stdin.as_bytes(),
            within: self.within,
        };
        let failed = |why: String, stderr: &str| CallError::Failed {
            call: self.to_string(),
            why,
            tail: last_lines(stderr, limits::STDERR_TAIL_LINES),
        };
        match run(&what).await {
            Ok(ran) if ran.status.success() => Ok(ran),
            Ok(ran) => {
                let said = if ran.stderr.trim().is_empty() { &ran.stdout } else { &ran.stderr };
                Err(failed(format!("ended with {}", ran.status), said))
            }
            Err(NotRun::Missing(_)) => Err(CallError::Missing { program: self.program }),
            Err(NotRun::TimedOut { within, stderr }) => {
                Err(failed(format!("did not end within {} s", within.as_secs_f64()), &stderr))
            }
            Err(NotRun::Io(source)) => Err(CallError::Io { call: self.to_string(), source }),
        }
    }
}

/// The last lines of a text, without empty ones and without colours: k3d's are there whoever reads them.
fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    lines.into_iter().rev().take(count).rev().collect()
}

/// A line without the sequences that colour it: an escape, a bracket, and all up to a letter.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    for (place, part) in line.split("\u{1b}[").enumerate() {
        let end = if place == 0 { Some(0) } else { part.find(char::is_alphabetic).map(|end| end + 1) };
        plain.push_str(end.and_then(|end| part.get(end..)).unwrap_or_default());
    }
    plain
}

impl fmt::Display for Call {
    /// A line for a shell of a person; what is read on stdin stands below it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(formatter, "{name}={} ", quoted(value))?;
        }
        formatter.write_str(self.program)?;
        for arg in &self.args {
            write!(formatter, " {}", quoted(arg))?;
        }
        match self.stdin.as_str() {
            "" => Ok(()),
            stdin => write!(formatter, " <<'END'\n{}\nEND", stdin.trim_end()),
        }
    }
}

/// A word as a POSIX shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The program is not installed.
    #[error("'{program}' is needed and is not installed")]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// It failed, or took too long.
    #[error("`{call}` {why}{}", shown(tail))]
    Failed {
        /// The call as a line.
        call: String,
        /// How it ended.
        why: String,
        /// The last lines of what it complained about.
        tail: Vec<String>,
    },
    /// The system did not run it.
    #[error("`{call}` could not be run")]
    Io {
        /// The call as a line.
        call: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// It printed something that nobody understands.
    #[error("`{call}` printed something unexpected")]
    Garbage {
        /// The call as a line.
        call: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

fn shown(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  │ {line}")).collect()
}

impl CallError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { program } => Some(install(program)),
            Self::Failed { tail, .. } => tail.iter().find_map(|line| known(line)),
            Self::Io { .. } | Self::Garbage { .. } => None,
        }
    }
}

/// The line that installs a program.
pub fn install(program: &str) -> String {
    let (debian, macos) = match program {
        "docker" => ("sudo apt-get install --yes docker.io", "brew install --cask docker"),
        "k3d" => ("see https://k3d.io, or go install github.com/k3d-io/k3d/v5@latest", "brew install k3d"),
        "kind" => ("go install sigs.k8s.io/kind@latest", "brew install kind"),
        "kubectl" => ("sudo snap install kubectl --classic", "brew install kubectl"),
        "helm" => ("sudo snap install helm --classic", "brew install helm"),
        other => return format!("install {other}"),
    };
    if cfg!(target_os = "macos") { macos.to_owned() } else { debian.to_owned() }
}

/// What helps against complaints that many people have met, by a part of their words.
fn known(line: &str) -> Option<String> {
    const KNOWN: [(&str, &str); 8] = [
        ("Cannot connect to the Docker daemon", "start the engine: sudo systemctl start docker"),
        (
            "permission denied while trying to connect to the",
            "sudo usermod -aG docker \"$USER\", then log in again",
        ),
        ("toomanyrequests", "the registry limits anonymous pulls: docker login"),
        (
            "too many open files",
            "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288",
        ),
        ("no space left on device", "docker system prune"),
        ("x509: certificate", "the proxy's certificate must be known to the engine and to its nodes"),
        ("port is already allocated", "another lab or program has the port: lab doctor"),
        (
            "operation not permitted",
            "this engine may refuse privileged containers, which nodes need: lab doctor",
        ),
    ];
    KNOWN.iter().find(|(words, _)| line.contains(words)).map(|(_, hint)| (*hint).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_printed_as_a_line_that_a_shell_takes() {
        let call = Call::new("helm", ["upgrade", "--set", "a=b c", "it's", ""]);
        assert_eq!(call.to_string(), r"helm upgrade --set 'a=b c' 'it'\''s' ''");
        let call = Call::new("k3d", ["cluster"]).reading("x: 1\n");
        assert_eq!(call.to_string(), "k3d cluster <<'END'\nx: 1\nEND");
    }

    #[tokio::test]
    async fn failures_name_the_call_and_end_with_what_helps() {
        let script = "echo one; printf '\\033[31mFATA\\033[0m[0000] no\\n\\n' >&2; echo 'Cannot connect to the Docker daemon at x' >&2; exit 4";
        let error = Call::new("sh", ["-c", script]).run().await.expect_err("it failed");
        assert!(
            error.to_string().contains("ended with exit status: 4\n  │ FATA[0000] no\n  │ Cannot connect"),
            "{error}"
        );
        assert_eq!(error.hint().as_deref(), Some("start the engine: sudo systemctl start docker"));

        let hangs = Call::new("sh", ["-c", "sleep 60"]).within(Duration::from_millis(100));
        let error = hangs.run().await.expect_err("it hangs");
        assert!(error.to_string().ends_with("did not end within 0.1 s"), "{error}");

        let error = Call::new("no-such-program", [""; 0]).run().await.expect_err("it is missing");
        assert!(matches!(error, CallError::Missing { .. }));
        assert_eq!(error.hint().as_deref(), Some("install no-such-program"));
    }
}
