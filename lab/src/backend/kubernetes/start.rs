//! The way of a lab onto its cluster, as a graph: what does not need each other runs at the same time, and each step is timed, so
//! that the critical path can be told.

use std::sync::Arc;
use std::time::Duration;

use super::client::{self, Reached};
use super::manifests::{self, Inputs, Manifests};
use super::names::{self, DaprPlace};
use super::record::Record;
use super::wait::{Expected, Waiting};
use super::{House, apply, beside, dry_run, facts, ground, locked};
use crate::backend::{LabError, Part};
use crate::cluster::charts;
use crate::cluster::installs::{Done, Event, Graph, Step, StepFailed};
use crate::cluster::{CallError, Cluster, ClusterError, Provider, Settings};
use crate::limits;
use crate::spec::{DaprStrategy, Emulators, LabSpec, Role, Topology};

/// The cluster itself.
const CLUSTER: &str = "cluster";

/// The lab's place on it.
const NAMESPACE: &str = "namespace";

/// Images in its registry.
const IMAGES: &str = "images";

/// Broker and blob store, where they are beside the cluster.
const EMULATORS: &str = "emulators";

/// What applications stand on, with the emulators where they are in the cluster.
const FOUNDATION: &str = "foundation";

/// Applications and Dapr.
const APPLICATIONS: &str = "applications";

impl House {
    /// From nothing to a lab whose every part is ready and has an address here.
    pub(super) async fn start(self: &Arc<Self>) -> Result<(), LabError> {
        let settings = ground::settings_of(&self.workspace, &self.spec)?;
        let provider = ground::provider(&settings, &self.spec)?;
        // Before anything is made: no pod could run them.
        provider.check_guests(&facts::wasm_files(&self.workspace, &self.spec))?;
        if provider.is_own() {
            // From now on there may be something to remove.
            self.record(&provider.planned()).write(&self.files)?;
        }
        let graph = Graph::new(self.steps(&settings, provider)?);
        let graph = graph.map_err(|error| ground::failed("order the steps", &error, None))?;
        let told = |event: Event<'_>| {
            if let Event::Done(timing) = event {
                locked(&self.timings).steps.push(timing.clone());
                self.changed();
            }
        };
        graph.run(told).await.map_err(cause)?;
        let client = &self.reached()?.client;
        self.open_addresses(client)?;
        let store = |part| self.pods.of(part).into_iter().map(|one| (one.name, (one.uid, one.restarts)));
        let _ = self.stores.set(store(Part::Broker).chain(store(Part::Blob)).collect());
        self.changed();
        Ok(())
    }

    fn record(&self, cluster: &Cluster) -> Record {
        Record {
            lab: self.spec.name.clone(),
            workspace: facts::workspace_id(&self.workspace),
            root: self.workspace.root().to_owned(),
            backend: self.spec.backend,
            kubeconfig: cluster.kubeconfig.clone(),
            context: cluster.context.clone(),
        }
    }

    fn steps(self: &Arc<Self>, settings: &Settings, provider: Provider) -> Result<Vec<Step>, LabError> {
        let planned = provider.planned();
        let installs = dry_run::installs(&self.spec);
        let charts: Vec<_> = installs.iter().map(|install| install.name()).collect();
        // A step ends in time by what it is made of; the bound of the whole start is its last one.
        const WITHIN: Duration = limits::CLUSTER_LAB_READY;
        let made_within = provider.within();
        let mut steps = vec![
            self.step(CLUSTER, made_within, |house| async move { house.reach_cluster(&provider).await }),
            self.step(NAMESPACE, WITHIN, |house| async move { house.take_namespace().await })
                .after([CLUSTER]),
            self.step(IMAGES, WITHIN, |house| async move { house.push_images().await }).after([CLUSTER]),
        ];
        steps.extend(charts::steps(settings, &planned, &installs, &[NAMESPACE])?);
        let mut foundation = self
            .step(FOUNDATION, WITHIN, |house| async move { house.found().await })
            .after([NAMESPACE, IMAGES])
            .after(charts);
        if self.spec.cluster.emulators == Emulators::Alongside {
            let beside = self.step(EMULATORS, WITHIN, |house| async move { house.start_emulators().await });
            steps.push(beside.after([CLUSTER]));
            foundation = foundation.after([EMULATORS]);
        }
        let applications = self.step(APPLICATIONS, WITHIN, |house| async move { house.deploy().await });
        steps.extend([foundation, applications.after([FOUNDATION])]);
        Ok(steps)
    }

    /// A step of this lab's.
    fn step<F>(
        self: &Arc<Self>,
        name: &str,
        within: Duration,
        action: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Step
    where
        F: Future<Output = Result<Done, LabError>> + Send + 'static,
    {
        let house = Arc::clone(self);
        Step::new(name, within, Vec::new(), move || async move { Ok(action(house).await?) })
    }

    async fn reach_cluster(&self, provider: &Provider) -> Result<Done, LabError> {
        let (cluster, done) = provider.ensure().await?;
        let kubeconfig = Some(cluster.kubeconfig.clone());
        let reached = client::reach(kubeconfig, Some(cluster.context.clone())).await?;
        self.reached.get_or_init(|| reached);
        self.cluster.get_or_init(|| cluster);
        Ok(done)
    }

    fn cluster(&self) -> Result<&Cluster, LabError> {
        self.cluster.get().ok_or_else(|| LabError::Refused("the lab's cluster is not there yet".to_owned()))
    }

    /// What an earlier supervisor left is removed: the broker's and the blob store's state would be of another lab. From here on
    /// other labs see that this one needs what is installed.
    async fn take_namespace(&self) -> Result<Done, LabError> {
        let Reached { client, context, .. } = self.reached()?;
        let name = names::namespace(&self.spec.name);
        let workspace = facts::workspace_id(&self.workspace);
        match apply::owner(client, &self.spec.name, &workspace).await? {
            apply::Owner::Nobody => {}
            apply::Owner::Ours => {
                tracing::info!(namespace = name, "removing what an earlier supervisor left");
                apply::remove(client, &self.spec.name).await?;
            }
            apply::Owner::AnotherWorkspace(_) => {
                return Err(LabError::Refused(format!(
                    "namespace {name} on {context} is of a lab of another checkout; choose another name with --lab, or end that one",
                )));
            }
            apply::Owner::Foreign => {
                return Err(LabError::Refused(format!(
                    "namespace {name} on {context} was not made by a lab; choose another name with --lab",
                )));
            }
        }
        let _ = self.taken.set(());
        self.record(self.cluster()?).write(&self.files)?;
        let namespace = manifests::own_namespace(&self.spec.name, &workspace);
        apply::apply(client, &[namespace], self.patience.webhook).await?;
        Ok(Done::Changed)
    }

    async fn push_images(&self) -> Result<Done, LabError> {
        let (images, done) = facts::images(&self.workspace, &self.spec, self.cluster()?).await?;
        self.images.get_or_init(|| images);
        Ok(done)
    }

    async fn start_emulators(&self) -> Result<Done, LabError> {
        let containers = beside::start(&self.workspace, &self.spec, self.cluster()?).await?;
        self.containers.get_or_init(|| Arc::new(containers));
        Ok(Done::Changed)
    }

    /// What everything else of the lab stands on, up to emulators that are ready.
    async fn found(self: Arc<Self>) -> Result<Done, LabError> {
        let client = &self.reached()?.client;
        let foundation = self.manifests(client).await?.foundation;
        apply::apply(client, &foundation, self.patience.webhook).await?;
        self.watch(client);
        self.until_ready(client, &expected_emulators(&self.spec)).await
    }

    async fn deploy(self: Arc<Self>) -> Result<Done, LabError> {
        let client = &self.reached()?.client;
        let workload = self.manifests(client).await?.workload;
        apply::apply(client, &workload, self.patience.webhook).await?;
        let nodes = facts::nodes(client).await?;
        self.until_ready(client, &expected(&self.spec, nodes)).await?;
        if let Some(images) = self.images.get() {
            facts::check_images(&self.pods.replicas(), &images.references)?;
        }
        Ok(Done::Changed)
    }

    async fn manifests(&self, client: &kube::Client) -> Result<Manifests, LabError> {
        let dapr = facts::dapr(client).await?;
        let _ = self.dapr_version.set(facts::version_of(&dapr.image));
        let images = self.images.get().map(|images| images.references.clone()).unwrap_or_default();
        let inputs = Inputs {
            spec: &self.spec,
            workspace: facts::workspace_id(&self.workspace),
            images: &images,
            dapr,
            components: facts::components(&self.workspace)?,
            alongside: self.containers.get().map(|containers| containers.within),
        };
        manifests::manifests(&inputs).map_err(|error| LabError::Refused(error.to_string()))
    }

    async fn until_ready(&self, client: &kube::Client, expected: &Expected) -> Result<Done, LabError> {
        let mut waiting = Waiting {
            client,
            lab: &self.spec.name,
            pods: &self.pods,
            files: &self.files,
            patience: self.patience,
            changes: self.changes.subscribe(),
        };
        waiting.until_ready(expected, self.patience.ready).await?;
        Ok(Done::Changed)
    }
}

/// Why a lab did not start: the error of the step that failed, as it is where it says what to do.
fn cause(failed: StepFailed) -> LabError {
    let StepFailed { step, took, stopped, source } = failed;
    let source = match source.downcast::<LabError>() {
        Ok(error) => return *error,
        Err(other) => other,
    };
    let source = match source.downcast::<ClusterError>() {
        Ok(error) => return (*error).into(),
        Err(other) => other,
    };
    match source.downcast::<CallError>() {
        Ok(error) => ClusterError::Call(*error).into(),
        Err(source) => {
            let failed = StepFailed { step, took, stopped, source };
            ground::failed("start the lab on its cluster", &failed, None)
        }
    }
}

/// How many pods of the emulators there are.
fn expected_emulators(spec: &LabSpec) -> Expected {
    match spec.cluster.emulators {
        Emulators::Alongside => Expected::new(),
        Emulators::InCluster => ["servicebus", "blob"].map(|name| (name.to_owned(), 1)).into(),
    }
}

/// How many pods of each part there are; of a daemonset one on each of `nodes`.
fn expected(spec: &LabSpec, nodes: usize) -> Expected {
    let mut expected = expected_emulators(spec);
    expected.insert("lab-dapr".to_owned(), 1);
    for role in Role::ALL.iter().copied() {
        expected.insert(role.to_string(), spec.replicas as usize);
        if names::dapr_place(spec, role) == DaprPlace::Own {
            let everywhere =
                spec.topology == Topology::Shared && spec.cluster.dapr_strategy == DaprStrategy::Daemonset;
            let count = if everywhere { nodes } else { spec.dapr_replicas as usize };
            expected.insert(format!("{role}-dapr"), count);
        }
    }
    expected
}
