//! Load: the same request over a number of connections at once, each sent when the one before it is answered.
//!
//! It runs on the thread of the caller's runtime and must not take more of the machine than that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{Connection, Durations, Failure, Meter, Program};

/// Load before each row, not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// A table of what requests cost a program: rate, CPU time and latencies, a row for each kind of request.
pub struct Load<'a> {
    /// Whose CPU time is read.
    pub program: &'a Program,
    /// Where it listens.
    pub address: SocketAddr,
    /// How long each row is measured.
    pub length: Duration,
    /// Width of the first column, in characters.
    pub name_width: usize,
}

impl Load<'_> {
    /// Prints the heading: what is in the first column, and what the rate is called.
    pub fn print_heading(&self, name: &str, rate: &str) {
        let width = self.name_width;
        println!("{name:<width$} {:>5} {rate:>9} {:>8} {:>8} {:>8}", "conns", "µs CPU", "p50 ms", "p99 ms");
    }

    /// Sends the request over and over, prints the row, and returns the number of answers, those of the warm-up among
    /// them.
    ///
    /// # Errors
    /// Fails with the first request that is not answered with 2xx.
    pub async fn measure(&self, name: &str, request: &[u8], connections: usize) -> Result<usize, Failure> {
        let warm_up = self.repeat(request, connections, WARM_UP).await?;
        let meter = Meter::start(self.program)?;
        let measured = self.repeat(request, connections, self.length).await?;
        let cost = meter.stop(measured.count())?;
        let width = self.name_width;
        println!(
            "{name:<width$} {connections:>5} {:>9.0} {:>8.1} {:>8.2} {:>8.2}",
            cost.per_second(),
            cost.cpu_us(),
            measured.at_ms(0.5),
            measured.at_ms(0.99)
        );
        Ok(warm_up.count() + measured.count())
    }

    /// Sends the request over and over for this long; returns how long each exchange took.
    ///
    /// # Errors
    /// Fails with the first request that is not answered with 2xx, and when none was sent.
    pub async fn repeat(
        &self,
        request: &[u8],
        connections: usize,
        length: Duration,
    ) -> Result<Durations, Failure> {
        let (until, request) = (Instant::now() + length, Arc::<[u8]>::from(request));
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let (mut connection, request) = (Connection::open(self.address).await?, Arc::clone(&request));
            tasks.spawn(async move {
                let mut durations = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    connection.exchange(&request).await?;
                    durations.push(begun.elapsed());
                }
                Ok::<_, Failure>(durations)
            });
        }
        let mut all = Vec::new();
        while let Some(durations) = tasks.join_next().await {
            all.extend(durations??);
        }
        Durations::new(all)
    }
}
