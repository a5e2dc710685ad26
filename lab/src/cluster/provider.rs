//! A cluster of the lab's own, and the choice between that and a foreign one. What k3d and kind do differently is in their own
//! modules; the life of a cluster is the same: look, make or start or leave, reach, wait; and undo what was begun.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::{self, Names};
use super::installs::{Done, Planned};
use super::limits;
use super::wasm::Guest;
use super::{Call, CallError, Cluster, ClusterError, Current, Settings, evidence, k3d, kind, ready};
use crate::paths::LabFiles;

/// Where a cluster comes from.
#[derive(Debug, Clone)]
pub enum Provider {
    /// The lab makes it.
    Own(Box<Own>),
    /// Somebody else has made it.
    Current(Current),
}

/// The program that makes a cluster of the lab's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnKind {
    /// k3d.
    K3d,
    /// kind.
    Kind,
}

/// A cluster that the lab makes and removes.
#[derive(Debug, Clone)]
pub struct Own {
    pub(super) kind: OwnKind,
    pub(super) settings: Settings,
    pub(super) names: Names,
    pub(super) files: LabFiles,
}

/// What there is of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Absent,
    /// All its nodes, and not all of them run.
    Stopped,
    /// All its nodes, running.
    Running,
}

impl Provider {
    /// A k3d cluster.
    pub fn k3d(settings: Settings) -> Self {
        Self::Own(Box::new(Own::new(OwnKind::K3d, settings)))
    }

    /// A kind cluster.
    pub fn kind(settings: Settings) -> Self {
        Self::Own(Box::new(Own::new(OwnKind::Kind, settings)))
    }

    /// The cluster as it will be: everything but its nodes.
    pub fn planned(&self) -> Cluster {
        match self {
            Self::Own(own) => own.planned(),
            Self::Current(current) => current.planned(),
        }
    }

    /// What [`Self::ensure`] does where nothing is there yet, in order.
    ///
    /// # Errors
    /// Fails where the files of `k3d/` are not as they must be.
    pub fn plan(&self) -> Result<Vec<Planned>, ClusterError> {
        match self {
            Self::Own(own) => own.plan(),
            Self::Current(current) => Ok(current.plan()),
        }
    }

    /// How long [`Self::ensure`] may take at most.
    pub fn within(&self) -> Duration {
        match self {
            // A node image, two calls that make, and the wait; the rest is for looking and removing.
            Self::Own(own) => {
                own.settings.made_within * 3 + own.settings.ready_within + limits::CLUSTER_DELETED * 2
            }
            Self::Current(_) => limits::CLUSTER_READY,
        }
    }

    /// Whether the lab has made the cluster; else nobody has been asked whether it may be touched.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// Whether an earlier [`Self::ensure`] has begun to make the cluster, and no [`Self::delete`] has removed it since.
    pub fn was_made(&self) -> bool {
        match self {
            Self::Own(own) => own.files.cluster().is_file(),
            Self::Current(_) => false,
        }
    }

    /// Whether the nodes can run these Wasm files. Of a foreign cluster nobody knows which shim it has, so there only its pods
    /// can tell.
    ///
    /// # Errors
    /// Fails where a file cannot be read, or needs another Spin than that of the nodes' shim: both versions are named.
    pub fn check_guests<'a>(&self, files: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), ClusterError> {
        let Self::Own(own) = self else { return Ok(()) };
        let Some(node) = own.settings.node_version(own.program())? else { return Ok(()) };
        for path in files {
            let failed = |source| ClusterError::File { operation: "read", path: path.clone(), source };
            let wasm = std::fs::read(path).map_err(failed)?;
            let guest = Guest::read(&wasm).map_err(|error| failed(std::io::Error::other(error)))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            guest.check(&name, &own.settings.versions.sdks, node)?;
        }
        Ok(())
    }

    /// Makes the cluster if it is not there, starts it if it is stopped, and waits until it can take pods. What an earlier call
    /// has left half-made, or made from other settings, is removed first.
    ///
    /// # Errors
    /// Fails where a program is missing or fails, or the cluster is not ready in time. What this call has begun is removed
    /// again; the logs of its nodes and its events are saved before.
    pub async fn ensure(&self) -> Result<(Cluster, Done), ClusterError> {
        match self {
            Self::Own(own) => own.ensure().await,
            Self::Current(current) => Ok((current.ensure().await?, Done::Unchanged)),
        }
    }

    /// Removes everything that belongs to the cluster, also what an `ensure` has left half-made: nodes, registry, containers
    /// beside it, volumes, network. Gives the names of what was removed; a second call finds nothing. A foreign cluster stays
    /// as it is.
    ///
    /// # Errors
    /// Fails where something cannot be removed.
    pub async fn delete(&self) -> Result<Vec<String>, ClusterError> {
        match self {
            Self::Own(own) => own.delete().await,
            Self::Current(_) => Ok(Vec::new()),
        }
    }

    /// Which of these images are on which node of the lab's own cluster not: `node: image`. An exit code proves nothing:
    /// importing has been seen to fail with 0.
    ///
    /// # Errors
    /// Fails where a node cannot be asked.
    pub async fn missing_images(
        &self,
        nodes: &[String],
        images: &[String],
    ) -> Result<Vec<String>, ClusterError> {
        let mut missing = Vec::new();
        for node in nodes {
            let call = Call::new(
                "docker",
                ["exec", node, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet"],
            );
            let listed = call.run().await?;
            let absent = images.iter().filter(|image| !listed.lines().any(|line| line.trim() == *image));
            missing.extend(absent.map(|image| format!("{node}: {image}")));
        }
        Ok(missing)
    }
}

impl Own {
    fn new(kind: OwnKind, settings: Settings) -> Self {
        let names = Names::of(&settings);
        let files = settings.workspace.lab(&settings.lab);
        Self { kind, settings, names, files }
    }

    fn planned(&self) -> Cluster {
        let name = &self.names.cluster;
        let context = self.context();
        let network = match self.kind {
            OwnKind::K3d => format!("k3d-{name}"),
            OwnKind::Kind => "kind".to_owned(),
        };
        Cluster {
            name: name.clone(),
            kubeconfig: self.files.kubeconfig(),
            context,
            registry: Some(self.names.registry()),
            network: Some(network),
            label: self.label(),
            nodes: Vec::new(),
        }
    }

    /// The name of the program that makes it, as `k3d/versions.toml` has it.
    pub(super) fn program(&self) -> &'static str {
        match self.kind {
            OwnKind::K3d => "k3d",
            OwnKind::Kind => "kind",
        }
    }

    /// The context in the kubeconfig that k3d or kind writes.
    pub(super) fn context(&self) -> String {
        match self.kind {
            OwnKind::K3d => format!("k3d-{}", self.names.cluster),
            OwnKind::Kind => format!("kind-{}", self.names.cluster),
        }
    }

    /// The label of what belongs to this cluster and was not made by the program that made it.
    pub(super) fn label(&self) -> String {
        format!("spin-lab.cluster={}", self.names.cluster)
    }

    /// Nodes that the cluster has when it is complete.
    pub(super) fn node_count(&self) -> usize {
        let wasm = usize::from(self.settings.mixed_pools);
        1 + wasm + usize::try_from(self.settings.agents).unwrap_or_default()
    }

    fn plan(&self) -> Result<Vec<Planned>, ClusterError> {
        let mut plan: Vec<Planned> = self
            .files_to_write()?
            .into_iter()
            .map(|(path, content)| Planned::File { path, content })
            .collect();
        let image = super::charts::node_image(self)?;
        plan.extend(image.into_iter().map(Planned::Call));
        plan.push(Planned::Call(self.look()));
        plan.extend(self.make().into_iter().map(Planned::Call));
        plan.push(Planned::Call(self.kubeconfig_call()));
        plan.push(Planned::Does(format!("writes what it prints to {}", self.files.kubeconfig().display())));
        plan.push(Planned::Does(format!(
            "waits at most {} s until {} nodes are Ready, CoreDNS is available and the default service account is there",
            self.settings.ready_within.as_secs(),
            self.node_count(),
        )));
        Ok(plan)
    }

    /// The files from which the cluster is made. The cluster's own comes last: it tells what the others were made for.
    fn files_to_write(&self) -> Result<Vec<(PathBuf, String)>, ClusterError> {
        let mut files = Vec::new();
        let content = match self.kind {
            OwnKind::K3d => config::k3d(&self.settings, &self.names)?,
            OwnKind::Kind => {
                let (path, content) = config::kind_registry(&self.names);
                files.push((self.hosts().join(path), content));
                config::kind(&self.settings, &self.names, &self.hosts())?
            }
        };
        let calls: String = self.make().iter().map(|call| format!("# {call}\n")).collect();
        files.push((self.files.cluster(), format!("{calls}{content}")));
        Ok(files)
    }

    /// Where containerd of a kind node looks up registries.
    fn hosts(&self) -> PathBuf {
        self.files.folder().join("certs.d")
    }

    fn look(&self) -> Call {
        match self.kind {
            OwnKind::K3d => k3d::list(),
            OwnKind::Kind => kind::list(),
        }
    }

    fn make(&self) -> Vec<Call> {
        match self.kind {
            OwnKind::K3d => k3d::make(self),
            OwnKind::Kind => kind::make(self),
        }
    }

    fn kubeconfig_call(&self) -> Call {
        match self.kind {
            OwnKind::K3d => Call::new("k3d", ["kubeconfig", "get", &self.names.cluster]),
            OwnKind::Kind => Call::new("kind", ["get", "kubeconfig", "--name", &self.names.cluster]),
        }
    }

    async fn state(&self) -> Result<State, ClusterError> {
        Ok(match self.kind {
            OwnKind::K3d => k3d::state(self).await?,
            OwnKind::Kind => kind::state(self).await?,
        })
    }

    async fn ensure(&self) -> Result<(Cluster, Done), ClusterError> {
        let files = self.files_to_write()?;
        let mut state = self.state().await?;
        if state != State::Absent && !self.was_completed_from(&files) {
            self.delete().await?;
            state = State::Absent;
        }
        let done = if state == State::Running { Done::Unchanged } else { Done::Changed };
        match self.bring_up(state, &files).await {
            Ok(cluster) => Ok((cluster, done)),
            // It was complete once, and may be again: whoever wants it anew takes it down.
            Err(error) if state == State::Running => Err(error),
            Err(error) if matches!(error, ClusterError::Call(CallError::Missing { .. })) => Err(error),
            Err(source) => {
                let logs = self.files.logs();
                evidence::save(self, &logs).await;
                // What cannot be removed now is removed by the next `up` or `down`; the first failure is the one to tell.
                let _ = self.delete().await;
                let cluster = self.names.cluster.clone();
                Err(ClusterError::Undone { cluster, logs, source: Box::new(source) })
            }
        }
    }

    /// Whether the cluster that there is has once been ready, and was made from these files. The kubeconfig is there only then.
    fn was_completed_from(&self, files: &[(PathBuf, String)]) -> bool {
        let same = |(path, content): &(PathBuf, String)| {
            std::fs::read_to_string(path).is_ok_and(|found| found == *content)
        };
        self.files.kubeconfig().is_file() && files.iter().all(same)
    }

    async fn bring_up(&self, state: State, files: &[(PathBuf, String)]) -> Result<Cluster, ClusterError> {
        match state {
            State::Absent => {
                for (path, content) in files {
                    write(path, content)?;
                }
                for call in super::charts::node_image(self)?.into_iter().chain(self.make()) {
                    call.run().await?;
                }
            }
            State::Stopped => {
                let calls = match self.kind {
                    OwnKind::K3d => k3d::start(self),
                    OwnKind::Kind => kind::start(self).await?,
                };
                for call in calls {
                    call.run().await?;
                }
            }
            State::Running => {}
        }
        // The port of the API changes when a cluster is started again, so the file is always written anew; under its name only
        // when the cluster is ready.
        let fresh = self.fresh_kubeconfig();
        write_secret(&fresh, &self.kubeconfig_call().run().await?)?;
        let planned = self.planned();
        let nodes = ready::wait(&planned, &fresh, self.node_count(), self.settings.ready_within).await?;
        let to = self.files.kubeconfig();
        std::fs::rename(&fresh, &to).map_err(|source| ClusterError::File {
            operation: "write",
            path: to,
            source,
        })?;
        Ok(Cluster { nodes, ..planned })
    }

    /// The kubeconfig of a cluster that is not ready yet.
    pub(super) fn fresh_kubeconfig(&self) -> PathBuf {
        self.files.folder().join("kubeconfig.new")
    }

    async fn delete(&self) -> Result<Vec<String>, ClusterError> {
        let was_made = self.files.cluster().is_file();
        match self.delete_all().await {
            // Who has no engine has no cluster either; only one that was made is missed.
            Err(ClusterError::Call(CallError::Missing { .. })) if !was_made => Ok(Vec::new()),
            other => other,
        }
    }

    async fn delete_all(&self) -> Result<Vec<String>, ClusterError> {
        let mut removed = Vec::new();
        let own = self.label();
        // What stands on the cluster's network keeps it from being removed.
        removed.extend(remove_containers(&format!("label={own}")).await?);
        removed.extend(match self.kind {
            OwnKind::K3d => k3d::delete(self).await?,
            OwnKind::Kind => kind::delete(self).await?,
        });
        removed.extend(remove("volume", &format!("label={own}")).await?);
        let fresh = self.fresh_kubeconfig();
        for path in [self.files.kubeconfig(), fresh, self.files.cluster()] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ClusterError::File { operation: "remove", path, source });
                }
                _ => {}
            }
        }
        Ok(removed)
    }
}

/// Removes the containers that a filter finds, running or not, and their anonymous volumes.
pub(super) async fn remove_containers(filter: &str) -> Result<Vec<String>, ClusterError> {
    let list = ["container", "ls", "--all", "--filter", filter, "--format", "{{.Names}}"].map(str::to_owned);
    let names = lines(&Call::new("docker", list).run().await?);
    if !names.is_empty() {
        let call = Call::new("docker", ["container", "rm", "--force", "--volumes"]).and(names.clone());
        call.within(limits::CLUSTER_DELETED).run().await?;
    }
    Ok(names)
}

/// Removes the networks or volumes that a filter finds.
pub(super) async fn remove(what: &'static str, filter: &str) -> Result<Vec<String>, ClusterError> {
    let list = Call::new("docker", [what, "ls", "--filter", filter, "--format", "{{.Name}}"]);
    let names = lines(&list.run().await?);
    if !names.is_empty() {
        Call::new("docker", [what, "rm"]).and(names.clone()).within(limits::CLUSTER_DELETED).run().await?;
    }
    Ok(names)
}

/// The lines of an answer that have words.
pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn write(path: &Path, content: &str) -> Result<(), ClusterError> {
    let failed = |source| ClusterError::File { operation: "write", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, content).map_err(failed)
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, content: &str) -> Result<(), ClusterError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| ClusterError::File { operation: "write", path: path.to_owned(), source };
    let mut file = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)
}
