//! A program that is asked one thing and ends: what it says first.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// The first line of what a program prints on stdout; `None` where it cannot be started, fails, says nothing, or does not end
/// within the time, in which case it is killed.
pub async fn first_line(program: &Path, args: &[&str], within: Duration) -> Option<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(within, command.output()).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, within: Duration) -> Option<String> {
        first_line(Path::new("/bin/sh"), &["-c", script], within).await
    }

    #[tokio::test]
    async fn the_first_line_of_a_program_that_ends_well() {
        let long = Duration::from_secs(30);
        assert_eq!(sh("echo 1.18.3; echo more", long).await.as_deref(), Some("1.18.3"));
        for silent in ["exit 0", "echo no; exit 1", "echo no >&2"] {
            assert_eq!(sh(silent, long).await, None, "{silent}");
        }
        assert_eq!(sh("sleep 60", Duration::from_millis(20)).await, None);
        assert_eq!(first_line(Path::new("/nowhere"), &[], long).await, None);
    }
}
