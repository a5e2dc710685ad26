//! Whether two series of measurements differ, and by how much: ratios with their intervals. It knows no report and no run.
//!
//! **Method.** A rate or a latency is positive, and what disturbs it multiplies (a slower clock, a busy neighbour), so logarithms are
//! compared: a mean of their differences is the logarithm of a ratio. Runs that were taken in turns are *paired* by round, since a
//! machine that gets slower from round to round slows both of a pair: the ratio of each round counts, with a t interval over the
//! rounds, n − 1 degrees of freedom. Runs of two separate measurements have no rounds in common: Welch's interval, which takes no
//! equal spread for granted.
//!
//! **Several comparisons at once.** Each of m intervals is made at 1 − 0.05 / m (Bonferroni), so that all of one table hold together
//! in 95 of 100 tables, however its comparisons depend on each other; a table of equal labs then claims a difference in at most 5 of
//! 100. Holm's procedure would claim a little more, but has no intervals that say the same as its verdicts.
//!
//! **What it does not take out**: a drift within a round. Where each round is 2 % slower than the one before, the second of two labs is
//! 1 % slower than the first, and from ten rounds on that is what is claimed.
//!
//! **A difference is claimed** when the interval leaves 1 out. With fewer than [`ROUNDS_LEAST`] runs of each there is no verdict.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Runs of each below which nothing is said: two runs have one degree of freedom, and their interval is as wide as 1 to 160.
pub const ROUNDS_LEAST: usize = 3;

/// The share of tables of equal labs in which a difference may be claimed.
pub const ERROR: f64 = 0.05;

/// A ratio and the interval in which it lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The ratio of the geometric means.
    pub ratio: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Ratio {
    /// Whether the interval leaves 1 out.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// The same the other way round.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { ratio: 1.0 / self.ratio, low: 1.0 / self.high, high: 1.0 / self.low }
    }
}

/// The ratio of the first of each pair to the second, one pair a round; as one of `comparisons` of a table. `None` with fewer than
/// [`ROUNDS_LEAST`] pairs, or a value that is not above zero.
pub fn paired(rounds: &[(f64, f64)], comparisons: usize) -> Option<Ratio> {
    let (of, to): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    let differences: Vec<f64> = logs(&of)?.iter().zip(logs(&to)?).map(|(of, to)| of - to).collect();
    let sample = Sample::of(&differences)?;
    interval(sample.mean, sample.error_squared().sqrt(), sample.count - 1.0, comparisons)
}

/// The ratio of two series that have nothing in common; as one of `comparisons` of a table. `None` with fewer than [`ROUNDS_LEAST`]
/// values in either, or a value that is not above zero.
pub fn unpaired(of: &[f64], to: &[f64], comparisons: usize) -> Option<Ratio> {
    let (of, to) = (Sample::of(&logs(of)?)?, Sample::of(&logs(to)?)?);
    let (first, second) = (of.error_squared(), to.error_squared());
    let both = first + second;
    // Welch and Satterthwaite; without any spread the smaller series decides.
    let freedom = match both > 0.0 {
        true => both.powi(2) / (first.powi(2) / (of.count - 1.0) + second.powi(2) / (to.count - 1.0)),
        false => of.count.min(to.count) - 1.0,
    };
    interval(of.mean - to.mean, both.sqrt(), freedom, comparisons)
}

/// The middle one, or the mean of the two in the middle; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    match values.len() {
        0 => 0.0,
        even if even.is_multiple_of(2) => f64::midpoint(at(middle - 1), at(middle)),
        _ => at(middle),
    }
}

fn logs(values: &[f64]) -> Option<Vec<f64>> {
    let log = |value: &f64| (value.is_finite() && *value > 0.0).then(|| value.ln());
    values.iter().map(log).collect()
}

/// What is known of a series of logarithms.
struct Sample {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Sample {
    fn of(values: &[f64]) -> Option<Self> {
        if values.len() < ROUNDS_LEAST {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Some(Self { count, mean, variance })
    }

    fn error_squared(&self) -> f64 {
        self.variance / self.count
    }
}

fn interval(mean: f64, error: f64, freedom: f64, comparisons: usize) -> Option<Ratio> {
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
    let tail = ERROR / 2.0 / comparisons.max(1) as f64;
    let half = t.inverse_cdf(1.0 - tail) * error;
    Some(Ratio { ratio: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
}

#[cfg(test)]
mod tests;
