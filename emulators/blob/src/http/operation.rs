//! Which operation a request asks for: method, resource and the `restype` and `comp` of the query decide.
//! It grants nothing and carries nothing out.

use hyper::{HeaderMap, Method};

use super::target::{Query, Resource};
use crate::auth::Need;
use crate::error::StorageError;

/// The operations of this store, by the names of the REST reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// List Containers.
    ListContainers,
    /// Get Account Information.
    GetAccountInformation,
    /// Create Container.
    CreateContainer,
    /// Get Container Properties and Get Container Metadata, which is a part of them.
    GetContainerProperties,
    /// Set Container Metadata.
    SetContainerMetadata,
    /// Delete Container.
    DeleteContainer,
    /// List Blobs.
    ListBlobs,
    /// Put Blob.
    PutBlob,
    /// Get Blob.
    GetBlob,
    /// Get Blob Properties.
    GetBlobProperties,
    /// Get Blob Metadata.
    GetBlobMetadata,
    /// Set Blob Metadata.
    SetBlobMetadata,
    /// Set Blob Properties.
    SetBlobProperties,
    /// Delete Blob.
    DeleteBlob,
}

/// Values of `restype`.
const RESTYPES: [&str; 3] = ["account", "container", "service"];

/// Values of `comp` that Azure has and this store has not, so that the answer can be "not here" and not "wrong".
const COMPS_OF_AZURE: &[&str] = &[
    "acl",
    "appendblock",
    "batch",
    "block",
    "blocklist",
    "blobs",
    "copy",
    "expiry",
    "filter",
    "immutabilitypolicies",
    "incrementalcopy",
    "lease",
    "legalhold",
    "page",
    "pagelist",
    "properties",
    "query",
    "seal",
    "snapshot",
    "stats",
    "tags",
    "tier",
    "undelete",
    "userdelegationkey",
];

impl Operation {
    /// The operation of a request.
    ///
    /// # Errors
    /// `UnsupportedHttpVerb`, `NotImplemented`, or `InvalidQueryParameterValue` for a `comp` or `restype` that
    /// nobody knows.
    pub fn of(
        method: &Method,
        resource: &Resource,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Self, StorageError> {
        let (restype, comp) = (query.get("restype"), query.get("comp"));
        if let Some(restype) = restype.filter(|restype| !RESTYPES.contains(restype)) {
            return Err(invalid_parameter("restype", restype));
        }
        let reads = *method == Method::GET || *method == Method::HEAD;
        if restype == Some("account") && comp == Some("properties") && reads {
            return Ok(Self::GetAccountInformation);
        }
        let found = match resource {
            Resource::Service => Self::of_service(method, comp),
            Resource::Container(_) => Self::of_container(method, comp),
            Resource::Blob(..) => Self::of_blob(method, comp),
        };
        let operation = found.ok_or_else(|| unknown(method, restype, comp))?;
        if operation == Self::PutBlob && headers.contains_key("x-ms-copy-source") {
            return Err(not_here("Copy Blob; read the blob and write it"));
        }
        Ok(operation)
    }

    fn of_service(method: &Method, comp: Option<&str>) -> Option<Self> {
        match (method, comp) {
            (&Method::GET, Some("list")) => Some(Self::ListContainers),
            _ => None,
        }
    }

    fn of_container(method: &Method, comp: Option<&str>) -> Option<Self> {
        match (method, comp) {
            (&Method::PUT, None) => Some(Self::CreateContainer),
            (&Method::DELETE, None) => Some(Self::DeleteContainer),
            (&Method::GET | &Method::HEAD, None | Some("metadata")) => Some(Self::GetContainerProperties),
            (&Method::PUT, Some("metadata")) => Some(Self::SetContainerMetadata),
            (&Method::GET, Some("list")) => Some(Self::ListBlobs),
            _ => None,
        }
    }

    fn of_blob(method: &Method, comp: Option<&str>) -> Option<Self> {
        match (method, comp) {
            (&Method::PUT, None) => Some(Self::PutBlob),
            (&Method::GET, None) => Some(Self::GetBlob),
            (&Method::HEAD, None) => Some(Self::GetBlobProperties),
            (&Method::DELETE, None) => Some(Self::DeleteBlob),
            (&Method::GET | &Method::HEAD, Some("metadata")) => Some(Self::GetBlobMetadata),
            (&Method::PUT, Some("metadata")) => Some(Self::SetBlobMetadata),
            (&Method::PUT, Some("properties")) => Some(Self::SetBlobProperties),
            _ => None,
        }
    }

    /// What an account SAS must grant for it: one of the resource types and one of the permissions
    /// ("Create an account SAS", table of operations).
    #[must_use]
    pub fn need(self) -> Need {
        let (resource_types, permissions) = match self {
            Self::ListContainers => ("s", "l"),
            Self::GetAccountInformation => ("sco", "rwdlacup"),
            Self::CreateContainer => ("c", "cw"),
            Self::GetContainerProperties => ("c", "r"),
            Self::SetContainerMetadata => ("c", "w"),
            Self::DeleteContainer => ("c", "d"),
            Self::ListBlobs => ("c", "l"),
            Self::PutBlob => ("o", "cw"),
            Self::GetBlob | Self::GetBlobProperties | Self::GetBlobMetadata => ("o", "r"),
            Self::SetBlobMetadata | Self::SetBlobProperties => ("o", "w"),
            Self::DeleteBlob => ("o", "d"),
        };
        Need { resource_types, permissions }
    }
}

fn unknown(method: &Method, restype: Option<&str>, comp: Option<&str>) -> StorageError {
    match (restype, comp) {
        (_, Some(comp)) if COMPS_OF_AZURE.contains(&comp) => not_here(&format!("{method} with comp={comp}")),
        (_, Some(comp)) if comp != "list" && comp != "metadata" => invalid_parameter("comp", comp),
        _ => StorageError::UnsupportedHttpVerb,
    }
}

fn invalid_parameter(name: &str, value: &str) -> StorageError {
    StorageError::InvalidQueryParameterValue {
        name: name.to_owned(),
        value: value.to_owned(),
        reason: "nothing of Azure Blob Storage has this value".to_owned(),
    }
}

fn not_here(what: &str) -> StorageError {
    StorageError::NotImplemented { detail: what.to_owned() }
}
