//! From a manifest to an OCI image layout. The same application gives the same digests, whenever and wherever it is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::locked::{self, Content, LockedApp};
use super::{
    CHAINING, CONFIG_TYPE, DATA_TYPE, Descriptor, INDEX_FILE, ImageManifest, Index, LAYOUT_FILE,
    LOCKED_APP_TYPE, MANIFEST_TYPE, OciError, WASM_TYPE, blob_path, read_bytes,
};
use crate::digest::Digest;
use crate::files::Mount;
use crate::limits;
use crate::manifest::{Component, Manifest, Target};

/// Digests of what was written.
#[derive(Debug)]
pub struct Written {
    /// The image's: of its manifest.
    pub image: Digest,
    /// The modules', by component: of the files as they were read, which the log of a start names too.
    pub components: BTreeMap<String, Digest>,
}

/// Writes the application into a directory; a layout that is there already is replaced by this one.
///
/// Modules are written as they are. Spin writes them componentized; the shim accepts both.
///
/// # Errors
/// [`OciError`].
pub fn write(manifest: &Manifest, layout: &Path) -> Result<Written, OciError> {
    let mut writer = Writer { layout, layers: Vec::new(), known: BTreeSet::new() };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OciError::File { doing: "write", path, source }
    };
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed(&blobs))?;

    let mut components = Vec::new();
    let mut digests = BTreeMap::new();
    for (id, component) in &manifest.components {
        let (locked, digest) = writer.component(id, component, &manifest.directory)?;
        components.push(locked);
        digests.insert(id.clone(), digest);
    }
    let locked_app =
        serde_json::to_vec(&locked_app(manifest, components)).map_err(|error| OciError::Content {
            path: layout.to_owned(),
            reason: format!("the application cannot be written as JSON: {error}"),
        })?;
    let locked_digest = Digest::of(&locked_app);
    writer.layer(LOCKED_APP_TYPE, &locked_app)?;

    let config = json!({
        "architecture": "wasm",
        "os": "wasip1",
        "config": { "Labels": { "com.fermyon.spin.lockedAppDigest": locked_digest.to_string() } },
        "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let mut annotations =
        BTreeMap::from([("org.opencontainers.image.title".to_owned(), manifest.name.clone())]);
    if !manifest.version.is_empty() {
        annotations.insert("org.opencontainers.image.version".to_owned(), manifest.version.clone());
    }
    let config = writer.blob(CONFIG_TYPE, config.to_string().as_bytes())?;
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        config,
        layers: std::mem::take(&mut writer.layers),
        annotations,
    };
    let image = writer.blob(MANIFEST_TYPE, json!(image).to_string().as_bytes())?;
    let digest = super::digest_of(layout, &image.digest)?;
    let index = Index { schema_version: 2, manifests: vec![image] };
    for (name, content) in
        [(INDEX_FILE, json!(index)), (LAYOUT_FILE, json!({ "imageLayoutVersion": "1.0.0" }))]
    {
        let path = layout.join(name);
        fs::write(&path, content.to_string()).map_err(failed(&path))?;
    }
    Ok(Written { image: digest, components: digests })
}

struct Writer<'a> {
    layout: &'a Path,
    layers: Vec<Descriptor>,
    known: BTreeSet<Digest>,
}

impl Writer<'_> {
    fn blob(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, OciError> {
        let digest = Digest::of(content);
        let path = blob_path(self.layout, digest);
        fs::write(&path, content).map_err(|source| OciError::File { doing: "write", path, source })?;
        let size = content.len() as u64;
        Ok(Descriptor { media_type: media_type.to_owned(), digest: digest.to_string(), size })
    }

    /// Writes a layer, unless an equal one is there.
    fn layer(&mut self, media_type: &str, content: &[u8]) -> Result<Digest, OciError> {
        let digest = Digest::of(content);
        if self.known.insert(digest) {
            let descriptor = self.blob(media_type, content)?;
            self.layers.push(descriptor);
        }
        Ok(digest)
    }

    fn component(
        &mut self,
        id: &str,
        component: &Component,
        root: &Path,
    ) -> Result<(locked::Component, Digest), OciError> {
        let digest = self.layer(WASM_TYPE, &read_bytes(&component.source, limits::WASM_FILE_BYTES)?)?;
        let hosts: Vec<String> = component.allowed_outbound_hosts.iter().map(ToString::to_string).collect();
        let chains = hosts.iter().any(|host| host.contains(".spin.internal"));
        let locked = locked::Component {
            id: id.to_owned(),
            metadata: locked::ComponentMetadata {
                description: component.description.clone(),
                allowed_outbound_hosts: hosts,
                ..Default::default()
            },
            source: locked::Source {
                content_type: "application/wasm".to_owned(),
                content: Content { inline: None, digest: Some(digest.to_string()) },
            },
            env: component.environment.clone(),
            files: self.files(id, component, root)?,
            config: component
                .variables
                .iter()
                .map(|(name, template)| (name.clone(), template.to_string()))
                .collect(),
            dependencies: BTreeMap::new(),
            host_requirements: chains.then(|| (CHAINING.to_owned(), "required".into())).into_iter().collect(),
        };
        Ok((locked, digest))
    }

    /// Every file that the component may read, in order of the paths; small ones within the document, as Spin does.
    fn files(
        &mut self,
        id: &str,
        component: &Component,
        root: &Path,
    ) -> Result<Vec<locked::ContentPath>, OciError> {
        let Some(mount) = Mount::prepare(id, component, root, false)? else { return Ok(Vec::new()) };
        let mut files = Vec::new();
        for (path, inner) in mount.listed()? {
            let content = read_bytes(&path, limits::WASM_FILE_BYTES)?;
            let small = content.len() <= limits::INLINE_FILE_BYTES;
            let digest = if small { Digest::of(&content) } else { self.layer(DATA_TYPE, &content)? };
            files.push(locked::ContentPath {
                content: Content {
                    inline: small.then(|| BASE64_STANDARD.encode(&content)),
                    digest: Some(digest.to_string()),
                },
                path: portable(&inner),
            });
        }
        Ok(files)
    }
}

fn portable(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

fn locked_app(manifest: &Manifest, components: Vec<locked::Component>) -> LockedApp {
    let mut metadata = BTreeMap::from([
        ("name".to_owned(), manifest.name.clone().into()),
        ("triggers".to_owned(), json!({})),
        ("trigger".to_owned(), json!({ "type": "http" })),
    ]);
    if !manifest.version.is_empty() {
        metadata.insert("version".to_owned(), manifest.version.clone().into());
    }
    let chains = components.iter().any(|component| !component.host_requirements.is_empty());
    let variables = manifest.variables.iter().map(|(name, declared)| {
        let variable = locked::Variable { default: declared.default.clone(), secret: declared.secret };
        (name.clone(), variable)
    });
    let triggers = manifest.triggers.iter().map(|trigger| {
        let (component, static_response) = match &trigger.target {
            Target::Component(id) => (Some(id.clone()), None),
            Target::Static(answer) => (None, Some(answer.clone())),
        };
        let route = match &trigger.route {
            Some(pattern) => locked::Route::Pattern(pattern.clone()),
            None => locked::Route::Private { private: true },
        };
        locked::Trigger {
            id: trigger.id.clone(),
            trigger_type: "http".to_owned(),
            trigger_config: json!(locked::HttpTrigger { component, static_response, route }),
        }
    });
    LockedApp {
        // What a host must understand came with version 1.
        spin_lock_version: u32::from(chains),
        must_understand: chains.then(|| "component_host_requirements".to_owned()).into_iter().collect(),
        metadata,
        host_requirements: BTreeMap::new(),
        variables: variables.collect(),
        triggers: triggers.collect(),
        components,
    }
}
