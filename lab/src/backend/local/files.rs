//! The files that a lab's programs read: the broker's configuration, and the secrets to which Dapr's components refer.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::backend::LabError;
use crate::paths::LabFiles;
use crate::spec::{LabSpec, QUEUES};

/// The account that Azurite and every tool for it knows; it opens nothing but emulators.
pub(super) const ACCOUNT: &str = "devstoreaccount1";

/// That account's key, as published with the storage emulators.
pub(super) const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The name by which the components of the lab call their secret store.
const SECRET_STORE: &str = "secretstore";

/// The connection string of the broker, as the official emulator's documents write it.
pub(super) fn connection_string(broker: SocketAddr) -> String {
    format!(
        "Endpoint=sb://{broker};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
         UseDevelopmentEmulator=true;"
    )
}

/// Writes all of them; they are complete before anything is started.
pub(super) fn write(
    files: &LabFiles,
    spec: &LabSpec,
    broker: SocketAddr,
    blob: SocketAddr,
) -> Result<(), LabError> {
    let failed = |path: PathBuf| |source| LabError::File { operation: "write", path, source };
    let components = files.components();
    fs::create_dir_all(&components).map_err(failed(components.clone()))?;
    let write = |path: PathBuf, text: String| write_private(&path, &text).map_err(failed(path));
    write(files.broker_config(), broker_config(spec))?;
    write(files.secrets(), secrets(broker, blob))?;
    write(components.join("secretstore.yaml"), secret_store(&files.secrets()))
}

/// Only the owner can read it, from the moment it exists.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// In the form of the official emulator's file.
fn broker_config(spec: &LabSpec) -> String {
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

fn secrets(broker: SocketAddr, blob: SocketAddr) -> String {
    let secrets = json!({
        "servicebus": { "connectionString": connection_string(broker) },
        "blob": { "accountName": ACCOUNT, "accountKey": ACCOUNT_KEY, "endpoint": format!("http://{blob}") },
    });
    format!("{secrets:#}\n")
}

/// A JSON text is a YAML text, and escapes whatever a path may hold.
fn secret_store(secrets: &Path) -> String {
    let component = json!({
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
    });
    format!("{component:#}\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::paths::Workspace;

    #[test]
    fn secrets_are_the_owners_alone_and_hold_what_components_ask_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Workspace::at(folder.path()).lab("main");
        let (broker, blob) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        for _ in 0..2 {
            write(&files, &LabSpec::default(), broker, blob).expect("files");
        }
        let mode = fs::metadata(files.secrets()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = fs::read_to_string(files.secrets()).expect("a file");
        let secrets: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(secrets["blob"]["endpoint"], "http://127.0.0.1:2");
        let connection = secrets["servicebus"]["connectionString"].as_str().expect("a string");
        assert!(connection.starts_with("Endpoint=sb://127.0.0.1:1;"), "{connection}");
    }

    #[test]
    fn queues_have_the_settings_of_the_lab() {
        let spec = LabSpec { lock_seconds: 5, max_delivery_count: 3, ..LabSpec::default() };
        let config: serde_json::Value = serde_json::from_str(&broker_config(&spec)).expect("JSON");
        let queues = &config["UserConfig"]["Namespaces"][0]["Queues"];
        assert_eq!(queues.as_array().map(Vec::len), Some(QUEUES.len()));
        assert_eq!(queues[1]["Name"], "q-order-express");
        assert_eq!(queues[1]["Properties"]["LockDuration"], "PT5S");
        assert_eq!(queues[1]["Properties"]["MaxDeliveryCount"], 3);
        // An order that waits too long must not vanish.
        assert_eq!(queues[1]["Properties"]["DeadLetteringOnMessageExpiration"], true);
    }
}
