//! A document of `kind: Resiliency`, strictly: daprd leaves out a whole document over a mistake and says so in its log
//! only.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::Names;
use super::breaker::{Settings, Trip};
use super::policy::Retry;
use crate::go::text::duration;
use crate::limits::ENDPOINT_BREAKERS_DEFAULT;
use crate::resources::{ResourceError, document_error, parse_document};

/// The policies and targets of one document.
#[derive(Debug, Default)]
pub struct Document {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) timeouts: BTreeMap<String, Duration>,
    pub(super) retries: BTreeMap<String, Retry>,
    pub(super) breakers: BTreeMap<String, Settings>,
    /// With how many circuit breakers are kept.
    pub(super) apps: BTreeMap<String, (Names, usize)>,
    /// Inbound and outbound.
    pub(super) components: BTreeMap<String, (Names, Names)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Yaml {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Meta,
    spec: Spec,
    #[serde(default)]
    scopes: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default, rename = "labels")]
    _labels: IgnoredAny,
    #[serde(default, rename = "annotations")]
    _annotations: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    policies: Policies,
    #[serde(default)]
    targets: Targets,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Policies {
    timeouts: BTreeMap<String, Spanned<String>>,
    retries: BTreeMap<String, RetrySpec>,
    circuit_breakers: BTreeMap<String, BreakerSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct RetrySpec {
    policy: Option<Spanned<String>>,
    duration: Option<Spanned<String>>,
    max_interval: Option<Spanned<String>>,
    max_retries: Option<i64>,
    matching: Option<Matching>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Matching {
    #[serde(rename = "httpStatusCodes")]
    http_status_codes: Option<Spanned<String>>,
    #[serde(rename = "gRPCStatusCodes")]
    _grpc_status_codes: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct BreakerSpec {
    max_requests: u32,
    interval: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    trip: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Targets {
    apps: BTreeMap<String, AppSpec>,
    #[serde(rename = "actors")]
    _actors: IgnoredAny,
    components: BTreeMap<String, ComponentSpec>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct AppSpec {
    timeout: Option<Spanned<String>>,
    retry: Option<Spanned<String>>,
    circuit_breaker: Option<Spanned<String>>,
    circuit_breaker_cache_size: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ComponentSpec {
    inbound: NamesSpec,
    outbound: NamesSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct NamesSpec {
    timeout: Option<Spanned<String>>,
    retry: Option<Spanned<String>>,
    circuit_breaker: Option<Spanned<String>>,
}

/// Reads what stands in one file.
struct Reader<'a> {
    file: &'a Path,
}

impl Document {
    /// Reads a document; `None` when it is not for this application.
    ///
    /// # Errors
    /// At the first mistake, with its line.
    pub fn parse(file: &Path, text: &str, app_id: &str) -> Result<Option<Self>, ResourceError> {
        let yaml: Yaml = parse_document(file, text)?;
        let scopes = yaml.scopes.unwrap_or_default();
        if !scopes.is_empty() && !scopes.iter().any(|scope| scope == app_id) {
            return Ok(None);
        }
        let reader = Reader { file };
        let mut document = Self {
            name: yaml.metadata.name,
            namespace: yaml.metadata.namespace.unwrap_or_default(),
            ..Self::default()
        };
        let Policies { timeouts, retries, circuit_breakers } = yaml.spec.policies;
        for (name, timeout) in timeouts {
            document.timeouts.insert(name, reader.duration(Some(timeout))?.unwrap_or_default());
        }
        for (name, retry) in retries {
            document.retries.insert(name, reader.retry(retry)?);
        }
        for (name, breaker) in circuit_breakers {
            document.breakers.insert(name, reader.breaker(breaker)?);
        }
        for (name, app) in yaml.spec.targets.apps {
            let AppSpec { timeout, retry, circuit_breaker, circuit_breaker_cache_size: size } = app;
            let names = document.names(&reader, NamesSpec { timeout, retry, circuit_breaker })?;
            let size = size.filter(|&size| size > 0).unwrap_or(ENDPOINT_BREAKERS_DEFAULT);
            document.apps.insert(name, (names, size));
        }
        for (name, component) in yaml.spec.targets.components {
            let inbound = document.names(&reader, component.inbound)?;
            let outbound = document.names(&reader, component.outbound)?;
            document.components.insert(name, (inbound, outbound));
        }
        Ok(Some(document))
    }

    /// daprd is silent about a policy that is not there, and dies of a circuit breaker that is not.
    fn names(&self, reader: &Reader<'_>, spec: NamesSpec) -> Result<Names, ResourceError> {
        let named = |name: Option<Spanned<String>>, kind: &str, is_there: &dyn Fn(&str) -> bool| {
            let Some(name) = name.filter(|name| !name.value.is_empty()) else { return Ok(String::new()) };
            if is_there(&name.value) {
                return Ok(name.value);
            }
            let text = &name.value;
            Err(reader
                .error(&name, format!("no policy {text:?} in spec.policies.{kind} of this document: add it")))
        };
        Ok(Names {
            timeout: named(spec.timeout, "timeouts", &|name| self.timeouts.contains_key(name))?,
            retry: named(spec.retry, "retries", &|name| {
                self.retries.contains_key(name) || name == super::SERVICE_RETRIES
            })?,
            breaker: named(spec.circuit_breaker, "circuitBreakers", &|name| {
                self.breakers.contains_key(name)
            })?,
        })
    }
}

impl Reader<'_> {
    fn error<T>(&self, at: &Spanned<T>, message: String) -> ResourceError {
        document_error(self.file, at.referenced.line(), message)
    }

    /// A Go duration, or a number of milliseconds.
    fn duration(&self, text: Option<Spanned<String>>) -> Result<Option<Duration>, ResourceError> {
        let Some(text) = text else { return Ok(None) };
        let ms = text.value.parse().ok().map(Duration::from_millis);
        let parsed = ms.or_else(|| duration(&text.value));
        let wrong = || {
            let value = &text.value;
            self.error(&text, format!("invalid duration {value:?}: write it as 5s, 500ms or 1m30s"))
        };
        parsed.map(Some).ok_or_else(wrong)
    }

    fn retry(&self, spec: RetrySpec) -> Result<Retry, ResourceError> {
        let mut retry = Retry::default();
        if let Some(policy) = spec.policy.filter(|policy| !policy.value.is_empty()) {
            retry.is_exponential = match policy.value.to_lowercase().as_str() {
                "constant" => false,
                "exponential" => true,
                other => {
                    let message =
                        format!("unexpected back off policy type: {other}: write constant or exponential");
                    return Err(self.error(&policy, message));
                }
            };
        }
        retry.pause = self.duration(spec.duration)?.unwrap_or(retry.pause);
        retry.pause_max = self.duration(spec.max_interval)?.unwrap_or(retry.pause_max);
        retry.retries_max = spec.max_retries.and_then(|retries| u64::try_from(retries).ok());
        if let Some(codes) = spec.matching.and_then(|matching| matching.http_status_codes) {
            retry.statuses = statuses(&codes.value).map_err(|message| self.error(&codes, message))?;
        }
        Ok(retry)
    }

    fn breaker(&self, spec: BreakerSpec) -> Result<Settings, ResourceError> {
        let trip = match spec.trip.filter(|trip| !trip.value.is_empty()) {
            Some(trip) => Some(Trip::parse(&trip.value).map_err(|error| {
                let text = &trip.value;
                let message =
                    format!("{text:?} is no CEL expression: {error}: write it as consecutiveFailures > 5");
                self.error(&trip, message)
            })?),
            None => None,
        };
        Ok(Settings {
            requests_max: spec.max_requests,
            interval: self.duration(spec.interval)?.unwrap_or_default(),
            open: self.duration(spec.timeout)?.unwrap_or_default(),
            trip,
        })
    }
}

/// `429,500-599` (dapr, `pkg/resiliency/retry.go`, `parsePatterns`); nothing means all.
fn statuses(text: &str) -> Result<Option<Vec<RangeInclusive<u16>>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let code = |text: &str| {
        let code = text.parse().ok().filter(|code| (100..600).contains(code));
        code.ok_or_else(|| {
            format!(
                "invalid pattern, code {text:?} is not valid: write codes from 100 to 599, as 429,500-599"
            )
        })
    };
    let patterns = text.split(',').filter(|pattern| !pattern.is_empty()).map(|pattern| {
        let (first, last) = pattern.split_once('-').unwrap_or((pattern, pattern));
        let (first, last): (u16, u16) = (code(first)?, code(last)?);
        if last < first {
            return Err(format!("invalid pattern {pattern}, start code is larger than the end code"));
        }
        Ok(first..=last)
    });
    patterns.collect::<Result<_, String>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(spec: &str) -> Result<Option<Document>, String> {
        let text =
            format!("apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {{name: r}}\nspec:\n{spec}");
        Document::parse(Path::new("r.yaml"), &text, "orders").map_err(|error| error.to_string())
    }

    #[test]
    fn everything_is_read() {
        let document = parsed(
            "  policies:\n    timeouts: {t: 1m30s, ms: \"250\"}\n    retries:\n      r: {policy: exponential, maxInterval: \
             15s, maxRetries: 10, matching: {httpStatusCodes: \"429,500-599\"}}\n      forever: {duration: 2s, maxRetries: \
             -1}\n    circuitBreakers:\n      b: {maxRequests: 1, interval: 8s, timeout: 45s, trip: consecutiveFailures > \
             8}\n  targets:\n    apps: {a: {timeout: t, retry: r, circuitBreaker: b}}\n    components: {q: {outbound: \
             {retry: forever}}}\nscopes: [orders]\n",
        );
        let document = document.expect("valid").expect("in scope");
        assert_eq!(document.timeouts["t"], Duration::from_secs(90));
        assert_eq!(document.timeouts["ms"], Duration::from_millis(250));
        let expected = Retry {
            is_exponential: true,
            pause_max: Duration::from_secs(15),
            retries_max: Some(10),
            statuses: Some(vec![429..=429, 500..=599]),
            ..Retry::default()
        };
        assert_eq!(document.retries["r"], expected);
        assert_eq!(document.retries["forever"].retries_max, None);
        assert_eq!(document.breakers["b"].open, Duration::from_secs(45));
        assert_eq!(document.components["q"].1.retry, "forever");
        assert_eq!(document.apps["a"].1, ENDPOINT_BREAKERS_DEFAULT);
    }

    #[test]
    fn another_scope_is_not_ours() {
        assert!(parsed("  policies: {}\nscopes: [other]\n").expect("valid").is_none());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (spec, line, said) in [
            ("  policies:\n    timeouts:\n      t: soon\n", 7, "invalid duration \"soon\""),
            (
                "  policies:\n    retries:\n      r: {policy: linear}\n",
                7,
                "unexpected back off policy type: linear",
            ),
            (
                "  policies:\n    retries:\n      r: {matching: {httpStatusCodes: \"99\"}}\n",
                7,
                "\"99\" is not valid",
            ),
            ("  policies:\n    retries:\n      r: {maxTries: 1}\n", 7, "unknown field"),
            ("  policies:\n    circuitBreakers:\n      b: {trip: \"a >\"}\n", 7, "is no CEL expression"),
            (
                "  targets:\n    apps:\n      a: {retry: none}\n",
                7,
                "no policy \"none\" in spec.policies.retries",
            ),
        ] {
            let error = parsed(spec).expect_err(spec);
            assert!(error.starts_with(&format!("r.yaml:{line}: ")) && error.contains(said), "{error}");
        }
    }
}
