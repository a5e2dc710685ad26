//! The container engine of this machine, as far as a lab needs it: images into it, containers on a network beside a cluster,
//! and all of that gone again. It makes no cluster.
//!
//! Everything that it makes carries one label, by which it is found again whoever made it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkCreateRequest, NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptions, ImportImageOptions, InspectContainerOptions, ListContainersOptions,
    ListNetworksOptions, ListVolumesOptions, LogsOptions, RemoveContainerOptions, RemoveVolumeOptions,
    StartContainerOptions, StatsOptions, UploadToContainerOptions,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::{Files, Image, ImageError, archive};
use crate::limits;

/// What went wrong with an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("no container engine answers")]
    Absent(#[source] Box<Error>),
    /// It did not do what it was asked for.
    #[error("the container engine failed to {operation} {what}")]
    Refused {
        /// The verb.
        operation: &'static str,
        /// Of what.
        what: String,
        /// Its answer.
        #[source]
        source: Box<Error>,
    },
    /// It took too long.
    #[error("the container engine did not {operation} {what} within {} s", within.as_secs())]
    TimedOut {
        /// The verb.
        operation: &'static str,
        /// Of what.
        what: String,
        /// How long it was given.
        within: Duration,
    },
    /// It has none of the addresses that were asked for.
    #[error("container {container} is not on network {network}")]
    NotOnNetwork {
        /// Which container.
        container: String,
        /// Which network.
        network: String,
    },
    /// An image that it could not start.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl EngineError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Absent(_) => {
                Some("start Docker, or name its socket: DOCKER_HOST=unix:///path/docker.sock".to_owned())
            }
            Self::Image(error) => error.hint(),
            _ => None,
        }
    }
}

/// A label `name=value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
}

impl Label<'_> {
    fn filter(self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{}={}", self.name, self.value)])])
    }

    fn map(self) -> HashMap<String, String> {
        HashMap::from([(self.name.to_owned(), self.value.to_owned())])
    }
}

/// A container to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container<'a> {
    /// Its name, which others on the network know it by.
    pub name: &'a str,
    /// The image, as [`Engine::load`] named it.
    pub image: &'a str,
    /// Arguments in place of the image's own.
    pub arguments: &'a [String],
    /// Files that are put into it before it starts.
    pub files: &'a Files,
    /// The network that it is on.
    pub network: &'a str,
    /// TCP ports that are also open on this machine's loopback, and under which number.
    pub published: &'a [(u16, u16)],
}

/// What a container has used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Used {
    /// CPU time.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
}

/// What a clean-up removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers.
    pub containers: usize,
    /// Networks.
    pub networks: usize,
    /// Volumes.
    pub volumes: usize,
}

/// The engine that `DOCKER_HOST` names, or the one of this machine.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
}

async fn within<T>(
    operation: &'static str,
    what: &str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, EngineError> {
    let answer = tokio::time::timeout(limit, answer).await;
    let what = what.to_owned();
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(EngineError::Refused { operation, what, source: Box::new(source) }),
        Err(_) => Err(EngineError::TimedOut { operation, what, within: limit }),
    }
}

/// An answer that says that it is not there, or is just being removed: what was to be reached.
fn is_gone(error: &EngineError) -> bool {
    let EngineError::Refused { source, .. } = error else { return false };
    matches!(**source, Error::DockerResponseServerError { status_code: 404 | 409, .. })
}

impl Engine {
    /// Reaches the engine and agrees with it on a version of its interface.
    ///
    /// # Errors
    /// [`EngineError::Absent`] where none answers.
    pub async fn connect() -> Result<Self, EngineError> {
        let absent = |source| EngineError::Absent(Box::new(source));
        let docker = Docker::connect_with_defaults().map_err(absent)?;
        match tokio::time::timeout(limits::ENGINE_ANSWER, docker.negotiate_version()).await {
            Ok(docker) => Ok(Self { docker: docker.map_err(absent)? }),
            Err(_) => Err(absent(Error::RequestTimeoutError)),
        }
    }

    /// Puts an image into it and gives the name under which it is there.
    ///
    /// # Errors
    /// Of an image that no engine starts, or the engine's own.
    pub async fn load(&self, image: &Image) -> Result<String, EngineError> {
        let (tag, content) = archive(image)?;
        if self.docker.inspect_image(&tag).await.is_ok() {
            return Ok(tag);
        }
        let body = bollard::body_full(content.into());
        let mut loading = Box::pin(self.docker.import_image(ImportImageOptions::default(), body, None));
        let loaded = async {
            while let Some(step) = loading.next().await {
                step?;
            }
            Ok(())
        };
        within("load", &tag, limits::ENGINE_LOAD, loaded).await?;
        Ok(tag)
    }

    /// Makes a network, unless it is there.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn network(&self, name: &str, label: Label<'_>) -> Result<(), EngineError> {
        let known = self.docker.inspect_network(name, None);
        if within("look for network", name, limits::ENGINE_ANSWER, known).await.is_ok() {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(label.map()),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(request);
        within("make network", name, limits::ENGINE_ANSWER, made).await.map(drop)
    }

    /// Starts a container in place of any other of its name, and gives its address on its network.
    ///
    /// # Errors
    /// The engine's own; then nothing of the container is left.
    pub async fn start(&self, container: &Container<'_>, label: Label<'_>) -> Result<String, EngineError> {
        self.remove(container.name).await?;
        match self.make(container, label).await {
            Ok(address) => Ok(address),
            Err(error) => {
                // What it says of the clean-up would hide why there is something to clean up.
                self.remove(container.name).await.ok();
                Err(error)
            }
        }
    }

    async fn make(&self, container: &Container<'_>, label: Label<'_>) -> Result<String, EngineError> {
        let name = container.name;
        let options = CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() };
        let made = self.docker.create_container(Some(options), body(container, label));
        within("create container", name, limits::ENGINE_ANSWER, made).await?;
        if !container.files.is_empty() {
            let options = UploadToContainerOptions { path: "/".to_owned(), ..Default::default() };
            let content = bollard::body_full(container.files.archive()?.content.into());
            let put = self.docker.upload_to_container(name, Some(options), content);
            within("put files into container", name, limits::ENGINE_ANSWER, put).await?;
        }
        let started = self.docker.start_container(name, None::<StartContainerOptions>);
        within("start container", name, limits::ENGINE_ANSWER, started).await?;
        let seen = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        let seen = within("inspect container", name, limits::ENGINE_ANSWER, seen).await?;
        let networks = seen.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let address = networks.get(container.network).and_then(|network| network.ip_address.clone());
        address.filter(|address| !address.is_empty()).ok_or_else(|| EngineError::NotOnNetwork {
            container: name.to_owned(),
            network: container.network.to_owned(),
        })
    }

    async fn remove(&self, name: &str) -> Result<bool, EngineError> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let removed = self.docker.remove_container(name, Some(options));
        match within("remove container", name, limits::ENGINE_REMOVE, removed).await {
            Ok(()) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a container runs; `false` where there is none.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn is_running(&self, name: &str) -> Result<bool, EngineError> {
        let seen = self.docker.inspect_container(name, None::<InspectContainerOptions>);
        match within("inspect container", name, limits::ENGINE_ANSWER, seen).await {
            Ok(seen) => Ok(seen.state.and_then(|state| state.running).unwrap_or(false)),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a container has used since it was started.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn usage(&self, name: &str) -> Result<Used, EngineError> {
        let options = StatsOptions { stream: false, one_shot: true };
        let mut stats = std::pin::pin!(self.docker.stats(name, Some(options)));
        let first = async { stats.next().await.unwrap_or(Err(Error::RequestTimeoutError)) };
        let stats = within("count what is used by container", name, limits::ENGINE_ANSWER, first).await?;
        let cpu_ns = stats.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage).unwrap_or(0);
        let memory = stats.memory_stats.unwrap_or_default();
        let kinds = memory.stats.unwrap_or_default();
        // Without the cache of files: cgroup v2 calls it `anon`, v1 `rss`.
        let resident = kinds.get("anon").or_else(|| kinds.get("rss")).copied().or(memory.usage);
        Ok(Used { cpu_seconds: cpu_ns as f64 / 1e9, rss_bytes: resident.unwrap_or(0) })
    }

    /// What a container says on stdout and stderr, from its start until it ends.
    pub fn log(&self, name: &str) -> impl Stream<Item = Result<Bytes, EngineError>> {
        let options = LogsOptions { follow: true, stdout: true, stderr: true, ..LogsOptions::default() };
        let what = name.to_owned();
        self.docker.logs(name, Some(options)).map(move |said| match said {
            Ok(said) => Ok(said.into_bytes()),
            Err(source) => Err(EngineError::Refused {
                operation: "follow the log of container",
                what: what.clone(),
                source: Box::new(source),
            }),
        })
    }

    /// The containers with that label, running or not.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn containers(&self, label: Label<'_>) -> Result<Vec<String>, EngineError> {
        let options =
            ListContainersOptions { all: true, filters: Some(label.filter()), ..Default::default() };
        let listed = self.docker.list_containers(Some(options));
        let listed = within("list containers of", label.value, limits::ENGINE_ANSWER, listed).await?;
        Ok(listed.into_iter().filter_map(|container| container.id).collect())
    }

    /// Removes every container, network and volume with that label. A second time it finds nothing.
    ///
    /// # Errors
    /// The engine's own; what was removed before stays removed.
    pub async fn remove_all(&self, label: Label<'_>) -> Result<Removed, EngineError> {
        let mut removed = Removed::default();
        for container in self.containers(label).await? {
            removed.containers += usize::from(self.remove(&container).await?);
        }
        let options = ListNetworksOptions { filters: Some(label.filter()) };
        let listed = self.docker.list_networks(Some(options));
        for network in within("list networks of", label.value, limits::ENGINE_ANSWER, listed).await? {
            let id = network.id.unwrap_or_default();
            let gone = self.docker.remove_network(&id);
            within("remove network", &id, limits::ENGINE_REMOVE, gone).await?;
            removed.networks += 1;
        }
        let options = ListVolumesOptions { filters: Some(label.filter()) };
        let listed = self.docker.list_volumes(Some(options));
        let volumes = within("list volumes of", label.value, limits::ENGINE_ANSWER, listed).await?;
        for volume in volumes.volumes.unwrap_or_default() {
            let gone = self.docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>);
            within("remove volume", &volume.name, limits::ENGINE_REMOVE, gone).await?;
            removed.volumes += 1;
        }
        Ok(removed)
    }
}

fn body(container: &Container<'_>, label: Label<'_>) -> ContainerCreateBody {
    let endpoint = EndpointSettings { aliases: Some(vec![container.name.to_owned()]), ..Default::default() };
    let bindings = container.published.iter().map(|(inner, outer)| {
        let binding =
            PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(outer.to_string()) };
        (format!("{inner}/tcp"), Some(vec![binding]))
    });
    ContainerCreateBody {
        image: Some(container.image.to_owned()),
        cmd: (!container.arguments.is_empty()).then(|| container.arguments.to_vec()),
        labels: Some(label.map()),
        exposed_ports: Some(container.published.iter().map(|(inner, _)| format!("{inner}/tcp")).collect()),
        host_config: Some(HostConfig {
            network_mode: Some(container.network.to_owned()),
            port_bindings: Some(bindings.collect()),
            ..Default::default()
        }),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(container.network.to_owned(), endpoint)])),
        }),
        ..Default::default()
    }
}
