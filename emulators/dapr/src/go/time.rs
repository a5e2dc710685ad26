//! The two time formats that daprd reads, as Go's `time.Parse` reads them, and the one that Azure Storage writes.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Milliseconds since the Unix epoch of a time written as `Mon, 02 Jan 2006 15:04:05 GMT` or in RFC 3339.
/// `None` for anything else.
#[must_use]
pub fn unix_ms(text: &str) -> Option<i64> {
    http_date(text).or_else(|| rfc3339(text))
}

/// The current time as `Mon, 02 Jan 2006 15:04:05 GMT`. Formatted once a second and thread.
#[must_use]
pub fn http_date_now() -> String {
    thread_local!(static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let now_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(seconds, text)| {
        if *seconds != now_seconds {
            *seconds = now_seconds;
            let timestamp = jiff::Timestamp::new(now_seconds.cast_signed(), 0).unwrap_or_default();
            *text = jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&timestamp)
                .unwrap_or_default();
        }
        text.clone()
    })
}

fn http_date(text: &str) -> Option<i64> {
    let (day_name, rest) = text.split_once(", ")?;
    let rest = rest.strip_suffix(" GMT")?;
    let mut parts = rest.split(' ');
    let (day, month, year, clock) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !DAYS.contains(&day_name.to_ascii_lowercase().as_str()) {
        return None;
    }
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? + 1;
    let date = (number(year, 4)?, i8::try_from(month).ok()?, i8::try_from(number(day, 2)?).ok()?);
    instant(date, clock, 0)
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let date = (number(year, 4)?, i8::try_from(number(month, 2)?).ok()?, i8::try_from(number(day, 2)?).ok()?);
    if let Some(clock) = time.strip_suffix('Z') {
        return instant(date, clock, 0);
    }
    let sign_at = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at_checked(sign_at)?;
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let minutes = i64::from(number(hours, 2)?) * 60 + i64::from(number(minutes, 2)?);
    instant(date, clock, if offset.starts_with('-') { -minutes } else { minutes })
}

/// Exactly `width` digits.
fn number(text: &str, width: usize) -> Option<i16> {
    (text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `date` is year, month, day; `clock` is `15:04:05` with an optional fraction, which Go takes in any layout.
fn instant((year, month, day): (i16, i8, i8), clock: &str, offset_minutes: i64) -> Option<i64> {
    let (clock, fraction) = clock.split_once(['.', ',']).unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let mut two = || parts.next().and_then(|part| number(part, 2)).and_then(|part| i8::try_from(part).ok());
    let (hour, minute, second) = (two()?, two()?, two()?);
    if parts.next().is_some() || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let civil = DateTime::new(year, month, day, hour, minute, second, nanoseconds).ok()?;
    let utc = civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(utc - offset_minutes * 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        assert_eq!(unix_ms("Thu, 01 Jan 2026 00:00:00 GMT"), Some(1_767_225_600_000));
        assert_eq!(unix_ms("2026-01-01T00:00:00Z"), Some(1_767_225_600_000));
        assert_eq!(unix_ms("2026-01-01T00:00:00.123Z"), Some(1_767_225_600_123));
        assert_eq!(unix_ms("2026-01-01T02:30:00.5+02:30"), Some(1_767_225_600_500));
        assert_eq!(unix_ms("2025-12-31T22:00:00-02:00"), Some(1_767_225_600_000));
    }

    #[test]
    fn other_formats_are_refused() {
        for text in [
            "",
            "2024-05-01 10:00",
            "2024-05-01T10:00Z",
            "2024-13-01T10:00:00Z",
            "2024-05-01T10:00:00",
            "01 Jan 2026 00:00:00 GMT",
            "Thu, 01 Jan 2026 00:00:00 UTC",
            "Xyz, 01 Jan 2026 00:00:00 GMT",
            "2024-05-01T10:00:00.Z",
            "ü",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }

    #[test]
    fn the_current_time_reads_back() {
        let now = unix_ms(&http_date_now()).expect("own format");
        assert!(now > 1_767_225_600_000);
    }
}
