//! JSON numbers as Go's `encoding/json` passes them through `float64` (`encode.go`, `floatEncoder`).

use std::io::Write;

/// Integers of at most this many digits are exact in a float64 and print as they were written.
const EXACT_DIGITS_MAX: usize = 15;

/// Appends the number `literal` as Go would after a round trip through float64: the shortest digits that read back
/// the same, with an exponent below 1e-6 and from 1e21 on.
///
/// Returns false when the number does not fit a float64; nothing is appended then.
pub(super) fn write(literal: &str, out: &mut Vec<u8>) -> bool {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if digits.len() <= EXACT_DIGITS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        out.extend_from_slice(literal.as_bytes());
        return true;
    }
    match literal.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            write_float(number, out);
            true
        }
        _ => false,
    }
}

fn write_float(number: f64, out: &mut Vec<u8>) {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{number:e}");
        // Rust writes 1e21 and 1e-7 where Go writes 1e+21 and 1e-7.
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                let _ = write!(out, "{digits}e+{exponent}");
            }
            _ => out.extend_from_slice(text.as_bytes()),
        }
    } else {
        let _ = write!(out, "{number}");
    }
}

#[cfg(test)]
mod tests {
    use super::write;

    fn through_float(literal: &str) -> Option<String> {
        let mut out = Vec::new();
        write(literal, &mut out).then(|| String::from_utf8(out).expect("digits"))
    }

    #[test]
    fn numbers_print_as_go_prints_them() {
        // The right column was printed by Go 1.26: json.Marshal of json.Unmarshal into any.
        for (literal, printed) in [
            ("0", "0"),
            ("-0", "-0"),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("123456789012345", "123456789012345"),
            ("9007199254740993", "9007199254740992"),
            ("12345678901234567890", "12345678901234567000"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5E-7", "1.5e-7"),
            ("0.000001", "0.000001"),
            ("-2.50", "-2.5"),
            ("1e-400", "0"),
        ] {
            assert_eq!(through_float(literal).as_deref(), Some(printed), "{literal}");
        }
    }

    #[test]
    fn a_number_beyond_float64_is_refused() {
        assert_eq!(through_float("1e400"), None);
        assert_eq!(through_float("-1e400"), None);
    }
}
