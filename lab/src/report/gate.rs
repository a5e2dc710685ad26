//! Thresholds that a run must meet: read from a file before anything runs, and held against figures afterwards.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::matrix::Figures;
use super::metrics::{METRICS, Metric};
use crate::limits;

/// Thresholds for a run, or for each combination of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    thresholds: Vec<Threshold>,
}

/// One metric's bounds; at least one is there.
#[derive(Debug, Clone, PartialEq)]
struct Threshold {
    metric: &'static Metric,
    min: Option<f64>,
    max: Option<f64>,
}

/// What came of one threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GateCheck {
    /// The combination; none where one run is all.
    pub combination: Option<String>,
    /// The metric.
    pub metric: String,
    /// Its value; nothing where the run has none.
    pub value: Option<f64>,
    /// The least that passes.
    pub min: Option<f64>,
    /// The most that passes.
    pub max: Option<f64>,
    /// Whether it passed.
    pub passed: bool,
    /// The same as a sentence.
    pub words: String,
}

/// Why a file is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The file.
    #[error("failed to read the thresholds of {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Neither TOML nor JSON.
    #[error("{} is neither TOML nor JSON: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// A metric that no run has.
    #[error("{} names the unknown metric '{given}', expected one of: {}", path.display(), names())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The name.
        given: String,
    },
    /// Something that is no threshold.
    #[error("{}: {what}", path.display())]
    Threshold {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

fn names() -> String {
    METRICS.map(|metric| metric.name).join(", ")
}

impl Gate {
    /// Reads a file: JSON where its name ends with `.json`, else TOML; each metric a table of `min`, `max` or both.
    ///
    /// # Errors
    /// Names the first thing that is wrong, and for an unknown metric every one that there is.
    pub fn read(path: &Path) -> Result<Self, GateError> {
        let failed = |source| GateError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limits::SETTINGS_BYTES).read_to_string(&mut text).map_err(failed)?;
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let value = match is_json {
            true => serde_json::from_str(&text).map_err(|error| error.to_string()),
            false => toml::from_str::<Value>(&text).map_err(|error| error.to_string()),
        };
        let syntax = |reason: String| GateError::Syntax { path: path.to_owned(), reason };
        Self::of(path, &value.map_err(|reason| syntax(reason.trim_end().to_owned()))?)
    }

    fn of(path: &Path, value: &Value) -> Result<Self, GateError> {
        let wrong = |what: String| GateError::Threshold { path: path.to_owned(), what };
        let metrics = value.as_object().filter(|metrics| !metrics.is_empty());
        let metrics = metrics.ok_or_else(|| {
            wrong(
                "no threshold: write a metric with its bounds, [throughput_per_second] min = 1000".to_owned(),
            )
        })?;
        let mut thresholds = Vec::new();
        for (name, bounds) in metrics {
            let metric = Metric::named(name)
                .ok_or_else(|| GateError::Unknown { path: path.to_owned(), given: name.clone() })?;
            let table = || wrong(format!("{name} takes a table with min, max or both, not {bounds}"));
            let bounds = bounds.as_object().filter(|bounds| !bounds.is_empty()).ok_or_else(table)?;
            let (mut min, mut max) = (None, None);
            for (bound, value) in bounds {
                let slot = match bound.as_str() {
                    "min" => &mut min,
                    "max" => &mut max,
                    _ => {
                        return Err(wrong(format!(
                            "{name} has the unknown bound '{bound}', expected min or max"
                        )));
                    }
                };
                let number = value.as_f64().filter(|number| number.is_finite());
                *slot = Some(
                    number.ok_or_else(|| wrong(format!("{bound} of {name} takes a number, not {value}")))?,
                );
            }
            if min.zip(max).is_some_and(|(min, max)| min > max) {
                return Err(wrong(format!("{name} has a min above its max, which nothing meets")));
            }
            thresholds.push(Threshold { metric, min, max });
        }
        Ok(Self { thresholds })
    }

    /// Holds figures against every threshold. A run without figures meets none.
    pub fn check(&self, combination: Option<&str>, figures: Option<&Figures>) -> Vec<GateCheck> {
        self.thresholds.iter().map(|threshold| threshold.check(combination, figures)).collect()
    }
}

impl Threshold {
    fn check(&self, combination: Option<&str>, figures: Option<&Figures>) -> GateCheck {
        let Self { metric, min, max } = *self;
        let value = figures.and_then(|figures| metric.of(figures));
        let passed = value
            .is_some_and(|value| min.is_none_or(|min| value >= min) && max.is_none_or(|max| value <= max));
        let least = min.map(|min| format!("at least {min}"));
        let most = max.map(|max| format!("at most {max}"));
        let bounds: Vec<_> = least.into_iter().chain(most).collect();
        let value_words = value.map_or("no value".to_owned(), |value| format!("{value:.3}"));
        let of = combination.map(|combination| format!("{combination}: ")).unwrap_or_default();
        let met = if passed { "met" } else { "not met" };
        GateCheck {
            combination: combination.map(str::to_owned),
            metric: metric.name.to_owned(),
            value,
            min,
            max,
            passed,
            words: format!("{met}: {of}{} is {value_words}, {} wanted", metric.name, bounds.join(" and ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn read(name: &str, text: &str) -> Result<Gate, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Gate::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn thresholds_are_read_from_toml_and_json_alike() {
        let toml = read("gate.toml", "[throughput_per_second]\nmin = 500\n[end_to_end_us_p99]\nmax = 9e5\n");
        let json = read(
            "gate.json",
            r#"{"throughput_per_second": {"min": 500}, "end_to_end_us_p99": {"max": 9e5}}"#,
        );
        let order = |gate: Gate| {
            let mut names: Vec<_> = gate.thresholds.iter().map(|found| found.metric.name).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(order(toml.unwrap()), order(json.unwrap()));
    }

    #[test]
    fn a_threshold_that_is_not_met_is_told_with_value_and_bound() {
        let matrix = sample::matrix();
        let figures = matrix.rows[0].figures.as_ref();
        let gate = read("gate.toml", "throughput_per_second = { min = 600, max = 600 }\n").unwrap();
        let check = &gate.check(None, figures)[0];
        assert!(check.passed, "the bounds themselves are met: {check:?}");
        let gate = read("gate.toml", "throughput_per_second.min = 600.5\n").unwrap();
        let check = &gate.check(Some("spin-rust, shared"), figures)[0];
        assert!(!check.passed);
        assert_eq!(
            check.words,
            "not met: spin-rust, shared: throughput_per_second is 600.000, at least 600.5 wanted"
        );
        let check = &gate.check(None, None)[0];
        assert!(!check.passed && check.words.contains("is no value"), "{check:?}");
    }

    #[test]
    fn what_is_no_gate_is_refused_with_the_reason() {
        for (name, text, said) in [
            (
                "g.toml",
                "[speed]\nmin = 1\n",
                "the unknown metric 'speed', expected one of: throughput_per_second, ",
            ),
            ("g.toml", "throughput_per_second = 5\n", "takes a table with min, max or both, not 5"),
            ("g.toml", "[throughput_per_second]\n", "takes a table with min, max or both, not {}"),
            ("g.toml", "[throughput_per_second]\nmin = \"fast\"\n", "takes a number, not \"fast\""),
            ("g.toml", "[throughput_per_second]\nmin = inf\n", "min of throughput_per_second takes a number"),
            (
                "g.toml",
                "[throughput_per_second]\nleast = 1\n",
                "the unknown bound 'least', expected min or max",
            ),
            ("g.toml", "[rss_bytes]\nmin = 2\nmax = 1\n", "rss_bytes has a min above its max"),
            ("g.toml", "", "no threshold"),
            ("g.toml", "min =", "is neither TOML nor JSON"),
            ("g.json", "[throughput_per_second]", "is neither TOML nor JSON"),
            ("g.json", "[]", "no threshold"),
        ] {
            let error = read(name, text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(matches!(Gate::read(Path::new("/no/such/file")), Err(GateError::Read { .. })));
    }
}
