//! The files that a lab's programs read: the configurations of broker and Dapr, and the secrets to which Dapr's components refer.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::backend::{LabError, settings};
use crate::paths::LabFiles;
use crate::spec::{LabSpec, Tracing};

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
    write(files.broker_config(), settings::broker_config(spec))?;
    if spec.tracing == Tracing::On {
        write(files.dapr_configuration(), format!("{:#}\n", settings::tracing_configuration()))?;
    }
    let secrets = serde_json::json!(settings::secrets(broker, blob));
    write(files.secrets(), format!("{secrets:#}\n"))?;
    // A JSON text is a YAML text, and escapes whatever a path may hold.
    let store = settings::secret_store_of_file(&files.secrets());
    write(components.join("secretstore.yaml"), format!("{store:#}\n"))
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
}
