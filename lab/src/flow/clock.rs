//! How far another program's clock is from the broker's, by the quickest of several requests (the method of Cristian, 1989).

use std::future::Future;
use std::time::Instant;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::FlowError;
use super::limits;

/// A clock against the lab's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockOffset {
    /// Whose clock: `broker` or `blob`.
    pub of: String,
    /// What is added to the lab's clock to get the other one; microseconds.
    pub offset_us: i64,
    /// The offset is wrong by at most this: half of the quickest request's round trip; microseconds.
    pub error_us: u64,
}

/// Microseconds since the Unix epoch, of the lab's own clock.
pub fn now_us() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}

/// Asks a clock [`limits::CLOCK_REQUESTS`] times, one after the other.
pub async fn offset<F, A>(of: &str, ask: F) -> Result<ClockOffset, FlowError>
where
    F: Fn() -> A,
    A: Future<Output = Result<u64, FlowError>>,
{
    let mut best: Option<(u64, i64)> = None;
    for _ in 0..limits::CLOCK_REQUESTS {
        let (sent_us, begun) = (now_us(), Instant::now());
        let theirs = ask().await?;
        let round_trip = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let middle = sent_us.saturating_add(round_trip / 2);
        let offset_us = theirs as i64 - middle as i64;
        if best.is_none_or(|(quickest, _)| round_trip < quickest) {
            best = Some((round_trip, offset_us));
        }
    }
    let (round_trip, offset_us) = best.unwrap_or((u64::MAX, 0));
    Ok(ClockOffset { of: of.to_owned(), offset_us, error_us: round_trip.div_ceil(2) })
}

/// Microseconds to be added to an instant of `from` to get one of `to`. A difference within the error is noise, and
/// correcting by it would add what isn't there: on one machine the clocks are the same.
pub fn correction_us(from: &ClockOffset, to: &ClockOffset) -> i64 {
    let difference = to.offset_us - from.offset_us;
    let error = from.error_us.saturating_add(to.error_us);
    if difference.unsigned_abs() > error { difference } else { 0 }
}

/// An instant moved by a correction.
pub fn shift(instant_us: u64, by_us: i64) -> u64 {
    instant_us.saturating_add_signed(by_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(offset_us: i64, error_us: u64) -> ClockOffset {
        ClockOffset { of: "x".into(), offset_us, error_us }
    }

    #[test]
    fn only_what_is_larger_than_the_error_is_corrected() {
        assert_eq!(correction_us(&clock(100, 80), &clock(-20, 50)), 0);
        assert_eq!(correction_us(&clock(5_000, 80), &clock(-20, 50)), -5_020);
        assert_eq!(shift(10_000, -5_020), 4_980);
    }

    #[tokio::test]
    async fn an_offset_is_found_within_its_error() {
        let found = offset("broker", || async { Ok(now_us() + 3_000_000) }).await.unwrap();
        let off = (found.offset_us - 3_000_000).unsigned_abs();
        assert!(off <= found.error_us + 2, "{found:?}");
    }
}
