//! Images into a registry, and the proof that they are there. What is there already is not sent again.

use std::sync::Arc;

use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Blob, Digest, INDEX_TYPE, Image, MANIFEST_TYPE};
use crate::limits;

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Blobs and manifests that were sent.
    pub sent: usize,
    /// Bytes of them.
    pub sent_bytes: u64,
    /// Blobs and manifests that were there.
    pub known: usize,
}

/// Why an image is not in a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry did not do what it was asked for.
    #[error("failed to {operation} {what} at {registry}")]
    Refused {
        /// The verb.
        operation: &'static str,
        /// The image, or a blob of it.
        what: String,
        /// `host:port`.
        registry: String,
        /// Its answer.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// What is there is not what was sent.
    #[error("{registry} has other content under {what}; it was sent {expected}")]
    Different {
        /// `host:port`.
        registry: String,
        /// What was read back.
        what: String,
        /// The digest.
        expected: Digest,
    },
    /// It took too long.
    #[error("{what} was not at {registry} within {} s", limits::PUSH.as_secs())]
    TimedOut {
        /// `host:port`.
        registry: String,
        /// The image.
        what: String,
    },
}

impl RegistryError {
    /// What to do.
    pub fn hint(&self) -> String {
        let (Self::Refused { registry, .. }
        | Self::Different { registry, .. }
        | Self::TimedOut { registry, .. }) = self;
        format!("curl --fail http://{registry}/v2/   # does it answer?")
    }
}

/// One registry. Those of this machine are spoken to in plain text, as every engine does.
#[derive(Clone)]
struct Session {
    client: Client,
    registry: String,
    repository: &'static str,
}

fn is_of_this_machine(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

impl Session {
    async fn open(registry: &str, repository: &'static str) -> Self {
        let plain = is_of_this_machine(registry);
        let client = Client::new(ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            read_timeout: Some(limits::REGISTRY_SILENCE),
            connect_timeout: Some(limits::REGISTRY_SILENCE),
            use_monolithic_push: true,
            no_proxy: plain.then(|| "*".to_owned()),
            ..ClientConfig::default()
        });
        client.store_auth_if_needed(registry, &RegistryAuth::Anonymous).await;
        Self { client, registry: registry.to_owned(), repository }
    }

    fn reference(&self, digest: &Digest) -> Reference {
        Reference::with_digest(self.registry.clone(), self.repository.to_owned(), digest.to_string())
    }

    fn refused(
        &self,
        operation: &'static str,
        digest: &Digest,
    ) -> impl FnOnce(OciDistributionError) -> RegistryError {
        let (registry, what) = (self.registry.clone(), format!("{}@{digest}", self.repository));
        move |source| RegistryError::Refused { operation, what, registry, source: Box::new(source) }
    }

    /// Asked for its first byte: this client has no question for less.
    async fn has_blob(&self, blob: &Blob) -> Result<bool, RegistryError> {
        let descriptor = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.to_string(),
            size: blob.bytes().cast_signed(),
            ..OciDescriptor::default()
        };
        let reference = self.reference(&blob.digest);
        found(self.client.pull_blob_stream_partial(&reference, &descriptor, 0, Some(1)).await)
            .map_err(self.refused("look for", &blob.digest))
    }

    async fn has_manifest(&self, blob: &Blob) -> Result<bool, RegistryError> {
        let reference = self.reference(&blob.digest);
        found(self.client.fetch_manifest_digest(&reference, &RegistryAuth::Anonymous).await)
            .map_err(self.refused("look for", &blob.digest))
    }

    async fn send_blob(&self, blob: &Blob) -> Result<bool, RegistryError> {
        if self.has_blob(blob).await? {
            return Ok(false);
        }
        let reference = self.reference(&blob.digest);
        let sent = self.client.push_blob(&reference, &blob.content, blob.digest.as_str()).await;
        sent.map(|_| true).map_err(self.refused("send", &blob.digest))
    }

    /// Sends a manifest and reads it back: what a node will be given is what was made here.
    async fn send_manifest(&self, blob: &Blob) -> Result<(), RegistryError> {
        let reference = self.reference(&blob.digest);
        let kind = blob.media_type.parse().map_err(|_| self.different("its own media type", blob))?;
        let sent = self.client.push_manifest_raw(&reference, blob.content.clone(), kind).await;
        sent.map_err(self.refused("send", &blob.digest))?;
        let read = self.manifest(&blob.digest).await?;
        match read == *blob {
            true => Ok(()),
            false => Err(self.different(read.digest.as_str(), blob)),
        }
    }

    fn different(&self, what: &str, blob: &Blob) -> RegistryError {
        RegistryError::Different {
            registry: self.registry.clone(),
            what: what.to_owned(),
            expected: blob.digest.clone(),
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<Blob, RegistryError> {
        let accepted = [MANIFEST_TYPE, INDEX_TYPE];
        let read =
            self.client.pull_manifest_raw(&self.reference(digest), &RegistryAuth::Anonymous, &accepted).await;
        let (content, _) = read.map_err(self.refused("read back", digest))?;
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            #[serde(default)]
            media_type: String,
        }
        let kind =
            serde_json::from_slice::<Kind>(&content).map_or_else(|_| String::new(), |kind| kind.media_type);
        Ok(Blob::new(kind, content))
    }
}

/// Whether the registry says in its own words that it does not know what it was asked for.
fn is_unknown(code: &OciErrorCode) -> bool {
    use OciErrorCode::{BlobUnknown, ManifestUnknown, NameUnknown, NotFound};
    matches!(code, BlobUnknown | ManifestUnknown | NameUnknown | NotFound)
}

fn found<T>(answer: Result<T, OciDistributionError>) -> Result<bool, OciDistributionError> {
    match answer {
        Ok(_) => Ok(true),
        Err(
            OciDistributionError::ServerError { code: 404, .. }
            | OciDistributionError::ImageManifestNotFoundError(_),
        ) => Ok(false),
        Err(OciDistributionError::RegistryError { envelope, .. })
            if envelope.errors.iter().any(|error| is_unknown(&error.code)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Puts an image into the repository of its name and proves that it is there.
///
/// # Errors
/// Names what the registry refused, or what it has in place of the image; within [`limits::PUSH`].
pub async fn push(registry: &str, image: &Image) -> Result<Pushed, RegistryError> {
    let timed_out =
        |_| RegistryError::TimedOut { registry: registry.to_owned(), what: image.repository.to_owned() };
    tokio::time::timeout(limits::PUSH, send(registry, image)).await.map_err(timed_out)?
}

async fn send(registry: &str, image: &Image) -> Result<Pushed, RegistryError> {
    let session = Session::open(registry, image.repository).await;
    // A registry takes a manifest only when it has all that the manifest names.
    if session.has_manifest(&image.target).await? {
        let known = image.blobs().len() + image.children().count() + 1;
        return Ok(Pushed { known, ..Pushed::default() });
    }
    let mut pushed = Pushed::default();
    let turns = Arc::new(Semaphore::new(limits::PUSHES));
    let mut sending = JoinSet::new();
    for blob in image.blobs() {
        let (session, blob, turns) = (session.clone(), blob.clone(), Arc::clone(&turns));
        sending.spawn(async move {
            let _turn = turns.acquire().await;
            session.send_blob(&blob).await.map(|sent| (sent, blob.bytes()))
        });
    }
    while let Some(ended) = sending.join_next().await {
        match ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))? {
            (true, bytes) => pushed.add(bytes),
            (false, _) => pushed.known += 1,
        }
    }
    for manifest in image.children().chain([&image.target]) {
        session.send_manifest(manifest).await?;
        pushed.add(manifest.bytes());
    }
    Ok(pushed)
}

impl Pushed {
    fn add(&mut self, bytes: u64) {
        self.sent += 1;
        self.sent_bytes += bytes;
    }
}
