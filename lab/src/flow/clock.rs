//! How far another program's clock is from the broker's, by the quickest of several requests (the method of Cristian, 1989).

use std::future::Future;
use std::time::Instant;

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

pub use crate::clock::now_us;

/// Asks a clock [`limits::CLOCK_REQUESTS`] times, one after the other.
pub async fn offset<F, A>(of: &str, ask: F) -> Result<ClockOffset, FlowError>
where
    F: Fn() -> A,
    A: Future<Output = Result<u64, FlowError>>,
{
    let mut best: Option<ClockOffset> = None;
    for _ in 0..limits::CLOCK_REQUESTS {
        // The round trip begins before the lab's clock is read: a pause between the two then widens the error. The other
        // way round it would move the offset, and the error would not tell.
        let begun = Instant::now();
        let sent_us = now_us();
        let theirs_us = ask().await?;
        let round_trip_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let found = estimate(of, sent_us, theirs_us, round_trip_us);
        if best.as_ref().is_none_or(|best| found.error_us < best.error_us) {
            best = Some(found);
        }
    }
    Ok(best.unwrap_or(ClockOffset { of: of.to_owned(), offset_us: 0, error_us: u64::MAX }))
}

/// What one request tells: the answer was read somewhere within the round trip, most likely in its middle.
fn estimate(of: &str, sent_us: u64, theirs_us: u64, round_trip_us: u64) -> ClockOffset {
    let middle_us = sent_us.saturating_add(round_trip_us / 2);
    // One more than the half, for the two instants that were cut to whole microseconds.
    let error_us = round_trip_us.div_ceil(2).saturating_add(1);
    ClockOffset { of: of.to_owned(), offset_us: theirs_us as i64 - middle_us as i64, error_us }
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

    /// Of every instant of the round trip at which the other clock may have been read.
    #[test]
    fn an_offset_is_found_within_its_error() {
        let (sent_us, round_trip_us, true_offset_us) = (10_000_000, 701, 3_000_000);
        for read_at_us in [0, 1, 350, 351, 700, 701] {
            let found = estimate("broker", sent_us, sent_us + read_at_us + true_offset_us, round_trip_us);
            let off_us = found.offset_us.abs_diff(true_offset_us as i64);
            assert!(off_us <= found.error_us, "read at {read_at_us}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_hours_ahead_is_seen_so() {
        let hour_us = 3_600_000_000;
        let found = offset("broker", || async { Ok(now_us() + 5 * hour_us) }).await.unwrap();
        assert!(found.offset_us.abs_diff(5 * hour_us as i64) < hour_us, "{found:?}");
    }
}
