//! What a lab on a cluster stands on: the cluster itself, what is installed on it, and the emulators that are containers beside its
//! nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::facts;
use super::manifests::Alongside;
use super::names::ports;
use crate::backend::{ApiError, LabError, settings, with_causes};
use crate::cluster::foreign;
use crate::cluster::{Cluster, ClusterError, Current, Provider, Settings};
use crate::image::engine::{Container, Engine, Label};
use crate::image::{AZURITE_LISTENS, Files, Part, azurite_arguments};
use crate::limits;
use crate::paths::Workspace;
use crate::process::ReservedPort;
use crate::spec::{BackendKind, BlobStore, LabSpec, Pools};

/// What a lab asks of where its cluster comes from.
///
/// # Errors
/// Fails where the workspace's versions cannot be read.
pub fn settings_of(workspace: &Workspace, spec: &LabSpec) -> Result<Settings, ClusterError> {
    let mut settings = Settings::new(workspace.clone(), &spec.name)?;
    settings.mixed_pools = spec.cluster.pools == Pools::Mixed;
    Ok(settings)
}

/// Where the cluster of a lab comes from.
///
/// # Errors
/// Fails where the kubeconfig cannot be read or has no such context.
pub fn provider(settings: &Settings, spec: &LabSpec) -> Result<Provider, ClusterError> {
    Ok(match spec.backend {
        BackendKind::K3d => Provider::k3d(settings.clone()),
        BackendKind::Kind => Provider::kind(settings.clone()),
        BackendKind::Kubernetes | BackendKind::Local => {
            Provider::Current(Current::find(spec.cluster.context.as_deref(), facts::registry())?)
        }
    })
}

/// Removes what labs have installed on a cluster that none of them made, unless there is another lab on it.
///
/// # Errors
/// Says what could not be removed.
pub async fn remove_installs(workspace: &Workspace, lab: &str, cluster: &Cluster) -> Result<(), LabError> {
    let settings = Settings::new(workspace.clone(), lab)?;
    for chart in foreign::remove(&settings, cluster).await? {
        tracing::info!(chart, "removed what a lab had installed");
    }
    Ok(())
}

/// The error of something that a lab stands on.
pub fn failed(operation: &str, error: &dyn std::error::Error, hint: Option<String>) -> LabError {
    let (operation, cause) = (operation.to_owned(), with_causes(error));
    ApiError { operation, object: String::new(), cause, hint, unreachable: false }.into()
}

/// The emulators beside a cluster.
#[derive(Debug, Clone)]
pub struct Containers {
    /// Where pods reach them.
    pub within: Alongside,
    /// Where this machine does, by the port that pods use.
    pub here: BTreeMap<u16, SocketAddr>,
}

/// Starts broker and blob store on the cluster's network and waits until they answer.
///
/// # Errors
/// Says which one does not start or does not answer.
pub async fn alongside(
    workspace: &Workspace,
    spec: &LabSpec,
    cluster: &Cluster,
) -> Result<Containers, LabError> {
    let network = cluster.network.clone().ok_or_else(|| {
        LabError::Refused(format!("cluster {} has no network for containers beside it", cluster.name))
    })?;
    let told = |error: crate::image::engine::EngineError| {
        let hint = error.hint();
        failed("start the emulators beside the cluster", &error, hint)
    };
    let engine = Engine::connect().await.map_err(told)?;
    let mut here = BTreeMap::new();
    let mut config = Files::default();
    config.text("lab/config/Config.json", settings::broker_config(spec));
    let broker = Wanted {
        part: Part::ServicebusEmulator,
        name: "servicebus",
        arguments: broker_arguments(),
        files: config,
        ports: vec![ports::AMQP, ports::BROKER_HTTP],
    };
    let blob = Wanted {
        part: Part::of_blob(spec.blob),
        name: "blob",
        arguments: blob_arguments(spec.blob),
        files: Files::default(),
        ports: vec![ports::BLOB],
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for wanted in [broker, blob] {
        addresses.push(wanted.start(&engine, workspace, spec, cluster, &network, &mut here).await?);
    }
    let [servicebus, blob] = addresses[..] else {
        return Err(LabError::Refused("the engine gave no addresses".to_owned()));
    };
    answers(&here, ports::BROKER_HTTP).await?;
    answers(&here, ports::BLOB).await?;
    Ok(Containers { within: Alongside { servicebus, blob }, here })
}

/// One container beside the cluster.
struct Wanted {
    part: Part,
    name: &'static str,
    arguments: Vec<String>,
    files: Files,
    ports: Vec<u16>,
}

impl Wanted {
    /// Starts it; gives its address on the network.
    async fn start(
        &self,
        engine: &Engine,
        workspace: &Workspace,
        spec: &LabSpec,
        cluster: &Cluster,
        network: &str,
        here: &mut BTreeMap<u16, SocketAddr>,
    ) -> Result<IpAddr, LabError> {
        let operation = format!("start {} beside the cluster", self.name);
        let mut plan = facts::image_plan(spec);
        plan.parts.retain(|part| *part == self.part);
        let images = plan.assemble(workspace).map_err(|error| failed(&operation, &error, error.hint()))?;
        let image =
            images.first().ok_or_else(|| LabError::Refused(format!("{operation}: it has no image")))?;
        let told = |error: crate::image::engine::EngineError| failed(&operation, &error, error.hint());
        let loaded = engine.load(image).await.map_err(told)?;
        let mut published = Vec::new();
        for port in &self.ports {
            // Free now, and of a range that nobody draws from: the engine takes it in a moment.
            let free = ReservedPort::any().map_err(|taken| failed(&operation, &taken, None))?.address();
            published.push((*port, free.port()));
            here.insert(*port, free);
        }
        let name = format!("{}-{}", cluster.name, self.name);
        let container = Container {
            name: &name,
            image: &loaded,
            arguments: &self.arguments,
            files: &self.files,
            network,
            published: &published,
        };
        let (label, value) = cluster.label.split_once('=').unwrap_or((&cluster.label, ""));
        let address = engine.start(&container, Label { name: label, value }).await.map_err(told)?;
        address.parse().map_err(|error| failed(&operation, &error, None))
    }
}

/// What the broker is started with, wherever it is one.
pub fn broker_arguments() -> Vec<String> {
    let (amqp, http) = (format!("0.0.0.0:{}", ports::AMQP), format!("0.0.0.0:{}", ports::BROKER_HTTP));
    ["--listen", &amqp, "--http-listen", &http, "--config", "/lab/config/Config.json"]
        .map(str::to_owned)
        .into()
}

/// What the blob store is started with, wherever it is one.
pub fn blob_arguments(store: BlobStore) -> Vec<String> {
    match store {
        BlobStore::Native => vec!["--listen".to_owned(), format!("0.0.0.0:{}", ports::BLOB)],
        BlobStore::Azurite => azurite_arguments(AZURITE_LISTENS),
    }
}

/// Waits until something answers HTTP there, whatever it answers.
async fn answers(here: &BTreeMap<u16, SocketAddr>, port: u16) -> Result<(), LabError> {
    let Some(address) = here.get(&port) else { return Ok(()) };
    let started = Instant::now();
    let client = reqwest::Client::builder().no_proxy().timeout(limits::PROBE_ATTEMPT).build();
    let client = client.map_err(|error| failed("prepare a probe", &error, None))?;
    loop {
        match client.get(format!("http://{address}/")).send().await {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > limits::READY => {
                return Err(failed(&format!("reach the emulator at {address}"), &error, None));
            }
            Err(_) => tokio::time::sleep(limits::PROBE_INTERVAL).await,
        }
    }
}
