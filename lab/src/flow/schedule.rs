//! Sends orders through Dapr so that all are due at one instant T0, and tells when that did not succeed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::broker::Broker;
use super::dapr::Dapr;
use super::dataset::DataSet;
use super::error::FlowError;
use super::http;
use super::limits;

/// When the orders of a run are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Profile {
    /// All of them at T0, as in the article: how fast a backlog goes.
    Burst,
    /// One after the other from T0 on, whatever becomes of those before (an open model): how long an order takes at this rate. Each
    /// waits in the broker for its own instant, so a slow flow does not slow what is sent, and latencies count from that instant.
    Steady {
        /// Orders that are due in a second, 1 to [`limits::RATE`].
        rate_per_second: u32,
    },
}

impl Profile {
    /// From T0 to the instant at which order number `index`, from 0, is due: whole milliseconds, which is what a scheduled instant
    /// can be.
    pub fn offset_us(self, index: usize) -> u64 {
        match self {
            Self::Burst => 0,
            Self::Steady { rate_per_second } => {
                index as u64 * 1_000 / u64::from(rate_per_second.max(1)) * 1_000
            }
        }
    }

    /// From T0 to the last of `orders` orders.
    pub fn span(self, orders: u64) -> Duration {
        let last = usize::try_from(orders.saturating_sub(1)).unwrap_or(usize::MAX);
        Duration::from_micros(self.offset_us(last))
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Burst => formatter.pad("burst"),
            Self::Steady { rate_per_second } => write!(formatter, "steady, {rate_per_second} orders/s"),
        }
    }
}

/// What one attempt at scheduling came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The instant for which the first order was scheduled, and in a burst every one; the broker's clock, microseconds, whole milliseconds.
    pub t0_us: u64,
    /// From the first send to T0.
    pub lead: Duration,
    /// Orders that Dapr accepted.
    pub accepted: u64,
    /// From the first send to the last answer.
    pub took: Duration,
    /// Whether every order was accepted while the broker's clock was before T0.
    pub complete: bool,
}

/// The instant as `ScheduledEnqueueTimeUtc` has it: RFC 3339, UTC, milliseconds.
pub fn rfc3339_ms(unix_us: u64) -> String {
    let milliseconds = i64::try_from(unix_us / 1_000).unwrap_or(i64::MAX);
    match Timestamp::from_millisecond(milliseconds) {
        Ok(instant) => format!("{instant:.3}"),
        // Beyond the year 9999, which no clock of ours shows.
        Err(_) => String::new(),
    }
}

/// How long before T0 the sending of `count` orders has to begin, from the time that `sent` sends took.
pub fn lead(count: u64, sent: u64, took: Duration, factor: u32) -> Duration {
    let one = if sent == 0 { limits::SEND_ASSUMED } else { took.div_f64(sent as f64) };
    one.mul_f64(count as f64).saturating_mul(factor).clamp(limits::LEAD_LEAST, limits::LEAD_MOST)
}

/// Sends the first `count` orders, due from `lead` after the broker's clock now on. Sending stops when T0 is reached; what was
/// accepted until then stays scheduled and will pass the flow.
pub async fn schedule(
    dapr: &Dapr,
    broker: &Broker,
    set: &Arc<DataSet>,
    count: u64,
    profile: Profile,
    lead: Duration,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Attempt, FlowError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(set.len());
    let now_us = broker.clock().await?;
    let begun = Instant::now();
    let t0_us = now_us.saturating_add(u64::try_from(lead.as_micros()).unwrap_or(u64::MAX)) / 1_000 * 1_000;
    let accepted = Arc::new(AtomicU64::new(0));
    let missed = Arc::new(AtomicBool::new(false));
    let (sender, counter, late, report, orders) =
        (dapr.clone(), accepted.clone(), missed.clone(), progress, set.clone());
    http::each(count, move |index| {
        let (dapr, orders) = (sender.clone(), orders.clone());
        let (counter, late, report) = (counter.clone(), late.clone(), report.clone());
        async move {
            // An order sent after T0 would be delivered at once: the run is lost already, so nothing more is sent.
            if late.load(Ordering::Relaxed) || begun.elapsed() >= lead {
                late.store(true, Ordering::Relaxed);
                return Ok(());
            }
            if let Some(body) = orders.body(index) {
                let due = rfc3339_ms(t0_us.saturating_add(profile.offset_us(index)));
                dapr.send(&body, Some(&due)).await?;
                report(counter.fetch_add(1, Ordering::Relaxed) + 1);
            }
            Ok(())
        }
    })
    .await?;
    let took = begun.elapsed();
    let accepted = accepted.load(Ordering::Relaxed);
    // The broker's clock decides, after the last answer.
    let in_time = broker.clock().await? < t0_us;
    Ok(Attempt { t0_us, lead, accepted, took, complete: in_time && accepted == count as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_rfc_3339_with_milliseconds() {
        assert_eq!(rfc3339_ms(1_767_225_600_000_000), "2026-01-01T00:00:00.000Z");
        assert_eq!(rfc3339_ms(1_767_225_600_120_999), "2026-01-01T00:00:00.120Z");
        assert_eq!(rfc3339_ms(u64::MAX), "");
    }

    #[test]
    fn steady_orders_are_due_at_even_instants_and_those_of_a_burst_at_one() {
        let steady = Profile::Steady { rate_per_second: 400 };
        let dues: Vec<_> = (0..5).map(|index| steady.offset_us(index)).collect();
        assert_eq!(dues, [0, 2_000, 5_000, 7_000, 10_000]);
        assert_eq!(steady.offset_us(400_000), 1_000_000_000);
        assert_eq!(steady.span(401), Duration::from_secs(1));
        assert_eq!((Profile::Burst.offset_us(9), Profile::Burst.span(10)), (0, Duration::ZERO));
    }

    #[test]
    fn the_lead_grows_with_the_orders_between_its_bounds() {
        let took = Duration::from_millis(40);
        assert_eq!(lead(10_000, 200, took, 2), Duration::from_secs(4));
        assert_eq!(lead(100, 200, took, 2), limits::LEAD_LEAST);
        assert_eq!(lead(u64::from(u32::MAX), 200, took, 2), limits::LEAD_MOST);
        assert_eq!(lead(10_000, 0, Duration::ZERO, 2), limits::SEND_ASSUMED * 20_000);
    }
}
