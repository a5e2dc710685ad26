//! `kind: Configuration`: of all that daprd reads there, the sampling rate, because it decides what is written into
//! messages and blobs.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::resources::{ResourceError, read_file};

/// Share of traces that are sampled when nothing else is said (dapr, `trace_utils.go`).
const SAMPLING_RATE_DEFAULT: f64 = 1e-4;

/// What was configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Configuration {
    /// Share of traces without a sampled parent that are sampled; 0 turns tracing off.
    pub sampling_rate: f64,
}

impl Default for Configuration {
    fn default() -> Self {
        Self { sampling_rate: SAMPLING_RATE_DEFAULT }
    }
}

/// Parts of a Configuration that daprd knows and that make no difference here.
type WithoutEffect = IgnoredAny;

/// Any document, to see its kind.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "apiVersion")]
    _api_version: WithoutEffect,
    #[serde(default, rename = "kind")]
    _kind: WithoutEffect,
    #[serde(default, rename = "metadata")]
    _metadata: WithoutEffect,
    #[serde(default)]
    spec: Option<Spec>,
}

/// dapr, `pkg/config/configuration.go`, `ConfigurationSpec`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    tracing: Option<Tracing>,
    #[serde(default, rename = "accessControl")]
    _access_control: WithoutEffect,
    #[serde(default, rename = "api")]
    _api: WithoutEffect,
    #[serde(default, rename = "appHttpPipeline")]
    _app_http_pipeline: WithoutEffect,
    #[serde(default, rename = "components")]
    _components: WithoutEffect,
    #[serde(default, rename = "features")]
    _features: WithoutEffect,
    #[serde(default, rename = "httpPipeline")]
    _http_pipeline: WithoutEffect,
    #[serde(default, rename = "logging")]
    _logging: WithoutEffect,
    #[serde(default, rename = "metric")]
    _metric: WithoutEffect,
    #[serde(default, rename = "metrics")]
    _metrics: WithoutEffect,
    #[serde(default, rename = "mtls")]
    _mtls: WithoutEffect,
    #[serde(default, rename = "nameResolution")]
    _name_resolution: WithoutEffect,
    #[serde(default, rename = "secrets")]
    _secrets: WithoutEffect,
    #[serde(default, rename = "wasm")]
    _wasm: WithoutEffect,
    #[serde(default, rename = "workflow")]
    _workflow: WithoutEffect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tracing {
    #[serde(default)]
    sampling_rate: Option<serde_json::Value>,
    #[serde(default, rename = "otel")]
    _otel: WithoutEffect,
    #[serde(default, rename = "stdout")]
    _stdout: WithoutEffect,
    #[serde(default, rename = "zipkin")]
    _zipkin: WithoutEffect,
}

/// Reads the files; later ones win. Environment variables in them are expanded, as daprd does.
///
/// # Errors
/// When a file cannot be read or is no Configuration.
pub fn load(files: &[PathBuf]) -> Result<Configuration, ResourceError> {
    let mut configuration = Configuration::default();
    for file in files {
        let text = expand(&read_file(file)?, |name| std::env::var(name).unwrap_or_default());
        if let Some(rate) = sampling_rate(file, &text)? {
            configuration.sampling_rate = rate;
        }
    }
    Ok(configuration)
}

fn sampling_rate(file: &Path, text: &str) -> Result<Option<f64>, ResourceError> {
    let kind: Kind = crate::resources::parse_document(file, text)?;
    if kind.kind.as_deref() != Some("Configuration") {
        return Err(crate::resources::document_error(file, 1, "the file's kind is not Configuration"));
    }
    let document: Document = crate::resources::parse_document(file, text)?;
    let rate = document.spec.and_then(|spec| spec.tracing).and_then(|tracing| tracing.sampling_rate);
    Ok(rate.map(|rate| match rate {
        // A rate that is no number counts as none (dapr, `GetTraceSamplingRate`).
        serde_json::Value::String(text) => text.parse().unwrap_or(SAMPLING_RATE_DEFAULT),
        other => other.as_f64().unwrap_or(SAMPLING_RATE_DEFAULT),
    }))
}

/// Go's `os.ExpandEnv` for `$name` and `${name}`.
fn expand(text: &str, variable: impl Fn(&str) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        if let Some((name, after)) = braced {
            expanded.push_str(&variable(name));
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        if name.is_empty() {
            expanded.push('$');
        } else {
            expanded.push_str(&variable(name));
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<Option<f64>, ResourceError> {
        sampling_rate(Path::new("config.yaml"), text)
    }

    #[test]
    fn the_sampling_rate_is_read() {
        let text = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n  tracing:\n    samplingRate: \"0\"\n    zipkin: {endpointAddress: x}\n";
        assert_eq!(rate(text).expect("valid"), Some(0.0));
        assert_eq!(rate(&text.replace("\"0\"", "\"half\"")).expect("valid"), Some(SAMPLING_RATE_DEFAULT));
        assert_eq!(rate("kind: Configuration\nspec: {}\n").expect("valid"), None);
    }

    #[test]
    fn what_daprd_knows_is_taken_and_a_typing_error_is_not() {
        assert_eq!(
            rate("kind: Configuration\nspec: {features: [], mtls: {enabled: true}}\n").expect("valid"),
            None
        );
        let message =
            rate("kind: Configuration\nspec:\n  tracing:\n    samplingrate: \"1\"\n").expect_err("refused");
        assert!(message.to_string().starts_with("config.yaml:4: "), "{message}");
    }

    #[test]
    fn another_kind_and_broken_yaml_are_refused() {
        assert!(rate("kind: Component\n").is_err());
        assert!(rate("kind: [\n").is_err());
    }

    #[test]
    fn variables_are_expanded() {
        let expanded = expand("a $X ${Y} $ ${Z", |name| format!("<{name}>"));
        assert_eq!(expanded, "a <X> <Y> $ ${Z");
    }
}
