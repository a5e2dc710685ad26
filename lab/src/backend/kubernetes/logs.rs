//! The logs of a lab's pods, followed into the files where every back end has them.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, LogParams};
use tokio::task::JoinSet;

use super::pods::{Replica, statuses};
use crate::paths::LabFiles;

/// Follows the log of every incarnation of every container, each once.
#[derive(Debug)]
pub struct LogFollowers {
    files: LabFiles,
    followed: BTreeSet<(String, String, u32)>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl LogFollowers {
    /// Follows nothing yet.
    pub fn new(files: &LabFiles) -> Self {
        Self { files: files.clone(), followed: BTreeSet::new(), tasks: Arc::default() }
    }

    /// Follows what has begun since the last call.
    pub fn follow(&mut self, client: &Client, namespace: &str, pods: &[Pod], replicas: &[Replica]) {
        for replica in replicas {
            let pod = pods.iter().find(|pod| pod.metadata.uid.as_deref() == Some(&replica.uid));
            let status =
                pod.and_then(|pod| statuses(pod).iter().find(|status| status.name == replica.container));
            let state = status.and_then(|status| status.state.as_ref());
            // Until it runs, there is no log to ask for.
            if !state.is_some_and(|state| state.running.is_some() || state.terminated.is_some()) {
                continue;
            }
            let incarnation = (replica.uid.clone(), replica.container.clone(), replica.restarts);
            if !self.followed.insert(incarnation) {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
            let (files, replica) = (self.files.clone(), replica.clone());
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.spawn(async move {
                if let Err(error) = copy(&api, &files, &replica).await {
                    tracing::debug!(resource = replica.name, error, "a log could not be followed to its end");
                }
            });
            while tasks.try_join_next().is_some() {}
        }
    }

    /// The followers, to wait for: each ends with the container that it follows.
    pub fn tasks(&self) -> Arc<Mutex<JoinSet<()>>> {
        Arc::clone(&self.tasks)
    }
}

async fn copy(api: &Api<Pod>, files: &LabFiles, replica: &Replica) -> Result<(), String> {
    let path = files.log(&replica.name);
    let opened = std::fs::File::options().create(true).append(true).open(&path);
    let mut file = opened.map_err(|error| error.to_string())?;
    let parameters =
        LogParams { follow: true, container: Some(replica.container.clone()), ..LogParams::default() };
    let stream = api.log_stream(&replica.pod, &parameters).await.map_err(|error| error.to_string())?;
    let mut lines = stream.lines();
    while let Some(line) = lines.try_next().await.map_err(|error| error.to_string())? {
        writeln!(file, "{line}").map_err(|error| error.to_string())?;
    }
    Ok(())
}
