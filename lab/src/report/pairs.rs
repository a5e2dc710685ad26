//! Which rows of a matrix are held against each other, and what came of it in words. The method is [`crate::stats`]'s.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matrix::MatrixRow;
use super::metrics::{END_TO_END, Metric, THROUGHPUT};
use crate::flow::Profile;
use crate::spec::matrix::words;
use crate::stats::{self, ROUNDS_LEAST};

/// What a matrix says about differences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Differences {
    /// The metric that is compared.
    pub metric: String,
    /// How, in a sentence.
    pub method: String,
    /// Every two rows that differ in one axis alone, in the order of the axes.
    pub pairs: Vec<Pair>,
}

/// Two rows that differ in one axis alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// The axis in which they differ.
    pub axis: String,
    /// What they have in common, in words; empty where the matrix has one axis.
    pub within: String,
    /// The one with more of the metric, where a ratio is known.
    pub of: String,
    /// The other one.
    pub to: String,
    /// Rounds in which both were measured and clean.
    pub rounds: u32,
    /// How many times as much `of` has; nothing with fewer than three rounds.
    pub ratio: Option<RatioInterval>,
    /// What may be said.
    pub finding: Finding,
    /// The same as a sentence.
    pub words: String,
}

/// A ratio and its interval, as [`stats::Ratio`] has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatioInterval {
    /// The ratio.
    pub ratio: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// What may be said of two series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The interval leaves 1 out.
    Different,
    /// The interval holds 1: they may be the same, and may differ by as much as it is wide.
    NoDifferenceShown,
    /// There are too few runs.
    NoVerdict,
}

impl Finding {
    /// Of a ratio, or of none.
    pub fn of(ratio: Option<&stats::Ratio>) -> Self {
        match ratio {
            None => Self::NoVerdict,
            Some(ratio) if ratio.differs() => Self::Different,
            Some(_) => Self::NoDifferenceShown,
        }
    }
}

impl From<stats::Ratio> for RatioInterval {
    fn from(ratio: stats::Ratio) -> Self {
        Self { ratio: ratio.ratio, low: ratio.low, high: ratio.high }
    }
}

/// What runs of this profile are judged by.
pub const fn judged_by(profile: Profile) -> Metric {
    match profile {
        Profile::Burst => THROUGHPUT,
        Profile::Steady { .. } => END_TO_END,
    }
}

/// The metric as the page and the terminal call it.
pub fn metric_words(metric: &str) -> &str {
    match metric {
        "throughput_per_second" => "orders/s",
        "end_to_end_us_p99" => "end-to-end p99",
        other => other,
    }
}

/// How the ends of an interval are shown.
pub fn ends(low: f64, high: f64) -> String {
    format!("{low:.2}–{high:.2}")
}

/// Holds every two rows against each other that differ in one axis alone.
pub fn differences(axes: &[String], rows: &[MatrixRow], profile: Profile) -> Differences {
    let metric = judged_by(profile);
    let mut found: Vec<(&str, &MatrixRow, &MatrixRow)> = Vec::new();
    for axis in axes {
        for (index, one) in rows.iter().enumerate() {
            let others = rows.iter().skip(index + 1).filter(|other| differs_in(one, other) == Some(axis));
            found.extend(others.map(|other| (axis.as_str(), one, other)));
        }
    }
    let count = found.len();
    let pairs = found.into_iter().map(|(axis, one, other)| pair(axes, axis, one, other, metric, count));
    let mut pairs: Vec<_> = pairs.collect();
    // What has the same in common stands together, in the order in which it came first.
    let places: Vec<_> = pairs.iter().map(|pair| (pair.axis.clone(), pair.within.clone())).collect();
    pairs.sort_by_key(|pair| {
        places.iter().position(|(axis, within)| (axis, within) == (&pair.axis, &pair.within))
    });
    let together = match count {
        0 | 1 => "the interval holds in 95 of 100 tables".to_owned(),
        count => {
            format!("the {count} intervals of this table hold together in 95 of 100 tables (Bonferroni)")
        }
    };
    Differences {
        metric: metric.name.to_owned(),
        method: format!(
            "ratios of {}, round by round on logarithms, with Student's t over the rounds; {together}; a difference is claimed \
             where the interval leaves 1 out",
            metric_words(metric.name)
        ),
        pairs,
    }
}

/// The axis in which two rows differ, if it is one.
fn differs_in<'a>(one: &'a MatrixRow, other: &MatrixRow) -> Option<&'a String> {
    let mut axes = one
        .combination
        .iter()
        .filter(|(axis, value)| other.combination.get(*axis) != Some(value))
        .map(|(axis, _)| axis);
    axes.next().filter(|_| axes.next().is_none())
}

fn pair(
    axes: &[String],
    axis: &str,
    one: &MatrixRow,
    other: &MatrixRow,
    metric: Metric,
    comparisons: usize,
) -> Pair {
    let of = |run: &super::MatrixRun| run.figures.as_ref().and_then(|figures| metric.of(figures));
    // The runs of a row are in the order of the rounds.
    let rounds: Vec<(f64, f64)> =
        one.runs.iter().zip(&other.runs).filter_map(|(one, other)| of(one).zip(of(other))).collect();
    let ratio = stats::paired(&rounds, comparisons);
    let value = |row: &MatrixRow| words(axis, row.combination.get(axis).map_or("", String::as_str));
    let turned = ratio.is_some_and(|ratio| ratio.ratio < 1.0);
    let (of, to) = if turned { (value(other), value(one)) } else { (value(one), value(other)) };
    let ratio = if turned { ratio.map(|ratio| ratio.inverse()) } else { ratio };
    let shared = axes.iter().filter(|shared| *shared != axis);
    let within: Vec<_> =
        shared.filter_map(|shared| one.combination.get(shared).map(|value| words(shared, value))).collect();
    let within = within.join(", ");
    let mut sentence = sentence(&of, &to, ratio, rounds.len(), metric);
    // What must stand beside every figure of a row.
    if let Some(label) = one.label.as_ref().or(other.label.as_ref()).filter(|_| ratio.is_some()) {
        sentence.push_str(&format!(" ({label})"));
    }
    Pair {
        axis: axis.to_owned(),
        words: if within.is_empty() { sentence } else { format!("{within}: {sentence}") },
        within,
        of,
        to,
        rounds: u32::try_from(rounds.len()).unwrap_or(u32::MAX),
        finding: Finding::of(ratio.as_ref()),
        ratio: ratio.map(Into::into),
    }
}

fn sentence(of: &str, to: &str, ratio: Option<stats::Ratio>, rounds: usize, metric: Metric) -> String {
    let Some(ratio) = ratio else {
        return format!(
            "no verdict on {of} and {to}: rounds in which both were clean: {rounds}, and it takes {ROUNDS_LEAST}"
        );
    };
    let interval = format!("95 % interval {}", ends(ratio.low, ratio.high));
    match (ratio.differs(), metric == END_TO_END) {
        (true, false) => format!("{of} {:.2} × {to}, {interval}", ratio.ratio),
        (true, true) => {
            format!("{of} takes {:.2} × as long as {to} (end-to-end p99), {interval}", ratio.ratio)
        }
        (false, _) => format!("no difference shown between {of} and {to}, {interval}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MatrixReport, sample};
    use super::*;

    fn words_of(matrix: &MatrixReport) -> Vec<&str> {
        matrix.differences.pairs.iter().map(|pair| pair.words.as_str()).collect()
    }

    #[test]
    fn rows_that_differ_in_one_axis_are_compared_and_the_greater_comes_first() {
        let axes = "stack=spin-rust,warp-rust,topology=sidecar,shared";
        let matrix = sample::measured_matrix(
            axes,
            &[&[100.0, 110.0, 104.0], &[80.0, 82.0, 101.0], &[260.0, 285.0, 272.0], &[221.0, 235.0, 219.0]],
        );
        assert_eq!(
            words_of(&matrix),
            [
                "sidecar: warp-rust 2.60 × spin-rust, 95 % interval 2.54–2.67",
                "shared: warp-rust 2.58 × spin-rust, 95 % interval 1.19–5.60",
                "spin-rust: no difference shown between sidecar and shared, 95 % interval 0.60–2.42",
                "warp-rust: sidecar 1.21 × shared, 95 % interval 1.05–1.39",
            ]
        );
        assert!(matrix.differences.method.contains("the 4 intervals of this table hold together"));
        assert_eq!(matrix.differences.metric, "throughput_per_second");
    }

    #[test]
    fn a_ratio_of_a_tuned_host_is_labelled() {
        let mut matrix = sample::measured_matrix(
            "stack=spin-rust,warp-rust",
            &[&[100.0, 97.0, 104.0], &[101.0, 95.0, 103.0]],
        );
        matrix.rows[0].label = Some("spin-host tuned, not Spin".into());
        matrix.judge();
        assert!(words_of(&matrix)[0].ends_with("95 % interval 0.97–1.05 (spin-host tuned, not Spin)"));
    }

    #[test]
    fn two_rounds_are_no_verdict_and_a_round_that_failed_does_not_count() {
        let two = sample::measured_matrix("stack=spin-rust,warp-rust", &[&[100.0, 101.0], &[300.0, 301.0]]);
        let pair = &two.differences.pairs[0];
        assert_eq!((pair.finding, pair.ratio, pair.rounds), (Finding::NoVerdict, None, 2));
        assert_eq!(
            pair.words,
            "no verdict on spin-rust and warp-rust: rounds in which both were clean: 2, and it takes 3"
        );
        assert_eq!(sample::matrix().differences.pairs[0].rounds, 0, "the second row failed in each");
    }

    #[test]
    fn the_same_lab_twice_is_no_difference() {
        let matrix = sample::measured_matrix("series=a,b", &[&[100.0, 97.0, 104.0], &[101.0, 95.0, 103.0]]);
        assert_eq!(
            words_of(&matrix),
            ["no difference shown between series a and series b, 95 % interval 0.97–1.05"]
        );
        assert!(matrix.differences.method.contains("the interval holds in 95 of 100 tables"));
    }

    #[test]
    fn rows_of_one_combination_have_nothing_to_be_compared_with() {
        let matrix = sample::measured_matrix("stack=spin-rust", &[&[100.0, 97.0, 104.0]]);
        assert_eq!(matrix.differences.pairs, []);
    }
}
