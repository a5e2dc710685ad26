//! The `baggage` header (W3C Baggage): checked, then passed on as it came.

use http::header::HeaderMap;

/// Most members that a header may have (OpenTelemetry's limits, as daprd uses it).
const MEMBERS_MAX: usize = 180;
/// Most bytes that it may have.
const BYTES_MAX: usize = 8192;

/// The request's baggage; `None` without one.
///
/// # Errors
/// Why it is no baggage.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<String>, String> {
    let values: Vec<&str> =
        headers.get_all("baggage").iter().filter_map(|value| value.to_str().ok()).collect();
    if values.is_empty() {
        return Ok(None);
    }
    let baggage = values.join(",");
    if baggage.len() > BYTES_MAX {
        return Err(format!("baggage string too large: {} bytes", baggage.len()));
    }
    let members: Vec<&str> = baggage.split(',').collect();
    if members.len() > MEMBERS_MAX {
        return Err(format!("too many list-members in baggage-string: {}", members.len()));
    }
    for member in members {
        check(member)?;
    }
    Ok(Some(baggage))
}

fn check(member: &str) -> Result<(), String> {
    let pair = member.split(';').next().unwrap_or_default();
    let (key, value) =
        pair.split_once('=').ok_or_else(|| format!("invalid baggage list-member: {member:?}"))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if key.trim().is_empty() || !key.trim().chars().all(is_token) {
        return Err(format!("invalid key: {:?}", key.trim()));
    }
    let is_octet = |c: char| c.is_ascii_graphic() && !"\",;\\".contains(c);
    if !value.trim().chars().all(is_octet) {
        return Err(format!("invalid value: {:?}", value.trim()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        headers.insert("baggage", text.parse().expect("a header"));
        of(&headers)
    }

    #[test]
    fn baggage_passes_as_it_came() {
        let text = "a=1, b=%20x;p=q";
        assert_eq!(checked(text), Ok(Some(text.to_owned())));
        assert_eq!(of(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_no_baggage_is_refused() {
        for text in ["novalue", "=1", "a b=1", "a=\"1\"", "a=1,,b=2"] {
            assert!(checked(text).is_err(), "{text}");
        }
    }
}
