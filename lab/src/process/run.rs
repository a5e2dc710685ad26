//! A program that is run to its end: what it printed and how it ended, within a time.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Bytes that are kept of what a program prints: the list of ten k3d clusters is 200 KB.
const OUTPUT_BYTES: usize = 4 * 1024 * 1024;

/// A program to be run, by the name that `PATH` knows or by its path. It inherits the environment: what talks to engines and
/// clusters reads its settings, proxies and credentials from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToRun<'a> {
    /// Name or path.
    pub program: &'a str,
    /// Its arguments; every user of the machine can read them, so no secrets.
    pub args: &'a [String],
    /// Variables beyond the inherited ones.
    pub env: &'a [(String, String)],
    /// What it reads on stdin; nothing if empty.
    pub stdin: &'a [u8],
    /// How long it may take; then it and its own children are killed.
    pub within: Duration,
}

/// A program that has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed; of very much, the beginning.
    pub stdout: String,
    /// What it complained about; of very much, the beginning.
    pub stderr: String,
}

/// Why a program did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// There is no such program.
    #[error("there is no program '{0}'")]
    Missing(String),
    /// The system did not start it, or lost it.
    #[error("the system did not run it")]
    Io(#[from] io::Error),
    /// It took too long and was killed.
    #[error("it did not end within {} s and was killed", within.as_secs_f64())]
    TimedOut {
        /// How long it was given.
        within: Duration,
        /// What it had complained about by then.
        stderr: String,
    },
}

/// Runs a program to its end. Dropped before, it kills the program and its children.
///
/// # Errors
/// Fails when it cannot be started or does not end in time; an exit status other than 0 is no error here.
pub async fn run(what: &ToRun<'_>) -> Result<Ran, NotRun> {
    let mut command = Command::new(what.program);
    command
        .args(what.args)
        .envs(what.env.iter().map(|(name, value)| (name, value)))
        .process_group(0)
        .stdin(if what.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NotRun::Missing(what.program.to_owned()),
        _ => NotRun::Io(error),
    })?;
    let mut group = Group(child.id());
    let mut stdin = child.stdin.take();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let whole = async {
        let write = async {
            if let Some(mut pipe) = stdin.take() {
                // Who reads no further has its reasons, and says them on stderr.
                let _ = pipe.write_all(what.stdin).await;
            }
        };
        let ((), out, err) = tokio::join!(write, keep(stdout, &mut out), keep(stderr, &mut err));
        out.and(err)?;
        child.wait().await
    };
    let status = tokio::time::timeout(what.within, whole).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match status {
        Ok(status) => {
            let status = status?;
            // It is reaped: its number may soon be another's.
            group.0 = None;
            Ok(Ran { status, stdout: text(&out), stderr: text(&err) })
        }
        Err(_) => Err(NotRun::TimedOut { within: what.within, stderr: text(&err) }),
    }
}

/// Reads to the end and keeps the beginning: a program that prints for ever must not fill the memory, nor wait for a reader.
async fn keep(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = pipe.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(read.min(room)));
    }
}

/// Kills what is left of the program's group when nobody waits for it any more.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            // The only way to fail is that the group is gone.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, stdin: &[u8], within: Duration) -> Result<Ran, NotRun> {
        let args = ["-c".to_owned(), script.to_owned()];
        run(&ToRun { program: "sh", args: &args, env: &[("WORD".into(), "data".into())], stdin, within })
            .await
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn output_exit_and_stdin_of_a_program() {
        let ran = sh("cat; echo $WORD; echo wrong >&2; exit 3", b"in ", LONG).await.expect("it ran");
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("in data\n", "wrong\n"));
        assert_eq!(ran.status.code(), Some(3));
        // It reads none of its stdin, which is larger than a pipe holds.
        let ran = sh("exit 0", &vec![b'x'; 1024 * 1024], LONG).await.expect("it ran");
        assert!(ran.status.success());
    }

    #[tokio::test]
    async fn a_program_that_is_missing_or_hangs() {
        let to_run = ToRun { program: "no-such-program", args: &[], env: &[], stdin: &[], within: LONG };
        assert!(matches!(run(&to_run).await, Err(NotRun::Missing(_))));
        // A child of its own holds the pipes open: the group is killed, so this ends.
        let hangs = sh("echo why >&2; sleep 60 & wait", b"", Duration::from_millis(200)).await;
        let Err(NotRun::TimedOut { stderr, .. }) = hangs else { panic!("{hangs:?}") };
        assert_eq!(stderr, "why\n");
    }

    #[tokio::test]
    async fn what_prints_without_end_is_cut() {
        let script = "head -c 9000000 /dev/zero | tr '\\0' x; echo end >&2";
        let ran = sh(script, b"", LONG).await.expect("it ran");
        assert_eq!(ran.stdout.len(), OUTPUT_BYTES);
        assert_eq!(ran.stderr, "end\n");
    }
}
