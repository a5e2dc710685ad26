//! The method against series whose truth is known: equal ones, and ones that differ by a known ratio.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Series as runs make them: log-normal noise, a machine that gets slower from run to run, now and then a run that something else
/// disturbed.
struct Machine {
    rng: StdRng,
    /// Standard deviation of the logarithm of a run.
    noise: f64,
    /// What the machine loses from one round to the next.
    drift: f64,
    /// How often a run is disturbed, and takes a third longer.
    disturbed: f64,
}

impl Machine {
    fn usual(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), noise: 0.05, drift: 0.01, disturbed: 0.05 }
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let (one, other): (f64, f64) = (self.rng.random(), self.rng.random());
        (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }

    /// The rates of combinations whose true rates are given, in turns: one vector a round.
    fn rounds(&mut self, rates: &[f64], rounds: usize) -> Vec<Vec<f64>> {
        let mut measured = Vec::new();
        for round in 0..rounds {
            let mut row = Vec::new();
            for (index, rate) in rates.iter().enumerate() {
                let turn = round as f64 + index as f64 / rates.len() as f64;
                let disturbed = if self.rng.random::<f64>() < self.disturbed { 0.75 } else { 1.0 };
                row.push(rate * (self.noise * self.normal() - self.drift * turn).exp() * disturbed);
            }
            measured.push(row);
        }
        measured
    }
}

fn pairs(rounds: &[Vec<f64>], one: usize, other: usize) -> Vec<(f64, f64)> {
    rounds.iter().map(|row| (row[one], row[other])).collect()
}

/// Tables that are made for one share: enough that luck moves it by half of one in 100.
const TABLES: u64 = 2_000;

/// Of [`TABLES`] tables of combinations that are all the same, those in which any pair is said to differ when each is taken for one of
/// so many comparisons.
fn claims(combinations: usize, rounds: usize, comparisons: usize) -> usize {
    let claims = |seed: u64| {
        let measured = Machine::usual(seed).rounds(&vec![1_000.0; combinations], rounds);
        let differ = |one, other| {
            paired(&pairs(&measured, one, other), comparisons).is_some_and(|ratio| ratio.differs())
        };
        (0..combinations).any(|one| (one + 1..combinations).any(|other| differ(one, other)))
    };
    (0..TABLES).filter(|seed| claims(*seed)).count()
}

#[test]
fn equal_labs_are_said_to_differ_in_at_most_5_of_100_tables() {
    for (combinations, rounds) in [(2, 3), (2, 5), (2, 10), (4, 3), (4, 5), (8, 5), (8, 10)] {
        let found = claims(combinations, rounds, combinations * (combinations - 1) / 2);
        let share = found as f64 * 100.0 / TABLES as f64;
        assert!(share <= 5.0, "{share} of 100 tables of {combinations} with {rounds} rounds");
        // Never claiming anything would be no method.
        assert!(share >= 1.0, "{share} of 100 tables of {combinations} with {rounds} rounds");
    }
}

#[test]
fn comparisons_that_are_each_taken_for_the_only_one_would_claim_too_much() {
    let found = claims(4, 5, 1);
    assert!(found as f64 * 100.0 / TABLES as f64 > 10.0, "{found} of {TABLES}");
}

#[test]
fn a_difference_that_is_there_is_claimed_in_at_least_90_of_100() {
    // Half the table's combinations are 1.3 times as quick.
    for (rates, comparisons, rounds) in
        [(&[1_300.0, 1_000.0][..], 1, 5), (&[1_300.0, 1_000.0, 1_300.0, 1_000.0][..], 6, 10)]
    {
        let claimed = (0..100).filter(|seed| {
            let mut machine = Machine { disturbed: 0.0, ..Machine::usual(7_000 + seed) };
            let measured = machine.rounds(rates, rounds);
            paired(&pairs(&measured, 0, 1), comparisons).is_some_and(|ratio| ratio.low > 1.0)
        });
        let claimed = claimed.count();
        assert!(claimed >= 90, "{claimed} of 100 with {comparisons} comparisons and {rounds} rounds");
    }
}

#[test]
fn the_interval_holds_the_true_ratio_in_95_of_100() {
    let held = (0..1_000).filter(|seed| {
        let mut machine = Machine { drift: 0.0, disturbed: 0.0, ..Machine::usual(*seed) };
        let measured = machine.rounds(&[1_300.0, 1_000.0], 5);
        let ratio = paired(&pairs(&measured, 0, 1), 1).expect("five rounds");
        (ratio.low..=ratio.high).contains(&1.3)
    });
    let held = held.count();
    assert!((930..=970).contains(&held), "{held} of 1,000");
}

/// A machine that gets slower by a tenth from round to round hides a difference from whoever looks at all runs at once.
#[test]
fn pairs_see_through_a_drift_that_hides_a_difference_from_separate_series() {
    let mut machine = Machine { drift: 0.1, noise: 0.01, disturbed: 0.0, ..Machine::usual(1) };
    let measured = machine.rounds(&[1_200.0, 1_000.0], 5);
    assert!(paired(&pairs(&measured, 0, 1), 1).expect("five rounds").differs());
    let series = |index: usize| measured.iter().map(|row| row[index]).collect::<Vec<_>>();
    assert!(!unpaired(&series(0), &series(1), 1).expect("five runs").differs());
}

#[test]
fn separate_series_of_equal_labs_are_said_to_differ_in_at_most_5_of_100() {
    for rounds in [3, 5, 10] {
        let claimed = (0..100).filter(|seed| {
            let series = |seed: u64| -> Vec<f64> {
                let mut machine = Machine { drift: 0.0, ..Machine::usual(seed) };
                machine.rounds(&[1_000.0], rounds).concat()
            };
            unpaired(&series(*seed), &series(seed + 10_000), 1).is_some_and(|ratio| ratio.differs())
        });
        let claimed = claimed.count();
        assert!(claimed <= 5, "{claimed} of 100 with {rounds} runs each");
    }
}

/// With the quantiles of Student's t as tables have them.
#[test]
fn figures_are_those_of_the_textbook() {
    let near = |found: f64, expected: f64| assert!((found - expected).abs() < 5e-4, "{found} {expected}");
    let ratio = paired(&[(11.0, 10.0), (12.0, 10.0), (13.0, 10.0), (15.0, 10.0)], 1).expect("four rounds");
    near(ratio.ratio, (11.0_f64 * 12.0 * 13.0 * 15.0).powf(0.25) / 10.0);
    let t_3 = 3.182_446;
    let logs = [1.1_f64, 1.2, 1.3, 1.5].map(f64::ln);
    let mean = logs.iter().sum::<f64>() / 4.0;
    let error = (logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / 3.0 / 4.0).sqrt();
    near(ratio.high, (mean + t_3 * error).exp());
    near(ratio.low, (mean - t_3 * error).exp());
    // Six comparisons: the quantile of 1 − 0.025 / 6 with 3 degrees of freedom.
    let wider = paired(&[(11.0, 10.0), (12.0, 10.0), (13.0, 10.0), (15.0, 10.0)], 6).expect("four rounds");
    near(wider.high, (mean + 6.231_5 * error).exp());
}

#[test]
fn too_few_runs_and_values_that_are_no_rates_have_no_verdict() {
    assert_eq!(paired(&[(2.0, 1.0), (2.1, 1.0)], 1), None);
    assert_eq!(unpaired(&[2.0, 2.1], &[1.0, 1.1, 1.2], 1), None);
    for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(paired(&[(2.0, 1.0), (2.1, 1.0), (wrong, 1.0)], 1), None);
        assert_eq!(unpaired(&[2.0, 2.1, wrong], &[1.0, 1.1, 1.2], 1), None);
    }
    let same = unpaired(&[2.0; 3], &[2.0; 3], 1).expect("three runs");
    assert!(!same.differs(), "{same:?}");
    let ratio = Ratio { ratio: 2.0, low: 1.6, high: 2.5 };
    assert_eq!(ratio.inverse(), Ratio { ratio: 0.5, low: 0.4, high: 0.625 });
}

#[test]
fn the_median_is_the_middle() {
    for (values, expected) in
        [(vec![], 0.0), (vec![3.0], 3.0), (vec![9.0, 1.0], 5.0), (vec![9.0, 1.0, 2.0], 2.0)]
    {
        assert!((median(values) - expected).abs() < 1e-9);
    }
}
