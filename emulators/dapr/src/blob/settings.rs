//! What a blob component is told, and what it refuses (`metadata.go`, `client.go`).

use base64::{DecodeError, Engine};

use crate::go::text::query_escape;
use crate::resources::{Properties, PropertyError};

const ACCOUNT_NAME: &[&str] = &["accountName", "storageAccount", "storageAccountName"];
const ACCOUNT_KEY: &[&str] = &["accountKey", "accessKey", "storageAccessKey", "storageAccountKey"];
const CONTAINER: &[&str] = &["containerName", "container", "storageAccountContainer"];
const ENDPOINT: &[&str] = &["endpoint", "storageEndpoint"];
const OTHERS: &[&str] = &[
    "connectionString",
    "decodeBase64",
    "direction",
    "disableEntityManagement",
    "getBlobRetryCount",
    "publicAccessLevel",
    "retryCount",
    "route",
];

/// A blob component's settings.
#[derive(Clone)]
pub struct BlobSettings {
    /// URL of the container, without a slash at its end.
    pub container_url: String,
    /// The container.
    pub container: String,
    /// Name of the account.
    pub account: String,
    /// Its key.
    pub key: Vec<u8>,
    /// Data of `create` is base64.
    pub decode_base64: bool,
    /// Further tries of a call that failed.
    pub retries: u32,
    /// Access without a key, `blob` or `container`.
    pub public_access: Option<String>,
    /// The container is made at the start.
    pub create_container: bool,
}

/// The key is not shown.
impl std::fmt::Debug for BlobSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobSettings").field("container_url", &self.container_url).finish_non_exhaustive()
    }
}

impl BlobSettings {
    /// Reads a component's properties.
    ///
    /// # Errors
    /// In daprd's words, for the first thing that is missing or wrong.
    pub fn parse(properties: &Properties) -> Result<Self, PropertyError> {
        let known: Vec<&str> =
            [ACCOUNT_NAME, ACCOUNT_KEY, CONTAINER, ENDPOINT, OTHERS].into_iter().flatten().copied().collect();
        properties.refuse_unknown(&known)?;
        let retries = match properties.integer("getBlobRetryCount")? {
            Some(count) => Some(count),
            None => properties.integer("retryCount").map_err(|error| PropertyError {
                message: format!("failed to decode metadata: {}", error.message),
                ..error
            })?,
        };
        let connection = properties.any_text(&["connectionString"]).map(ConnectionString::parse);
        let (account, key, endpoint) = match connection {
            Some(connection) => {
                let connection = connection.map_err(|message| {
                    let message = format!(
                        "cannot init blob storage container client with connection string: {message}"
                    );
                    properties.error_at("connectionString", message)
                })?;
                (connection.account, connection.key, connection.endpoint)
            }
            None => {
                let account = properties.any_text(ACCOUNT_NAME).ok_or_else(|| {
                    properties.error_at("accountName", "missing or empty accountName field from metadata")
                })?;
                let endpoint = properties.any_text(ENDPOINT).map(|endpoint| {
                    // Azurite's addressing: the account is the first part of the path.
                    format!("{}/{account}", endpoint.strip_suffix('/').unwrap_or(endpoint))
                });
                let key = properties.any_text(ACCOUNT_KEY).unwrap_or_default();
                (account.to_owned(), key.to_owned(), endpoint)
            }
        };
        let container = properties.any_text(CONTAINER).ok_or_else(|| {
            properties.error_at("containerName", "missing or empty containerName field from metadata")
        })?;
        let public_access = properties.any_text(&["publicAccessLevel"]).filter(|level| *level != "none");
        if let Some(level) = public_access.filter(|level| !["blob", "container"].contains(level)) {
            let message = format!("invalid public access level: {level}; allowed: [blob container]");
            return Err(properties.error_at("publicAccessLevel", message));
        }
        let endpoint = plain_http(properties, endpoint)?;
        if key.is_empty() {
            let message =
                "without accountKey the component would use Entra ID, which dapr-emulator does not have";
            return Err(properties.error_at("accountKey", message));
        }
        let key = base64::engine::general_purpose::STANDARD.decode(&key).map_err(|error| {
            let cause = match error {
                // Go's words.
                DecodeError::InvalidByte(place, _) | DecodeError::InvalidLastSymbol { offset: place, .. } => {
                    format!("illegal base64 data at input byte {place}")
                }
                other => other.to_string(),
            };
            let message = format!("invalid shared key credentials with error: decode account key: {cause}");
            properties.error_at("accountKey", message)
        })?;
        Ok(Self {
            container_url: format!("{endpoint}/{}", query_escape(container)),
            container: container.to_owned(),
            account,
            key,
            decode_base64: properties.boolean("decodeBase64", false)?,
            retries: retries.map_or(3, |count| u32::try_from(count).unwrap_or(0)),
            public_access: public_access.map(str::to_owned),
            create_container: !properties.boolean("disableEntityManagement", false)?,
        })
    }
}

/// The address of a service that is reached without TLS.
fn plain_http(properties: &Properties, endpoint: Option<String>) -> Result<String, PropertyError> {
    let message = match endpoint {
        Some(endpoint) if endpoint.starts_with("http://") => return Ok(endpoint),
        Some(endpoint) => {
            format!("endpoint {endpoint} is not plain http, the only thing dapr-emulator speaks")
        }
        None => "without endpoint the account is one of Azure's, which is reached over TLS; dapr-emulator has none: \
                 set endpoint, or use a real daprd"
            .to_owned(),
    };
    Err(properties.error_at("endpoint", message))
}

/// `AccountName=…;AccountKey=…;BlobEndpoint=…`.
struct ConnectionString {
    account: String,
    key: String,
    endpoint: Option<String>,
}

impl ConnectionString {
    fn parse(text: &str) -> Result<Self, String> {
        let (mut account, mut key, mut endpoint) = (None, None, None);
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or("connection string is either blank or malformed")?;
            match name {
                "AccountName" => account = Some(value.to_owned()),
                "AccountKey" => key = Some(value.to_owned()),
                "BlobEndpoint" => endpoint = Some(value.trim_end_matches('/').to_owned()),
                _ => {}
            }
        }
        let account = account.ok_or("connection string missing AccountName")?;
        let key = key.ok_or("connection string missing AccountKey or SharedAccessSignature")?;
        Ok(Self { account, key, endpoint })
    }
}
