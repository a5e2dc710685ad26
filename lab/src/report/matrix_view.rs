//! A matrix for a terminal and as a page: the same cells in both.

use std::fmt::Write as _;

use askama::Template;
use comfy_table::{CellAlignment, Table, presets};

use super::matrix::{Figures, MatrixReport, MatrixRow};
use super::text::{
    count, duration, failed_gate, has_images, image, judged, kind, mebibytes, part_line, program, rate,
};
use super::{PageError, PartKind, html};

/// How the cells are to be read.
const MEANING: &str = "p99 by stage; memory is the most that all parts of the lab had together, and the three applications alone; \
                       CPU seconds for 1,000 orders of all parts, and of the applications alone; of several runs each figure is the \
                       median, and orders/s has the least and the most beside it";

/// A row of the page's list of runs.
struct RunWords {
    combination: String,
    throughput: String,
    verified: String,
    bound_by: String,
    report: String,
}

#[derive(Template)]
#[template(path = "matrix.html")]
struct Page<'a> {
    matrix: &'a MatrixReport,
    verdict: String,
    shape: String,
    head: Vec<String>,
    /// How many columns, from the first on, hold words; all others hold figures.
    words: usize,
    rows: Vec<Vec<String>>,
    meaning: &'static str,
    failures: Vec<(String, String)>,
    runs: Vec<RunWords>,
    parts: Vec<(&'a PartKind, String, &'static str, String)>,
    /// Whether any part is of an image.
    images: bool,
    environment: Vec<(&'static str, String)>,
}

/// The page.
pub(super) fn page(matrix: &MatrixReport) -> Result<String, PageError> {
    let parts = matrix.parts.iter().map(|part| (part, program(part), kind(part), image(part))).collect();
    Page {
        matrix,
        verdict: verdict(matrix),
        shape: shape(matrix),
        head: head(matrix),
        words: words(matrix),
        rows: matrix.rows.iter().map(|row| cells(matrix, row)).collect(),
        meaning: MEANING,
        failures: failures(matrix),
        runs: runs(matrix),
        parts,
        images: has_images(&matrix.parts),
        environment: html::machine(&matrix.environment),
    }
    .render()
}

/// The matrix as text.
pub fn matrix_text(matrix: &MatrixReport) -> String {
    let mut text = format!("{}\n{}\n", verdict(matrix), shape(matrix));
    for pair in &matrix.differences.pairs {
        let _ = writeln!(text, "  {}", pair.words);
    }
    judged(&mut text, matrix.previous.as_deref(), &matrix.gate);
    for note in &matrix.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head(matrix));
    for row in &matrix.rows {
        table.add_row(cells(matrix, row));
    }
    for column in table.column_iter_mut().skip(words(matrix)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = writeln!(text, "\n{}\n\n{MEANING}", table.trim_fmt());
    if !matrix.differences.pairs.is_empty() {
        let _ = writeln!(text, "{}", matrix.differences.method);
    }
    for (name, why) in failures(matrix) {
        let _ = writeln!(text, "failed: {name}: {why}");
    }
    text.push_str("\nreal or stand-in\n");
    for part in &matrix.parts {
        text.push_str(&part_line(part, &program(part), has_images(&matrix.parts)));
    }
    let _ = writeln!(text, "\nagain: {}", matrix.command);
    text
}

fn verdict(matrix: &MatrixReport) -> String {
    let good = matrix.rows.iter().filter(|row| {
        row.runs.len() == matrix.repeat as usize && row.runs.iter().all(|run| run.figures.is_some())
    });
    let (good, all) = (good.count(), matrix.rows.len());
    let verified = if good == all { ", every order verified" } else { "" };
    let end = if matrix.complete { "" } else { "; it was not run to its end" };
    format!("{good} of {all} combinations{verified}{end}{}", failed_gate(&matrix.gate))
}

fn shape(matrix: &MatrixReport) -> String {
    let times = match matrix.repeat {
        1 => "one run each".to_owned(),
        repeat => format!("{repeat} runs each, taken in turns"),
    };
    format!("{} orders a run, {}, seed {}, {times}", count(matrix.orders), matrix.profile, matrix.seed)
}

fn head(matrix: &MatrixReport) -> Vec<String> {
    let mut head = matrix.axes.clone();
    head.push("orders/s".to_owned());
    head.extend(stage_names(matrix));
    head.extend(["memory (apps)", "CPU s/1,000 (apps)", "verified", ""].map(str::to_owned));
    head
}

/// The axes come first, and their values are words.
fn words(matrix: &MatrixReport) -> usize {
    matrix.axes.len()
}

fn stage_names(matrix: &MatrixReport) -> Vec<String> {
    let figures = matrix.rows.iter().find_map(|row| row.figures.as_ref());
    figures
        .map(|figures| figures.stages.iter().map(|stage| stage.stage.clone()).collect())
        .unwrap_or_default()
}

fn cells(matrix: &MatrixReport, row: &MatrixRow) -> Vec<String> {
    let value = |axis| row.combination.get(axis).cloned().unwrap_or_default();
    let mut cells: Vec<String> = matrix.axes.iter().map(value).collect();
    match &row.figures {
        Some(figures) => cells.extend(figure_cells(row, figures)),
        // Orders/s, memory, CPU, and the stages.
        None => cells.extend(vec!["–".to_owned(); 3 + stage_names(matrix).len()]),
    }
    cells.push(format!("{} of {}", count(row.verified), count(row.expected)));
    let failed = row.runs.iter().filter(|run| run.figures.is_none()).count();
    let mut words: Vec<String> = row.label.iter().cloned().collect();
    if failed > 0 {
        words.push(format!("{failed} of {} failed", row.runs.len()));
    }
    if row.runs.len() < matrix.repeat as usize {
        words.push(format!("{} of {} run", row.runs.len(), matrix.repeat));
    }
    cells.push(words.join("; "));
    cells
}

fn figure_cells(row: &MatrixRow, figures: &Figures) -> Vec<String> {
    let throughput = match row.throughput_range {
        Some([least, most]) if row.runs.len() > 1 => {
            format!("{} ({}–{})", rate(figures.throughput_per_second), rate(least), rate(most))
        }
        _ => rate(figures.throughput_per_second),
    };
    let mut cells = vec![throughput];
    cells.extend(figures.stages.iter().map(|stage| duration(stage.p99_us as u64)));
    cells.push(format!(
        "{} ({})",
        mebibytes(figures.rss_bytes as u64),
        mebibytes(figures.app_rss_bytes as u64)
    ));
    cells.push(format!(
        "{:.3} ({:.3})",
        figures.cpu_seconds_per_1000_orders, figures.app_cpu_seconds_per_1000_orders
    ));
    cells
}

fn failures(matrix: &MatrixReport) -> Vec<(String, String)> {
    let of = |row: &MatrixRow| {
        let why = row.runs.iter().filter_map(|run| run.failure.clone());
        why.map(|why| (row.name.clone(), why)).collect::<Vec<_>>()
    };
    matrix.rows.iter().flat_map(of).collect()
}

fn runs(matrix: &MatrixReport) -> Vec<RunWords> {
    let of = |row: &MatrixRow| {
        let words = |run: &super::matrix::MatrixRun| RunWords {
            combination: row.name.clone(),
            throughput: run.figures.as_ref().map_or("–".to_owned(), |figures| {
                let label = row.label.as_ref().map(|label| format!(" ({label})")).unwrap_or_default();
                format!("{}{label}", rate(figures.throughput_per_second))
            }),
            verified: format!("{} of {}", count(run.verified), count(run.expected)),
            bound_by: run.bound_by.clone().unwrap_or_default(),
            report: run.report.clone().unwrap_or_else(|| "nothing was measured".to_owned()),
        };
        row.runs.iter().map(words).collect::<Vec<_>>()
    };
    matrix.rows.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn one_table_with_a_row_for_each_combination() {
        let text = matrix_text(&sample::matrix());
        assert!(
            text.starts_with(
                "1 of 2 combinations; it was not run to its end\n1,000 orders a run, burst, seed 42, 3 runs each, taken in turns\n"
            ),
            "{text}"
        );
        let lines: Vec<_> = text.lines().collect();
        let head = lines.iter().position(|line| line.contains("orders/s")).expect("a head");
        for name in ["stack", "topology", "ingress queue", "end to end", "memory (apps)", "verified"] {
            assert!(lines[head].contains(name), "{name}: {}", lines[head]);
        }
        for words in ["spin-rust", "shared", "600 (500–700)", "2.70 s", "2.250 (2.000)", "3,000 of 3,000"] {
            assert!(lines[head + 1].contains(words), "{words}: {}", lines[head + 1]);
        }
        assert!(
            lines[head + 2].contains("996 of 1,000") && lines[head + 2].contains("2 of 2 failed; 2 of 3 run"),
            "{}",
            lines[head + 2]
        );
        assert!(text.contains("failed: warp-rust, shared: blob ended\n"), "{text}");
    }

    #[test]
    fn a_whole_one_says_that_every_order_was_verified_and_one_that_was_cut_says_that() {
        let mut matrix = sample::empty_matrix();
        matrix.repeat = 1;
        matrix.add(0, Ok(&sample::report()));
        assert_eq!(verdict(&matrix), "1 of 2 combinations; it was not run to its end");
        matrix.add(1, Ok(&sample::report()));
        assert_eq!(verdict(&matrix), "2 of 2 combinations, every order verified");
    }

    #[test]
    fn a_threshold_that_is_not_met_spoils_the_headline() {
        let mut matrix = sample::measured_matrix("stack=spin-rust,warp-rust", &[&[100.0; 3], &[300.0; 3]]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gate.toml");
        std::fs::write(&file, "throughput_per_second.min = 200\n").unwrap();
        matrix.finish(folder.path(), Some(&super::super::Gate::read(&file).unwrap()));
        assert!(!matrix.passed());
        assert_eq!(verdict(&matrix), "2 of 2 combinations, every order verified; 1 of 2 thresholds not met");
        let not_met = "threshold not met: spin-rust: throughput_per_second is 100.000, at least 200 wanted";
        assert!(matrix_text(&matrix).contains(not_met));
        let page = page(&matrix).unwrap();
        assert!(page.contains("class=\"verdict bad\"") && page.contains(not_met));
    }

    #[test]
    fn a_tuned_row_is_labelled_wherever_its_figures_stand() {
        let mut matrix = sample::empty_matrix();
        matrix.add(0, Ok(&sample::tuned()));
        let label = "spin-host tuned, not Spin";
        let text = matrix_text(&matrix);
        let row =
            text.lines().find(|line| line.contains("spin-rust") && line.contains("500")).expect("a row");
        assert!(row.contains(label), "{text}");
        assert!(text.contains(&format!("note: {label}: no verdict")), "{text}");
        assert_eq!(page(&matrix).unwrap().matches(label).count(), 4, "note, row, run, part");
    }

    #[test]
    fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
        let mut matrix = sample::matrix();
        matrix.rows[1].runs[0].failure = Some("<b> ended".into());
        let page = page(&matrix).unwrap();
        for banned in ["<script", "<link", "src=", "url(", "@import", "http", "<b>"] {
            assert!(!page.contains(banned), "{banned}");
        }
        assert!(page.contains("600 (500–700)") && page.contains("class=\"verdict bad\""));
    }
}
