//! What every shared access signature has in common: the signature itself, times, protocol, addresses, permissions.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Access, Request, authentication_failed, shared_key};
use crate::account::Account;
use crate::error::StorageError;
use crate::http::{Operation, Query};
use crate::time;

/// Checks that the string was signed with a key of the account, and that the grant is valid here and now.
///
/// # Errors
/// `AuthenticationFailed`, or the mismatch by name.
pub(super) fn check(
    account: &Account,
    request: Request<'_>,
    string_to_sign: &str,
    now_us: u64,
) -> Result<(), StorageError> {
    let query = request.query;
    let signature = BASE64.decode(required(query, "sig")?);
    let signature = signature.map_err(|_| authentication_failed("sig is not base64"))?;
    if !account.keys.iter().any(|key| shared_key::verifies(key, string_to_sign, &signature)) {
        return Err(authentication_failed(format!(
            "the signature does not verify; the string to sign is {string_to_sign:?}"
        )));
    }
    check_times(query, now_us)?;
    if query.get("spr").is_some_and(|protocols| !protocols.split(',').any(|protocol| protocol == "http")) {
        return Err(StorageError::AuthorizationProtocolMismatch);
    }
    if query.get("sip").is_some_and(|range| !in_range(request.peer, range)) {
        return Err(StorageError::AuthorizationSourceIpMismatch);
    }
    Ok(())
}

/// What permissions make of an operation that needs one of the letters `needed`.
///
/// # Errors
/// `AuthorizationPermissionMismatch`.
pub(super) fn access(operation: Operation, permissions: &str, needed: &str) -> Result<Access, StorageError> {
    if !permissions.contains(|letter| needed.contains(letter)) {
        return Err(StorageError::AuthorizationPermissionMismatch);
    }
    let creates_only = operation.creates() && !permissions.contains('w');
    Ok(if creates_only { Access::CreateOnly } else { Access::Granted })
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

/// A field that every signature has.
///
/// # Errors
/// `AuthenticationFailed` when it is missing.
pub(super) fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, StorageError> {
    query.get(name).ok_or_else(|| authentication_failed(format!("the signature has no {name}")))
}

/// A field; empty when it is missing, as it is signed then.
pub(super) fn text<'a>(query: &'a Query, name: &str) -> &'a str {
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
