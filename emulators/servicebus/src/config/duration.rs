//! Durations as ISO 8601 writes them: `PT30S`, `P7D`, `P10675199DT2H48M5.4775807S`.
//!
//! It must not know what a duration is for.

use serde::{Deserialize, Deserializer};

use crate::engine::NEVER;

/// A duration, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iso8601Duration(pub u64);

impl<'de> Deserialize<'de> for Iso8601Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parse_duration_us(&text) {
            Some(duration_us) if duration_us > 0 => Ok(Self(duration_us)),
            _ => Err(serde::de::Error::custom(format!(
                "'{}' is not an ISO 8601 duration longer than zero, such as PT30S, PT1M or P1D",
                text.escape_debug()
            ))),
        }
    }
}

/// What the cloud writes for "for ever" is the longest .NET time span; from there on nothing ends.
const LONGEST_US: u128 = 922_337_203_685_477_580;

/// Reads a duration; none when the text is not one. A month counts 30 days and a year 365, as in .NET's reader.
pub fn parse_duration_us(text: &str) -> Option<u64> {
    let rest = text.strip_prefix('P')?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (rest, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    const SECOND: u128 = 1_000_000;
    const DAY: u128 = 86_400 * SECOND;
    let units = [('Y', 365 * DAY), ('M', 30 * DAY), ('W', 7 * DAY), ('D', DAY)];
    let date_us = parts(date, &units)?;
    let time_us = parts(time, &[('H', 3600 * SECOND), ('M', 60 * SECOND), ('S', SECOND)])?;
    let total_us = date_us.checked_add(time_us)?;
    Some(if total_us >= LONGEST_US { NEVER } else { u64::try_from(total_us).unwrap_or(NEVER) })
}

/// Sums `12M5.5S`: each unit at most once, in the order given; a fraction only with seconds.
fn parts(mut text: &str, units: &[(char, u128)]) -> Option<u128> {
    let mut total: u128 = 0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, rest) = text.split_at(end);
        let mut after = rest.chars();
        let name = after.next()?;
        let (_, size_us) = units.find(|(unit, _)| *unit == name)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || (number.contains('.') && name != 'S') {
            return None;
        }
        let micros: u128 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
        total = total.checked_add(whole.parse::<u128>().ok()?.checked_mul(*size_us)?)?.checked_add(micros)?;
        text = after.as_str();
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_cloud_and_of_the_emulator_are_read() {
        let cases = [
            ("PT5S", 5_000_000),
            ("PT1M", 60_000_000),
            ("PT1H30M", 5_400_000_000),
            ("P1DT1S", 86_401_000_000),
            ("PT0.25S", 250_000),
            ("P1Y2M", (365 + 60) * 86_400_000_000),
            ("P10675199DT2H48M5.4775807S", NEVER),
            ("P99999999999D", NEVER),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration_us(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "P", "PT", "1M", "PT1", "PT1X", "PT-5S", "P1S", "PT1S1M", "PT.S", "PT1.5M", "P1D ", "PT1S1S"]
        {
            assert_eq!(parse_duration_us(text), None, "{text}");
        }
        assert_eq!(parse_duration_us(&format!("P{}D", "9".repeat(60))), None);
    }
}
