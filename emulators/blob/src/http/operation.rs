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
    /// Put Block.
    PutBlock,
    /// Put Block List.
    PutBlockList,
    /// Get Block List.
    GetBlockList,
    /// Copy Blob and Copy Blob From URL.
    CopyBlob,
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

/// Values of `comp` that this store has, though not with every method.
const COMPS_OF_OURS: &[&str] = &["block", "blocklist", "list", "metadata"];

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
        match operation {
            Self::PutBlob if !headers.contains_key("x-ms-copy-source") => Ok(Self::PutBlob),
            Self::PutBlob if headers.contains_key("x-ms-blob-type") => {
                Err(not_here("Put Blob From URL; copy the blob, or read it and write it"))
            }
            Self::PutBlob => Ok(Self::CopyBlob),
            Self::PutBlock if headers.contains_key("x-ms-copy-source") => {
                Err(not_here("Put Block From URL; read the range and write it"))
            }
            operation => Ok(operation),
        }
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
            (&Method::PUT, Some("block")) => Some(Self::PutBlock),
            (&Method::PUT, Some("blocklist")) => Some(Self::PutBlockList),
            (&Method::GET, Some("blocklist")) => Some(Self::GetBlockList),
            (&Method::GET, None) => Some(Self::GetBlob),
            (&Method::HEAD, None) => Some(Self::GetBlobProperties),
            (&Method::DELETE, None) => Some(Self::DeleteBlob),
            (&Method::GET | &Method::HEAD, Some("metadata")) => Some(Self::GetBlobMetadata),
            (&Method::PUT, Some("metadata")) => Some(Self::SetBlobMetadata),
            (&Method::PUT, Some("properties")) => Some(Self::SetBlobProperties),
            _ => None,
        }
    }

    /// What a shared access signature must grant for it: a resource type and permissions of an account's ("Create an
    /// account SAS", table of operations), permissions of a service's ("Create a service SAS").
    #[must_use]
    pub fn need(self) -> Need {
        let (resource_types, account, service) = match self {
            Self::ListContainers => ("s", "l", ""),
            Self::GetAccountInformation => ("sco", "rwdlacup", "racwdl"),
            Self::CreateContainer => ("c", "cw", ""),
            Self::GetContainerProperties => ("c", "r", ""),
            Self::SetContainerMetadata => ("c", "w", ""),
            Self::DeleteContainer => ("c", "d", ""),
            Self::ListBlobs => ("c", "l", "l"),
            Self::PutBlob | Self::CopyBlob => ("o", "cw", "cw"),
            Self::PutBlock | Self::PutBlockList => ("o", "w", "w"),
            Self::GetBlob | Self::GetBlobProperties | Self::GetBlobMetadata | Self::GetBlockList => {
                ("o", "r", "r")
            }
            Self::SetBlobMetadata | Self::SetBlobProperties => ("o", "w", "w"),
            Self::DeleteBlob => ("o", "d", "d"),
        };
        Need { resource_types, account, service }
    }

    /// True when it makes a blob where there may be none: what is granted for creating suffices then.
    #[must_use]
    pub fn creates(self) -> bool {
        matches!(self, Self::PutBlob | Self::CopyBlob)
    }

    /// True when it changes something that must be durable before it is answered.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(
            self,
            Self::ListContainers
                | Self::GetAccountInformation
                | Self::GetContainerProperties
                | Self::ListBlobs
                | Self::GetBlob
                | Self::GetBlobProperties
                | Self::GetBlobMetadata
                | Self::GetBlockList
        )
    }
}

fn unknown(method: &Method, restype: Option<&str>, comp: Option<&str>) -> StorageError {
    match (restype, comp) {
        (_, Some(comp)) if COMPS_OF_AZURE.contains(&comp) => not_here(&format!("{method} with comp={comp}")),
        (_, Some(comp)) if !COMPS_OF_OURS.contains(&comp) => invalid_parameter("comp", comp),
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
