//! What helm installs, as steps: cert-manager, the Spin operator, Dapr's control plane; and the node image that docker builds.
//! What is there already, in the wanted version and available, is left alone.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams};

use super::foreign::{self, Foreign};
use super::installs::{Done, Planned, Step, StepError};
use super::limits;
use super::provider::Own;
use super::versions::Chart;
use super::{Call, Cluster, ClusterError, NodeImage, Settings, ready};

/// Something that helm installs once in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Install {
    /// Dapr's control plane.
    Dapr,
    /// cert-manager, which the Spin operator needs.
    CertManager,
    /// The Spin operator.
    SpinOperator,
}

impl Install {
    /// Its name in `k3d/versions.toml` and `k3d/charts`, and its step's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dapr => "dapr",
            Self::CertManager => "cert-manager",
            Self::SpinOperator => "spin-operator",
        }
    }

    /// The groups of the custom objects that it defines.
    pub(super) const fn groups(self) -> &'static [&'static str] {
        match self {
            Self::Dapr => &["dapr.io"],
            Self::CertManager => &["cert-manager.io", "acme.cert-manager.io"],
            Self::SpinOperator => &["core.spinkube.dev"],
        }
    }

    /// What has to be done before, beside the cluster.
    const fn needs(self) -> &'static [Self] {
        match self {
            Self::Dapr | Self::CertManager => &[],
            Self::SpinOperator => &[Self::CertManager],
        }
    }
}

/// The steps of installs, each after those of `needs` (the step that makes the cluster) and of what it needs itself.
///
/// # Errors
/// Fails where `k3d/versions.toml` lacks one.
pub fn steps(
    settings: &Settings,
    cluster: &Cluster,
    installs: &[Install],
    needs: &[&str],
) -> Result<Vec<Step>, ClusterError> {
    installs.iter().map(|install| step(settings, cluster, *install, needs)).collect()
}

fn step(
    settings: &Settings,
    cluster: &Cluster,
    install: Install,
    needs: &[&str],
) -> Result<Step, ClusterError> {
    let chart = settings
        .versions
        .charts
        .get(install.name())
        .ok_or_else(|| settings.lacks(&format!("charts.{}", install.name())))?
        .clone();
    let calls = calls(settings, cluster, install.name(), &chart);
    let mut planned =
        vec![Planned::Does(format!("unless {} {} is there and available:", install.name(), chart.version))];
    if let (true, Some(namespace)) = (cluster.is_foreign(), &chart.namespace) {
        let words = format!(
            "notes on namespace {namespace} that a lab installs it: the last lab that goes removes it"
        );
        planned.push(Planned::Does(words));
    }
    planned.extend(calls.iter().cloned().map(Planned::Call));
    let (cluster, lab) = (cluster.clone(), settings.lab.clone());
    let calls_within: Duration = calls.iter().map(|call| call.within).sum();
    let within = calls_within + limits::CHART_REMOVED + limits::LOOK + limits::API_ANSWER * 6;
    let ordered = Ordered { cluster, lab, install, chart, calls };
    let step = Step::new(install.name(), within, planned, move || ordered.done());
    Ok(step.after(needs.iter().copied()).after(install.needs().iter().map(|install| install.name())))
}

/// The calls that install a chart: manifests first, of which helm upgrades none that are in a chart.
fn calls(settings: &Settings, cluster: &Cluster, name: &str, chart: &Chart) -> Vec<Call> {
    let kubeconfig = cluster.kubeconfig.display().to_string();
    let kubectl = |manifest: &String| {
        let base = manifest.rsplit('/').next().unwrap_or(manifest);
        let at_hand = settings.charts.as_ref().map(|folder| folder.join(base).display().to_string());
        let manifest = at_hand.as_ref().unwrap_or(manifest);
        let apply = [
            "apply",
            "--server-side",
            "--filename",
            manifest,
            "--kubeconfig",
            &kubeconfig,
            "--context",
            &cluster.context,
        ];
        Call::new("kubectl", apply).within(limits::MANIFEST_APPLIED)
    };
    let mut calls: Vec<Call> = chart.manifests.iter().map(kubectl).collect();
    let values = settings.workspace.cluster_files().join(format!("charts/{name}.yaml")).display().to_string();
    let release = chart.release.as_deref().unwrap_or(name);
    let namespace = chart.namespace.as_deref().unwrap_or("default");
    let helm = Call::new("helm", ["upgrade", "--install", release]);
    let helm = match (&settings.charts, &chart.repository) {
        (Some(folder), _) => helm.and([folder.join(name).display().to_string()]),
        (None, Some(repository)) => {
            helm.and([chart.chart.as_str(), "--version", &chart.version, "--repo", repository])
        }
        (None, None) => helm.and([chart.chart.as_str(), "--version", &chart.version]),
    };
    let helm = helm
        .and(["--namespace", namespace, "--create-namespace", "--values", &values])
        .and(["--kubeconfig", &kubeconfig, "--kube-context", &cluster.context])
        .and(["--wait", "--timeout", &format!("{}s", limits::CHART_INSTALLED.as_secs())]);
    // helm's own time comes first, so that it can say what it waited for.
    calls.push(helm.within(limits::CHART_INSTALLED + limits::LOOK));
    calls
}

/// What there is of a chart in a cluster.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Nothing.
    Nothing,
    /// Something of another version.
    Other(String),
    /// Everything in its version, and not all of it is available.
    Starting,
    /// Everything in its version, available.
    Ready,
}

/// Looks for the workloads of a chart in its namespace. That nobody could say is an error: what somebody else has installed would be
/// taken for nothing.
async fn look(cluster: &Cluster, chart: &Chart) -> Result<Found, ClusterError> {
    let Some(namespace) = &chart.namespace else { return Ok(Found::Nothing) };
    let client = ready::client(&cluster.kubeconfig, &cluster.context).await?;
    let refused = |error: kube::Error| ClusterError::Refused {
        cluster: cluster.name.clone(),
        answer: format!("what is in namespace {namespace} cannot be listed: {error}"),
    };
    let all = ListParams::default();
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let deployments = deployments.list(&all).await.map_err(refused)?;
    let sets = Api::<StatefulSet>::namespaced(client, namespace).list(&all).await.map_err(refused)?;
    // Of each workload its version, the replicas that it should have, and those that it has.
    let of_deployments = deployments.items.iter().map(|one| {
        let wanted = one.spec.as_ref().and_then(|spec| spec.replicas);
        (&one.metadata.labels, wanted, one.status.as_ref().and_then(|status| status.available_replicas))
    });
    let of_sets = sets.items.iter().map(|one| {
        let wanted = one.spec.as_ref().and_then(|spec| spec.replicas);
        (&one.metadata.labels, wanted, one.status.as_ref().and_then(|status| status.ready_replicas))
    });
    let version = chart.version.trim_start_matches('v');
    let mut found = Found::Nothing;
    for (labels, wanted, has) in of_deployments.chain(of_sets) {
        let label = labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/version"));
        match label.map(|label| label.trim_start_matches('v')) {
            Some(label) if label == version => {}
            other => return Ok(Found::Other(other.unwrap_or("unknown").to_owned())),
        }
        let ready = has.unwrap_or(0) >= wanted.unwrap_or(1);
        found = if ready && found != Found::Starting { Found::Ready } else { Found::Starting };
    }
    Ok(found)
}

/// Another version than the lab's in a cluster that the lab did not make: others may need it, so it stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} {found} is in namespace {namespace} of a cluster that the lab did not make, and {wanted} is needed"
)]
pub struct OtherVersion {
    /// What.
    pub name: &'static str,
    /// Where.
    pub namespace: String,
    /// Which version is there.
    pub found: String,
    /// Which is needed.
    pub wanted: String,
}

/// One install, as it was ordered.
struct Ordered {
    cluster: Cluster,
    lab: String,
    install: Install,
    chart: Chart,
    calls: Vec<Call>,
}

impl Ordered {
    /// Installs what is not there; of a foreign cluster it changes nothing that is.
    async fn done(self) -> Result<Done, StepError> {
        let Self { cluster, install, chart, calls, .. } = &self;
        if cluster.is_foreign() && self.is_there().await? {
            return Ok(Done::Unchanged);
        }
        // On a cluster of the lab's own, helm finds out what could not be asked.
        if !cluster.is_foreign() && matches!(look(cluster, chart).await, Ok(Found::Ready)) {
            return Ok(Done::Unchanged);
        }
        let secret = (*install == Install::SpinOperator).then_some(OPERATOR_SECRET);
        let all = async {
            for call in calls {
                call.run().await?;
            }
            Ok(Done::Changed)
        };
        tokio::select! {
            done = all => done,
            never = hasten(cluster, chart.namespace.as_deref().zip(secret)) => match never {},
        }
    }

    /// Whether a foreign cluster has it. Where it does not, that it is this lab's from now on is noted; what a lab has left
    /// half-made is removed before, and what another one installs just now is waited for.
    async fn is_there(&self) -> Result<bool, StepError> {
        let Self { cluster, lab, install, chart, .. } = self;
        let Some(namespace) = &chart.namespace else { return Ok(false) };
        let foreign = Foreign::reach(cluster).await?;
        loop {
            match look(cluster, chart).await? {
                Found::Ready => return Ok(true),
                Found::Other(found) => {
                    let (name, namespace, wanted) =
                        (install.name(), namespace.clone(), chart.version.clone());
                    return Err(OtherVersion { name, namespace, found, wanted }.into());
                }
                Found::Starting if foreign.is_left(namespace, lab).await? => {
                    let release = chart.release.as_deref().unwrap_or(install.name());
                    foreign::uninstall(cluster, release, namespace).run().await?;
                    return Ok(false);
                }
                Found::Nothing if foreign.claim(*install, namespace, lab).await? => return Ok(false),
                // Another lab is at it. The step's own time ends this.
                Found::Starting | Found::Nothing => tokio::time::sleep(limits::CLUSTER_POLL).await,
            }
        }
    }
}

/// The certificate of the Spin operator's webhooks, as its chart calls it.
const OPERATOR_SECRET: &str = "webhook-server-cert";

/// A pod that mounts a secret which is made after it waits for long: the kubelet looks for it with pauses that double, up to two
/// minutes. So when the secret is there, pods that still wait are replaced by new ones, which find it at once. What fails here
/// only costs time.
async fn hasten(cluster: &Cluster, what: Option<(&str, &str)>) -> std::convert::Infallible {
    if let Some((namespace, secret)) = what
        && let Ok(client) = ready::client(&cluster.kubeconfig, &cluster.context).await
    {
        let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
        while !matches!(secrets.get_opt(secret).await, Ok(Some(_))) {
            tokio::time::sleep(limits::CLUSTER_POLL).await;
        }
        let pods = Api::<Pod>::namespaced(client, namespace);
        let waiting = ListParams::default().fields("status.phase=Pending");
        for pod in pods.list(&waiting).await.map(|list| list.items).unwrap_or_default() {
            // A replacement that was created after the secret is ready soon; there is none yet at this point.
            let name = pod.metadata.name.unwrap_or_default();
            let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        }
    }
    std::future::pending().await
}

/// The call that builds the own node image, if that is wanted.
pub(super) fn node_image(own: &Own) -> Result<Option<Call>, ClusterError> {
    if own.settings.node_image != NodeImage::Own {
        return Ok(None);
    }
    let program = own.program();
    let Some(node) = own.settings.node_version(program)? else { return Ok(None) };
    let sum = |architecture: &'static str| {
        let missing = || ClusterError::NoChecksum { shim: node.shim.clone(), architecture };
        node.sha256.get(architecture).ok_or_else(missing)
    };
    let base = own.settings.node(program)?.base_without_shim;
    let folder = own.settings.workspace.cluster_files().join("node").display().to_string();
    let arguments = [
        format!("BASE={base}"),
        format!("SHIM={}", node.shim),
        format!("SHA256_X86_64={}", sum("x86_64")?),
        format!("SHA256_AARCH64={}", sum("aarch64")?),
    ];
    let arguments = arguments.into_iter().flat_map(|argument| ["--build-arg".to_owned(), argument]);
    let call = Call::new("docker", ["build", "--tag", &node.image]).and(arguments).and([folder]);
    Ok(Some(call.within(own.settings.made_within)))
}
