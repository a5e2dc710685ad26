//! What the store refuses, with the status, code and text that Azure gives. It knows no HTTP type and writes no XML.
//!
//! Source of codes, statuses and messages: "Common REST API error codes" and "Blob Storage error codes" of the REST
//! reference. Clients match on the code; people read the message; `details` are the extra elements of the XML body.

/// A refusal, as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The account of the path is none of ours, or a route that no operation has.
    #[error("The specified resource does not exist.")]
    ResourceNotFound,
    /// The container is unknown.
    #[error("The specified container does not exist.")]
    ContainerNotFound,
    /// The container is there already.
    #[error("The specified container already exists.")]
    ContainerAlreadyExists,
    /// The blob is unknown.
    #[error("The specified blob does not exist.")]
    BlobNotFound,
    /// `If-None-Match: *` on a write, and the blob is there.
    #[error("The specified blob already exists.")]
    BlobAlreadyExists,
    /// A conditional header of a write, or `If-Match`/`If-Unmodified-Since` of a read, does not hold.
    #[error("The condition specified using HTTP conditional header(s) is not met.")]
    ConditionNotMet,
    /// `If-None-Match`/`If-Modified-Since` of a read: the client's copy is current.
    #[error("The condition specified using HTTP conditional header(s) is not met.")]
    NotModified,
    /// `If-None-Match: *` on a read, which nothing can fulfil.
    #[error("The request includes an unsatisfiable condition for this operation.")]
    UnsatisfiableCondition,
    /// More conditional headers, or more entity tags in one, than an operation can weigh.
    #[error("Multiple condition headers are not supported.")]
    MultipleConditionHeaders,
    /// A condition on the source of a copy does not hold.
    #[error("The source condition specified using HTTP conditional header(s) is not met.")]
    SourceConditionNotMet,
    /// The source of a copy is no blob of this store, or not the caller's to read.
    #[error("Could not verify the copy source within the specified time.")]
    CannotVerifyCopySource {
        /// What is wrong with it.
        detail: String,
    },
    /// A lease id was sent in an operation on a blob; nothing here is ever leased.
    #[error("A lease ID was specified, but there is currently no lease on the resource.")]
    LeaseNotPresent,
    /// As before, in an operation on a container.
    #[error("A lease ID was specified, but there is currently no lease on the container.")]
    LeaseNotPresentOnContainer,
    /// The range begins behind the end of the blob.
    #[error("The range specified is invalid for the current size of the resource.")]
    InvalidRange {
        /// Bytes of the blob, for the `Content-Range` of the answer.
        blob_bytes: u64,
    },
    /// Neither a signature nor a shared access signature, and the container is not public.
    #[error(
        "Server failed to authenticate the request. Make sure the value of the Authorization header is formed \
             correctly including the signature."
    )]
    AuthorizationFailure,
    /// A signature that does not verify, is expired, or is of a kind that is not supported.
    #[error(
        "Server failed to authenticate the request. Make sure the value of the Authorization header is formed \
             correctly including the signature."
    )]
    AuthenticationFailed {
        /// Which check failed, and what was signed.
        detail: String,
    },
    /// An `Authorization` header that cannot be read.
    #[error(
        "Authentication information is not given in the correct format. Check the value of Authorization header."
    )]
    InvalidAuthenticationInfo,
    /// The shared access signature does not name the blob service.
    #[error("This request is not authorized to perform this operation using this service.")]
    AuthorizationServiceMismatch,
    /// The shared access signature does not name this kind of resource.
    #[error("This request is not authorized to perform this operation using this resource type.")]
    AuthorizationResourceTypeMismatch,
    /// The shared access signature does not grant this operation.
    #[error("This request is not authorized to perform this operation using this permission.")]
    AuthorizationPermissionMismatch,
    /// The shared access signature allows https only.
    #[error("This request is not authorized to perform this operation using this protocol.")]
    AuthorizationProtocolMismatch,
    /// The shared access signature is bound to other addresses.
    #[error("This request is not authorized to perform this operation using this source IP.")]
    AuthorizationSourceIpMismatch,
    /// A query parameter has a value that this operation does not take.
    #[error("Value for one of the query parameters specified in the request URI is invalid.")]
    InvalidQueryParameterValue {
        /// The parameter.
        name: String,
        /// What was sent.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// A query parameter is a number outside its range.
    #[error("One of the query parameters specified in the request URI is outside the permissible range.")]
    OutOfRangeQueryParameterValue {
        /// The parameter.
        name: String,
        /// What was sent.
        value: String,
        /// The range.
        reason: String,
    },
    /// A header has a value that cannot be read.
    #[error("The value for one of the HTTP headers is not in the correct format.")]
    InvalidHeaderValue {
        /// The header.
        name: String,
        /// What was sent.
        value: String,
    },
    /// A header that the operation needs is missing.
    #[error("An HTTP header that's mandatory for this request is not specified.")]
    MissingRequiredHeader {
        /// The header.
        name: &'static str,
    },
    /// A body without a length.
    #[error("The content length header was not specified.")]
    MissingContentLength,
    /// The path cannot be read.
    #[error("The requested URI does not represent any resource on the server.")]
    InvalidUri,
    /// A container's name has characters that it must not have.
    #[error("The specified resource name contains invalid characters.")]
    InvalidResourceName,
    /// A name is too short or too long.
    #[error("The specified resource name length is not within the permissible limits.")]
    ResourceNameLength,
    /// A metadata name is no C# identifier, or a value is not text.
    #[error("The metadata specified is invalid. It has characters that are not permitted.")]
    InvalidMetadata,
    /// A metadata header without a name behind the prefix.
    #[error("The key for one of the metadata key-value pairs is empty.")]
    EmptyMetadataKey,
    /// More metadata than one resource may have.
    #[error("The size of the specified metadata exceeds the maximum size permitted.")]
    MetadataTooLarge,
    /// `Content-MD5` is no base64 of 16 bytes.
    #[error(
        "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64-encoded."
    )]
    InvalidMd5,
    /// `Content-MD5` is not the digest of the body.
    #[error(
        "The MD5 value specified in the request did not match with the MD5 value calculated by the server."
    )]
    Md5Mismatch {
        /// What the client sent.
        specified: String,
        /// What arrived.
        calculated: String,
    },
    /// `x-ms-content-crc64` is not the checksum of the body.
    #[error(
        "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server."
    )]
    Crc64Mismatch {
        /// What the client sent.
        specified: String,
        /// What arrived.
        calculated: String,
    },
    /// A body has both checksums, and one is enough.
    #[error("Both x-ms-content-crc64 header and Content-MD5 header are present.")]
    BothChecksums,
    /// A parameter that the operation needs is missing.
    #[error("A required query parameter was not specified for this request.")]
    MissingRequiredQueryParameter {
        /// The parameter.
        name: &'static str,
    },
    /// A block's id is not as long as those of the blob's other blocks.
    #[error("The specified blob or block content is invalid.")]
    InvalidBlobOrBlock,
    /// A block list names a block that is not there, or in a list that nobody knows.
    #[error("The specified block list is invalid.")]
    InvalidBlockList,
    /// A block list has more entries than a blob may have blocks.
    #[error("The block list may not contain more than 50,000 blocks.")]
    BlockListTooLong,
    /// A blob has as many uncommitted blocks as it may have.
    #[error("The uncommitted block count cannot exceed the maximum limit of 100,000 blocks.")]
    BlockCountExceedsLimit,
    /// A body that should be XML is none, or another document.
    #[error("XML specified is not syntactically valid.")]
    InvalidXmlDocument {
        /// Where and why reading ended.
        detail: String,
    },
    /// The body is larger than a blob may be.
    #[error("The request body is too large and exceeds the maximum permissible limit.")]
    RequestBodyTooLarge {
        /// The bound that applies.
        max_bytes: u64,
    },
    /// The body ended early or stalled.
    #[error("The request body was not received completely.")]
    BodyIncomplete,
    /// The store is full.
    #[error("The store holds as much as its memory limit allows.")]
    MemoryLimit {
        /// The bound, which a flag raises.
        limit_bytes: u64,
    },
    /// The disk below the data directory is full or refuses to be written.
    #[error("The store cannot write to its data directory.")]
    DiskRefuses {
        /// What the system says.
        detail: String,
    },
    /// The method is none of this resource.
    #[error("The resource doesn't support the specified HTTP verb.")]
    UnsupportedHttpVerb,
    /// Azure has this operation, this store has not.
    #[error("This operation is not part of this blob store.")]
    NotImplemented {
        /// The operation, and what to use in its place.
        detail: String,
    },
}

impl StorageError {
    /// HTTP status and the value of `x-ms-error-code`.
    #[must_use]
    pub fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Self::ResourceNotFound => (404, "ResourceNotFound"),
            Self::ContainerNotFound => (404, "ContainerNotFound"),
            Self::ContainerAlreadyExists => (409, "ContainerAlreadyExists"),
            Self::BlobNotFound => (404, "BlobNotFound"),
            Self::BlobAlreadyExists => (409, "BlobAlreadyExists"),
            Self::ConditionNotMet => (412, "ConditionNotMet"),
            Self::NotModified => (304, "ConditionNotMet"),
            Self::UnsatisfiableCondition => (400, "UnsatisfiableCondition"),
            Self::MultipleConditionHeaders => (400, "MultipleConditionHeadersNotSupported"),
            Self::SourceConditionNotMet => (412, "SourceConditionNotMet"),
            Self::CannotVerifyCopySource { .. } => (404, "CannotVerifyCopySource"),
            Self::LeaseNotPresent => (412, "LeaseNotPresentWithBlobOperation"),
            Self::LeaseNotPresentOnContainer => (412, "LeaseNotPresentWithContainerOperation"),
            Self::InvalidRange { .. } => (416, "InvalidRange"),
            Self::AuthorizationFailure => (403, "AuthorizationFailure"),
            Self::AuthenticationFailed { .. } => (403, "AuthenticationFailed"),
            Self::InvalidAuthenticationInfo => (400, "InvalidAuthenticationInfo"),
            Self::AuthorizationServiceMismatch => (403, "AuthorizationServiceMismatch"),
            Self::AuthorizationResourceTypeMismatch => (403, "AuthorizationResourceTypeMismatch"),
            Self::AuthorizationPermissionMismatch => (403, "AuthorizationPermissionMismatch"),
            Self::AuthorizationProtocolMismatch => (403, "AuthorizationProtocolMismatch"),
            Self::AuthorizationSourceIpMismatch => (403, "AuthorizationSourceIPMismatch"),
            Self::InvalidQueryParameterValue { .. } => (400, "InvalidQueryParameterValue"),
            Self::OutOfRangeQueryParameterValue { .. } => (400, "OutOfRangeQueryParameterValue"),
            Self::InvalidHeaderValue { .. } => (400, "InvalidHeaderValue"),
            Self::MissingRequiredHeader { .. } => (400, "MissingRequiredHeader"),
            Self::MissingContentLength => (411, "MissingContentLengthHeader"),
            Self::InvalidUri => (400, "InvalidUri"),
            Self::InvalidResourceName => (400, "InvalidResourceName"),
            Self::ResourceNameLength => (400, "OutOfRangeInput"),
            Self::InvalidMetadata => (400, "InvalidMetadata"),
            Self::EmptyMetadataKey => (400, "EmptyMetadataKey"),
            Self::MetadataTooLarge => (400, "MetadataTooLarge"),
            Self::InvalidMd5 => (400, "InvalidMd5"),
            Self::Md5Mismatch { .. } => (400, "Md5Mismatch"),
            Self::Crc64Mismatch { .. } => (400, "Crc64Mismatch"),
            Self::BothChecksums => (400, "BothCrc64AndMd5HeaderPresent"),
            Self::MissingRequiredQueryParameter { .. } => (400, "MissingRequiredQueryParameter"),
            Self::InvalidBlobOrBlock => (400, "InvalidBlobOrBlock"),
            Self::InvalidBlockList => (400, "InvalidBlockList"),
            Self::BlockListTooLong => (400, "BlockListTooLong"),
            Self::BlockCountExceedsLimit => (409, "BlockCountExceedsLimit"),
            Self::InvalidXmlDocument { .. } => (400, "InvalidXmlDocument"),
            Self::RequestBodyTooLarge { .. } => (413, "RequestBodyTooLarge"),
            Self::BodyIncomplete => (400, "RequestBodyIncomplete"),
            Self::MemoryLimit { .. } => (507, "InsufficientStorage"),
            Self::DiskRefuses { .. } => (507, "InsufficientStorage"),
            Self::UnsupportedHttpVerb => (405, "UnsupportedHttpVerb"),
            Self::NotImplemented { .. } => (501, "NotImplemented"),
        }
    }

    /// The further elements of the XML body, in Azure's names where Azure has them.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::AuthenticationFailed { detail } => vec![("AuthenticationErrorDetail", detail.clone())],
            Self::InvalidQueryParameterValue { name, value, reason }
            | Self::OutOfRangeQueryParameterValue { name, value, reason } => vec![
                ("QueryParameterName", name.clone()),
                ("QueryParameterValue", value.clone()),
                ("Reason", reason.clone()),
            ],
            Self::InvalidHeaderValue { name, value } => {
                vec![("HeaderName", name.clone()), ("HeaderValue", value.clone())]
            }
            Self::MissingRequiredHeader { name } => vec![("HeaderName", (*name).to_owned())],
            Self::Md5Mismatch { specified, calculated } => {
                vec![("UserSpecifiedMd5", specified.clone()), ("ServerCalculatedMd5", calculated.clone())]
            }
            Self::Crc64Mismatch { specified, calculated } => {
                vec![("UserSpecifiedCrc", specified.clone()), ("ServerCalculatedCrc", calculated.clone())]
            }
            Self::MissingRequiredQueryParameter { name } => {
                vec![("QueryParameterName", (*name).to_owned())]
            }
            Self::CannotVerifyCopySource { detail }
            | Self::InvalidXmlDocument { detail }
            | Self::DiskRefuses { detail } => vec![("Detail", detail.clone())],
            Self::RequestBodyTooLarge { max_bytes } => vec![("MaxLimit", max_bytes.to_string())],
            Self::MemoryLimit { limit_bytes } => {
                vec![("MaxLimit", limit_bytes.to_string()), ("Remedy", "--memory-limit-mib".to_owned())]
            }
            Self::NotImplemented { detail } => vec![("Detail", detail.clone())],
            _ => Vec::new(),
        }
    }
}
