//! The emulators that are containers beside a cluster's nodes: started on the nodes' network, and then seen, followed and counted like
//! the lab's pods. They go with their cluster, by its label.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::TryStreamExt;

use super::facts;
use super::ground::failed;
use super::manifests::Alongside;
use super::names::{self, ports};
use crate::backend::{LabError, ReplicaStatus, Usage, settings};
use crate::cluster::Cluster;
use crate::image::engine::{Container, Engine, EngineError, Label};
use crate::image::{AZURITE_LISTENS, Files, Part, azurite_arguments};
use crate::limits;
use crate::paths::{LabFiles, Workspace};
use crate::process::ReservedPort;
use crate::spec::{BlobStore, LabSpec};

/// The emulators beside a cluster.
#[derive(Debug)]
pub struct Containers {
    /// Where pods reach them.
    pub within: Alongside,
    /// Where this machine does, by the port that pods use.
    pub here: BTreeMap<u16, SocketAddr>,
    engine: Engine,
    all: [Beside; 2],
}

/// One of them, since it answers.
#[derive(Debug)]
struct Beside {
    /// As the lab calls it.
    name: &'static str,
    /// As the engine does.
    container: String,
    program: &'static str,
    address: Option<SocketAddr>,
    image_bytes: u64,
    started: Instant,
    ended: AtomicBool,
}

impl Containers {
    /// The names of all of them.
    pub fn names(&self) -> [&'static str; 2] {
        self.all.each_ref().map(|one| one.name)
    }

    /// Each as people see it.
    pub fn status(&self, files: &LabFiles) -> Vec<ReplicaStatus> {
        let row = |one: &Beside| ReplicaStatus {
            name: one.name.to_owned(),
            program: one.program.to_owned(),
            version: None,
            real: false,
            state: if one.ended.load(Ordering::Relaxed) { "failed" } else { "ready" }.to_owned(),
            endpoint: one.address.map(|address| address.to_string()),
            restarts: 0,
            age_seconds: one.started.elapsed().as_secs_f64(),
            log: files.log(one.name).display().to_string(),
            image_bytes: Some(one.image_bytes),
        };
        self.all.iter().map(row).collect()
    }

    /// What each has used so far.
    ///
    /// # Errors
    /// Names the container that the engine tells nothing of.
    pub async fn usage(&self) -> Result<Vec<Usage>, LabError> {
        let mut usage = Vec::new();
        for one in &self.all {
            let counted = self.engine.usage(&one.container).await;
            let counted = counted.map_err(|error| failed("read the counters of", &error, error.hint()))?;
            let (cpu_seconds, rss_bytes) = (counted.cpu_seconds, counted.rss_bytes);
            usage.push(Usage { name: one.name.to_owned(), cpu_seconds, rss_bytes });
        }
        Ok(usage)
    }

    /// Copies what one of them logs into a file, until it ends.
    pub async fn follow(&self, name: &str, log: &Path) {
        let Some(one) = self.all.iter().find(|one| one.name == name) else { return };
        // A log that breaks off is no end: the engine may have been started again.
        loop {
            if let Err(error) = copy(&self.engine, &one.container, log).await {
                tracing::debug!(resource = name, error, "a log could not be followed to its end");
            }
            match self.engine.is_running(&one.container).await {
                Ok(true) => tokio::time::sleep(limits::CLUSTER_POLL).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(resource = name, %error, "the engine does not tell whether it runs");
                    break;
                }
            }
        }
        one.ended.store(true, Ordering::Relaxed);
    }
}

async fn copy(engine: &Engine, container: &str, log: &Path) -> Result<(), String> {
    let opened = std::fs::File::options().create(true).write(true).truncate(true).open(log);
    let mut file = opened.map_err(|error| error.to_string())?;
    let mut said = std::pin::pin!(engine.log(container));
    while let Some(bytes) = said.try_next().await.map_err(|error| error.to_string())? {
        file.write_all(&bytes).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Starts broker and blob store on the cluster's network and waits until they answer.
///
/// # Errors
/// Says which one does not start or does not answer.
pub async fn start(workspace: &Workspace, spec: &LabSpec, cluster: &Cluster) -> Result<Containers, LabError> {
    let network = cluster.network.clone().ok_or_else(|| {
        LabError::Refused(format!("cluster {} has no network for containers beside it", cluster.name))
    })?;
    let told = |error: EngineError| failed("start the emulators beside the cluster", &error, error.hint());
    let engine = Engine::connect().await.map_err(told)?;
    let stage = Stage { workspace, spec, cluster, network: &network, engine: &engine };
    let mut here = BTreeMap::new();
    let mut config = Files::default();
    config.text("lab/config/Config.json", settings::broker_config(spec));
    let broker = Wanted {
        part: Part::ServicebusEmulator,
        name: "servicebus",
        program: "servicebus-emulator",
        arguments: broker_arguments(),
        files: config,
        ports: vec![ports::AMQP, ports::BROKER_HTTP],
    };
    let blob = Wanted {
        part: Part::of_blob(spec.blob),
        name: "blob",
        program: names::blob_program(spec.blob),
        arguments: blob_arguments(spec.blob),
        files: Files::default(),
        ports: vec![ports::BLOB],
    };
    let (servicebus, broker) = broker.start(&stage, &mut here).await?;
    let (blob_address, blob) = blob.start(&stage, &mut here).await?;
    answers(&here, ports::BROKER_HTTP).await?;
    answers(&here, ports::BLOB).await?;
    Ok(Containers { within: Alongside { servicebus, blob: blob_address }, here, engine, all: [broker, blob] })
}

/// What every one of them is started with.
struct Stage<'a> {
    workspace: &'a Workspace,
    spec: &'a LabSpec,
    cluster: &'a Cluster,
    network: &'a str,
    engine: &'a Engine,
}

/// One container beside the cluster.
struct Wanted {
    part: Part,
    name: &'static str,
    program: &'static str,
    arguments: Vec<String>,
    files: Files,
    ports: Vec<u16>,
}

impl Wanted {
    /// Starts it; gives its address on the network, too.
    async fn start(
        &self,
        stage: &Stage<'_>,
        here: &mut BTreeMap<u16, SocketAddr>,
    ) -> Result<(IpAddr, Beside), LabError> {
        let Stage { workspace, spec, cluster, network, engine } = *stage;
        let operation = format!("start {} beside the cluster", self.name);
        let mut plan = facts::image_plan(spec);
        plan.parts.retain(|part| *part == self.part);
        let images = plan.assemble(workspace).map_err(|error| failed(&operation, &error, error.hint()))?;
        let image =
            images.first().ok_or_else(|| LabError::Refused(format!("{operation}: it has no image")))?;
        let told = |error: EngineError| failed(&operation, &error, error.hint());
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
        let address = address.parse().map_err(|error| failed(&operation, &error, None))?;
        let beside = Beside {
            name: self.name,
            program: self.program,
            address: self.ports.first().and_then(|port| here.get(port).copied()),
            image_bytes: image.bytes(),
            started: Instant::now(),
            ended: AtomicBool::new(false),
            container: name,
        };
        Ok((address, beside))
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
