//! The table of `lab/docs/fidelity-spin.md` and the tests name each other: no line without a test, no test without a line.

use std::collections::BTreeSet;
use std::path::Path;

/// Lines of the checklist of a Spin host.
const LINES: usize = 30;

/// Names of the form `a07_…` in a text, each after what `before` says.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let is_named = |name: &&str| {
        let bytes = name.as_bytes();
        name.len() > 4 && bytes[0] == b'a' && bytes[1..3].iter().all(u8::is_ascii_digit) && bytes[3] == b'_'
    };
    let starts = text.match_indices(before).map(|(at, _)| &text[at + before.len()..]);
    let words =
        starts.map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(""));
    words.filter(is_named).map(str::to_owned).collect()
}

fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("readable")) {
        if entry.path().is_dir() {
            sources(&entry.path(), text);
        } else {
            text.push_str(&std::fs::read_to_string(entry.path()).expect("a source"));
        }
    }
}

#[test]
fn every_line_of_the_checklist_has_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    sources(&root.join("tests/program"), &mut tests);
    let tests = names(&tests, "\nfn ");
    let document = std::fs::read_to_string(root.join("../../lab/docs/fidelity-spin.md")).expect("the table");
    let listed = names(&document, "`");
    assert_eq!(
        tests.difference(&listed).collect::<Vec<_>>(),
        [] as [&String; 0],
        "tests that the table does not name"
    );
    assert_eq!(listed.difference(&tests).collect::<Vec<_>>(), [] as [&String; 0], "names that no test has");
    for line in 1..=LINES {
        assert!(tests.iter().any(|name| name.starts_with(&format!("a{line:02}_"))), "A{line} has no test");
    }
}
