//! YAML to [`Component`]s, strictly: an unknown key is a typing error that someone wants to hear of.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_path_to_error::Segment;
use serde_saphyr::Spanned;

use crate::resiliency::Document;

use super::{Component, Item, ItemValue, Place, ResourceError, init_timeout};

/// Where daprd cuts a file into documents (`manifest.go`, `splitYamlDoc`).
const SEPARATOR: &str = "\n---";

/// Any document, to see its kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ComponentDocument {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: ObjectMeta,
    spec: Spec,
    #[serde(default)]
    auth: Option<Auth>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

/// Kubernetes' object metadata, as far as a file that someone wrote has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectMeta {
    name: Spanned<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, rename = "labels")]
    _labels: IgnoredAny,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    r#type: Spanned<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    ignore_errors: Option<bool>,
    #[serde(default)]
    init_timeout: Option<String>,
    #[serde(default)]
    metadata: Option<Vec<Spanned<MetadataItem>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataItem {
    name: String,
    #[serde(default)]
    value: Option<serde_json::Value>,
    #[serde(default)]
    secret_key_ref: Option<SecretKeyRef>,
    #[serde(default)]
    env_ref: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretKeyRef {
    name: String,
    #[serde(default)]
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    #[serde(default)]
    secret_store: Option<String>,
}

/// The components of one file, and its Resiliency: daprd reads one of those as a file's first document only.
pub(super) fn resources(
    file: &Path,
    text: &str,
    app_id: &str,
) -> Result<(Vec<Component>, Option<Document>), ResourceError> {
    let (mut components, mut resiliency) = (Vec::new(), None);
    for (index, document) in documents(text).iter().enumerate() {
        let kind: Option<Kind> = parse(file, document)?;
        let (api_version, kind) = kind.map(|kind| (kind.api_version, kind.kind)).unwrap_or_default();
        match (api_version.as_deref(), kind.as_deref()) {
            (Some("dapr.io/v1alpha1"), Some("Component")) => {
                components.push(component(file, parse(file, document)?)?);
            }
            (_, Some("Resiliency")) if index == 0 => resiliency = Document::parse(file, document, app_id)?,
            (_, Some("Resiliency")) => tracing::warn!(
                file = %file.display(),
                "a Resiliency that is not the first document of its file is not read: put it into a file of its own"
            ),
            _ => tracing::info!(file = %file.display(), "a document of another kind is left alone"),
        }
    }
    Ok((components, resiliency))
}

/// Parses a document; an error names file, line, key and remedy.
pub(super) fn parse<T: serde::de::DeserializeOwned>(file: &Path, document: &str) -> Result<T, ResourceError> {
    let mut key = String::new();
    let parsed = serde_saphyr::with_deserializer_from_str(document, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            key = key_of(error.path());
            error.into_inner()
        })
    });
    parsed.map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        // The message ends with the position, which is told in front already.
        let text = error.without_snippet().to_string();
        let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
        let message = format!("{key}{problem}; {}", remedy(problem));
        ResourceError::Document { place: Place { file: file.to_owned(), line }, message }
    })
}

/// The key in which a mistake is, such as `spec.metadata[0].name: `; nothing where the document is no YAML.
fn key_of(path: &serde_path_to_error::Path) -> String {
    let mut segments: Vec<&Segment> =
        path.iter().filter(|segment| !matches!(segment, Segment::Unknown)).collect();
    // What is read with its position lies one step deeper than in the file.
    let is_value = |segment: &&Segment| matches!(segment, Segment::Map { key } if key == "value");
    if let Some(spanned) = segments.iter().position(is_value) {
        segments.remove(spanned);
    }
    let mut key = String::new();
    for segment in segments {
        let dot = if key.is_empty() || matches!(segment, Segment::Seq { .. }) { "" } else { "." };
        key.push_str(&format!("{dot}{segment}"));
    }
    if key.is_empty() { key } else { key + ": " }
}

/// What to do about a mistake, by how the reader words it.
fn remedy(problem: &str) -> &'static str {
    if problem.starts_with("unknown field") {
        "remove the key or correct its spelling"
    } else if problem.starts_with("missing field") {
        "add the key"
    } else if problem.contains("duplicate") {
        "keep one of the two"
    } else {
        "correct the value, or the indentation above it"
    }
}

/// Cuts a file at its separators. Each document begins with as many empty lines as stand before it, so that line
/// numbers are the file's.
fn documents(text: &str) -> Vec<String> {
    let mut documents = Vec::new();
    let mut rest = text;
    let mut lines_before = 0;
    loop {
        let (document, after) = match rest.split_once(SEPARATOR) {
            // What stands behind the three dashes on their line belongs to neither document.
            Some((document, after)) => (document, after.split_once('\n').map(|(_, after)| after)),
            None => (rest, None),
        };
        if !document.trim().is_empty() {
            documents.push("\n".repeat(lines_before) + document);
        }
        let Some(after) = after else { return documents };
        lines_before = text[..text.len() - after.len()].matches('\n').count();
        rest = after;
    }
}

fn component(file: &Path, document: ComponentDocument) -> Result<Component, ResourceError> {
    let place = |line| Place { file: file.to_owned(), line };
    let ComponentDocument { metadata, spec, auth, scopes, .. } = document;
    let name = &metadata.name.value;
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '%']) {
        let message = format!("invalid name {name:?} for \"Component\": it may not be empty or have / or %");
        return Err(ResourceError::Document { place: place(metadata.name.referenced.line()), message });
    }
    let items = spec.metadata.unwrap_or_default();
    Ok(Component {
        name: metadata.name.value,
        namespace: metadata.namespace,
        place: place(spec.r#type.referenced.line()),
        component_type: spec.r#type.value,
        version: spec.version.unwrap_or_default(),
        ignore_errors: spec.ignore_errors.unwrap_or(false),
        init_timeout: init_timeout(spec.init_timeout.as_deref()),
        metadata: items.into_iter().map(|item| metadata_item(item.value, item.referenced.line())).collect(),
        secret_store: auth.and_then(|auth| auth.secret_store).unwrap_or_default(),
        scopes: scopes.unwrap_or_default(),
    })
}

fn metadata_item(item: MetadataItem, line: u64) -> Item {
    let literal = item.value.filter(|value| !value.is_null()).map(|value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    });
    // The order in which daprd looks (`pkg/runtime/processor/secret`): an environment reference only without a
    // value, a secret before a value.
    let value = match (item.secret_key_ref, literal, item.env_ref) {
        (Some(reference), ..) => ItemValue::Secret {
            key: reference.key.unwrap_or_else(|| reference.name.clone()),
            name: reference.name,
        },
        (None, Some(text), _) => ItemValue::Literal(text),
        (None, None, Some(variable)) => ItemValue::Environment(variable),
        (None, None, None) => ItemValue::Missing,
    };
    Item { name: item.name, value, line }
}
