//! OCI images of what a lab runs, written by us as data: no Docker engine takes part. [`Plan`] says which images a lab needs,
//! [`Plan::assemble`] makes them from `dist/`, [`push`] puts them into a registry, [`layout`] into a folder.
//!
//! Every image is named by its digest, which is known before any registry is asked: what runs in a pod is then proven by
//! the digest that the pod tells. It starts no container and knows no cluster.

mod archive;
mod blob;
pub mod engine;
mod image_of;
mod layer;
pub mod layout;
mod plan;
mod recipe;
mod registry;
mod spin;
mod system;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

pub use archive::archive;
pub use blob::{Blob, Digest};
pub use image_of::{Image, Platform};
pub use layer::{Files, LAYER_TYPE};
pub use plan::{Part, Plan, SpinImage};
pub use recipe::{AZURITE_LISTENS, azurite_arguments};
pub use registry::{Pushed, RegistryError, push};

/// The media type of an image's manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The media type of a list of manifests, one for each architecture.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The media type of an image's configuration.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// Why an image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file or folder.
    #[error("failed to {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A document that is not what it should be.
    #[error("{}: {reason}", path.display())]
    Document {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program that is asked for something could not be started, or did not do it.
    #[error("`{command}` {what}")]
    Program {
        /// The command line.
        command: String,
        /// How it ended, and what it said.
        what: String,
    },
    /// An image that only Linux can be asked for.
    #[error("the image {image} holds a program of this machine, and this machine is not Linux")]
    NotLinux {
        /// Which image.
        image: &'static str,
    },
    /// An image for an architecture that it cannot be made for.
    #[error("the image {image} can be made for this machine's architecture only, not for {arch}")]
    Arch {
        /// Which image.
        image: &'static str,
        /// The architecture that was asked for.
        arch: &'static str,
    },
}

impl ImageError {
    /// What to do, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotLinux { .. } => Some(
                "take one that is: --packaging static --blob native, with --stack warp-rust or a Spin one"
                    .to_owned(),
            ),
            Self::Arch { .. } => {
                Some("leave out --arch, or build on a machine of that architecture".to_owned())
            }
            Self::File { .. } => Some("cargo lab build --images".to_owned()),
            Self::Document { .. } | Self::Program { .. } => None,
        }
    }
}
