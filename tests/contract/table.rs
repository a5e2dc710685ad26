//! The table application × case, as it stands in the docs. It must not run anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::stage::Verdict;

/// What stands where a case was not played in this column yet.
const NOT_PLAYED: &str = "not played";

const INTRODUCTION: &str = "\
# The contract of the applications

Every case of the contract, played with every application, artefact and host: what was sent, what has to come of it, and the status that came. Written by the
suite itself (`UPDATE=1 cargo test --test contract`); it fails when this page is not what it saw. The suite plays Dapr, so that it sees what Dapr is given, and
starts each application by the command line that a lab starts it with. Cases are data: `tests/contract/cases`.

The columns on Spin are of a real `spin` (`LAB_SPIN_BIN=/path/to/spin`); a run without one leaves them as they are. `tuned` is spin-host with
`--engine-profile tuned`, not Spin.
";

/// Cells of the page by column and case.
#[derive(Debug, Default)]
pub struct Page {
    cells: BTreeMap<(String, String), String>,
}

impl Page {
    /// Reads the tables of a page.
    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut columns: Vec<&str> = Vec::new();
        for line in text.lines().filter(|line| line.starts_with('|')) {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            if cells.first() == Some(&"case") {
                columns = cells[2..].to_vec();
                continue;
            }
            for (column, cell) in columns.iter().zip(cells.iter().skip(2)) {
                page.cells.insert(((*column).to_owned(), cells[0].to_owned()), (*cell).to_owned());
            }
        }
        page
    }

    /// Takes what was seen in a column.
    pub fn set(&mut self, column: &str, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let cell = verdict.outcome.as_ref().map_or("✗", String::as_str);
            self.cells.insert((column.to_owned(), verdict.name.clone()), cell.to_owned());
        }
    }

    /// The page with these columns, its lines in the order of these cases.
    pub fn write(&self, columns: &[String], cases: &[Verdict]) -> String {
        let mut text = INTRODUCTION.to_owned();
        let mut group = "";
        for case in cases {
            if case.group != group {
                group = case.group;
                let _ = writeln!(text, "\n## {group}\n\n| case | expected | {} |", columns.join(" | "));
                let _ = writeln!(text, "| --- | --- |{}", " --- |".repeat(columns.len()));
            }
            let cells: Vec<_> = columns.iter().map(|column| self.cell(column, &case.name)).collect();
            let _ = writeln!(text, "| {} | {} | {} |", case.name, case.expected, cells.join(" | "));
        }
        text
    }

    fn cell(&self, column: &str, case: &str) -> &str {
        let key = (column.to_owned(), case.to_owned());
        self.cells.get(&key).map_or(NOT_PLAYED, String::as_str)
    }

    /// The cases that a column has not been played with.
    pub fn holes(&self, columns: &[String], cases: &[Verdict]) -> Vec<String> {
        let is_hole = |column: &&String, case: &Verdict| self.cell(column, &case.name) == NOT_PLAYED;
        cases
            .iter()
            .flat_map(|case| {
                columns.iter().filter(move |column| is_hole(column, case)).map(move |column| (column, case))
            })
            .map(|(column, case)| format!("{column}: {}", case.name))
            .collect()
    }
}
