//! What a number of things cost: CPU time of a program, and time. It must not know what the things are.

use std::time::{Duration, Instant};

use crate::{Failure, Program};

/// A measurement under way: from [`Meter::start`] to [`Meter::stop`].
pub struct Meter<'a> {
    program: &'a Program,
    cpu_us: f64,
    begun: Instant,
}

impl<'a> Meter<'a> {
    /// Notes what the program has used so far.
    ///
    /// # Errors
    /// Fails when the program has ended.
    pub fn start(program: &'a Program) -> Result<Self, Failure> {
        Ok(Self { program, cpu_us: program.cpu_us()?, begun: Instant::now() })
    }

    /// What `count` things have cost since the start.
    ///
    /// # Errors
    /// Fails when the program has ended.
    pub fn stop(self, count: usize) -> Result<Cost, Failure> {
        let elapsed = self.begun.elapsed();
        Ok(Cost { count: count as f64, elapsed, cpu_us: self.program.cpu_us()? - self.cpu_us })
    }
}

/// What a number of things cost a program.
pub struct Cost {
    count: f64,
    elapsed: Duration,
    cpu_us: f64,
}

impl Cost {
    /// CPU time of each, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_us / self.count
    }

    /// How many a second.
    pub fn per_second(&self) -> f64 {
        self.count / self.elapsed.as_secs_f64()
    }
}

/// How long the same thing took each time.
pub struct Durations(Vec<Duration>);

impl Durations {
    /// Takes them in any order.
    ///
    /// # Errors
    /// Fails when there is none.
    pub fn new(mut durations: Vec<Duration>) -> Result<Self, Failure> {
        if durations.is_empty() {
            return Err("nothing was measured: not one was done in the time given".into());
        }
        durations.sort_unstable();
        Ok(Self(durations))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share of them does not exceed, in milliseconds: 0.5 is the median, 1 the worst.
    pub fn at_ms(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }
}
