//! `spin.toml`: read, checked, every complaint with its line and what to do.
//!
//! It must not open any file but the manifest, and knows neither wasmtime nor HTTP. Rules: Spin 3.6.3,
//! `crates/manifest` (`schema/v2.rs`, `schema/common.rs`, `normalize.rs`).

mod check;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use check::check_component_id;
pub use schema::StaticResponse;

use crate::digest::Digest;
use crate::limits;
use crate::variables::{Declaration, Template};

/// An application as its manifest describes it.
#[derive(Debug)]
pub struct Manifest {
    /// Where relative paths of files begin.
    pub directory: PathBuf,
    /// `[application].name`.
    pub name: String,
    /// `[application].version`, empty where it is missing.
    pub version: String,
    /// `[variables]`.
    pub variables: BTreeMap<String, Declaration>,
    /// `[[trigger.http]]` in the order of the file.
    pub triggers: Vec<Trigger>,
    /// `[component.*]` and components written within a trigger.
    pub components: BTreeMap<String, Component>,
}

/// One `[[trigger.http]]`.
#[derive(Debug)]
pub struct Trigger {
    /// Its id, generated as Spin does where the file has none.
    pub id: String,
    /// Who answers.
    pub target: Target,
    /// The route as written; `None` for a private one, which only service chaining reaches.
    pub route: Option<String>,
}

/// Who answers a route.
#[derive(Debug)]
pub enum Target {
    /// The component of this id.
    Component(String),
    /// The host itself.
    Static(StaticResponse),
}

/// One component.
#[derive(Debug)]
pub struct Component {
    /// Path of its module or component file, relative paths taken from the manifest's directory.
    pub source: PathBuf,
    /// SHA-256 that the file must have, if the application is an image.
    pub digest: Option<Digest>,
    /// Shown under its routes.
    pub description: String,
    /// Its variables, as templates over the application's.
    pub variables: BTreeMap<String, Template>,
    /// Its WASI environment.
    pub environment: BTreeMap<String, String>,
    /// Files that it may read.
    pub files: Vec<Files>,
    /// Glob patterns of files that it may not read, though `files` names them.
    pub exclude_files: Vec<String>,
    /// Hosts that it may call, as templates over the application's variables.
    pub allowed_outbound_hosts: Vec<Template>,
    /// How the module is built, for the message that it is missing.
    pub build_command: Option<String>,
}

/// One entry of a component's `files`.
#[derive(Debug)]
pub enum Files {
    /// Files that match a pattern, each at its own path.
    Pattern(String),
    /// A file or directory at another place.
    Placement {
        /// Path relative to the manifest.
        source: String,
        /// Absolute path in the guest.
        destination: String,
    },
    /// A file of an image.
    Content {
        /// What is in it.
        content: Vec<u8>,
        /// Path in the guest.
        destination: String,
    },
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read the manifest {}; name it with --from", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// It is not what Spin or this host accepts.
    #[error("{}:{line}: {problem}", path.display())]
    Content {
        /// Its path.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there, and what to do.
        problem: String,
    },
}

/// Reads and checks a manifest.
///
/// # Errors
/// [`ManifestError`].
pub fn load(path: &Path) -> Result<Manifest, ManifestError> {
    let text = crate::read::text(path, limits::CONFIG_FILE_BYTES)
        .map_err(|source| ManifestError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Checks a manifest that was read from `path`.
///
/// # Errors
/// [`ManifestError::Content`].
pub fn parse(path: &Path, text: &str) -> Result<Manifest, ManifestError> {
    check::manifest(path, text).map_err(|problem| ManifestError::Content {
        path: path.to_owned(),
        line: text.get(..problem.offset).unwrap_or(text).matches('\n').count() + 1,
        problem: problem.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"spin_manifest_version = 2
[application]
name = "orders"
version = "0.1.0"
description = "d"
authors = ["a"]
[application.trigger.http]
base = "/"
[variables]
dapr_url = { default = "http://localhost:3500" }
token = { required = true, secret = true }
[[trigger.http]]
route = "/..."
component = "distributor"
executor = { type = "http" }
[[trigger.http]]
route = { private = true }
component = { source = "b.wasm" }
[[trigger.http]]
id = "hello"
route = "/hello"
static_response = { status_code = 201, headers = { x = "y" }, body = "hi" }
[component.distributor]
source = "dist/app.wasm"
description = "takes orders"
allowed_outbound_hosts = ["http://*:*", "{{dapr_url}}"]
environment = { A = "1" }
files = ["assets/*", { source = "a", destination = "/b" }]
exclude_files = ["*.tmp"]
[component.distributor.variables]
dapr_url = "{{ dapr_url }}"
[component.distributor.build]
command = "cargo build"
watch = ["src/**/*.rs"]
[component.distributor.tool.x]
anything = 1
"#;

    fn problem(text: &str) -> String {
        parse(Path::new("spin.toml"), text).expect_err("must be refused").to_string()
    }

    fn with(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        problem(&GOOD.replacen(from, to, 1))
    }

    #[test]
    fn a_manifest_is_read_whole() {
        let manifest = parse(Path::new("/app/spin.toml"), GOOD).expect("accepted");
        assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("orders", "0.1.0"));
        assert!(manifest.variables["token"].default.is_none() && manifest.variables["token"].secret);
        let ids: Vec<_> = manifest.triggers.iter().map(|t| (t.id.as_str(), t.route.as_deref())).collect();
        let expected =
            [("distributor-http-trigger", Some("/...")), ("http-trigger1", None), ("hello", Some("/hello"))];
        assert_eq!(ids, expected);
        let component = &manifest.components["distributor"];
        assert_eq!(component.source, Path::new("/app/dist/app.wasm"));
        assert_eq!(component.build_command.as_deref(), Some("cargo build"));
        assert_eq!(component.files.len(), 2);
        assert_eq!(manifest.components["http-trigger1-component"].source, Path::new("/app/b.wasm"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_a_remedy() {
        let message = with("watch = ", "wacht = ");
        assert!(message.starts_with("spin.toml:34: unknown field `wacht`, expected one of"), "{message}");
        assert!(message.contains("correct or remove"), "{message}");
        assert!(
            with("route = \"/...\"", "rout = \"/...\"").starts_with("spin.toml:13: unknown field `rout`")
        );
        assert!(with("version = \"0.1.0\"", "versoin = \"0.1.0\"").starts_with("spin.toml:4: unknown field"));
    }

    #[test]
    fn wrong_types_and_missing_keys_are_named_with_their_line() {
        let name = with("name = \"orders\"", "name = 7");
        assert!(name.starts_with("spin.toml:3: `application.name`: invalid type: integer `7`"), "{name}");
        assert!(name.ends_with("expected a string; correct it"), "{name}");
        let route = with("route = \"/...\"", "route = 7");
        assert!(route.starts_with("spin.toml:13: `trigger.http.route`: invalid type"), "{route}");
        let status = with("status_code = 201", "status_code = \"x\"");
        assert!(
            status.starts_with("spin.toml:22: `trigger.http.static_response.status_code`: invalid"),
            "{status}"
        );
        let files = with("\"assets/*\"", "7");
        assert!(files.starts_with("spin.toml:28: `component.distributor.files`: invalid type"), "{files}");
        assert!(with("name = \"orders\"\n", "").contains("missing field `name`; add it"));
        let twice = with("name = \"orders\"", "name = \"a\"\nname = \"b\"");
        assert!(twice.starts_with("spin.toml:4: duplicate key `name`; remove one"), "{twice}");
        assert!(with("source = \"dist/app.wasm\"\n", "").starts_with("spin.toml:23: missing field `source`"));
        assert!(problem("spin_manifest_version = 2\n[application\n").starts_with("spin.toml:2: "));
    }

    #[test]
    fn a_variable_is_required_or_has_a_default() {
        let both = with("required = true, secret", "required = true, default = \"x\", secret");
        assert!(
            both.starts_with("spin.toml:11: variable `token` has both `required = true` and `default`"),
            "{both}"
        );
        let neither = with("required = true, secret", "secret");
        assert!(neither.starts_with("spin.toml:11: variable `token` has neither"), "{neither}");
        assert!(with("token = {", "Token = {").starts_with("spin.toml:11: `Token` is not a name"));
    }

    #[test]
    fn a_trigger_has_a_component_or_a_static_response() {
        assert!(
            with("component = \"distributor\"\n", "").contains("neither `component` nor `static_response`")
        );
        let both = with("id = \"hello\"", "id = \"hello\"\ncomponent = \"distributor\"");
        assert!(both.contains("both `component` and `static_response`"), "{both}");
        let unknown = with("component = \"distributor\"", "component = \"distribuor\"");
        assert!(unknown.starts_with("spin.toml:12: the trigger names component `distribuor`"), "{unknown}");
        assert!(with("private = true", "private = false").contains("route"));
        let route = with("\"/...\"", "\"/a/:\"");
        assert!(route.starts_with("spin.toml:13: route \"/a/:\" cannot be used"), "{route}");
    }

    #[test]
    fn templates_name_declared_variables() {
        let unknown = with("\"{{ dapr_url }}\"", "\"{{ other }}\"");
        assert!(unknown.starts_with("spin.toml:31: unknown variable \"other\""), "{unknown}");
        assert!(with("\"{{dapr_url}}\"]", "\"{{dapr_url\"]").starts_with("spin.toml:26: unmatched '{{'"));
        assert!(with("\"http://*:*\"", "\"localhost:80\"").starts_with("spin.toml:26: "));
    }

    #[test]
    fn what_this_host_does_not_do_is_refused_by_name() {
        let component = |line: &str| with("description = \"takes orders\"", line);
        assert!(component("key_value_stores = [\"default\"]").contains("key-value stores"));
        assert!(component("sqlite_databases = [\"default\"]").contains("SQLite"));
        assert!(component("ai_models = [\"llama2-chat\"]").contains("AI models"));
        assert!(component("allowed_http_hosts = [\"a.b\"]").contains("allowed_outbound_hosts"));
        assert!(component("dependencies = { \"a:b\" = \">= 1\" }").contains("dependencies"));
        assert!(with("executor = { type = \"http\" }", "executor = { type = \"wagi\" }").contains("wagi"));
        let source =
            with("source = \"dist/app.wasm\"", "source = { url = \"http://x\", digest = \"sha256:0\" }");
        assert!(source.starts_with("spin.toml:24: "), "{source}");
        let redis = with("[[trigger.http]]\nroute = \"/...\"", "[[trigger.redis]]\nchannel = \"x\"");
        assert!(redis.starts_with("spin.toml:12: trigger type `redis`"), "{redis}");
    }

    #[test]
    fn manifest_version_1_is_refused_in_a_sentence() {
        for text in ["spin_version = \"1\"\nname = \"x\"\n", "spin_manifest_version = \"1\"\nname = \"x\"\n"]
        {
            let message = problem(text);
            assert!(message.starts_with("spin.toml:1: manifest version 1 is not supported"), "{message}");
        }
        assert!(problem("[application]\nname = \"x\"\n").contains("spin_manifest_version = 2"));
    }

    #[test]
    fn component_ids_are_kebab_case() {
        for id in ["a_b", "1a", "a--b", "aB"] {
            let message = problem(&GOOD.replace("[component.distributor", &format!("[component.{id}")));
            assert!(message.starts_with("spin.toml:23: "), "{message}");
        }
    }
}
