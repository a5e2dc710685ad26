//! Account SAS: a signed grant for kinds of resources of a whole account ("Create an account SAS"). Every field that
//! it has is checked.

use super::grant::{self, required, text};
use super::{Access, Request};
use crate::account::Account;
use crate::error::StorageError;
use crate::http::Query;

/// First version whose string to sign ends with the encryption scope.
const ENCRYPTION_SCOPE_VERSION: &str = "2020-12-06";

/// Checks signature, times, protocol, addresses, service, resource type and permission, in the service's order.
///
/// # Errors
/// `AuthenticationFailed` for a signature that is wrong or not valid now, else the mismatch by name.
pub(super) fn check(account: &Account, request: Request<'_>, now_us: u64) -> Result<Access, StorageError> {
    let query = request.query;
    let (services, granted_types) = (required(query, "ss")?, required(query, "srt")?);
    let permissions = required(query, "sp")?;
    grant::check(account, request, &string_to_sign(&account.name, query)?, now_us)?;
    if !services.contains('b') {
        return Err(StorageError::AuthorizationServiceMismatch);
    }
    let need = request.operation.need();
    if !granted_types.contains(|letter| need.resource_types.contains(letter)) {
        return Err(StorageError::AuthorizationResourceTypeMismatch);
    }
    grant::access(request.operation, permissions, need.account)
}

fn string_to_sign(account: &str, query: &Query) -> Result<String, StorageError> {
    let version = required(query, "sv")?;
    let mut signed = format!("{account}\n");
    for name in ["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"] {
        signed.push_str(text(query, name));
        signed.push('\n');
    }
    if version >= ENCRYPTION_SCOPE_VERSION {
        signed.push_str(text(query, "ses"));
        signed.push('\n');
    }
    Ok(signed)
}
