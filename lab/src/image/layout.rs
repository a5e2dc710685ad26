//! Images in folders: OCI image layouts, written and read. Every tool that copies images reads them.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::image_of::{Image, Platform, descriptor};
use super::{Blob, CONFIG_TYPE, Digest, ImageError, MANIFEST_TYPE};
use crate::limits;

const MARK: &str = "oci-layout";
const INDEX: &str = "index.json";

fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File { operation, path, source }
}

/// Writes an image into a folder of its own; another one that is there is replaced. Content that is there already is left
/// alone.
///
/// # Errors
/// Names the file that could not be written.
pub fn write(image: &Image, folder: &Path) -> Result<(), ImageError> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(file("create", &blobs))?;
    let wanted: Vec<&Blob> =
        image.blobs().into_iter().chain(image.children()).chain([&image.target]).collect();
    for entry in fs::read_dir(&blobs).map_err(file("list", &blobs))? {
        let path = entry.map_err(file("list", &blobs))?.path();
        let name = path.file_name().unwrap_or_default();
        if !wanted.iter().any(|blob| name == blob.digest.hex()) {
            fs::remove_file(&path).map_err(file("remove", &path))?;
        }
    }
    for blob in wanted {
        let path = blobs.join(blob.digest.hex());
        let there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.bytes());
        if !there {
            let new = blobs.join(format!("{}.new", blob.digest.hex()));
            fs::write(&new, &blob.content).map_err(file("write", &new))?;
            fs::rename(&new, &path).map_err(file("write", &path))?;
        }
    }
    let mut target = descriptor(&image.target);
    target["annotations"] = json!({ "org.opencontainers.image.ref.name": image.repository });
    let index = json!({ "schemaVersion": 2, "manifests": [target] });
    for (name, content) in [(INDEX, index), (MARK, json!({ "imageLayoutVersion": "1.0.0" }))] {
        let path = folder.join(name);
        fs::write(&path, content.to_string()).map_err(file("write", &path))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
}

/// Reads the one image, of one architecture or of none, of a layout that another program wrote.
///
/// # Errors
/// Also for content that has another digest than its name.
pub fn read(folder: &Path, repository: &'static str) -> Result<Image, ImageError> {
    let path = folder.join(INDEX);
    let index: Index = document(&path, &fs::read(&path).map_err(file("read", &path))?)?;
    let refused = |reason: String| ImageError::Document { path: folder.to_owned(), reason };
    let [target] = index.manifests.as_slice() else {
        return Err(refused(format!("it holds {} images and not one", index.manifests.len())));
    };
    if target.media_type != MANIFEST_TYPE {
        return Err(refused(format!("it holds a {} and not one manifest", target.media_type)));
    }
    let manifest_blob = blob(folder, target)?;
    let manifest: Manifest = document(folder, &manifest_blob.content)?;
    if manifest.config.media_type != CONFIG_TYPE {
        return Err(refused(format!("its configuration is a {}", manifest.config.media_type)));
    }
    let layers = manifest.layers.iter().map(|layer| blob(folder, layer)).collect::<Result<_, _>>()?;
    let config = blob(folder, &manifest.config)?;
    Ok(Image::new(repository, vec![Platform { manifest: manifest_blob, config, layers, arch: None }]))
}

fn document<T: for<'de> Deserialize<'de>>(path: &Path, content: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(content)
        .map_err(|error| ImageError::Document { path: path.to_owned(), reason: error.to_string() })
}

fn blob(folder: &Path, descriptor: &Descriptor) -> Result<Blob, ImageError> {
    let refused =
        |path: &Path, reason: &str| ImageError::Document { path: path.to_owned(), reason: reason.to_owned() };
    if Digest::parse(descriptor.digest.as_str()).is_none() {
        return Err(refused(folder, &format!("{} is no digest", descriptor.digest)));
    }
    let path = folder.join("blobs/sha256").join(descriptor.digest.hex());
    let bytes = fs::metadata(&path).map_err(file("read", &path))?.len();
    if bytes != descriptor.size || bytes > limits::IMAGE_BLOB_BYTES {
        return Err(refused(&path, &format!("it has {bytes} bytes and not {}", descriptor.size)));
    }
    let blob = Blob::new(&descriptor.media_type, fs::read(&path).map_err(file("read", &path))?);
    match blob.digest == descriptor.digest {
        true => Ok(blob),
        false => Err(refused(&path, "its content has another digest than its name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::Arch;
    use crate::image::Files;
    use crate::image::image_of::Start;

    fn image(content: &str) -> Image {
        let mut files = Files::default();
        files.text("/file", content);
        let layers = vec![files.archive().expect("a layer")];
        Image::new("spin-lab/it", vec![Platform::of_files("it", Arch::HOST, layers, &Start::default())])
    }

    fn blobs(folder: &Path) -> usize {
        fs::read_dir(folder.join("blobs/sha256")).expect("blobs").count()
    }

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = image("one");
        write(&one, folder.path()).expect("a layout");
        let read_back = read(folder.path(), "spin-lab/it").expect("an image");
        assert_eq!((read_back.digest(), read_back.blobs()), (one.digest(), one.blobs()));
        // Another one takes its place and leaves nothing of it.
        let other = image("other");
        write(&other, folder.path()).expect("a layout");
        assert_eq!(read(folder.path(), "spin-lab/it").expect("an image").digest(), other.digest());
        assert_eq!(blobs(folder.path()), 3);
    }

    #[test]
    fn content_that_is_not_what_its_name_says_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = image("one");
        write(&image, folder.path()).expect("a layout");
        let layer = &image.platforms[0].layers[0];
        let path = folder.path().join("blobs/sha256").join(layer.digest.hex());
        let refused = |content: &[u8]| {
            fs::write(&path, content).expect("a file");
            read(folder.path(), "spin-lab/it").expect_err("damaged").to_string()
        };
        let mut same_length = layer.content.clone();
        same_length[0] ^= 1;
        assert!(refused(&same_length).contains("another digest"));
        assert!(refused(b"short").contains("bytes"));
        fs::remove_file(&path).expect("a file");
        assert!(read(folder.path(), "spin-lab/it").is_err(), "a blob is missing");
        fs::write(folder.path().join(INDEX), r#"{"manifests":[]}"#).expect("a file");
        assert!(read(folder.path(), "spin-lab/it").expect_err("empty").to_string().contains("0 images"));
    }
}
