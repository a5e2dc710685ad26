//! The table of the checklist (`lab/docs/fidelity-dapr.md`) and the cases are held to each other: no line without a case, no
//! case that the table does not name, no name without a case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lab::paths::Workspace;

const LINES: std::ops::RangeInclusive<u32> = 1..=67;

/// Folders with cases.
const SUITES: [&str; 3] = ["tests/dapr", "tests/e2e", "emulators/dapr/tests/program"];

/// Names of all test functions of a folder.
fn cases(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).expect("the folder of a suite");
    let sources =
        files.map(|file| std::fs::read_to_string(file.expect("an entry").path()).expect("a source"));
    let mut names = BTreeSet::new();
    for source in sources {
        let after_attribute = source.split("#[tokio::test]\nasync fn ").skip(1);
        names
            .extend(after_attribute.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name.to_owned()));
    }
    names
}

/// The lines that a case names itself after: `c06_c07_…`.
fn lines_of(case: &str) -> Vec<u32> {
    let numbers = case.split('_').map_while(|word| word.strip_prefix('c')?.parse().ok());
    numbers.collect()
}

#[test]
fn every_line_has_a_case_and_every_case_is_in_the_table() {
    let workspace = Workspace::find().expect("the suite runs in the workspace");
    let there: BTreeSet<_> = SUITES.iter().flat_map(|suite| cases(&workspace.root().join(suite))).collect();
    let table =
        std::fs::read_to_string(workspace.root().join("lab/docs/fidelity-dapr.md")).expect("the table");
    let mut named: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    let mut line = 0;
    for row in table.lines().filter(|row| row.starts_with('|')) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        // A row without a number goes on with the line above it.
        line = cells[1].parse().unwrap_or(line);
        let quoted = cells.get(3).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        named.entry(line).or_default().extend(quoted);
    }
    for line in LINES {
        let of_line = named.get(&line).filter(|cases| !cases.is_empty());
        assert!(of_line.is_some(), "line {line} of the checklist has no case in the table");
    }
    for case in named.values().flatten() {
        assert!(there.contains(*case), "the table names {case}, which is no case");
    }
    for case in &there {
        for line in lines_of(case) {
            let in_table = named.get(&line).is_some_and(|cases| cases.contains(&**case));
            assert!(in_table, "line {line} of the table does not name {case}");
        }
    }
}
