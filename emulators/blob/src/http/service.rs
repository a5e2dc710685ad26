//! One request from head to answer: read what it names, check who asks, carry it out, add what every answer has.
//! The connection under it is somebody else's.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{HeaderMap, Method, Request};

use super::answer::{self, Answer};
use super::operation::Operation;
use super::target::{Query, Resource, Target};
use super::{blobs, blocks, body, containers, control, copy};
use crate::account::Account;
use crate::auth::{self, Access};
use crate::error::StorageError;
use crate::recorder::Recorder;
use crate::store::{Store, Stores};
use crate::{limits, time};

/// What `Server` says.
const SERVER: &str = concat!("Blob-Emulator/", env!("CARGO_PKG_VERSION"));

/// The version that is answered to a request that names none.
const DEFAULT_VERSION: &str = "2025-11-05";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");

/// Everything that requests share.
#[derive(Debug)]
pub struct Service {
    accounts: Vec<Account>,
    stores: Arc<Stores>,
    recorder: Recorder,
    id_prefix: u64,
    ids: AtomicU64,
}

/// A request that is allowed, as the operations see it.
pub struct Call<'a> {
    /// The account's name.
    pub account: &'a str,
    /// Its containers.
    pub store: &'a Store,
    /// All accounts with their containers.
    pub service: &'a Service,
    /// Where the request comes from.
    pub peer: IpAddr,
    /// Parameters.
    pub query: &'a Query,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// What the caller may do beyond the operation.
    pub access: Access,
    /// Writes down what was written.
    pub recorder: &'a Recorder,
}

impl Service {
    /// A service for `accounts` over their stores.
    #[must_use]
    pub fn new(accounts: Vec<Account>, stores: Arc<Stores>) -> Self {
        Self {
            accounts,
            stores,
            recorder: Recorder::default(),
            id_prefix: uuid::Uuid::new_v4().as_u64_pair().0,
            ids: AtomicU64::new(0),
        }
    }

    /// Answers one request. Every outcome is an answer.
    pub async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Answer {
        let request_id = uuid::Uuid::from_u64_pair(self.id_prefix, self.ids.fetch_add(1, Ordering::Relaxed));
        let request_id = request_id.hyphenated().to_string();
        let version = request.headers().get(VERSION).cloned();
        let client_request_id = request.headers().get(CLIENT_REQUEST_ID).cloned();
        let (head, mut body) = request.into_parts();
        let mut answer = match self.carry_out(&head, &mut body, peer).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(request_id, %error, "refused");
                answer::refusal(&error, &request_id)
            }
        };
        if !body::drain(&head.headers, &mut body).await {
            answer::set_static(&mut answer, header::CONNECTION, "close");
        }
        let headers = answer.headers_mut();
        headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
        headers.insert(VERSION, version.unwrap_or(HeaderValue::from_static(DEFAULT_VERSION)));
        if let Some(id) = client_request_id {
            headers.insert(CLIENT_REQUEST_ID, id);
        }
        answer::set(&mut answer, REQUEST_ID, request_id);
        answer
    }

    async fn carry_out(
        &self,
        head: &request::Parts,
        body: &mut Incoming,
        peer: IpAddr,
    ) -> Result<Answer, StorageError> {
        let raw_path = head.uri.path();
        if let Some(route) = raw_path.strip_prefix(control::PREFIX) {
            return control::answer(&head.method, route, body, &self.recorder).await;
        }
        check_version(&head.headers)?;
        let query = Query::parse(head.uri.query())?;
        let names_container = query.get("restype") == Some("container")
            || (query.get("comp") == Some("list") && query.get("restype").is_none());
        let target = Target::parse(raw_path, names_container)?;
        let operation = Operation::of(&head.method, &target.resource, &query, &head.headers)?;
        let (account, store) = self.account(&target.account)?;
        let asked = auth::Request {
            method: &head.method,
            raw_path,
            query: &query,
            headers: &head.headers,
            operation,
            peer,
        };
        let access = auth::authorize(account, asked, &target.resource, time::unix_us(), |name| {
            store
                .container(name)
                .map_or_else(|_| Default::default(), |container| container.properties().public_access)
        })?;
        let call = Call {
            account: &account.name,
            store,
            query: &query,
            headers: &head.headers,
            access,
            recorder: &self.recorder,
            service: self,
            peer,
        };
        let answer = dispatch(&call, operation, &head.method, &target.resource, body).await?;
        if operation.writes() {
            store.durable().await?;
        }
        Ok(answer)
    }

    /// An account, with its store.
    ///
    /// # Errors
    /// `ResourceNotFound`.
    pub fn account(&self, name: &str) -> Result<(&Account, &Store), StorageError> {
        let account = self.accounts.iter().find(|account| account.name == name);
        account
            .and_then(|account| Some((account, &**self.stores.get(name)?)))
            .ok_or(StorageError::ResourceNotFound)
    }
}

async fn dispatch(
    call: &Call<'_>,
    operation: Operation,
    method: &Method,
    resource: &Resource,
    body: &mut Incoming,
) -> Result<Answer, StorageError> {
    match (operation, resource) {
        (Operation::GetAccountInformation, _) => Ok(containers::account_information()),
        (Operation::ListContainers, _) => containers::list(call),
        (Operation::CreateContainer, Resource::Container(name)) => containers::create(call, name),
        (Operation::GetContainerProperties, Resource::Container(name)) => containers::properties(call, name),
        (Operation::SetContainerMetadata, Resource::Container(name)) => containers::set_metadata(call, name),
        (Operation::DeleteContainer, Resource::Container(name)) => containers::delete(call, name),
        (Operation::ListBlobs, Resource::Container(name)) => blobs::list(call, name),
        (Operation::PutBlob, Resource::Blob(container, name)) => {
            blobs::put(call, container, name, body).await
        }
        (Operation::PutBlock, Resource::Blob(container, name)) => {
            blocks::put(call, container, name, body).await
        }
        (Operation::PutBlockList, Resource::Blob(container, name)) => {
            blocks::put_list(call, container, name, body).await
        }
        (Operation::GetBlockList, Resource::Blob(container, name)) => blocks::get_list(call, container, name),
        (Operation::CopyBlob, Resource::Blob(container, name)) => copy::copy(call, container, name),
        (Operation::GetBlob, Resource::Blob(container, name)) => blobs::get(call, container, name),
        (Operation::GetBlobProperties, Resource::Blob(container, name)) => {
            blobs::properties(call, container, name)
        }
        (Operation::GetBlobMetadata, Resource::Blob(container, name)) => {
            blobs::metadata(call, container, name)
        }
        (Operation::SetBlobMetadata, Resource::Blob(container, name)) => {
            blobs::set_metadata(call, container, name)
        }
        (Operation::SetBlobProperties, Resource::Blob(container, name)) => {
            blobs::set_properties(call, container, name)
        }
        (Operation::DeleteBlob, Resource::Blob(container, name)) => blobs::delete(call, container, name),
        _ => {
            tracing::error!(?operation, %method, "an operation was found for a resource that it does not have");
            Err(StorageError::UnsupportedHttpVerb)
        }
    }
}

/// Any version is served alike, as Azurite does with `--skipApiVersionCheck`; it must only look like one.
fn check_version(headers: &HeaderMap) -> Result<(), StorageError> {
    let Some(version) = headers.get(VERSION) else { return Ok(()) };
    let shape = |(index, byte): (usize, &u8)| match index {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    if version.len() == 10 && version.as_bytes().iter().enumerate().all(shape) {
        return Ok(());
    }
    Err(StorageError::InvalidHeaderValue {
        name: VERSION.as_str().to_owned(),
        value: String::from_utf8_lossy(version.as_bytes()).into_owned(),
    })
}

/// How many entries a list may have: `maxresults`, at most [`limits::MAX_LIST_RESULTS`].
///
/// # Errors
/// `InvalidQueryParameterValue` for no number, `OutOfRangeQueryParameterValue` for 0.
pub fn max_results(query: &Query) -> Result<usize, StorageError> {
    let Some(value) = query.get("maxresults") else { return Ok(limits::MAX_LIST_RESULTS) };
    let name = "maxresults".to_owned();
    let reason = format!("it is a number from 1 to {}", limits::MAX_LIST_RESULTS);
    match value.parse::<u32>() {
        Ok(0) => Err(StorageError::OutOfRangeQueryParameterValue { name, value: value.to_owned(), reason }),
        Ok(wanted) => Ok(usize::try_from(wanted).unwrap_or(usize::MAX).min(limits::MAX_LIST_RESULTS)),
        Err(_) => Err(StorageError::InvalidQueryParameterValue { name, value: value.to_owned(), reason }),
    }
}
