//! What every back end tells the programs of a lab: the broker's configuration, the emulators' well-known account, and the
//! secrets to which Dapr's components refer. Data only; who writes it where is the back end's business.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use serde_json::{Value, json};

use crate::spec::{LabSpec, QUEUES};

/// The account that Azurite and every tool for it knows; it opens nothing but emulators.
pub(super) const ACCOUNT: &str = "devstoreaccount1";

/// That account's key, as published with the storage emulators.
pub(super) const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The name by which the components of the lab call their secret store.
pub(super) const SECRET_STORE: &str = "secretstore";

/// The connection string of the broker, as the official emulator's documents write it.
pub(super) fn connection_string(broker: impl Display) -> String {
    format!(
        "Endpoint=sb://{broker};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
         UseDevelopmentEmulator=true;"
    )
}

/// The account's URL at a blob store.
pub(super) fn blob_url(blob: impl Display) -> String {
    format!("http://{blob}/{ACCOUNT}")
}

/// The broker's configuration, in the form of the official emulator's file.
pub(super) fn broker_config(spec: &LabSpec) -> String {
    let queue = |name: &&str| {
        json!({
            "Name": name,
            "Properties": {
                // An order that was accepted is never lost, not even by age.
                "DeadLetteringOnMessageExpiration": true,
                "DefaultMessageTimeToLive": "PT1H",
                "LockDuration": format!("PT{}S", spec.lock_seconds),
                "MaxDeliveryCount": spec.max_delivery_count,
                "RequiresDuplicateDetection": false,
                "RequiresSession": false,
            },
        })
    };
    let queues: Vec<_> = QUEUES.iter().map(queue).collect();
    let namespace = json!({ "Name": "sbemulatorns", "Queues": queues, "Topics": [] });
    let config = json!({ "UserConfig": { "Namespaces": [namespace], "Logging": { "Type": "Console" } } });
    format!("{config:#}\n")
}

/// The secrets by name, each with its keys, as the components refer to them.
pub(super) fn secrets(
    broker: impl Display,
    blob: impl Display,
) -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
    let servicebus = BTreeMap::from([("connectionString", connection_string(broker))]);
    let blob = BTreeMap::from([
        ("accountName", ACCOUNT.to_owned()),
        ("accountKey", ACCOUNT_KEY.to_owned()),
        ("endpoint", format!("http://{blob}")),
    ]);
    BTreeMap::from([("servicebus", servicebus), ("blob", blob)])
}

/// The component that reads the secrets from a file.
pub(super) fn secret_store_of_file(secrets: &Path) -> Value {
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": { "name": SECRET_STORE },
        "spec": {
            "type": "secretstores.local.file",
            "version": "v1",
            "metadata": [
                { "name": "secretsFile", "value": secrets.display().to_string() },
                { "name": "multiValued", "value": "true" },
            ],
        },
    })
}

/// The name of [`tracing_configuration`].
pub(super) const TRACING: &str = "tracing";

/// Dapr's Configuration with which it makes a span of every call. A sampling rate without an exporter is enough for that: daprd
/// then registers a provider that throws spans away (dapr, `pkg/runtime/runtime.go`, `setupTracing`).
pub(super) fn tracing_configuration() -> Value {
    json!({
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Configuration",
        "metadata": { "name": TRACING },
        "spec": { "tracing": { "samplingRate": "1" } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_the_settings_of_the_lab() {
        let spec = LabSpec { lock_seconds: 5, max_delivery_count: 3, ..LabSpec::default() };
        let config: Value = serde_json::from_str(&broker_config(&spec)).expect("JSON");
        let queues = &config["UserConfig"]["Namespaces"][0]["Queues"];
        assert_eq!(queues.as_array().map(Vec::len), Some(QUEUES.len()));
        assert_eq!(queues[1]["Name"], "q-order-express");
        assert_eq!(queues[1]["Properties"]["LockDuration"], "PT5S");
        assert_eq!(queues[1]["Properties"]["MaxDeliveryCount"], 3);
        // An order that waits too long must not vanish.
        assert_eq!(queues[1]["Properties"]["DeadLetteringOnMessageExpiration"], true);
    }
}
