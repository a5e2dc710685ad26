//! What a queue component is told, and what it refuses (`metadata.go`, `ParseMetadata`).

use std::time::Duration;

use crate::go::text::duration;
use crate::limits::{ACTIVE_MESSAGES_MAX, LINK_PAUSE, SETTING_SECONDS_MAX};
use crate::resources::{Properties, PropertyError};

/// Names that the component knows, among them those of the runtime.
const KNOWN: &[&str] = &[
    "autoDeleteOnIdleInSec",
    "connectionString",
    "defaultMessageTimeToLiveInSec",
    "direction",
    "disableEntityManagement",
    "handlerTimeoutInSec",
    "lockDurationInSec",
    "lockRenewalInSec",
    "maxActiveMessages",
    "maxConcurrentHandlers",
    "maxConnectionRecoveryInSec",
    "maxDeliveryCount",
    "maxRetriableErrorsPerSec",
    "minConnectionRecoveryInSec",
    "namespaceName",
    "publishInitialRetryInternalInMs",
    "publishInitialRetryIntervalInMs",
    "publishMaxRetries",
    "queueName",
    "route",
    "timeoutInSec",
    "ttl",
    "ttlInSeconds",
];

/// A queue component's settings.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// Where the broker is.
    pub endpoint: Endpoint,
    /// The queue, as written.
    pub queue: String,
    /// Time for each call over the network.
    pub timeout: Duration,
    /// How often locks are renewed; `None` means never.
    pub lock_renewal: Option<Duration>,
    /// Messages held at a time, at least 1.
    pub max_active: u32,
    /// Deliveries to the application at a time; `None` means as many as are held.
    pub max_handlers: Option<usize>,
    /// First and longest pause before a broken connection is tried again.
    pub recovery: (Duration, Duration),
    /// Failed deliveries per second that are let through; `None` means all.
    pub max_errors_per_second: Option<u32>,
    /// Further tries of a send that failed, and the pause before the first.
    pub publish_retries: (u32, Duration),
}

/// What a connection string says. Equal strings share a connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `host:port` of the broker.
    pub address: String,
    /// Name of the key.
    pub key_name: String,
    /// The key.
    pub key: String,
}

/// The key is not shown.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

impl QueueSettings {
    /// Reads a component's properties.
    ///
    /// # Errors
    /// In daprd's words, for the first thing that is missing or wrong.
    pub fn parse(properties: &Properties) -> Result<Self, PropertyError> {
        properties.refuse_unknown(KNOWN)?;
        let integer =
            |name: &str, default: i64| properties.integer(name).map(|value| value.unwrap_or(default));
        let seconds = |name, default| {
            let seconds = integer(name, default).map(|seconds| u64::try_from(seconds).unwrap_or(0));
            seconds.map(|seconds| Duration::from_secs(seconds.min(SETTING_SECONDS_MAX)))
        };
        let timeout = seconds("timeoutInSec", 60)?;
        let lock_renewal = seconds("lockRenewalInSec", 20)?;
        let max_active = integer("maxActiveMessages", 1)?;
        let max_handlers = integer("maxConcurrentHandlers", 1)?;
        // A pause of nothing would let a link that breaks at once be opened without end.
        let recovery_min = seconds("minConnectionRecoveryInSec", 2)?.max(LINK_PAUSE.0);
        let recovery = (recovery_min, seconds("maxConnectionRecoveryInSec", 300)?.max(recovery_min));
        let max_errors = integer("maxRetriableErrorsPerSec", 10)?;
        integer("handlerTimeoutInSec", 0)?;
        integer("maxDeliveryCount", 0)?;
        integer("lockDurationInSec", 0)?;
        let retries = integer("publishMaxRetries", 5)?;
        let old_name = "publishInitialRetryInternalInMs";
        let pause_ms = integer("publishInitialRetryIntervalInMs", 500)?;
        let pause_ms = properties.integer(old_name)?.unwrap_or(pause_ms);

        let connection_string = properties.text("connectionString").unwrap_or_default();
        let namespace = properties.text("namespaceName").unwrap_or_default();
        match (connection_string.is_empty(), namespace.is_empty()) {
            (false, false) => {
                let message = "connectionString and namespaceName cannot both be specified";
                return Err(properties.error_at("namespaceName", message));
            }
            (true, true) => {
                let message = "either one of connection string or namespace name are required";
                return Err(properties.error_at("connectionString", message));
            }
            (true, false) => {
                let message =
                    "namespaceName means Entra ID, which dapr-emulator does not have: use connectionString";
                return Err(properties.error_at("namespaceName", message));
            }
            (false, true) => {}
        }
        let queue = properties.text("queueName").unwrap_or_default().to_owned();
        if queue.is_empty() {
            return Err(properties.error_at("queueName", "missing queueName"));
        }
        let max_active = u32::try_from(max_active).ok().filter(|&max| max > 0);
        let max_active =
            max_active.ok_or_else(|| properties.error_at("maxActiveMessages", "must be 1 or greater"))?;
        let max_errors = u32::try_from(max_errors)
            .map_err(|_| properties.error_at("maxRetriableErrorsPerSec", "must not be negative"))?;
        check_entity_settings(properties)?;
        let endpoint = Endpoint::parse(connection_string)
            .map_err(|message| properties.error_at("connectionString", message))?;
        Ok(Self {
            endpoint,
            queue,
            timeout: timeout.max(Duration::from_secs(1)),
            lock_renewal: (!lock_renewal.is_zero()).then_some(lock_renewal),
            max_active: max_active.min(ACTIVE_MESSAGES_MAX),
            max_handlers: usize::try_from(max_handlers).ok().filter(|&handlers| handlers > 0),
            recovery,
            max_errors_per_second: (max_errors > 0).then_some(max_errors),
            publish_retries: (
                u32::try_from(retries).unwrap_or(0),
                Duration::from_millis(u64::try_from(pause_ms).unwrap_or(0)),
            ),
        })
    }
}

/// Settings that matter only where the component makes the queue, which it cannot here.
fn check_entity_settings(properties: &Properties) -> Result<(), PropertyError> {
    let mut ttl_seconds = properties.integer("defaultMessageTimeToLiveInSec")?;
    let names = ["ttl", "ttlInSeconds"].into_iter();
    let mut named =
        names.filter_map(|name| Some((name, properties.text(name).filter(|text| !text.is_empty())?)));
    if let (None, Some((name, text))) = (ttl_seconds, named.next()) {
        let seconds = text.parse().ok().or_else(|| duration(text).map(|ttl| ttl.as_secs().cast_signed()));
        ttl_seconds = Some(seconds.ok_or_else(|| {
            let message = format!("invalid ttl 0s: ttl value must be a valid integer: actual is '{text}'");
            properties.error_at(name, message)
        })?);
    }
    if ttl_seconds == Some(0) {
        let message = "defaultMessageTimeToLiveInSec must be greater than 0";
        return Err(properties.error_at("defaultMessageTimeToLiveInSec", message));
    }
    if properties.integer("autoDeleteOnIdleInSec")?.is_some_and(|seconds| seconds < 300) {
        let message = "autoDeleteOnIdleInSec must be greater than or equal to 300";
        return Err(properties.error_at("autoDeleteOnIdleInSec", message));
    }
    if !properties.boolean("disableEntityManagement", false)? {
        let message = "the queue would be checked over Service Bus' HTTPS admin API, which dapr-emulator does not \
                       speak: set disableEntityManagement to \"true\"";
        return Err(properties.error_at("disableEntityManagement", message));
    }
    Ok(())
}

impl Endpoint {
    /// Reads `Endpoint=sb://host[:port];SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true`.
    ///
    /// # Errors
    /// What is missing or cannot be done, without the key.
    pub fn parse(connection_string: &str) -> Result<Self, String> {
        let (mut endpoint, mut key_name, mut key, mut emulator) = (None, None, None, false);
        for part in connection_string.split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or("failed parsing connection string due to unmatched key value separated by '='")?;
            match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = Some(value.trim().to_owned()),
                "sharedaccesskeyname" => key_name = Some(value.to_owned()),
                "sharedaccesskey" => key = Some(value.to_owned()),
                "usedevelopmentemulator" => emulator = value.trim().eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        let endpoint = endpoint.ok_or("key \"Endpoint\" must not be empty")?;
        if !emulator {
            return Err(
                "without UseDevelopmentEmulator=true the broker is reached over TLS, which dapr-emulator \
                        does not have: add it, or use a real daprd"
                    .to_owned(),
            );
        }
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
        let host = host.trim_end_matches('/');
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:5672") };
        Ok(Self {
            address,
            key_name: key_name.ok_or("key \"SharedAccessKeyName\" must not be empty")?,
            key: key.ok_or("key \"SharedAccessKey\" or \"SharedAccessSignature\" cannot both be empty")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{SecretStores, load};

    const GOOD: &str = "Endpoint=sb://localhost;SharedAccessKeyName=Root;SharedAccessKey=SAS_KEY_VALUE=;UseDevelopmentEmulator=true;";

    #[test]
    fn a_connection_string_is_read() {
        let endpoint = Endpoint::parse(GOOD).expect("the emulator's own");
        assert_eq!(endpoint.address, "localhost:5672");
        assert_eq!(endpoint.key, "SAS_KEY_VALUE=");
        let other = Endpoint::parse(&GOOD.replace("localhost", "127.0.0.1:40001/")).expect("with a port");
        assert_eq!(other.address, "127.0.0.1:40001");
        assert!(!format!("{endpoint:?}").contains("SAS"));
    }

    /// The settings of a queue component with one property more.
    fn settings(name: &str, value: &str) -> QueueSettings {
        let literal = |(name, value): (&str, &str)| format!("  - {{name: {name}, value: \"{value}\"}}\n");
        let items = [
            ("connectionString", GOOD),
            ("queueName", "q"),
            ("disableEntityManagement", "true"),
            (name, value),
        ];
        let text = format!(
            "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata: {{name: q}}\nspec:\n  \
             type: bindings.azure.servicebusqueues\n  version: v1\n  metadata:\n{}",
            items.map(literal).concat()
        );
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("q.yaml"), text).expect("a file");
        let component =
            load(&[folder.path().to_owned()], "x", None).expect("well-formed").components.remove(0);
        let properties = Properties::resolve(&component, &SecretStores::new(), "x");
        let properties = properties.expect("no templates").expect("no secrets");
        QueueSettings::parse(&properties).expect("every setting is good")
    }

    /// Such an interval used to panic when it was added to the present instant, and no lock was renewed.
    #[test]
    fn seconds_without_end_are_a_year() {
        let (year, without_end) = (Duration::from_secs(SETTING_SECONDS_MAX), "9223372036854775807");
        assert_eq!(settings("lockRenewalInSec", without_end).lock_renewal, Some(year));
        assert_eq!(settings("timeoutInSec", without_end).timeout, year);
        assert_eq!(settings("minConnectionRecoveryInSec", without_end).recovery, (year, year));
        assert_eq!(settings("lockRenewalInSec", "7").lock_renewal, Some(Duration::from_secs(7)));
        assert_eq!(settings("lockRenewalInSec", "0").lock_renewal, None, "0 means never");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (without, word) in [
            ("Endpoint=sb://localhost;", "Endpoint"),
            ("SharedAccessKeyName=Root;", "SharedAccessKeyName"),
            ("SharedAccessKey=SAS_KEY_VALUE=;", "SharedAccessKey"),
            ("UseDevelopmentEmulator=true;", "TLS"),
        ] {
            let message = Endpoint::parse(&GOOD.replace(without, "")).expect_err(without);
            assert!(message.contains(word), "{message}");
        }
        assert!(Endpoint::parse("nonsense").is_err());
    }
}
