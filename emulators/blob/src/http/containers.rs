//! The operations on the account and on containers. They read a request that is already allowed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use hyper::header::HeaderName;

use super::answer::{self, Answer};
use super::headers;
use super::service::{Call, max_results};
use super::xml::{self, ListHead};
use crate::error::StorageError;
use crate::store::{Conditions, ContainerProperties};
use crate::{limits, time};

/// Containers with names that the rules for names do not allow, but that exist.
const SPECIAL_CONTAINERS: [&str; 3] = ["$root", "$web", "$logs"];

/// Get Account Information.
pub fn account_information() -> Answer {
    let mut answer = answer::empty(StatusCode::OK);
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-sku-name"), "Standard_LRS");
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-account-kind"), "StorageV2");
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-is-hns-enabled"), "false");
    answer
}

/// List Containers.
pub fn list(call: &Call<'_>) -> Result<Answer, StorageError> {
    let (max_results, from) = (max_results(call.query)?, marker(call)?);
    let prefix = call.query.get("prefix").unwrap_or_default();
    let include = included(call, &["metadata", "deleted", "system"])?;
    let (page, next) = call.store.list_containers(prefix, from.as_deref(), max_results);
    let endpoint = endpoint(call);
    let head = ListHead {
        endpoint: &endpoint,
        container: None,
        parameters: echoed(call, &[("prefix", "Prefix"), ("marker", "Marker"), ("maxresults", "MaxResults")]),
        with_metadata: include.contains(&"metadata"),
        with_copy: false,
    };
    Ok(answer::xml_document(xml::container_list(&head, &page, &next_marker(next.as_deref()))))
}

/// Create Container.
pub fn create(call: &Call<'_>, name: &str) -> Result<Answer, StorageError> {
    check_name(name)?;
    let metadata = headers::metadata(call.headers)?;
    let public_access = headers::public_access(call.headers)?;
    let properties = call.store.create_container(name, metadata, public_access, time::unix_us())?;
    Ok(with_version(StatusCode::CREATED, &properties))
}

/// Get Container Properties, and Get Container Metadata.
pub fn properties(call: &Call<'_>, name: &str) -> Result<Answer, StorageError> {
    conditions(call)?;
    let properties = call.store.container(name)?.properties();
    let mut answer = with_version(StatusCode::OK, &properties);
    answer::set_metadata(&mut answer, &properties.metadata);
    for (name, value) in [
        ("x-ms-lease-status", "unlocked"),
        ("x-ms-lease-state", "available"),
        ("x-ms-has-immutability-policy", "false"),
        ("x-ms-has-legal-hold", "false"),
    ] {
        answer::set_static(&mut answer, HeaderName::from_static(name), value);
    }
    if let Some(public_access) = xml::public_access_text(properties.public_access) {
        let name = HeaderName::from_static("x-ms-blob-public-access");
        answer::set_static(&mut answer, name, public_access);
    }
    Ok(answer)
}

/// Set Container Metadata.
pub fn set_metadata(call: &Call<'_>, name: &str) -> Result<Answer, StorageError> {
    let (metadata, conditions) = (headers::metadata(call.headers)?, conditions(call)?);
    let properties = call.store.set_container_metadata(name, metadata, &conditions, time::unix_us())?;
    Ok(with_version(StatusCode::OK, &properties))
}

/// Delete Container.
pub fn delete(call: &Call<'_>, name: &str) -> Result<Answer, StorageError> {
    call.store.delete_container(name, &conditions(call)?)?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

/// The conditional headers, with a refusal that speaks of containers.
fn conditions(call: &Call<'_>) -> Result<Conditions, StorageError> {
    headers::conditions(call.headers).map_err(|error| match error {
        StorageError::LeaseNotPresent => StorageError::LeaseNotPresentOnContainer,
        error => error,
    })
}

/// The rules for a container's name ("Naming and referencing containers, blobs, and metadata").
///
/// # Errors
/// `ResourceNameLength` or `InvalidResourceName`.
pub fn check_name(name: &str) -> Result<(), StorageError> {
    if SPECIAL_CONTAINERS.contains(&name) {
        return Ok(());
    }
    if !limits::CONTAINER_NAME_CHARS.contains(&name.chars().count()) {
        return Err(StorageError::ResourceNameLength);
    }
    let legal = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let hyphens = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if legal && !hyphens { Ok(()) } else { Err(StorageError::InvalidResourceName) }
}

/// The name at which a page begins. Markers are opaque to clients: here the name in URL-safe base64, so that any
/// name survives XML and a query.
///
/// # Errors
/// `InvalidQueryParameterValue` for a marker that no list of ours has given.
pub fn marker(call: &Call<'_>) -> Result<Option<String>, StorageError> {
    let Some(marker) = call.query.get("marker").filter(|marker| !marker.is_empty()) else { return Ok(None) };
    let name = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|name| String::from_utf8(name).ok());
    name.map(Some).ok_or_else(|| StorageError::InvalidQueryParameterValue {
        name: "marker".to_owned(),
        value: marker.to_owned(),
        reason: "a marker is the NextMarker of an earlier list".to_owned(),
    })
}

/// The marker of a page that begins at this name; empty when there is no further page.
pub fn next_marker(next: Option<&str>) -> String {
    next.map(|name| URL_SAFE_NO_PAD.encode(name)).unwrap_or_default()
}

/// What `include` asks for.
///
/// # Errors
/// `InvalidQueryParameterValue` for a word that is not in `known`.
pub fn included<'a>(call: &Call<'a>, known: &[&str]) -> Result<Vec<&'a str>, StorageError> {
    let words = call.query.get("include").unwrap_or_default().split(',').filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    match words.iter().find(|word| !known.contains(word)) {
        None => Ok(words),
        Some(word) => Err(StorageError::InvalidQueryParameterValue {
            name: "include".to_owned(),
            value: (*word).to_owned(),
            reason: format!("known are {}", known.join(", ")),
        }),
    }
}

/// The parameters that a list repeats, under the names of their elements.
pub fn echoed<'a>(call: &Call<'a>, names: &[(&str, &'static str)]) -> Vec<(&'static str, &'a str)> {
    let value = |(name, element): &(&str, &'static str)| call.query.get(name).map(|value| (*element, value));
    names.iter().filter_map(value).collect()
}

/// `http://host/account/`, as the client reached us.
pub fn endpoint(call: &Call<'_>) -> String {
    let host = call.headers.get(hyper::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("http://{host}/{}/", call.account)
}

fn with_version(status: StatusCode, properties: &ContainerProperties) -> Answer {
    let mut answer = answer::empty(status);
    answer::set_version(&mut answer, properties.etag, properties.modified_us);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_follow_the_rules() {
        for name in ["abc", "express-outbox", "a1-2b", "$root", "$logs", &"x".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["Abc", "a_b", "-ab", "ab-", "a--b", "übung", "a.b", "$other"] {
            assert_eq!(check_name(name), Err(StorageError::InvalidResourceName), "{name}");
        }
        for name in ["ab", "", &"x".repeat(64)] {
            assert_eq!(check_name(name), Err(StorageError::ResourceNameLength), "{name}");
        }
    }
}
