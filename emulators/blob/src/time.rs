//! Instants: microseconds since the Unix epoch inside, HTTP dates and .NET ticks on the wire. It keeps no state.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, by the system's clock (0 for a clock set before 1970).
#[must_use]
pub fn unix_us() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// An instant as HTTP writes it, whole seconds: `Thu, 01 Jan 2026 00:00:00 GMT` (RFC 9110 §5.6.7).
#[must_use]
pub fn http_date(unix_us: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_us / 1_000_000))
}

/// Reads an HTTP date into whole seconds since the Unix epoch; `None` when it is none.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// An instant as the XML error body writes it: `2026-01-01T00:00:00.123456Z`.
#[must_use]
pub fn iso_date(unix_us: u64) -> String {
    let us = i64::try_from(unix_us).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| unix_us.to_string(), |instant| instant.to_string())
}

/// Reads the forms that a shared access signature may have ("Create an account SAS", `st` and `se`): a date, a
/// date with hours and minutes, with seconds, and with a fraction of them, all UTC. Microseconds since the epoch.
#[must_use]
pub fn parse_sas_date(text: &str) -> Option<i64> {
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_microsecond());
    }
    let civil = text.strip_suffix('Z').unwrap_or(text);
    let civil = civil.parse::<jiff::civil::DateTime>().ok()?;
    let instant = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
    Some(instant.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_round_trip_in_whole_seconds() {
        assert_eq!(http_date(1_767_225_600_999_999), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(parse_http_date("Thu, 01 Jan 2026 00:00:00 GMT"), Some(1_767_225_600));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn every_form_of_a_sas_date_is_read_as_utc() {
        for text in ["2026-01-01", "2026-01-01T00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z"]
        {
            assert_eq!(parse_sas_date(text), Some(1_767_225_600_000_000), "{text}");
        }
        for text in ["", "soon", "2026-13-01", "1767225600"] {
            assert_eq!(parse_sas_date(text), None, "{text}");
        }
    }
}
