//! The contract of the applications: the same cases for every one of them, and the table of what came of it.
//!
//! The suite stands on both sides of an application: it sends the orders and plays Dapr. No broker, no store, no Dapr
//! takes part; what those make of it is the end-to-end suite's.

mod case;
mod cases;
mod dapr;
mod rows;
mod scenarios;
mod stage;
mod table;
mod wire;
mod wrong;

use std::path::PathBuf;

use lab::paths::Workspace;
use rows::Row;
use stage::Verdict;
use table::Page;
use tokio::task::JoinSet;

/// The page that holds the table.
fn page_path() -> PathBuf {
    let workspace = Workspace::find().expect("the suite runs in the workspace");
    workspace.root().join("lab/docs/contract.md")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_application_keeps_every_case() {
    let columns: Vec<String> = Row::all().iter().map(|row| row.name.to_owned()).collect();
    let here: Vec<Row> = Row::all().into_iter().filter(Row::is_here).collect();
    rows::build(&here);
    let mut playing = JoinSet::new();
    for row in here {
        playing.spawn(async move { (row.name, row.play().await) });
    }
    let played = playing.join_all().await;
    let failures: Vec<_> = played.iter().flat_map(|(column, verdicts)| failures(column, verdicts)).collect();
    assert!(failures.is_empty(), "{} cases are not kept:\n{}", failures.len(), failures.join("\n"));
    let on_disk = std::fs::read_to_string(page_path()).unwrap_or_default();
    let mut page = Page::read(&on_disk);
    for (column, verdicts) in &played {
        page.set(column, verdicts);
    }
    let cases = played.first().map(|(_, verdicts)| verdicts.as_slice()).unwrap_or_default();
    let text = page.write(&columns, cases);
    println!("{text}");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(page_path(), &text).expect("the page can be written");
    } else {
        assert!(text == on_disk, "lab/docs/contract.md is out of date; UPDATE=1 cargo test --test contract");
    }
    let holes = page.holes(&columns, cases);
    assert!(holes.is_empty(), "the table has holes:\n{}", holes.join("\n"));
}

fn failures(column: &str, verdicts: &[Verdict]) -> Vec<String> {
    let failed = verdicts.iter().filter_map(|verdict| {
        let why = verdict.outcome.as_ref().err()?;
        Some(format!("{column}: {} / {}: {why}", verdict.group, verdict.name))
    });
    failed.collect()
}
