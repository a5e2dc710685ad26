//! OCI images of applications, as `spin registry push` makes them and the containerd shim pulls them, in a directory
//! (an OCI image layout): written from a `spin.toml`, and run from.
//!
//! It must not speak to a registry; programs that copy a layout to one are plenty. Rules: Spin 3.6.3,
//! `crates/oci/src/{client,loader}.rs`, and the OCI image specification 1.1 (`image-layout.md`, `manifest.md`).

mod locked;
mod read;
mod write;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::files::FileError;
use crate::limits;
use crate::variables::VariableError;

pub use read::{Image, read};
pub use write::{Written, write};

const LAYOUT_FILE: &str = "oci-layout";
const INDEX_FILE: &str = "index.json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LOCKED_APP_TYPE: &str = "application/vnd.fermyon.spin.application.v1+config";
const WASM_TYPE: &str = "application/vnd.wasm.content.layer.v1+wasm";
const DATA_TYPE: &str = "application/vnd.wasm.content.layer.v1+data";
const ARCHIVE_TYPE: &str = "application/vnd.wasm.content.bundle.v1.tar+gzip";
const CHAINING: &str = "local_service_chaining";

/// Why an image cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file of the layout cannot be read or written.
    #[error("cannot {doing} {}", path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It is not the image of an application that this host runs.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The layout, or a file of it.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A template in it cannot be read.
    #[error("{}: {place} of component `{component}`: {reason}", path.display())]
    Template {
        /// The layout.
        path: PathBuf,
        /// The component.
        component: String,
        /// Which of its values.
        place: String,
        /// What is wrong.
        reason: VariableError,
    },
    /// Files of a component cannot be had.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// Whether this directory is an OCI image layout.
pub fn is_layout(path: &Path) -> bool {
    path.join(LAYOUT_FILE).is_file()
}

fn blob_path(layout: &Path, digest: Digest) -> PathBuf {
    layout.join("blobs/sha256").join(digest.hex())
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// Reads a file with the bound of its kind.
fn read_bytes(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, OciError> {
    crate::read::bytes(path, limit_bytes).map_err(|source| OciError::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

/// Reads the JSON that a descriptor names, and checks its digest.
fn read_json<T: for<'de> Deserialize<'de>>(layout: &Path, descriptor: &Descriptor) -> Result<T, OciError> {
    let path = blob_path(layout, digest_of(layout, &descriptor.digest)?);
    let content = read_bytes(&path, limits::CONFIG_FILE_BYTES)?;
    if Digest::of(&content).to_string() != descriptor.digest {
        return Err(damaged(path));
    }
    serde_json::from_slice(&content)
        .map_err(|error| OciError::Content { path, reason: format!("{error}; write the layout again") })
}

fn digest_of(layout: &Path, text: &str) -> Result<Digest, OciError> {
    Digest::parse(text).ok_or_else(|| OciError::Content {
        path: layout.to_owned(),
        reason: format!("{text:?} is no digest of the form sha256:<64 digits>; write the layout again"),
    })
}

fn damaged(path: PathBuf) -> OciError {
    OciError::Content {
        path,
        reason: "its content has another digest than its name; copy or write it again".into(),
    }
}
