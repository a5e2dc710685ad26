//! Account SAS: a signed grant in the query ("Create an account SAS"). Every field that it has is checked.
//! Service and user delegation SAS are another grant and are refused by name.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Access, Request, authentication_failed, shared_key};
use crate::account::Account;
use crate::error::StorageError;
use crate::http::{Operation, Query};
use crate::time;

/// First version whose string to sign ends with the encryption scope.
const ENCRYPTION_SCOPE_VERSION: &str = "2020-12-06";

/// Checks signature, times, protocol, addresses, service, resource type and permission, in the service's order.
///
/// # Errors
/// `AuthenticationFailed` for a signature that is wrong or not valid now, else the mismatch by name.
pub(super) fn check(account: &Account, request: Request<'_>, now_us: u64) -> Result<Access, StorageError> {
    let query = request.query;
    let Some(services) = query.get("ss") else {
        return Err(authentication_failed(
            "only an account SAS (with ss and srt) or the account's key is supported here",
        ));
    };
    let granted_types = required(query, "srt")?;
    let permissions = required(query, "sp")?;
    let text = string_to_sign(&account.name, query)?;
    let signature = BASE64.decode(required(query, "sig")?);
    let signature = signature.map_err(|_| authentication_failed("sig is not base64"))?;
    if !account.keys.iter().any(|key| shared_key::verifies(key, &text, &signature)) {
        return Err(authentication_failed(format!(
            "the signature does not verify; the string to sign is {text:?}"
        )));
    }
    check_times(query, now_us)?;
    if query.get("spr").is_some_and(|protocols| !protocols.split(',').any(|protocol| protocol == "http")) {
        return Err(StorageError::AuthorizationProtocolMismatch);
    }
    if query.get("sip").is_some_and(|range| !in_range(request.peer, range)) {
        return Err(StorageError::AuthorizationSourceIpMismatch);
    }
    if !services.contains('b') {
        return Err(StorageError::AuthorizationServiceMismatch);
    }
    let need = request.operation.need();
    if !granted_types.contains(|letter| need.resource_types.contains(letter)) {
        return Err(StorageError::AuthorizationResourceTypeMismatch);
    }
    if !permissions.contains(|letter| need.permissions.contains(letter)) {
        return Err(StorageError::AuthorizationPermissionMismatch);
    }
    let writes = request.operation == Operation::PutBlob && !permissions.contains('w');
    Ok(if writes { Access::CreateOnly } else { Access::Full })
}

fn string_to_sign(account: &str, query: &Query) -> Result<String, StorageError> {
    let version = required(query, "sv")?;
    let mut text = format!("{account}\n");
    for name in ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"] {
        text.push_str(query_text(query, name));
        text.push('\n');
    }
    if version >= ENCRYPTION_SCOPE_VERSION {
        text.push_str(query_text(query, "ses"));
        text.push('\n');
    }
    Ok(text)
}

fn check_times(query: &Query, now_us: u64) -> Result<(), StorageError> {
    let now_us = i64::try_from(now_us).unwrap_or(i64::MAX);
    let read = |name: &str, value: &str| {
        let unreadable = || authentication_failed(format!("{name}={value} is not a UTC date of ISO 8601"));
        time::parse_sas_date(value).ok_or_else(unreadable)
    };
    let expiry = required(query, "se")?;
    if now_us >= read("se", expiry)? {
        return Err(authentication_failed(format!("the signature expired at {expiry}")));
    }
    if let Some(start) = query.get("st")
        && now_us < read("st", start)?
    {
        return Err(authentication_failed(format!("the signature is valid only from {start} on")));
    }
    Ok(())
}

/// True when `sip`, one IPv4 address or `first-last`, has the caller's address.
fn in_range(peer: IpAddr, range: &str) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bounds = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>());
    matches!((bounds, peer.to_canonical()), ((Ok(first), Ok(last)), IpAddr::V4(peer)) if (first..=last).contains(&peer))
}

fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, StorageError> {
    query.get(name).ok_or_else(|| authentication_failed(format!("the signature has no {name}")))
}

fn query_text<'a>(query: &'a Query, name: &str) -> &'a str {
    query.get(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_range_has_its_ends_and_only_ipv4() {
        let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for range in ["127.0.0.1", "127.0.0.1-127.0.0.9", "10.0.0.0-127.0.0.1"] {
            assert!(in_range(home, range), "{range}");
        }
        for range in ["127.0.0.2", "127.0.0.2-127.0.0.9", "somewhere", "", "127.0.0.9-127.0.0.1"] {
            assert!(!in_range(home, range), "{range}");
        }
    }
}
