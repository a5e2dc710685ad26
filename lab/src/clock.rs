//! The lab's own clock, by which back end and flow tell instants. It knows no other clock.

use jiff::Timestamp;

/// Microseconds since the Unix epoch.
pub fn now_us() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}
