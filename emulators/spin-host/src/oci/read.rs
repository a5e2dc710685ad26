//! From an OCI image layout to a manifest. What Spin's artifacts may hold and this host does not run is refused here.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::locked::{self, LockedApp, Route};
use super::{
    ARCHIVE_TYPE, CHAINING, Descriptor, INDEX_FILE, ImageManifest, Index, LOCKED_APP_TYPE, OciError,
    blob_path, damaged, digest_of, read_bytes, read_json,
};
use crate::digest::Digest;
use crate::limits;
use crate::manifest::{Component, Files, Manifest, Target, Trigger, check_component_id};
use crate::variables::{Declaration, Template, check_name};

/// An application in an image.
#[derive(Debug)]
pub struct Image {
    /// The image's digest: of its manifest.
    pub digest: Digest,
    /// The application.
    pub manifest: Manifest,
}

/// Reads the one image of a layout.
///
/// # Errors
/// [`OciError`], also for blobs whose content is not what their digest says.
pub fn read(layout: &Path) -> Result<Image, OciError> {
    let refused = |reason: String| OciError::Content { path: layout.to_owned(), reason };
    let index = layout.join(INDEX_FILE);
    let content = read_bytes(&index, limits::CONFIG_FILE_BYTES)?;
    let index: Index = serde_json::from_slice(&content).map_err(|error| OciError::Content {
        path: index,
        reason: format!("{error}; write the layout again"),
    })?;
    let [descriptor] = index.manifests.as_slice() else {
        let count = index.manifests.len();
        return Err(refused(format!(
            "it holds {count} images; copy the one to run into a layout of its own"
        )));
    };
    let image: ImageManifest = read_json(layout, descriptor)?;
    if image.layers.iter().any(|layer| layer.media_type == ARCHIVE_TYPE) {
        return Err(refused(
            "its files are in an archive layer, which spin-host does not unpack; push it with fewer than 500 files \
             and without SPIN_OCI_ARCHIVE_LAYERS"
                .to_owned(),
        ));
    }
    let locked =
        image.layers.iter().rev().find(|layer| layer.media_type == LOCKED_APP_TYPE).ok_or_else(|| {
            refused(format!("it is no Spin application: no layer has the type {LOCKED_APP_TYPE}"))
        })?;
    let locked: LockedApp = read_json(layout, locked)?;
    let reader = Reader { layout, layers: &image.layers };
    Ok(Image { digest: digest_of(layout, &descriptor.digest)?, manifest: reader.manifest(locked)? })
}

struct Reader<'a> {
    layout: &'a Path,
    layers: &'a [Descriptor],
}

impl Reader<'_> {
    fn refused(&self, reason: impl Into<String>) -> OciError {
        OciError::Content { path: self.layout.to_owned(), reason: reason.into() }
    }

    fn manifest(&self, locked: LockedApp) -> Result<Manifest, OciError> {
        if locked.spin_lock_version > 1 {
            let version = locked.spin_lock_version;
            return Err(
                self.refused(format!("lock version {version} is of a later Spin; spin-host knows 0 and 1"))
            );
        }
        self.understand(&locked.must_understand, &["host_requirements", "component_host_requirements"])?;
        self.require(&locked.host_requirements)?;
        let text =
            |name: &str| locked.metadata.get(name).and_then(|value| value.as_str()).unwrap_or_default();
        let (name, version) = (text("name").to_owned(), text("version").to_owned());
        let mut variables = BTreeMap::new();
        for (name, variable) in locked.variables {
            check_name(&name).map_err(|error| self.refused(error.to_string()))?;
            variables.insert(name, Declaration { default: variable.default, secret: variable.secret });
        }
        let mut components = BTreeMap::new();
        for component in locked.components {
            check_component_id(&component.id).map_err(|reason| self.refused(reason))?;
            components.insert(component.id.clone(), self.component(component)?);
        }
        let triggers = locked
            .triggers
            .into_iter()
            .map(|trigger| self.trigger(trigger, &components))
            .collect::<Result<_, _>>()?;
        Ok(Manifest { directory: self.layout.to_owned(), name, version, variables, triggers, components })
    }

    fn understand(&self, wanted: &[String], known: &[&str]) -> Result<(), OciError> {
        match wanted.iter().find(|wanted| !known.contains(&wanted.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(self.refused(format!("it wants a host that understands `{unknown}`"))),
        }
    }

    fn require(&self, requirements: &BTreeMap<String, serde_json::Value>) -> Result<(), OciError> {
        let required: Vec<String> = requirements
            .iter()
            .filter(|(_, need)| *need != "optional")
            .map(|(name, _)| name.clone())
            .collect();
        self.understand(&required, &[CHAINING])
    }

    fn trigger(
        &self,
        trigger: locked::Trigger,
        components: &BTreeMap<String, Component>,
    ) -> Result<Trigger, OciError> {
        let id = trigger.id;
        if trigger.trigger_type != "http" {
            let kind = trigger.trigger_type;
            return Err(self.refused(format!(
                "trigger `{id}` is of type `{kind}`, which is not supported by spin-host; run the application on Spin"
            )));
        }
        let http: locked::HttpTrigger = serde_json::from_value(trigger.trigger_config)
            .map_err(|error| self.refused(format!("trigger `{id}`: {error}")))?;
        let target = match (http.component, http.static_response) {
            (Some(component), None) if components.contains_key(&component) => Target::Component(component),
            (Some(component), None) => {
                return Err(
                    self.refused(format!("trigger `{id}` names component `{component}`, which is not there"))
                );
            }
            (None, Some(answer)) => Target::Static(answer),
            _ => {
                return Err(
                    self.refused(format!("trigger `{id}` must have a component or a static response"))
                );
            }
        };
        let route = match http.route {
            Route::Pattern(pattern) => Some(pattern),
            Route::Private { .. } => None,
        };
        Ok(Trigger { id, target, route })
    }

    fn component(&self, locked: locked::Component) -> Result<Component, OciError> {
        self.require(&locked.host_requirements)?;
        let metadata = &locked.metadata;
        for (list, name) in [
            (&metadata.key_value_stores, "key-value stores"),
            (&metadata.databases, "SQLite databases"),
            (&metadata.ai_models, "AI models"),
        ] {
            if !list.is_empty() {
                let id = &locked.id;
                return Err(self.refused(format!(
                    "component `{id}` uses {name}, which spin-host does not provide; run the application on Spin"
                )));
            }
        }
        if !locked.dependencies.is_empty() {
            let id = &locked.id;
            return Err(self.refused(format!(
                "component `{id}` has dependencies, which spin-host does not compose; push it with `spin registry \
                 push`, which composes them"
            )));
        }
        let template = |place: &str, text: &str| {
            Template::parse(text).map_err(|reason| OciError::Template {
                path: self.layout.to_owned(),
                component: locked.id.clone(),
                place: place.to_owned(),
                reason,
            })
        };
        let mut variables = BTreeMap::new();
        for (name, value) in &locked.config {
            variables.insert(name.clone(), template(&format!("variable `{name}`"), value)?);
        }
        let hosts = metadata.allowed_outbound_hosts.iter();
        let digest = self.layer(locked.source.content.digest.as_deref(), &locked.id)?;
        Ok(Component {
            source: blob_path(self.layout, digest),
            digest: Some(digest),
            description: metadata.description.clone(),
            variables,
            environment: locked.env,
            files: locked.files.iter().map(|file| self.file(file)).collect::<Result<_, _>>()?,
            exclude_files: Vec::new(),
            allowed_outbound_hosts: hosts
                .map(|host| template("allowed_outbound_hosts", host))
                .collect::<Result<_, _>>()?,
            build_command: None,
        })
    }

    /// The digest of a layer of this image; what is no layer of it is not read, wherever it may be.
    fn layer(&self, digest: Option<&str>, what: &str) -> Result<Digest, OciError> {
        let listed = digest.filter(|digest| self.layers.iter().any(|layer| layer.digest == **digest));
        let digest = listed
            .ok_or_else(|| self.refused(format!("the content of `{what}` is no layer of the image")))?;
        digest_of(self.layout, digest)
    }

    fn file(&self, file: &locked::ContentPath) -> Result<Files, OciError> {
        let content = match &file.content.inline {
            Some(text) => BASE64_STANDARD.decode(text).map_err(|error| {
                self.refused(format!("the content of `{}` is no base64: {error}", file.path))
            })?,
            None => {
                let digest = self.layer(file.content.digest.as_deref(), &file.path)?;
                let path = blob_path(self.layout, digest);
                let content = read_bytes(&path, limits::WASM_FILE_BYTES)?;
                if Digest::of(&content) != digest {
                    return Err(damaged(path));
                }
                content
            }
        };
        Ok(Files::Content { content, destination: file.path.clone() })
    }
}
