//! The shape of `spin.toml`, version 2, as serde reads it. It must not check what a single value cannot show.
//!
//! Field names and defaults follow Spin 3.6.3, `crates/manifest/src/schema/v2.rs`; unknown keys are errors there too.

use std::collections::BTreeMap;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "spin_manifest_version")]
    pub(super) _version: u32,
    pub(super) application: Application,
    #[serde(default)]
    pub(super) variables: BTreeMap<Spanned<String>, Spanned<Variable>>,
    #[serde(default)]
    pub(super) trigger: Triggers,
    #[serde(default, rename = "component")]
    pub(super) components: BTreeMap<Spanned<String>, Spanned<Component>>,
}

/// `[application]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Application {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default, rename = "description")]
    pub(super) _description: String,
    #[serde(default, rename = "authors")]
    pub(super) _authors: Vec<String>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Vec<toml::Value>,
    #[serde(default, rename = "trigger")]
    pub(super) _trigger: BTreeMap<String, toml::Table>,
    #[serde(default, rename = "tool")]
    pub(super) _tool: BTreeMap<String, toml::Table>,
}

/// One entry of `[variables]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    #[serde(default)]
    pub(super) required: bool,
    pub(super) default: Option<String>,
    #[serde(default, rename = "description")]
    pub(super) _description: Option<String>,
    #[serde(default)]
    pub(super) secret: bool,
}

/// `[[trigger.http]]`; other trigger types are refused before this shape is read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Triggers {
    #[serde(default)]
    pub(super) http: Vec<Spanned<HttpTrigger>>,
}

/// One `[[trigger.http]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTrigger {
    #[serde(default)]
    pub(super) id: String,
    pub(super) component: Option<ComponentRef>,
    pub(super) static_response: Option<StaticResponse>,
    pub(super) route: Spanned<Route>,
    pub(super) executor: Option<Spanned<Executor>>,
}

/// What `component = …` of a trigger holds: an id, or the component itself.
#[derive(Debug)]
pub(super) enum ComponentRef {
    Id(String),
    Inline(Box<Component>),
}

/// What `route = …` holds: a pattern, or `{ private = true }`.
#[derive(Debug)]
pub(super) enum Route {
    Pattern(String),
    Private(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivateRoute {
    private: bool,
}

/// `executor = { type = … }`.
#[derive(Debug, Deserialize)]
pub(super) struct Executor {
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// `static_response = { … }`: an answer that needs no component.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticResponse {
    /// HTTP status; 200 where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
    /// Header fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Body; empty where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// `[component.<id>]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Component {
    pub(super) source: Spanned<Source>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) variables: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) files: Vec<Spanned<FilesMount>>,
    #[serde(default)]
    pub(super) exclude_files: Vec<Spanned<String>>,
    pub(super) allowed_http_hosts: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    pub(super) allowed_outbound_hosts: Vec<Spanned<String>>,
    pub(super) key_value_stores: Option<Spanned<Vec<String>>>,
    pub(super) sqlite_databases: Option<Spanned<Vec<String>>>,
    pub(super) ai_models: Option<Spanned<Vec<String>>>,
    #[serde(default, rename = "targets")]
    pub(super) _targets: Option<Vec<toml::Value>>,
    #[serde(default)]
    pub(super) build: Option<Build>,
    #[serde(default, rename = "tool")]
    pub(super) _tool: BTreeMap<String, toml::Table>,
    #[serde(default, rename = "dependencies_inherit_configuration")]
    pub(super) _inherit: bool,
    #[serde(default)]
    pub(super) dependencies: BTreeMap<Spanned<String>, toml::Value>,
}

/// What `source = …` of a component holds.
#[derive(Debug)]
pub(super) enum Source {
    Local(String),
    Remote,
}

/// One entry of `files`.
#[derive(Debug)]
pub(super) enum FilesMount {
    Pattern(String),
    Placement { source: String, destination: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Placement {
    source: String,
    destination: String,
}

/// `[component.<id>.build]`: not run by this host, quoted when the module is missing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) command: Commands,
    #[serde(default, rename = "workdir")]
    pub(super) _workdir: Option<String>,
    #[serde(default, rename = "watch")]
    pub(super) _watch: Vec<String>,
}

/// One command or several.
#[derive(Debug)]
pub(super) struct Commands(pub(super) Vec<String>);

/// Where a module comes from when it is not a local file. Read only to be refused by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoteSource {
    #[serde(rename = "url")]
    _url: Option<String>,
    #[serde(rename = "digest")]
    _digest: Option<String>,
    #[serde(rename = "registry")]
    _registry: Option<String>,
    #[serde(rename = "package")]
    _package: Option<String>,
    #[serde(rename = "version")]
    _version: Option<String>,
}

/// Reads a value that is either a string or a table. (serde's untagged enums would lose the place of an error.)
macro_rules! text_or_table {
    ($type:ty, $expected:literal, $text:expr, $raw:ty, $table:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextOrTable;
                impl<'de> Visitor<'de> for TextOrTable {
                    type Value = $type;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str($expected)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        let from_text: fn(String) -> $type = $text;
                        Ok(from_text(text.to_owned()))
                    }

                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<$type, A::Error> {
                        let from_table: fn($raw) -> $type = $table;
                        <$raw>::deserialize(MapAccessDeserializer::new(map)).map(from_table)
                    }
                }
                deserializer.deserialize_any(TextOrTable)
            }
        }
    };
}

text_or_table!(
    ComponentRef,
    "the id of a component, or a table that is one",
    ComponentRef::Id,
    Component,
    |table| { ComponentRef::Inline(Box::new(table)) }
);
text_or_table!(Route, "a route pattern, or { private = true }", Route::Pattern, PrivateRoute, |table| {
    Route::Private(table.private)
});
text_or_table!(Source, "the path of a module or component file", Source::Local, RemoteSource, |_| {
    Source::Remote
});
text_or_table!(
    FilesMount,
    "a glob pattern, or { source = …, destination = … }",
    FilesMount::Pattern,
    Placement,
    |table| FilesMount::Placement { source: table.source, destination: table.destination }
);

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;
        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Commands;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a command or a list of commands")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Commands, E> {
                Ok(Commands(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, sequence: A) -> Result<Commands, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(sequence)).map(Commands)
            }
        }
        deserializer.deserialize_any(OneOrSeveral)
    }
}
