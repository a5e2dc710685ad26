//! Who may do what: a request signed with an account's key may do everything, an account SAS what it grants,
//! anybody else what a container made public. It changes nothing and reads no body.
//!
//! Codes are Azure's, but for a request without any credentials: that is `AuthorizationFailure` as Azurite says it,
//! because clients wait for exactly this answer to know that an emulator is there.

mod account_sas;
mod shared_key;

use std::net::IpAddr;

use hyper::{HeaderMap, Method, header};

use crate::account::Account;
use crate::error::StorageError;
use crate::http::{Operation, Query, Resource};
use crate::store::PublicAccess;

/// What an account SAS must grant for an operation: one letter of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Any one of these resource types (`s`ervice, `c`ontainer, `o`bject).
    pub resource_types: &'static str,
    /// Any one of these permissions.
    pub permissions: &'static str,
}

/// What a caller may do beyond the operation that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Full,
    /// Write a blob, but not over one that is there (a SAS with `c` and without `w`).
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

/// Decides whether `request` may be carried out on `account`. `public_access` is asked only when there are no
/// credentials; `now_us` is the instant against which a SAS expires, microseconds since the Unix epoch.
///
/// # Errors
/// One of the 403s of [`StorageError`], or `InvalidAuthenticationInfo` (400).
pub fn authorize(
    account: &Account,
    request: Request<'_>,
    now_us: u64,
    public_access: impl FnOnce() -> PublicAccess,
) -> Result<Access, StorageError> {
    if let Some(authorization) = request.headers.get(header::AUTHORIZATION) {
        let authorization = authorization.to_str().map_err(|_| StorageError::InvalidAuthenticationInfo)?;
        return shared_key::check(account, request, authorization).map(|()| Access::Full);
    }
    if request.query.get("sig").is_some() {
        return account_sas::check(account, request, now_us);
    }
    match (public_access(), request.operation) {
        (PublicAccess::Container, Operation::ListBlobs | Operation::GetContainerProperties)
        | (
            PublicAccess::Container | PublicAccess::Blob,
            Operation::GetBlob | Operation::GetBlobProperties | Operation::GetBlobMetadata,
        ) => Ok(Access::Full),
        _ => Err(StorageError::AuthorizationFailure),
    }
}

/// The container whose public access counts for a request.
#[must_use]
pub fn public_container(resource: &Resource) -> Option<&str> {
    match resource {
        Resource::Service => None,
        Resource::Container(container) | Resource::Blob(container, _) => Some(container),
    }
}

fn authentication_failed(detail: impl Into<String>) -> StorageError {
    StorageError::AuthenticationFailed { detail: detail.into() }
}
