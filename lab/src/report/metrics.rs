//! The figures by which runs are compared and gated: one name for each, in gate files, comparisons and errors.

use super::matrix::Figures;
use crate::flow::stages::NAMES;

/// One figure of a run.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its one name; the unit is in it.
    pub name: &'static str,
    value: fn(&Figures) -> Option<f64>,
}

impl Metric {
    /// Its value in a run that has figures.
    pub fn of(&self, figures: &Figures) -> Option<f64> {
        (self.value)(figures)
    }

    /// The metric of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Every metric, in the order in which people see them.
pub const METRICS: [Metric; 10] = [
    Metric { name: "throughput_per_second", value: |figures| Some(figures.throughput_per_second) },
    Metric { name: "ingress_queue_us_p99", value: |figures| p99(figures, NAMES[0]) },
    Metric { name: "distributor_us_p99", value: |figures| p99(figures, NAMES[1]) },
    Metric { name: "second_queue_us_p99", value: |figures| p99(figures, NAMES[2]) },
    Metric { name: "receiver_us_p99", value: |figures| p99(figures, NAMES[3]) },
    Metric { name: "end_to_end_us_p99", value: |figures| p99(figures, NAMES[4]) },
    Metric { name: "rss_bytes", value: |figures| Some(figures.rss_bytes) },
    Metric { name: "app_rss_bytes", value: |figures| Some(figures.app_rss_bytes) },
    Metric {
        name: "cpu_seconds_per_1000_orders",
        value: |figures| Some(figures.cpu_seconds_per_1000_orders),
    },
    Metric {
        name: "app_cpu_seconds_per_1000_orders",
        value: |figures| Some(figures.app_cpu_seconds_per_1000_orders),
    },
];

/// What a matrix of bursts is judged by: all orders are there at once, and how fast they go is the question.
pub const THROUGHPUT: Metric = METRICS[0];

/// What a matrix of steady runs is judged by: the rate is given, and how long an order takes is the question.
pub const END_TO_END: Metric = METRICS[5];

fn p99(figures: &Figures, stage: &str) -> Option<f64> {
    figures.stages.iter().find(|found| found.stage == stage).map(|found| found.p99_us)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn every_metric_of_a_clean_run_has_a_value_and_is_found_by_its_name() {
        let matrix = sample::matrix();
        let figures = matrix.rows[0].figures.as_ref().expect("figures");
        for metric in &METRICS {
            assert!(metric.of(figures).is_some_and(|value| value > 0.0), "{}", metric.name);
            assert_eq!(Metric::named(metric.name), Some(metric));
        }
        assert_eq!(Metric::named("speed"), None);
        assert_eq!((THROUGHPUT.name, END_TO_END.name), ("throughput_per_second", "end_to_end_us_p99"));
    }
}
