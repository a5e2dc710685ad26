//! Small text rules of Go and of Dapr's kit: query escaping, truth, integers, durations, clean paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::time::Duration;

/// What stays as it is in one segment of a URL's path (`url.PathEscape`).
pub const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b':')
    .remove(b'=')
    .remove(b'@');

/// `url.QueryEscape`: letters, digits and `-_.~` stay, a space becomes `+`, every other byte `%XX`.
#[must_use]
pub fn query_escape(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => {
                escaped.push('%');
                escaped.extend([other >> 4, other & 15].map(|nibble| char::from(HEX[usize::from(nibble)])));
            }
        }
    }
    escaped
}

/// Whether Dapr takes a metadata value for true (`kit/utils/strings.go`): y, yes, true, t, on, 1 in any case.
/// Everything else is false.
#[must_use]
pub fn is_truthy(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "y" | "yes" | "true" | "t" | "on" | "1")
}

/// The words for false that go with those of [`is_truthy`]; an empty value is one.
#[must_use]
pub fn is_falsy(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "" | "n" | "no" | "false" | "f" | "off" | "0")
}

/// `time.ParseDuration`, for durations of at least zero: `300ms`, `1h2m3.5s`. `None` when Go would refuse it.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total_seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit_seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total_seconds += number.parse::<f64>().ok()? * unit_seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(total_seconds).ok()
}

/// `time.Duration.String`, for whole milliseconds: `500ms`, `1.5s`, `1m0s`.
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let seconds_in_all = duration.as_secs();
    let (hours, minutes) = (seconds_in_all / 3600, seconds_in_all / 60 % 60);
    let seconds = (seconds_in_all % 60) as f64 + f64::from(duration.subsec_millis()) / 1_000.0;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `path.Clean` of the path with one leading slash: no `//`, no `.`, no `..` that leads above the root.
#[must_use]
pub fn clean_path(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_escape_is_gos() {
        assert_eq!(query_escape("Some Metadata"), "Some+Metadata");
        assert_eq!(query_escape("a:b/ü~-_."), "a%3Ab%2F%C3%BC~-_.");
    }

    #[test]
    fn truth_is_daprs() {
        for yes in ["y", "YES", "true", "T", "on", "1", " true "] {
            assert!(is_truthy(yes), "{yes}");
        }
        for no in ["", "no", "False", "0", "off", "N"] {
            assert!(!is_truthy(no) && is_falsy(no), "{no}");
        }
        for neither in ["2", "truely", "nope"] {
            assert!(!is_truthy(neither) && !is_falsy(neither), "{neither}");
        }
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (500, "500ms"),
            (5_000, "5s"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "abc", "1x", "s", "-1s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_are_clean() {
        assert_eq!(clean_path("a//b/./c/../d"), "/a/b/d");
        assert_eq!(clean_path("/../../x"), "/x");
        assert_eq!(clean_path(""), "/");
    }
}
