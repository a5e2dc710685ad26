//! Two reports side by side: the ratio of each figure, and whether throughput or latency differs where there are runs enough to say. It
//! refuses what cannot be compared.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::Document;
use super::matrix::{Figures, MatrixRow};
use super::metrics::METRICS;
use super::pairs::{Finding, RatioInterval, ends, judged_by, metric_words};
use super::{Environment, MatrixReport, Report, ReportError, SCHEMA_VERSION, load};
use crate::limits;
use crate::stats::{self, ROUNDS_LEAST};

/// Two reports side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The first report's name.
    pub first: String,
    /// The second one's.
    pub second: String,
    /// What else differs, in words: settings, versions, the kernel.
    pub other_differences: Vec<String>,
    /// How a difference is found.
    pub method: String,
    /// One row for a run, one for each combination that both matrices have.
    pub rows: Vec<ComparedRow>,
}

/// One run, or one combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedRow {
    /// The combination, or `run`.
    pub name: String,
    /// The verdict as a sentence.
    pub words: String,
    /// What may be said.
    pub finding: Finding,
    /// The second by the first, of the metric by which runs of this profile are judged; nothing with fewer than three runs of each.
    pub ratio: Option<RatioInterval>,
    /// Every figure of both.
    pub figures: Vec<ComparedFigure>,
}

/// One figure of both; medians where there are several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedFigure {
    /// Its name.
    pub metric: String,
    /// In the first.
    pub first: f64,
    /// In the second.
    pub second: f64,
    /// The second by the first; nothing where the first is 0.
    pub ratio: Option<f64>,
}

/// Why two reports are not compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// Machines that differ: figures would tell of them and not of the labs.
    #[error("{first} and {second} were measured on machines that differ: {differences}")]
    Machines {
        /// The first report's name.
        first: String,
        /// The second one's.
        second: String,
        /// What differs, in words.
        differences: String,
    },
    /// A run and a matrix.
    #[error("{first} and {second} are a run and a matrix; compare a run of the matrix by its own name")]
    Kinds {
        /// The first report's name.
        first: String,
        /// The second one's.
        second: String,
    },
    /// A burst and a steady run, or two rates: their figures answer different questions.
    #[error("{first} and {second} had orders due differently: {differences}")]
    Profiles {
        /// The first report's name.
        first: String,
        /// The second one's.
        second: String,
        /// What differs, in words.
        differences: String,
    },
    /// No combination that both have, with figures.
    #[error("{first} and {second} have no clean runs of the same combination")]
    Nothing {
        /// The first report's name.
        first: String,
        /// The second one's.
        second: String,
    },
}

/// What both kinds of report have for a comparison.
struct Side<'a> {
    name: &'a str,
    environment: &'a Environment,
    command: &'a str,
    profile: crate::flow::Profile,
    orders: u64,
    parts: Vec<String>,
    rows: Vec<(String, Vec<Figures>)>,
}

/// Compares two reports of one kind.
///
/// # Errors
/// Names what keeps them from being compared.
pub fn compare(first: &Document, second: &Document) -> Result<Comparison, CompareError> {
    let (one, other) = (Side::of(first), Side::of(second));
    let names = || (one.name.to_owned(), other.name.to_owned());
    if std::mem::discriminant(first) != std::mem::discriminant(second) {
        let (first, second) = names();
        return Err(CompareError::Kinds { first, second });
    }
    let machines = one.environment.machine_differences(other.environment);
    if !machines.is_empty() {
        let (first, second) = names();
        return Err(CompareError::Machines { first, second, differences: machines.join(", ") });
    }
    if one.profile != other.profile {
        let (first, second) = names();
        let differences = format!("{} and {}", one.profile, other.profile);
        return Err(CompareError::Profiles { first, second, differences });
    }
    let rows = one.rows.iter().filter_map(|(name, figures)| {
        let (_, others) = other.rows.iter().find(|(other, _)| other == name)?;
        (!figures.is_empty() && !others.is_empty()).then_some((name.as_str(), figures, others))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        let (first, second) = names();
        return Err(CompareError::Nothing { first, second });
    }
    let count = rows.len();
    let metric = judged_by(one.profile);
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        first: one.name.to_owned(),
        second: other.name.to_owned(),
        other_differences: one.differences(&other),
        method: format!(
            "ratios of {}, second by first, Welch's interval on logarithms; intervals of a table hold together in 95 of 100 tables \
             (Bonferroni, {count} here); it takes {ROUNDS_LEAST} runs of each",
            metric_words(metric.name)
        ),
        rows: rows.into_iter().map(|(name, one, other)| row(name, one, other, metric, count)).collect(),
    })
}

impl<'a> Side<'a> {
    fn of(document: &'a Document) -> Self {
        match document {
            Document::Run(report) => Self::of_run(report),
            Document::Matrix(matrix) => Self::of_matrix(matrix),
        }
    }

    fn of_run(report: &'a Report) -> Self {
        Self {
            name: &report.name,
            environment: &report.environment,
            command: &report.command,
            profile: report.measured.setup.profile,
            orders: report.measured.setup.orders,
            parts: programs(&report.parts),
            rows: vec![("run".to_owned(), Figures::of(report).into_iter().collect())],
        }
    }

    fn of_matrix(matrix: &'a MatrixReport) -> Self {
        let clean = |row: &MatrixRow| row.runs.iter().filter_map(|run| run.figures.clone()).collect();
        Self {
            name: &matrix.name,
            environment: &matrix.environment,
            command: &matrix.command,
            profile: matrix.profile,
            orders: matrix.orders,
            parts: programs(&matrix.parts),
            rows: matrix.rows.iter().map(|row| (row.name.clone(), clean(row))).collect(),
        }
    }

    /// What a reader must know beside the machines.
    fn differences(&self, other: &Self) -> Vec<String> {
        let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        let (here, there) = (self.environment, other.environment);
        let rows = [
            ("orders", self.orders.to_string(), other.orders.to_string()),
            ("command", self.command.to_owned(), other.command.to_owned()),
            ("programs", self.parts.join(", "), other.parts.join(", ")),
            ("kernel", known(&here.kernel), known(&there.kernel)),
            ("commit", known(&here.git_commit), known(&there.git_commit)),
            ("lab", here.lab_version.clone(), there.lab_version.clone()),
        ];
        let differing = rows.into_iter().filter(|(_, one, other)| one != other);
        differing.map(|(what, one, other)| format!("{what}: {one} → {other}")).collect()
    }
}

fn programs(parts: &[super::PartKind]) -> Vec<String> {
    let mut programs: Vec<_> = parts.iter().map(super::text::program).collect();
    programs.sort();
    programs.dedup();
    programs
}

fn row(
    name: &str,
    first: &[Figures],
    second: &[Figures],
    metric: super::metrics::Metric,
    comparisons: usize,
) -> ComparedRow {
    let values = |metric: &super::metrics::Metric, figures: &[Figures]| -> Vec<f64> {
        figures.iter().filter_map(|figures| metric.of(figures)).collect()
    };
    let ratio = stats::unpaired(&values(&metric, second), &values(&metric, first), comparisons);
    let compared = METRICS.iter().map(|metric| {
        let (first, second) = (values(metric, first), values(metric, second));
        let (first, second) = (stats::median(first), stats::median(second));
        let ratio = (first > 0.0).then(|| second / first);
        ComparedFigure { metric: metric.name.to_owned(), first, second, ratio }
    });
    let figures: Vec<_> = compared.collect();
    let medians = figures.iter().find(|figure| figure.metric == metric.name).and_then(|found| found.ratio);
    let what = metric_words(metric.name);
    let words = match (&ratio, medians) {
        (Some(ratio), _) if ratio.differs() => {
            format!("{:.2} × the {what}, 95 % interval {}", ratio.ratio, ends(ratio.low, ratio.high))
        }
        (Some(ratio), _) => {
            format!("no difference in {what} shown, 95 % interval {}", ends(ratio.low, ratio.high))
        }
        (None, Some(medians)) => format!("{medians:.2} × the {what}; too few runs for an interval"),
        (None, None) => format!("no {what} to compare"),
    };
    ComparedRow {
        name: name.to_owned(),
        words,
        finding: Finding::of(ratio.as_ref()),
        ratio: ratio.map(Into::into),
        figures,
    }
}

impl Comparison {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{} against {}\n", self.second, self.first);
        for row in &self.rows {
            let _ = writeln!(text, "  {}: {}", row.name, row.words);
        }
        for difference in &self.other_differences {
            let _ = writeln!(text, "differs: {difference}");
        }
        for row in &self.rows {
            let _ = writeln!(text, "\n{:<34}{:>16}{:>16}{:>10}", row.name, "first", "second", "ratio");
            for figure in &row.figures {
                let ratio = figure.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
                let [first, second] = [figure.first, figure.second].map(shown);
                let _ = writeln!(text, "  {:<32}{first:>16}{second:>16}{ratio:>10}", figure.metric);
            }
        }
        let _ = writeln!(text, "\n{}", self.method);
        text
    }

    /// In one line, for the report that the second one is.
    fn line(&self) -> String {
        match self.rows.as_slice() {
            [row] => row.words.clone(),
            rows => {
                let different: Vec<_> = rows
                    .iter()
                    .filter(|row| row.finding == Finding::Different)
                    .map(|row| format!("{}: {}", row.name, row.words))
                    .collect();
                let undecided = rows.iter().filter(|row| row.finding == Finding::NoVerdict).count();
                match (different.is_empty(), undecided) {
                    (_, undecided) if undecided == rows.len() => "too few runs for a verdict".to_owned(),
                    (true, _) => format!("no difference shown in {} combinations", rows.len()),
                    (false, _) => different.join("; "),
                }
            }
        }
    }
}

fn shown(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => super::text::rate(value),
        value => format!("{value:.3}"),
    }
}

/// A run of the same command that was measured before, and how this one compares with it, in one line.
///
/// Looks at the newest of those that were written before; one of another machine is named and not compared. `None` where there is none.
pub fn previous(runs: &Path, document: &Document) -> Option<String> {
    let (name, command) = match document {
        Document::Run(report) => (&report.name, &report.command),
        Document::Matrix(matrix) => (&matrix.name, &matrix.command),
    };
    // The instant comes first, what is measured after it.
    let (_, kind) = name.split_once('-')?;
    let of_this_kind =
        |other: &String| other < name && other.split_once('-').is_some_and(|(_, other)| other == kind);
    let entries = std::fs::read_dir(runs).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(of_this_kind).collect();
    names.sort_unstable_by(|one, other| other.cmp(one));
    for earlier in names.into_iter().take(limits::PREVIOUS_RUNS) {
        // One that cannot be read, or was not clean, is no measure.
        let Ok(before) = load(runs, &earlier) else { continue };
        let same = match &before {
            Document::Run(report) => report.command == *command,
            Document::Matrix(matrix) => matrix.command == *command,
        };
        if !same {
            continue;
        }
        match compare(&before, document) {
            Ok(comparison) => return Some(format!("against {earlier}: {}", comparison.line())),
            Err(CompareError::Machines { differences, .. }) => {
                return Some(format!("not compared with {earlier}, of another machine: {differences}"));
            }
            Err(_) => {}
        }
    }
    None
}

/// The JSON schema of a comparison, as `schemas/compare.schema.json` has it.
pub fn compare_schema() -> Result<String, ReportError> {
    super::schema_of::<Comparison>()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn run(report: Report) -> Document {
        Document::Run(Box::new(report))
    }

    fn matrix(rows: &[&[f64]]) -> Document {
        Document::Matrix(Box::new(sample::measured_matrix("stack=spin-rust,warp-rust", rows)))
    }

    fn on(cores: u32) -> Report {
        let mut report = sample::report();
        report.environment.cores = cores;
        report
    }

    #[test]
    fn the_checked_in_schema_is_that_of_the_code() {
        let now = compare_schema().unwrap();
        if now != include_str!("../../schemas/compare.schema.json") {
            let path = std::env::temp_dir().join("compare.schema.json");
            std::fs::write(&path, &now).unwrap();
            panic!("lab/schemas/compare.schema.json is not that of the code, which is in {}", path.display());
        }
    }

    #[test]
    fn two_runs_have_ratios_and_no_interval() {
        let mut quicker = sample::report();
        quicker.measured.throughput_per_second = Some(650.0);
        let found = compare(&run(sample::report()), &run(quicker)).unwrap();
        assert_eq!(found.rows[0].words, "1.30 × the orders/s; too few runs for an interval");
        assert_eq!(found.rows[0].figures.len(), METRICS.len());
        assert_eq!((found.rows[0].finding, found.rows[0].ratio), (Finding::NoVerdict, None));
        let text = found.text();
        assert!(text.contains("throughput_per_second") && text.contains("1.30"), "{text}");
        let schema: serde_json::Value = serde_json::from_str(&compare_schema().unwrap()).unwrap();
        let json = serde_json::to_value(&found).unwrap();
        jsonschema::validate(&schema, &json).unwrap();
    }

    #[test]
    fn matrices_are_compared_combination_by_combination_with_intervals() {
        let before = matrix(&[&[100.0, 102.0, 101.0, 99.0], &[300.0, 310.0, 305.0, 295.0]]);
        let after = matrix(&[&[130.0, 133.0, 131.0, 129.0], &[303.0, 299.0, 308.0, 301.0]]);
        let found = compare(&before, &after).unwrap();
        let words: Vec<_> = found.rows.iter().map(|row| row.words.as_str()).collect();
        assert_eq!(
            words,
            [
                "1.30 × the orders/s, 95 % interval 1.27–1.34",
                "no difference in orders/s shown, 95 % interval 0.96–1.04"
            ]
        );
        assert_eq!(found.line(), "spin-rust: 1.30 × the orders/s, 95 % interval 1.27–1.34");
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_the_reason() {
        let machines = compare(&run(on(2)), &run(on(8))).unwrap_err().to_string();
        assert!(
            machines.ends_with("were measured on machines that differ: 2 cores and 8 cores"),
            "{machines}"
        );
        let rows: &[&[f64]] = &[&[100.0; 3], &[300.0; 3]];
        let kinds = compare(&run(sample::report()), &matrix(rows)).unwrap_err();
        assert!(matches!(kinds, CompareError::Kinds { .. }));
        let profiles = compare(&run(sample::report()), &run(sample::steady())).unwrap_err().to_string();
        assert!(
            profiles.ends_with("had orders due differently: burst and steady, 500 orders/s"),
            "{profiles}"
        );
        let nothing = compare(&run(sample::report()), &run(sample::failed())).unwrap_err();
        assert!(matches!(nothing, CompareError::Nothing { .. }));
    }

    #[test]
    fn what_else_differs_is_told() {
        let mut other = sample::report();
        other.environment.kernel = Some("6.2.0".into());
        other.environment.git_commit = None;
        let found = compare(&run(sample::report()), &run(other)).unwrap();
        assert_eq!(found.other_differences.len(), 2, "{:?}", found.other_differences);
        assert_eq!(found.other_differences[0], "kernel: 6.1.0 → 6.2.0");
    }

    #[test]
    fn the_run_before_is_the_newest_of_the_same_command() {
        let folder = tempfile::tempdir().unwrap();
        let named = |instant: &str, throughput, cores| {
            let mut report = on(cores);
            report.name = format!("{instant}-spin-rust-shared");
            report.measured.throughput_per_second = Some(throughput);
            report
        };
        let now = run(named("20260105T000000000Z", 600.0, 2));
        assert_eq!(previous(folder.path(), &now), None);
        for report in [
            named("20260101T000000000Z", 100.0, 2),
            named("20260102T000000000Z", 500.0, 2),
            // Later, of another command, and of another kind: none of them is the one before.
            named("20260106T000000000Z", 1.0, 2),
            Report { command: "cargo lab bench --orders 7".into(), ..named("20260103T000000000Z", 1.0, 2) },
            Report { name: "20260104T000000000Z-warp-rust-shared".into(), ..on(2) },
        ] {
            report.write(folder.path()).unwrap();
        }
        let broken = folder.path().join("20260104T000000000Z-spin-rust-shared");
        std::fs::create_dir(&broken).unwrap();
        std::fs::write(broken.join("report.json"), "{\"schema_version\": 2, \"meas").unwrap();
        assert_eq!(
            previous(folder.path(), &now).unwrap(),
            "against 20260102T000000000Z-spin-rust-shared: 1.20 × the orders/s; too few runs for an interval"
        );
        let elsewhere = run(named("20260105T000000000Z", 600.0, 8));
        assert_eq!(
            previous(folder.path(), &elsewhere).unwrap(),
            "not compared with 20260102T000000000Z-spin-rust-shared, of another machine: 2 cores and 8 cores"
        );
    }
}
