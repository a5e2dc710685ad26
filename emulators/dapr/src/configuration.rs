//! `kind: Configuration`: how calls are traced and what is counted. The rest of what daprd reads there makes no difference
//! here.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::resources::{ResourceError, read_file};

/// What was configured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// `spec.tracing`.
    pub tracing: Tracing,
    /// `spec.metric`, and over it `spec.metrics`.
    pub metric: Metric,
}

/// How calls are traced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracing {
    /// Share of the traces that begin here that are sampled, as written; none where it is not.
    pub sampling_rate: Option<String>,
    /// Spans are asked for in the log.
    pub stdout: bool,
    /// Where spans are sent; empty for nowhere.
    pub zipkin_endpoint: String,
    /// An OTLP collector is named.
    pub otel: bool,
}

/// What is counted, and how finely.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Whether anything is.
    pub enabled: bool,
    /// Whether paths are told apart.
    pub paths: bool,
    /// Whether methods are told apart.
    pub verbs: bool,
    /// Upper bounds of the buckets of times, in ms.
    pub latency_buckets_ms: Vec<f64>,
}

/// dapr, `pkg/config/configuration.go`, `GetLatencyDistribution`.
const LATENCY_BUCKETS_MS: [f64; 34] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0,
    130.0, 160.0, 200.0, 250.0, 300.0, 400.0, 500.0, 650.0, 800.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0,
    20_000.0, 50_000.0, 100_000.0,
];

impl Default for Metric {
    fn default() -> Self {
        Self { enabled: true, paths: true, verbs: true, latency_buckets_ms: LATENCY_BUCKETS_MS.to_vec() }
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
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    tracing: Option<TracingSpec>,
    #[serde(default)]
    metric: Option<MetricSpec>,
    #[serde(default)]
    metrics: Option<MetricSpec>,
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
struct TracingSpec {
    #[serde(default)]
    sampling_rate: Option<serde_json::Value>,
    #[serde(default)]
    stdout: Option<bool>,
    #[serde(default)]
    zipkin: Option<ZipkinSpec>,
    #[serde(default)]
    otel: Option<OtelSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ZipkinSpec {
    #[serde(default)]
    endpoint_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OtelSpec {
    #[serde(default)]
    endpoint_address: Option<String>,
    #[serde(default)]
    protocol: Option<String>,
    #[serde(default, rename = "isSecure")]
    _is_secure: WithoutEffect,
    #[serde(default, rename = "headers")]
    _headers: WithoutEffect,
    #[serde(default, rename = "timeout")]
    _timeout: WithoutEffect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricSpec {
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    http: Option<MetricHttp>,
    #[serde(default)]
    latency_distribution_buckets: Option<Vec<i64>>,
    #[serde(default, rename = "recordErrorCodes")]
    _record_error_codes: WithoutEffect,
    #[serde(default, rename = "rules")]
    _rules: WithoutEffect,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricHttp {
    #[serde(default)]
    increased_cardinality: Option<bool>,
    #[serde(default)]
    exclude_verbs: Option<bool>,
    #[serde(default, rename = "pathMatching")]
    _path_matching: WithoutEffect,
}

/// Reads the files; later ones win. Environment variables in them are expanded, as daprd does.
///
/// # Errors
/// When a file cannot be read or is no Configuration.
pub fn load(files: &[PathBuf]) -> Result<Configuration, ResourceError> {
    let mut configuration = Configuration::default();
    for file in files {
        let text = expand(&read_file(file)?, |name| std::env::var(name).unwrap_or_default());
        configuration.add(spec(file, &text)?);
    }
    Ok(configuration)
}

fn spec(file: &Path, text: &str) -> Result<Spec, ResourceError> {
    let kind: Kind = crate::resources::parse_document(file, text)?;
    if kind.kind.as_deref() != Some("Configuration") {
        return Err(crate::resources::document_error(file, 1, "the file's kind is not Configuration"));
    }
    let document: Document = crate::resources::parse_document(file, text)?;
    Ok(document.spec.unwrap_or_default())
}

impl Configuration {
    fn add(&mut self, spec: Spec) {
        if let Some(spec) = spec.tracing {
            self.tracing.add(spec);
        }
        for spec in [spec.metric, spec.metrics].into_iter().flatten() {
            self.metric.add(spec);
        }
    }
}

impl Tracing {
    fn add(&mut self, spec: TracingSpec) {
        match spec.sampling_rate {
            Some(serde_json::Value::String(text)) if text.is_empty() => self.sampling_rate = None,
            Some(serde_json::Value::String(text)) => self.sampling_rate = Some(text),
            Some(serde_json::Value::Null) | None => {}
            Some(other) => self.sampling_rate = Some(other.to_string()),
        }
        self.stdout = spec.stdout.unwrap_or(self.stdout);
        if let Some(endpoint) = spec.zipkin.and_then(|zipkin| zipkin.endpoint_address) {
            self.zipkin_endpoint = endpoint;
        }
        if let Some(otel) = spec.otel {
            let is_set = |text: Option<String>| text.is_some_and(|text| !text.is_empty());
            self.otel = is_set(otel.endpoint_address) && is_set(otel.protocol);
        }
    }
}

impl Metric {
    fn add(&mut self, spec: MetricSpec) {
        self.enabled = spec.enabled.unwrap_or(self.enabled);
        if let Some(http) = spec.http {
            self.paths = http.increased_cardinality.unwrap_or(true);
            self.verbs = !http.exclude_verbs.unwrap_or(false);
        }
        if let Some(buckets) = spec.latency_distribution_buckets.filter(|buckets| !buckets.is_empty()) {
            let mut buckets: Vec<f64> = buckets.into_iter().map(|bound| bound as f64).collect();
            buckets.sort_by(f64::total_cmp);
            buckets.dedup();
            self.latency_buckets_ms = buckets;
        }
    }
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

    fn parsed(text: &str) -> Result<Configuration, ResourceError> {
        let mut configuration = Configuration::default();
        configuration.add(spec(Path::new("config.yaml"), text)?);
        Ok(configuration)
    }

    #[test]
    fn tracing_is_read() {
        let text = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: c}\nspec:\n  tracing:\n    samplingRate: \"0\"\n    zipkin: {endpointAddress: x}\n";
        let tracing = parsed(text).expect("valid").tracing;
        assert_eq!(tracing.sampling_rate.as_deref(), Some("0"));
        assert_eq!(tracing.zipkin_endpoint, "x");
        assert_eq!(parsed("kind: Configuration\nspec: {}\n").expect("valid").tracing, Tracing::default());
    }

    #[test]
    fn a_sampling_rate_that_is_empty_or_none_is_not_one_that_is_a_number() {
        for (rate, read) in [("\"\"", None), ("null", None), ("0.5", Some("0.5")), ("1", Some("1"))] {
            let text = format!("kind: Configuration\nspec: {{tracing: {{samplingRate: {rate}}}}}\n");
            assert_eq!(parsed(&text).expect("valid").tracing.sampling_rate.as_deref(), read, "{rate}");
        }
    }

    #[test]
    fn metrics_stand_over_metric() {
        let text = "kind: Configuration\nspec:\n  metric: {enabled: false, latencyDistributionBuckets: [5, 1]}\n  \
                    metrics: {enabled: true, http: {increasedCardinality: false, excludeVerbs: true}}\n";
        let metric = parsed(text).expect("valid").metric;
        let expected =
            Metric { enabled: true, paths: false, verbs: false, latency_buckets_ms: vec![1.0, 5.0] };
        assert_eq!(metric, expected);
    }

    #[test]
    fn what_daprd_knows_is_taken_and_a_typing_error_is_not() {
        let known = parsed("kind: Configuration\nspec: {features: [], mtls: {enabled: true}}\n");
        assert_eq!(known.expect("valid"), Configuration::default());
        let message =
            parsed("kind: Configuration\nspec:\n  tracing:\n    samplingrate: \"1\"\n").expect_err("refused");
        assert!(message.to_string().starts_with("config.yaml:4: "), "{message}");
    }

    #[test]
    fn another_kind_and_broken_yaml_are_refused() {
        assert!(parsed("kind: Component\n").is_err());
        assert!(parsed("kind: [\n").is_err());
    }

    #[test]
    fn variables_are_expanded() {
        let expanded = expand("a $X ${Y} $ ${Z", |name| format!("<{name}>"));
        assert_eq!(expanded, "a <X> <Y> $ ${Z");
    }
}
