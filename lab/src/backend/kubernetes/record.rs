//! Where a lab is, on disk: written before anything is made on a cluster, and read by whoever cleans up after a supervisor that
//! was killed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{apply, client, ground};
use crate::backend::LabError;
use crate::cluster::{Current, Provider};
use crate::paths::{LabFiles, Workspace};
use crate::spec::{BackendKind, ClusterSpec, LabSpec};

/// A lab on a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The lab's name.
    pub lab: String,
    /// Which checkout it is of.
    pub workspace: String,
    /// The root of that checkout.
    pub root: PathBuf,
    /// What runs it.
    pub backend: BackendKind,
    /// The kubeconfig.
    pub kubeconfig: PathBuf,
    /// The context in it.
    pub context: String,
}

impl Record {
    /// Writes it.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write(&self, files: &LabFiles) -> Result<(), LabError> {
        let path = files.cluster_record();
        let text = serde_json::json!(self).to_string();
        std::fs::write(&path, text).map_err(|source| LabError::File { operation: "write", path, source })
    }

    /// The record of a lab; `None` where there is none.
    ///
    /// # Errors
    /// Fails where there is one that cannot be read.
    pub fn read(files: &LabFiles) -> Result<Option<Self>, LabError> {
        let path = files.cluster_record();
        let failed = |source| LabError::File { operation: "read", path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| failed(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Forgets it: nothing of the lab is left.
    pub fn remove(files: &LabFiles) {
        // If it stays, the next clean-up finds nothing and tries again.
        let _ = std::fs::remove_file(files.cluster_record());
    }
}

/// Removes what a killed supervisor left on a cluster. Whether there was anything.
///
/// # Errors
/// Fails where the cluster is not reached, or does not let go in time.
pub async fn clean(files: &LabFiles) -> Result<bool, LabError> {
    let Some(record) = Record::read(files)? else { return Ok(false) };
    if record.backend != BackendKind::Kubernetes {
        // With the cluster everything on it goes, and what is beside it.
        let spec = LabSpec {
            name: record.lab.clone(),
            backend: record.backend,
            cluster: ClusterSpec::of(record.backend),
            ..LabSpec::default()
        };
        let settings = ground::settings_of(&Workspace::at(&record.root), &spec)?;
        let removed = ground::provider(&settings, &spec)?.delete().await?;
        Record::remove(files);
        return Ok(!removed.is_empty());
    }
    let kubeconfig = Some(record.kubeconfig.clone());
    let reached = client::reach(kubeconfig, Some(record.context.clone())).await?;
    // Another checkout's lab may have taken the name since.
    let left = match apply::owner(&reached.client, &record.lab, &record.workspace).await? {
        apply::Owner::Ours => apply::remove(&reached.client, &record.lab).await?,
        _ => false,
    };
    let current = Current::find_in(record.kubeconfig, Some(&record.context), None)?;
    let cluster = Provider::Current(current).planned();
    ground::remove_installs(&Workspace::at(&record.root), &record.lab, &cluster).await?;
    Record::remove(files);
    Ok(left)
}
