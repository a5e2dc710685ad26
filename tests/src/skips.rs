//! What a test says when it cannot run on this machine. Nothing is skipped in silence, and nothing for a reason that is not in
//! the list.

use std::io::Write as _;

/// Set where everything must be there (`.ci/run`): then nothing is skipped.
const FORBID_SKIPS: &str = "LAB_FORBID_SKIPS";

/// Every reason that there is, and what would make the cases run.
pub const REASONS: [(&str, &str); 5] = [
    ("no Docker engine", "start one, or name its socket: DOCKER_HOST=unix:///path/docker.sock"),
    ("no registry program", "sudo apt-get install --yes docker-registry"),
    ("no Python that the SDKs run on", "sudo apt-get install --yes python3 python3-venv"),
    ("no Node that the SDKs run on", "sudo apt-get install --yes nodejs npm"),
    ("no Go that the SDK is built with", "install Go 1.24 or newer: https://go.dev/dl"),
];

/// Tells on stderr that a case does not run, and why.
///
/// # Panics
/// Where skips are forbidden, and for a reason that is not in [`REASONS`].
#[expect(clippy::panic, reason = "a skip that must not be fails the test")]
pub fn skip(case: &str, reason: &str) {
    let Some((_, remedy)) = REASONS.iter().find(|(known, _)| *known == reason) else {
        panic!(
            "{case} may not be skipped because of {reason:?}: it is not in the list of tests/src/skips.rs"
        );
    };
    let forbidden = std::env::var(FORBID_SKIPS).is_ok_and(|value| value == "1");
    assert!(!forbidden, "{case}: {reason}, and {FORBID_SKIPS}=1 allows no skip\nhint: {remedy}");
    // Not `eprintln!`, which the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {case}: {reason}\nhint: {remedy}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "not in the list")]
    fn a_reason_that_is_not_listed_skips_nothing() {
        skip("a case", "no patience");
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for (reason, remedy) in REASONS {
            assert!(!reason.is_empty() && remedy.len() > reason.len(), "{reason}");
        }
    }
}
