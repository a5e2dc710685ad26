//! Who may do what: a request signed with an account's key may do everything, a shared access signature what it grants,
//! anybody else what a container made public. It changes nothing and reads no body.
//!
//! Codes are Azure's, but for a request without any credentials: that is `AuthorizationFailure` as Azurite says it,
//! because clients wait for exactly this answer to know that an emulator is there.

mod account_sas;
mod grant;
mod service_sas;
mod shared_key;

use std::net::IpAddr;

use hyper::{HeaderMap, Method, header};

use crate::account::Account;
use crate::error::StorageError;
use crate::http::{Operation, Query, Resource};
use crate::store::PublicAccess;

/// What a shared access signature must grant for an operation: one letter of each list that counts for its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Resource types of an account's (`s`ervice, `c`ontainer, `o`bject).
    pub resource_types: &'static str,
    /// Permissions of an account's.
    pub account: &'static str,
    /// Permissions of a service's; none when that can never grant it.
    pub service: &'static str,
}

/// What a caller may do beyond the operation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything: the caller has the account's key.
    Owner,
    /// What was asked for.
    Granted,
    /// Write a blob, but not over one that is there (a signature with `c` and without `w`).
    CreateOnly,
}

/// The parts of a request that decide.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a Method,
    /// The path as it was sent, still percent-encoded: that is what clients sign.
    pub raw_path: &'a str,
    /// The query, decoded.
    pub query: &'a Query,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The operation that is asked for.
    pub operation: Operation,
    /// Where the request comes from.
    pub peer: IpAddr,
}

/// Decides whether `request` may be carried out on `resource` of `account`. `public_access` of a container is asked
/// only when there are no credentials; `now_us` is the instant against which a signature expires, microseconds since
/// the Unix epoch.
///
/// # Errors
/// One of the 403s of [`StorageError`], or `InvalidAuthenticationInfo` (400).
pub fn authorize(
    account: &Account,
    request: Request<'_>,
    resource: &Resource,
    now_us: u64,
    public_access: impl FnOnce(&str) -> PublicAccess,
) -> Result<Access, StorageError> {
    if let Some(authorization) = request.headers.get(header::AUTHORIZATION) {
        let authorization = authorization.to_str().map_err(|_| StorageError::InvalidAuthenticationInfo)?;
        return shared_key::check(account, request, authorization).map(|()| Access::Owner);
    }
    if request.query.get("sig").is_some() {
        return match request.query.get("ss") {
            Some(_) => account_sas::check(account, request, now_us),
            None => service_sas::check(account, request, resource, now_us),
        };
    }
    let (Resource::Container(container) | Resource::Blob(container, _)) = resource else {
        return Err(StorageError::AuthorizationFailure);
    };
    match (public_access(container), request.operation) {
        (PublicAccess::Container, Operation::ListBlobs | Operation::GetContainerProperties)
        | (
            PublicAccess::Container | PublicAccess::Blob,
            Operation::GetBlob
            | Operation::GetBlobProperties
            | Operation::GetBlobMetadata
            | Operation::GetBlockList,
        ) => Ok(Access::Granted),
        _ => Err(StorageError::AuthorizationFailure),
    }
}

fn authentication_failed(detail: impl Into<String>) -> StorageError {
    StorageError::AuthenticationFailed { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is in them, credentials that nobody signed grant nothing.
        #[test]
        fn what_was_not_signed_grants_nothing(
            query in "((ss|srt|sp|sr|sv|se|st|sip|spr|si|sig|skoid|rsct)=[a-z0-9%:TZ+/=-]{0,16}&){0,12}sig=[A-Za-z0-9+/%]{0,44}",
            authorization in prop::option::of("(SharedKey|SharedKeyLite|Bearer|)[ :]{0,2}\\PC{0,30}"),
            container in any::<bool>(),
        ) {
            let Ok(query) = Query::parse(Some(&query)) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization.and_then(|text| header::HeaderValue::from_bytes(text.as_bytes()).ok()) {
                headers.insert(header::AUTHORIZATION, value);
            }
            let resource = if container {
                Resource::Container("box".to_owned())
            } else {
                Resource::Blob("box".to_owned(), "a".to_owned())
            };
            let request = Request {
                method: &Method::GET,
                raw_path: "/devstoreaccount1/box/a",
                query: &query,
                headers: &headers,
                operation: if container { Operation::ListBlobs } else { Operation::GetBlob },
                peer: std::net::Ipv4Addr::LOCALHOST.into(),
            };
            let account = &crate::account::default_accounts()[0];
            let decided = authorize(account, request, &resource, 1_767_225_600_000_000, |_| PublicAccess::None);
            prop_assert!(decided.is_err(), "{:?}", decided);
        }
    }
}
