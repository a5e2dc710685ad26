//! Copy Blob and Copy Blob From URL, from a blob of this store: the copy shares the content, so it is done when it is
//! answered. A source elsewhere is refused by name.

use hyper::header::HeaderName;
use hyper::{HeaderMap, Method, StatusCode, header};

use super::answer::{self, Answer};
use super::blobs::{conditions_of_create, created, with_version};
use super::headers;
use super::operation::Operation;
use super::service::Call;
use super::target::{Query, Resource, Target};
use crate::auth::{self, Access};
use crate::error::StorageError;
use crate::store::{Blob, CopyState};
use crate::time;

/// Copies the blob that `x-ms-copy-source` names.
pub fn copy(call: &Call<'_>, container: &str, name: &str) -> Result<Answer, StorageError> {
    let conditions = conditions_of_create(call)?;
    let of_source = headers::source_conditions(call.headers)?;
    let metadata = headers::metadata(call.headers)?;
    let source = headers::text(call.headers, "x-ms-copy-source")?.unwrap_or_default();
    call.store.container(container)?;
    let blob = find(call, source)?;
    let checked = of_source.check_read(Some((blob.etag, blob.modified_us)));
    checked.map_err(|error| match error {
        StorageError::ConditionNotMet | StorageError::NotModified => StorageError::SourceConditionNotMet,
        error => error,
    })?;
    let without_signature = source.split_once('?').map_or(source, |(path, _)| path);
    let copy = CopyState {
        id: uuid::Uuid::new_v4().hyphenated().to_string().into(),
        source: without_signature.into(),
        completed_us: time::unix_us(),
    };
    let id = copy.id.to_string();
    let written = call.store.copy_blob((container, name), &blob, metadata, copy, &conditions);
    let blob = created(call, written)?;
    let mut answer = with_version(StatusCode::ACCEPTED, &blob);
    answer::set(&mut answer, HeaderName::from_static("x-ms-copy-id"), id);
    answer::set_static(&mut answer, HeaderName::from_static("x-ms-copy-status"), "success");
    Ok(answer)
}

/// The source, if it is a blob of this store that the caller may read: with the account's key every blob of the
/// account, else what the source's own signature grants, or what is public.
fn find(call: &Call<'_>, source: &str) -> Result<std::sync::Arc<Blob>, StorageError> {
    let refused = |detail: &str| StorageError::CannotVerifyCopySource { detail: detail.to_owned() };
    let invalid = || StorageError::InvalidHeaderValue {
        name: "x-ms-copy-source".to_owned(),
        value: source.split_once('?').map_or(source, |(path, _)| path).to_owned(),
    };
    let rest = source.strip_prefix("http://").ok_or_else(invalid)?;
    let (host, path) = rest.split_at(rest.find('/').ok_or_else(invalid)?);
    let ours = call.headers.get(header::HOST).is_some_and(|ours| ours.as_bytes() == host.as_bytes());
    if !ours {
        return Err(refused("only a blob of this store can be copied; read that one and write it here"));
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let (target, query) = (Target::parse(path, false)?, Query::parse(query)?);
    let Resource::Blob(container, name) = &target.resource else { return Err(invalid()) };
    if query.get("snapshot").is_some() || query.get("versionid").is_some() {
        return Err(StorageError::BlobNotFound);
    }
    let (account, store) = call.service.account(&target.account)?;
    if !(call.access == Access::Owner && account.name == call.account) {
        let asked = auth::Request {
            method: &Method::GET,
            raw_path: path,
            query: &query,
            headers: &HeaderMap::new(),
            operation: Operation::GetBlob,
            peer: call.peer,
        };
        let access = auth::authorize(account, asked, &target.resource, time::unix_us(), |name| {
            store
                .container(name)
                .map_or_else(|_| Default::default(), |found| found.properties().public_access)
        });
        access.map_err(|error| refused(&error.to_string()))?;
    }
    store.container(container)?.get(name).ok_or(StorageError::BlobNotFound)
}
