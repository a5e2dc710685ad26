//! An image as the archive that `docker load` takes, of every engine's version.

use std::path::PathBuf;

use serde_json::json;

use super::blob::Blob;
use super::image_of::{Image, Platform};
use super::{Files, ImageError};

/// The archive of the image for this machine, under the tag `<repository>:<first 12 digits of its digest>`, which it gives too.
///
/// # Errors
/// An image that has no files, as a Spin artefact, is none that an engine could start.
pub fn archive(image: &Image) -> Result<(String, Vec<u8>), ImageError> {
    let tag = format!("{}:{}", image.repository, image.digest().hex().get(..12).unwrap_or_default());
    let fits = |platform: &&Platform| platform.arch == Some(crate::build::Arch::HOST);
    let platform = image.platforms.iter().find(fits).ok_or_else(|| ImageError::Document {
        path: PathBuf::from(image.repository),
        reason: "it is no image of files for this machine, which is all that an engine can start".to_owned(),
    })?;
    let name = |blob: &Blob| format!("{}.blob", blob.digest.hex());
    let layers: Vec<_> = platform.layers.iter().map(&name).collect();
    let manifest = json!([{ "Config": name(&platform.config), "RepoTags": [tag], "Layers": layers }]);
    let mut files = Files::default();
    for blob in platform.layers.iter().chain([&platform.config]) {
        files.text(&name(blob), blob.content.clone());
    }
    files.text("manifest.json", manifest.to_string());
    Ok((tag, files.archive()?.content))
}
