//! Service SAS: a signed grant for one container or one blob ("Create a service SAS"). Every field that it has is
//! checked. One that rests on a stored access policy or on a user delegation key is refused by name.

use super::grant::{self, required, text};
use super::{Access, Request, authentication_failed};
use crate::account::Account;
use crate::error::StorageError;
use crate::http::{Query, Resource};

/// First version whose string to sign has the kind of resource and the snapshot.
const RESOURCE_VERSION: &str = "2018-11-09";

/// First version whose string to sign has the encryption scope.
const ENCRYPTION_SCOPE_VERSION: &str = "2020-12-06";

/// First version whose string to sign has addresses and protocol.
const ADDRESS_VERSION: &str = "2015-04-05";

/// Fields that only a user delegation SAS has.
const DELEGATION_FIELDS: [&str; 3] = ["skoid", "sktid", "skv"];

/// Checks kind, signature, times, protocol, addresses and permission, in the service's order.
///
/// # Errors
/// `AuthenticationFailed` for a signature that is wrong, for another resource, or not valid now, else the mismatch by
/// name.
pub(super) fn check(
    account: &Account,
    request: Request<'_>,
    resource: &Resource,
    now_us: u64,
) -> Result<Access, StorageError> {
    let query = request.query;
    if DELEGATION_FIELDS.iter().any(|name| query.get(name).is_some()) {
        return Err(authentication_failed(
            "a user delegation SAS is not supported here; sign with the account's key",
        ));
    }
    if query.get("si").is_some() {
        return Err(authentication_failed(
            "a stored access policy (si) is not supported here; put sp and se into the signature",
        ));
    }
    let (kind, permissions) = (required(query, "sr")?, required(query, "sp")?);
    let signed_resource = canonicalized_resource(&account.name, kind, resource)?;
    grant::check(account, request, &string_to_sign(&signed_resource, query)?, now_us)?;
    // What is granted for one blob says nothing about its container.
    if kind == "b" && !matches!(resource, Resource::Blob(..)) {
        return Err(StorageError::AuthorizationPermissionMismatch);
    }
    grant::access(request.operation, permissions, request.operation.need().service)
}

fn canonicalized_resource(account: &str, kind: &str, resource: &Resource) -> Result<String, StorageError> {
    match (kind, resource) {
        ("b", Resource::Blob(container, blob)) => Ok(format!("/blob/{account}/{container}/{blob}")),
        ("b" | "c", Resource::Container(container)) | ("c", Resource::Blob(container, _)) => {
            Ok(format!("/blob/{account}/{container}"))
        }
        ("b" | "c", Resource::Service) => {
            Err(authentication_failed("the signature is for a container or a blob, not for the account"))
        }
        _ => Err(authentication_failed(format!("sr={kind} is not supported here; b and c are"))),
    }
}

fn string_to_sign(resource: &str, query: &Query) -> Result<String, StorageError> {
    let version = required(query, "sv")?;
    if version < ADDRESS_VERSION {
        return Err(authentication_failed(format!("sv={version} is older than {ADDRESS_VERSION}")));
    }
    let mut fields =
        vec![text(query, "sp"), text(query, "st"), text(query, "se"), resource, text(query, "si")];
    fields.extend([text(query, "sip"), text(query, "spr"), version]);
    if version >= RESOURCE_VERSION {
        // A snapshot is named by its instant, and there are none here.
        fields.extend([text(query, "sr"), ""]);
    }
    if version >= ENCRYPTION_SCOPE_VERSION {
        fields.push(text(query, "ses"));
    }
    fields.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| text(query, name)));
    Ok(fields.join("\n"))
}
