//! Whether a cluster can take pods: its nodes are Ready, names are resolved, and the default service account is there. k3d and
//! kind look at log lines instead, which say none of this.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node as ApiNode, ServiceAccount};
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::time::Instant;

use super::limits;
use super::{Cluster, ClusterError, Node};

/// Connects to a cluster.
pub(super) async fn client(kubeconfig: &Path, context: &str) -> Result<Client, ClusterError> {
    let failed = |source| ClusterError::NoContext {
        context: Some(context.to_owned()),
        source: Some(Box::new(source)),
    };
    let file = Kubeconfig::read_from(kubeconfig).map_err(failed)?;
    let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(file, &options).await.map_err(failed)?;
    config.connect_timeout = Some(limits::API_ANSWER);
    config.read_timeout = Some(limits::API_ANSWER);
    Client::try_from(config)
        .map_err(|error| ClusterError::Refused { cluster: context.to_owned(), answer: error.to_string() })
}

/// Waits until a cluster can take pods, and gives its nodes.
pub(super) async fn wait(
    cluster: &Cluster,
    kubeconfig: &Path,
    nodes: usize,
    within: Duration,
) -> Result<Vec<Node>, ClusterError> {
    let client = client(kubeconfig, &cluster.context).await?;
    let deadline = Instant::now() + within;
    loop {
        let last = match look(&client, nodes).await {
            Ok(found) => return Ok(found),
            Err(Missing::Refused(answer)) => {
                return Err(ClusterError::Refused { cluster: cluster.name.clone(), answer });
            }
            Err(Missing::NotYet(last)) => last,
        };
        if Instant::now() >= deadline {
            return Err(ClusterError::NotReady {
                cluster: cluster.name.clone(),
                seconds: within.as_secs(),
                last,
            });
        }
        tokio::time::sleep(limits::CLUSTER_POLL).await;
    }
}

/// What a cluster lacks.
enum Missing {
    /// It may come.
    NotYet(String),
    /// It will not come by waiting.
    Refused(String),
}

impl From<kube::Error> for Missing {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if matches!(status.code, 401 | 403) => Self::Refused(status.message),
            kube::Error::Api(status) => Self::NotYet(status.message),
            other => Self::NotYet(other.to_string()),
        }
    }
}

async fn look(client: &Client, count: usize) -> Result<Vec<Node>, Missing> {
    let nodes = Api::<ApiNode>::all(client.clone()).list(&ListParams::default()).await?.items;
    let not_ready: Vec<&str> = nodes
        .iter()
        .filter(|node| !is_ready(node))
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    if nodes.len() < count || !not_ready.is_empty() {
        let not_ready = if not_ready.is_empty() { "none".to_owned() } else { not_ready.join(", ") };
        return Err(Missing::NotYet(format!("{} of {count} nodes; not ready: {not_ready}", nodes.len())));
    }
    let system = Api::<Deployment>::namespaced(client.clone(), "kube-system");
    let dns = system.list(&ListParams::default().labels("k8s-app=kube-dns")).await?.items;
    let available = |deployment: &Deployment| {
        deployment
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .is_some_and(|replicas| replicas > 0)
    };
    if !dns.iter().any(available) {
        return Err(Missing::NotYet("no replica of CoreDNS is available".to_owned()));
    }
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
    if accounts.get_opt("default").await?.is_none() {
        return Err(Missing::NotYet("there is no default service account".to_owned()));
    }
    Ok(nodes.iter().map(facts).collect())
}

fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn facts(node: &ApiNode) -> Node {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let of = |field: fn(&k8s_openapi::api::core::v1::NodeSystemInfo) -> &String| {
        info.map(field).cloned().unwrap_or_default()
    };
    Node {
        name: node.metadata.name.clone().unwrap_or_default(),
        architecture: of(|info| &info.architecture),
        container_runtime: of(|info| &info.container_runtime_version),
        kubelet: of(|info| &info.kubelet_version),
        pool: node.metadata.labels.as_ref().and_then(|labels| labels.get(super::config::POOL)).cloned(),
    }
}
