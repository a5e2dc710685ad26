//! One image as data: its manifest, or a list of them, and everything that they name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::blob::{Blob, Digest};
use super::{CONFIG_TYPE, INDEX_TYPE, MANIFEST_TYPE};
use crate::build::Arch;

/// How the program in an image is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// The program and its first arguments, which a container's own do not replace.
    pub entrypoint: Vec<String>,
    /// The arguments that a container's own replace.
    pub arguments: Vec<String>,
    /// The TCP ports on which it serves.
    pub ports: Vec<u16>,
    /// The user and the group, as numbers.
    pub user: Option<&'static str>,
}

/// An image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The manifest.
    pub manifest: Blob,
    /// The configuration.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
    /// The architecture, where the image is a machine's program.
    pub arch: Option<Arch>,
}

/// An image for one or several architectures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name in a registry.
    pub repository: &'static str,
    /// What a reference names: the manifest, or the list of them where there are several.
    pub target: Blob,
    /// Each architecture's.
    pub platforms: Vec<Platform>,
}

impl Platform {
    /// An image of files: `layers`, started as `start` says.
    pub(super) fn of_files(title: &str, arch: Arch, layers: Vec<Blob>, start: &Start) -> Self {
        let ports: BTreeMap<String, Value> =
            start.ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect();
        // A layer that is not compressed has one digest for both: what is sent and what is unpacked.
        let unpacked: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
        let mut config = json!({ "Entrypoint": start.entrypoint, "WorkingDir": "/", "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"] });
        for (key, value, wanted) in [
            ("Cmd", json!(start.arguments), !start.arguments.is_empty()),
            ("ExposedPorts", json!(ports), !ports.is_empty()),
            ("User", json!(start.user), start.user.is_some()),
        ] {
            if wanted {
                config[key] = value;
            }
        }
        let config = json!({
            "architecture": arch.as_str(),
            "os": "linux",
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": unpacked },
        });
        Self::new(title, Blob::new(CONFIG_TYPE, config.to_string().into_bytes()), layers, Some(arch))
    }

    fn new(title: &str, config: Blob, layers: Vec<Blob>, arch: Option<Arch>) -> Self {
        let described: Vec<Value> = layers.iter().map(descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(&config),
            "layers": described,
            "annotations": {
                "org.opencontainers.image.title": title,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            },
        });
        let manifest = Blob::new(MANIFEST_TYPE, manifest.to_string().into_bytes());
        Self { manifest, config, layers, arch }
    }

    /// What a node keeps of it: the layers as they are stored.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(Blob::bytes).sum()
    }
}

/// How a manifest names a blob.
pub(super) fn descriptor(blob: &Blob) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.digest, "size": blob.bytes() })
}

impl Image {
    /// An image of one or several architectures; several get a list, one is named directly.
    pub(super) fn new(repository: &'static str, platforms: Vec<Platform>) -> Self {
        let target = match platforms.as_slice() {
            [only] => only.manifest.clone(),
            several => index(several),
        };
        Self { repository, target, platforms }
    }

    /// The digest that pins it.
    pub fn digest(&self) -> &Digest {
        &self.target.digest
    }

    /// How a pod names it: `<registry>/<repository>@sha256:…`. No tag: what runs is what was pushed.
    pub fn reference(&self, registry: &str) -> String {
        format!("{registry}/{}@{}", self.repository, self.digest())
    }

    /// Configurations and layers of every architecture, each once.
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut known = BTreeSet::new();
        let all = self.platforms.iter().flat_map(|platform| platform.layers.iter().chain([&platform.config]));
        all.filter(|blob| known.insert(&blob.digest)).collect()
    }

    /// The manifests that a list names; none where there is no list.
    pub fn children(&self) -> impl Iterator<Item = &Blob> {
        let manifests = self.platforms.iter().map(|platform| &platform.manifest);
        manifests.filter(|manifest| manifest.digest != self.target.digest)
    }

    /// What a node of this machine's architecture keeps of it.
    pub fn bytes(&self) -> u64 {
        let fits = |platform: &&Platform| platform.arch.is_none_or(|arch| arch == Arch::HOST);
        self.platforms.iter().find(fits).or(self.platforms.first()).map_or(0, Platform::bytes)
    }
}

fn index(platforms: &[Platform]) -> Blob {
    let manifests: Vec<Value> = platforms
        .iter()
        .map(|platform| {
            let mut described = descriptor(&platform.manifest);
            if let Some(arch) = platform.arch {
                described["platform"] = json!({ "architecture": arch.as_str(), "os": "linux" });
            }
            described
        })
        .collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests });
    Blob::new(INDEX_TYPE, index.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Files;

    fn platform(arch: Arch, content: &str) -> Platform {
        let mut files = Files::default();
        files.text("/program", content);
        let start = Start {
            entrypoint: vec!["/program".to_owned()],
            arguments: vec!["--listen".to_owned(), "0.0.0.0:80".to_owned()],
            ports: vec![80],
            user: Some("65532:65532"),
        };
        Platform::of_files("program", arch, vec![files.archive().expect("a layer")], &start)
    }

    fn json(blob: &Blob) -> Value {
        serde_json::from_slice(&blob.content).expect("JSON")
    }

    #[test]
    fn one_architecture_is_named_directly_and_its_manifest_names_what_is_there() {
        let image = Image::new("spin-lab/program", vec![platform(Arch::Amd64, "x")]);
        let manifest = json(&image.target);
        assert_eq!(manifest["mediaType"], MANIFEST_TYPE);
        let [layer] = image.platforms[0].layers.as_slice() else { panic!("one layer") };
        assert_eq!(manifest["layers"][0]["digest"], layer.digest.as_str());
        assert_eq!(manifest["layers"][0]["size"], layer.bytes());
        let config = json(&image.platforms[0].config);
        assert_eq!(config["rootfs"]["diff_ids"], json!([layer.digest]));
        assert_eq!(config["config"]["ExposedPorts"], json!({ "80/tcp": {} }));
        assert_eq!((&config["architecture"], &config["os"]), (&json!("amd64"), &json!("linux")));
        assert_eq!(image.children().count(), 0);
        assert_eq!(
            image.reference("registry:5000"),
            format!("registry:5000/spin-lab/program@{}", Digest::of(&image.target.content))
        );
    }

    #[test]
    fn several_architectures_are_named_by_a_list() {
        let image =
            Image::new("spin-lab/program", vec![platform(Arch::Amd64, "x"), platform(Arch::Arm64, "y")]);
        let index = json(&image.target);
        assert_eq!(index["mediaType"], INDEX_TYPE);
        let arches: Vec<_> = image.platforms.iter().map(|platform| platform.arch).collect();
        assert_eq!(arches, [Some(Arch::Amd64), Some(Arch::Arm64)]);
        for (place, child) in image.children().enumerate() {
            assert_eq!(index["manifests"][place]["digest"], child.digest.as_str());
        }
        assert_eq!(index["manifests"][1]["platform"], json!({ "architecture": "arm64", "os": "linux" }));
        assert_eq!(image.blobs().len(), 4);
    }

    #[test]
    fn what_several_architectures_share_is_there_once() {
        let image =
            Image::new("spin-lab/program", vec![platform(Arch::Amd64, "x"), platform(Arch::Arm64, "x")]);
        assert_eq!(image.blobs().len(), 3, "one layer, two configurations");
    }
}
