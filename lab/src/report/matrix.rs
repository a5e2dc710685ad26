//! Several runs side by side: one row a combination, one table. It copies figures out of reports; it measures nothing.
//!
//! `matrix.json` is the result; text and page are views of it. Its shape is `schemas/matrix.schema.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pairs::{self, Differences};
use super::{
    Document, Environment, Gate, GateCheck, PartKind, Report, ReportError, SCHEMA_VERSION, matrix_view,
    write_files,
};
use crate::flow::Profile;
use crate::flow::usage::OWN;
use crate::spec::Role;
use crate::spec::matrix::{Combination, Matrix};
use crate::stats::median;

/// Several runs and everything that is needed to read their figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Its name, which is also its folder's.
    pub name: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// The command that measures the same again.
    pub command: String,
    /// The axes, in the order in which people see them.
    pub axes: Vec<String>,
    /// Orders of each run.
    pub orders: u64,
    /// When they were due.
    pub profile: Profile,
    /// The seed of the data set.
    pub seed: u64,
    /// Runs of each combination, taken in turns: A B C …, A B C ….
    pub repeat: u32,
    /// Whether every run was tried; an interrupted matrix keeps what it has.
    pub complete: bool,
    /// Whether every run that was tried was measured and clean.
    pub clean: bool,
    /// The first machine state that was read, before anything ran.
    pub environment: Environment,
    /// What a reader must know before the figures are compared with others.
    pub notes: Vec<String>,
    /// What was real and what stood in, of all runs; without numbers of replicas.
    pub parts: Vec<PartKind>,
    /// One row for each combination, in the order in which they were run.
    pub rows: Vec<MatrixRow>,
    /// Which of them differ, and by how much.
    pub differences: Differences,
    /// How it compares with the one before of the same command, in one line; nothing where there is none.
    pub previous: Option<String>,
    /// The thresholds that each combination was held against; none where none were given.
    pub gate: Vec<GateCheck>,
}

/// One combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixRow {
    /// The value of each axis, by the axis's name.
    pub combination: BTreeMap<String, String>,
    /// The same in words, in the order of the axes.
    pub name: String,
    /// What must stand beside every figure of the row.
    pub label: Option<String>,
    /// Medians over the runs that were clean; nothing without one.
    pub figures: Option<Figures>,
    /// Throughput of the slowest and of the fastest run, orders in a second.
    pub throughput_range: Option<[f64; 2]>,
    /// Orders that were verified, of all runs.
    pub verified: u64,
    /// Orders that were sent in the runs that were measured.
    pub expected: u64,
    /// Its runs, one after the other.
    pub runs: Vec<MatrixRun>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MatrixRun {
    /// The name of its own report, which is a folder beside this one; none where nothing was measured.
    pub report: Option<String>,
    /// Why there is no result, or why it counts for nothing.
    pub failure: Option<String>,
    /// Orders that were verified.
    pub verified: u64,
    /// Orders that were sent.
    pub expected: u64,
    /// What it measured, where it is clean.
    pub figures: Option<Figures>,
    /// What the flow was bound by.
    pub bound_by: Option<String>,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Orders in a second.
    pub throughput_per_second: f64,
    /// 99th percentile of each stage, microseconds, in the order in which an order meets them.
    pub stages: Vec<StageP99>,
    /// Most resident memory of all parts of the lab, bytes.
    pub rss_bytes: f64,
    /// The same of the three applications alone.
    pub app_rss_bytes: f64,
    /// CPU seconds of all parts of the lab for 1,000 orders.
    pub cpu_seconds_per_1000_orders: f64,
    /// The same of the three applications alone.
    pub app_cpu_seconds_per_1000_orders: f64,
}

/// One stage's 99th percentile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StageP99 {
    /// The stage's name.
    pub stage: String,
    /// Microseconds.
    pub p99_us: f64,
}

/// What a matrix begins with.
#[derive(Debug, Clone)]
pub struct MatrixInputs<'a> {
    /// What is to be run.
    pub matrix: &'a Matrix,
    /// Runs of each combination.
    pub repeat: u32,
    /// Orders of each run.
    pub orders: u64,
    /// When they are due.
    pub profile: Profile,
    /// The seed of the data set.
    pub seed: u64,
    /// The command that measures the same again.
    pub command: String,
    /// When it begins, microseconds since the Unix epoch.
    pub started_us: u64,
    /// The machine, read before anything ran.
    pub environment: Environment,
}

impl MatrixReport {
    /// A matrix of which nothing has been run.
    pub fn new(inputs: MatrixInputs<'_>) -> Self {
        let started = crate::flow::schedule::rfc3339_ms(inputs.started_us);
        let stamp: String = started.chars().filter(char::is_ascii_alphanumeric).collect();
        let axes: Vec<_> = inputs.matrix.axes().iter().map(|(axis, _)| axis.to_string()).collect();
        let rows: Vec<_> = inputs.matrix.combinations().iter().map(MatrixRow::new).collect();
        Self {
            schema_version: SCHEMA_VERSION,
            name: format!("{stamp}-matrix"),
            started,
            command: inputs.command,
            orders: inputs.orders,
            profile: inputs.profile,
            seed: inputs.seed,
            repeat: inputs.repeat,
            complete: false,
            clean: true,
            environment: inputs.environment,
            notes: Vec::new(),
            parts: Vec::new(),
            differences: pairs::differences(&axes, &rows, inputs.profile),
            axes,
            rows,
            previous: None,
            gate: Vec::new(),
        }
    }

    /// Adds a run to the row of this number; `run` is its report, or why there is none.
    pub fn add(&mut self, row: usize, run: Result<&Report, String>) {
        if let Ok(report) = &run {
            self.learn(report);
        }
        if let Some(row) = self.rows.get_mut(row) {
            row.add(run);
        }
        let runs = || self.rows.iter().flat_map(|row| &row.runs);
        self.clean = runs().all(|run| run.figures.is_some());
        self.complete = runs().count() == self.rows.len() * self.repeat as usize;
        self.judge();
    }

    /// Compares it with the matrix before in `runs`, and holds each row that was run against a gate.
    pub fn finish(&mut self, runs: &Path, gate: Option<&Gate>) {
        self.previous = super::previous(runs, &Document::Matrix(Box::new(self.clone())));
        let rows = self.rows.iter().filter(|row| !row.runs.is_empty());
        let checks =
            |gate: &Gate| rows.flat_map(|row| gate.check(Some(&row.name), row.figures.as_ref())).collect();
        self.gate = gate.map(checks).unwrap_or_default();
    }

    /// Whether every threshold was met.
    pub fn passed(&self) -> bool {
        self.gate.iter().all(|check| check.passed)
    }

    /// Says anew which rows differ.
    pub(super) fn judge(&mut self) {
        self.differences = pairs::differences(&self.axes, &self.rows, self.profile);
    }

    /// Notes and parts that no earlier run had.
    fn learn(&mut self, report: &Report) {
        for note in &report.notes {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
        for part in &report.parts {
            let same = |known: &PartKind| {
                (&known.component, &known.program, &known.version, &known.note)
                    == (&part.component, &part.program, &part.version, &part.note)
            };
            if !self.parts.iter().any(same) {
                self.parts.push(part.clone());
            }
        }
    }

    /// The matrix as `matrix.json` has it, with a newline at the end.
    pub fn to_json(&self) -> Result<String, ReportError> {
        let mut json = serde_json::to_string_pretty(self).map_err(ReportError::Json)?;
        json.push('\n');
        Ok(json)
    }

    /// Writes `matrix.json` and `matrix.html` into a folder of its name under `runs`, and gives the folder.
    pub fn write(&self, runs: &Path) -> Result<PathBuf, ReportError> {
        let page = matrix_view::page(self).map_err(ReportError::Page)?;
        write_files(&runs.join(&self.name), &[("matrix.json", self.to_json()?), ("matrix.html", page)])
    }
}

impl MatrixRow {
    fn new(combination: &Combination) -> Self {
        let value = |value: &crate::spec::matrix::Value| (value.axis().to_string(), value.to_string());
        Self {
            combination: combination.values.iter().map(value).collect(),
            name: combination.to_string(),
            label: None,
            figures: None,
            throughput_range: None,
            verified: 0,
            expected: 0,
            runs: Vec::new(),
        }
    }

    fn add(&mut self, run: Result<&Report, String>) {
        let run = match run {
            Ok(report) => {
                self.label = report.label().map(str::to_owned);
                MatrixRun::of(report)
            }
            Err(failure) => MatrixRun {
                report: None,
                failure: Some(failure),
                verified: 0,
                expected: 0,
                figures: None,
                bound_by: None,
            },
        };
        self.verified += run.verified;
        self.expected += run.expected;
        self.runs.push(run);
        let figures: Vec<_> = self.runs.iter().filter_map(|run| run.figures.as_ref()).collect();
        self.figures = Figures::median(&figures);
        let rates = figures.iter().map(|figures| figures.throughput_per_second);
        let least = rates.clone().min_by(f64::total_cmp);
        self.throughput_range = least.zip(rates.max_by(f64::total_cmp)).map(|(least, most)| [least, most]);
    }
}

impl MatrixRun {
    fn of(report: &Report) -> Self {
        let verification = &report.measured.verification;
        let figures = Figures::of(report);
        Self {
            report: Some(report.name.clone()),
            failure: figures.is_none().then(|| super::text::verdict(report)),
            verified: verification.correct,
            expected: verification.expected,
            figures,
            bound_by: Some(report.analysis.bound_by.clone()),
        }
    }
}

impl Figures {
    /// Of a run that is clean and was recorded whole.
    pub fn of(report: &Report) -> Option<Self> {
        let components = || report.analysis.components.iter().filter(|usage| usage.component != OWN);
        let apps =
            || components().filter(|usage| Role::ALL.iter().any(|role| role.as_str() == usage.component));
        let thousands = report.measured.setup.orders.max(1) as f64 / 1e3;
        Some(Self {
            throughput_per_second: report.measured.throughput_per_second?,
            stages: report
                .measured
                .stages
                .iter()
                .map(|stage| StageP99 { stage: stage.name.clone(), p99_us: stage.p99_us as f64 })
                .collect(),
            rss_bytes: components().map(|usage| usage.rss_most_bytes as f64).sum(),
            app_rss_bytes: apps().map(|usage| usage.rss_most_bytes as f64).sum(),
            cpu_seconds_per_1000_orders: components().map(|usage| usage.cpu_seconds).sum::<f64>() / thousands,
            app_cpu_seconds_per_1000_orders: apps().map(|usage| usage.cpu_seconds).sum::<f64>() / thousands,
        })
    }

    /// The median of each figure by itself.
    fn median(all: &[&Self]) -> Option<Self> {
        let first = all.first()?;
        let of = |figure: &dyn Fn(&Self) -> f64| median(all.iter().map(|figures| figure(figures)).collect());
        let stage = |(index, stage): (usize, &StageP99)| StageP99 {
            stage: stage.stage.clone(),
            p99_us: of(&|figures| figures.stages.get(index).map_or(0.0, |stage| stage.p99_us)),
        };
        Some(Self {
            throughput_per_second: of(&|figures| figures.throughput_per_second),
            stages: first.stages.iter().enumerate().map(stage).collect(),
            rss_bytes: of(&|figures| figures.rss_bytes),
            app_rss_bytes: of(&|figures| figures.app_rss_bytes),
            cpu_seconds_per_1000_orders: of(&|figures| figures.cpu_seconds_per_1000_orders),
            app_cpu_seconds_per_1000_orders: of(&|figures| figures.app_cpu_seconds_per_1000_orders),
        })
    }
}

/// The JSON schema of the matrix, as `schemas/matrix.schema.json` has it.
pub fn matrix_schema() -> Result<String, ReportError> {
    super::schema_of::<MatrixReport>()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    /// To change the shape on purpose: run the test, copy the file that it names, and think about [`SCHEMA_VERSION`].
    #[test]
    fn the_checked_in_schema_is_that_of_the_code() {
        let now = matrix_schema().unwrap();
        if now != include_str!("../../schemas/matrix.schema.json") {
            let path = std::env::temp_dir().join("matrix.schema.json");
            std::fs::write(&path, &now).unwrap();
            panic!("lab/schemas/matrix.schema.json is not that of the code, which is in {}", path.display());
        }
    }

    #[test]
    fn a_matrix_fits_its_schema_and_survives_the_way() {
        let schema: serde_json::Value = serde_json::from_str(&matrix_schema().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let matrix = sample::matrix();
        let json: serde_json::Value = serde_json::from_str(&matrix.to_json().unwrap()).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(serde_json::from_value::<MatrixReport>(json).unwrap(), matrix);
    }

    #[test]
    fn a_row_has_the_medians_of_its_clean_runs_and_the_reason_of_each_that_is_not() {
        let matrix = sample::matrix();
        assert!(!matrix.complete && !matrix.clean, "the second row has two runs of three");
        let [good, failed] = matrix.rows.as_slice() else { panic!("two rows: {matrix:#?}") };
        let figures = good.figures.as_ref().unwrap();
        assert!((figures.throughput_per_second - 600.0).abs() < 1e-9, "the median of 500, 600 and 700");
        assert_eq!(good.throughput_range, Some([500.0, 700.0]));
        assert_eq!((good.verified, good.expected), (3_000, 3_000));
        // 40, 41 and 40 MiB before, each 5 more at the most.
        assert!((figures.app_rss_bytes - f64::from(136 << 20)).abs() < 1.0, "{figures:?}");
        assert!((figures.app_cpu_seconds_per_1000_orders - 2.0).abs() < 1e-9, "{figures:?}");
        assert!((figures.cpu_seconds_per_1000_orders - 2.25).abs() < 1e-9, "{figures:?}");
        assert_eq!(figures.stages.len(), 5);
        assert_eq!(failed.figures, None);
        let why: Vec<_> = failed.runs.iter().map(|run| run.failure.as_deref().unwrap()).collect();
        assert_eq!(why[0], "blob ended");
        assert!(why[1].contains("not all of them as they should be"), "{why:?}");
        assert_eq!((failed.verified, failed.expected), (996, 1_000));
    }

    #[test]
    fn what_was_not_run_is_not_complete() {
        let mut matrix = sample::empty_matrix();
        assert!(!matrix.complete && matrix.rows.iter().all(|row| row.runs.is_empty()));
        matrix.add(0, Ok(&sample::report()));
        assert!(!matrix.complete && matrix.clean);
    }
}
