//! Rules of the house that no compiler checks. Each finding names file, line and remedy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file that git tracks, or would: what is ignored is not ours.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let files: Vec<_> =
        listed.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect();
    assert!(files.iter().any(|path| path == "tests/tidy.rs"), "git lists this file");
    files
}

fn sources() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|path| path.ends_with(".rs")).map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).expect("sources are UTF-8");
        (path, text)
    })
}

fn assert_none(findings: Vec<String>, rule: &str) {
    let mut message = String::new();
    for finding in &findings {
        let _ = writeln!(message, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}\n{message}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent = sources()
        .filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("/tests.rs"))
        .map(|(path, _)| path)
        .collect();
    assert_none(silent, "a module opens with `//!`: what it is for and what it must not do");
}

#[test]
fn no_file_must_be_searched() {
    let long = sources()
        .filter(|(_, text)| text.lines().count() > FILE_LINES_MAX)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert_none(long, "a file has at most 800 lines; split it by what its parts are for");
}

#[test]
fn no_function_must_be_scrolled() {
    let long = sources().flat_map(|(path, text)| long_functions(&path, &text)).collect();
    assert_none(long, "a function has at most 70 lines; name its steps");
}

/// Relies on rustfmt: a function ends at the first `}` that is indented like its `fn`.
fn long_functions(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let words = code
            .trim_start_matches("pub ")
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ");
        let words =
            words.trim_start_matches("const ").trim_start_matches("async ").trim_start_matches("unsafe ");
        if !words.starts_with("fn ") || line.ends_with(';') {
            continue;
        }
        let end = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0);
        if length > FUNCTION_LINES_MAX {
            found.push(format!("{path}:{}: {length} lines", start + 1));
        }
    }
    found
}

#[test]
fn no_test_sleeps_and_nothing_is_left_for_later() {
    // Written in two parts, so that this file does not find itself.
    let banned = [
        (concat!("thread::", "sleep"), "wait for a condition with a deadline"),
        (concat!("TO", "DO"), "do it, or open an issue"),
        (concat!("FIX", "ME"), "do it, or open an issue"),
        (concat!("#[ign", "ore"), "a test runs, or it says at run time why it is skipped"),
        (concat!("allow(dead", "_code"), "delete what is dead"),
    ];
    let mut findings = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for (word, remedy) in banned {
                if line.contains(word) {
                    findings.push(format!("{path}:{}: `{word}`: {remedy}", number + 1));
                }
            }
        }
    }
    assert_none(findings, "words that have no place here");
}

/// A pause in a test must be the pause of a poll with a deadline, which only the shared helpers do.
#[test]
fn tests_wait_through_the_shared_helpers() {
    let pause = concat!("time::", "sleep(");
    let findings = sources()
        .filter(|(path, _)| path.contains("/tests/") || path.starts_with("tests/"))
        .filter(|(path, _)| path != "tests/src/lib.rs")
        .flat_map(|(path, text)| {
            let lines = text.lines().enumerate().filter(|(_, line)| line.contains(pause));
            lines.map(|(number, _)| format!("{path}:{}", number + 1)).collect::<Vec<_>>()
        })
        .collect();
    assert_none(findings, "a test waits with tests::until (a condition, a deadline, a last status)");
}

#[test]
fn the_repository_speaks_of_no_machine() {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("crates", ".io/api"),
        concat!("registry.", "npmjs"),
    ];
    let mut findings = Vec::new();
    for path in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word)) {
                findings.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none(findings, "no path of a machine, no address of a registry");
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut findings = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(root().join(&path)).expect("documents are UTF-8");
        let folder = root().join(&path).parent().expect("a file is in a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                findings.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none(findings, "a link of a document names a file of this repository");
}

/// The source of an error is shown by whoever prints the chain; a message that repeats it says it twice.
#[test]
fn no_error_prints_its_cause_twice() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let next = lines.get(number + 1).copied().unwrap_or_default();
            let takes_source = next.contains("#[source]") || next.contains("#[from]");
            let names_it = line.contains("{0}") || line.contains("{source}");
            if line.contains("#[error(")
                && names_it
                && takes_source
                && next.matches('(').count() < 3
                && !next.contains(',')
            {
                findings.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none(findings, "an error names its cause as #[source], not in its text");
}
