//! The locked application: what `spin.toml` becomes in an OCI image, as serde reads and writes it.
//!
//! It must not check what a single value cannot show. Rules: Spin 3.6.3, `crates/locked-app/src/locked.rs`. Keys that
//! this host has no use for are passed over, as Spin passes over those of a later version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The whole document.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct LockedApp {
    pub(super) spin_lock_version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) must_understand: Vec<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) host_requirements: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) variables: BTreeMap<String, Variable>,
    pub(super) triggers: Vec<Trigger>,
    pub(super) components: Vec<Component>,
}

/// A variable; one without a default is required.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Variable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) default: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) secret: bool,
}

/// A trigger of any type.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Trigger {
    pub(super) id: String,
    pub(super) trigger_type: String,
    pub(super) trigger_config: Value,
}

/// What `trigger_config` of an HTTP trigger holds.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct HttpTrigger {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) component: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) static_response: Option<crate::manifest::StaticResponse>,
    pub(super) route: Route,
}

/// A route pattern, or `{"private": true}`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Route {
    Pattern(String),
    Private { private: bool },
}

/// One component.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Component {
    pub(super) id: String,
    #[serde(default)]
    pub(super) metadata: ComponentMetadata,
    pub(super) source: Source,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<ContentPath>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) config: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) dependencies: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) host_requirements: BTreeMap<String, Value>,
}

/// What the manifest says of a component besides what runs it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct ComponentMetadata {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed_outbound_hosts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) key_value_stores: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) databases: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ai_models: Vec<String>,
}

/// Where a module is.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Source {
    pub(super) content_type: String,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// A file of a component.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ContentPath {
    #[serde(flatten)]
    pub(super) content: Content,
    /// Relative to the guest's root.
    pub(super) path: String,
}

/// Content by its digest; small content also, in base64, in place.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) inline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) digest: Option<String>,
}
