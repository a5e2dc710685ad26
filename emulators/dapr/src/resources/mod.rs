//! Components as they stand in files: which there are, for whom, with which properties, and where each was written.
//!
//! What is refused is refused with file and line. It must not know what a property means.

mod properties;
mod secrets;
mod yaml;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use properties::{Properties, PropertyError};
pub use secrets::{SecretStore, SecretStores};

use crate::go::text::duration;
use crate::limits::{COMPONENT_INIT_TIMEOUT, COMPONENTS_MAX, RESOURCE_FILE_BYTES_MAX};
use crate::resiliency::Document;

/// A file and a line in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// A document of `kind: Component`.
#[derive(Debug, Clone)]
pub struct Component {
    /// `metadata.name`.
    pub name: String,
    /// `spec.type`, such as `bindings.azure.servicebusqueues`.
    pub component_type: String,
    /// `spec.version`.
    pub version: String,
    /// `spec.ignoreErrors`.
    pub ignore_errors: bool,
    /// `spec.initTimeout`; daprd's default where it is missing or no duration.
    pub init_timeout: Duration,
    /// `spec.metadata`.
    pub metadata: Vec<Item>,
    /// `auth.secretStore`.
    pub secret_store: String,
    /// `scopes`; empty means every app.
    pub scopes: Vec<String>,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// Where its type is written.
    pub place: Place,
}

impl Component {
    /// The name as daprd writes it in its messages: `name (type/version)`.
    #[must_use]
    pub fn log_name(&self) -> String {
        let version = if self.version.is_empty() { "v1" } else { &self.version };
        format!("{} ({}/{version})", self.name, self.component_type)
    }
}

/// An entry of `spec.metadata`.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its name as written.
    pub name: String,
    /// Where its value comes from.
    pub value: ItemValue,
    /// Line of the entry, from 1.
    pub line: u64,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemValue {
    /// It stands there.
    Literal(String),
    /// `secretKeyRef`.
    Secret {
        /// The secret.
        name: String,
        /// The key in it; equals the name where none is given.
        key: String,
    },
    /// `envRef`.
    Environment(String),
    /// None of these.
    Missing,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// A folder or file cannot be read.
    #[error("cannot read {path}: check --resources-path, --config and secretsFile")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is too large to be a component file.
    #[error("{path} has more than the {RESOURCE_FILE_BYTES_MAX} bytes a component file may have")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// A document is no YAML, has an unknown key, lacks one, or has a value of another type.
    #[error("{place}: {message}")]
    Document {
        /// Where.
        place: Place,
        /// What is wrong and what to do.
        message: String,
    },
    /// Two components of one name.
    #[error(
        "{place}: duplicate definition of Component name {name} with existing {existing}: rename one of them"
    )]
    Duplicate {
        /// Where the second one is.
        place: Place,
        /// The second one.
        name: String,
        /// The first one.
        existing: String,
    },
    /// More components than the program takes.
    #[error("more than {COMPONENTS_MAX} components in the resource paths")]
    TooMany,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Resources {
    /// Documents of `kind: Component`.
    pub components: Vec<Component>,
    /// Documents of `kind: Resiliency`.
    pub resiliencies: Vec<Document>,
}

/// Reads what `app_id` may see: `*.yaml` and `*.yml` directly in each folder, in the order of the folders and file
/// names. Documents of other kinds are left alone (dapr, `pkg/internal/loader/disk`).
///
/// # Errors
/// At the first file that cannot be read or document that is not well-formed. daprd would go on without it and say so
/// in its log only.
pub fn load(folders: &[PathBuf], app_id: &str, namespace: Option<&str>) -> Result<Resources, ResourceError> {
    let mut resources = Resources::default();
    for folder in folders {
        for file in yaml_files(folder)? {
            let text = read_file(&file)?;
            let components = &mut resources.components;
            let (found, resiliency) = yaml::resources(&file, &text, app_id)?;
            resources.resiliencies.extend(resiliency);
            for component in found {
                let elsewhere =
                    component.namespace.as_deref().is_some_and(|own| namespace.is_some_and(|ns| ns != own));
                if elsewhere {
                    continue;
                }
                if let Some(existing) = components.iter().find(|other| other.name == component.name) {
                    return Err(ResourceError::Duplicate {
                        place: component.place.clone(),
                        name: component.log_name(),
                        existing: format!("{} at {}", existing.log_name(), existing.place),
                    });
                }
                if !component.scopes.is_empty() && !component.scopes.iter().any(|scope| scope == app_id) {
                    continue;
                }
                if components.len() == COMPONENTS_MAX {
                    return Err(ResourceError::TooMany);
                }
                components.push(component);
            }
        }
    }
    Ok(resources)
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, ResourceError> {
    let read_error = |source| ResourceError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read_error)? {
        let path = entry.map_err(read_error)?.path();
        if path.is_dir() {
            continue;
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => files.push(path),
            _ => tracing::warn!(file = %path.display(), "a file that is not YAML is not loaded"),
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a small text file whole.
///
/// # Errors
/// When it cannot be read or is larger than a component file may be.
pub fn read_file(path: &Path) -> Result<String, ResourceError> {
    let read_error = |source| ResourceError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(read_error)?;
    // What the file system says about the size is not asked: pipes and devices have none, and a file may grow.
    let mut bytes = Vec::new();
    file.take(RESOURCE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > RESOURCE_FILE_BYTES_MAX {
        return Err(ResourceError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes)
        .map_err(|error| read_error(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
}

/// Parses a YAML document, with the file and line in its errors.
pub(crate) fn parse_document<T: serde::de::DeserializeOwned>(
    file: &Path,
    document: &str,
) -> Result<T, ResourceError> {
    yaml::parse(file, document)
}

/// An error about a line of a file.
pub(crate) fn document_error(file: &Path, line: u64, message: impl Into<String>) -> ResourceError {
    ResourceError::Document { place: Place { file: file.to_owned(), line }, message: message.into() }
}

/// `spec.initTimeout` as daprd takes it: what is no duration is the default.
fn init_timeout(text: Option<&str>) -> Duration {
    text.and_then(duration).unwrap_or(COMPONENT_INIT_TIMEOUT)
}

#[cfg(test)]
mod tests;
