//! What has to be asked before a lab can be described: the cluster's Dapr and nodes, the images, the component files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Client;
use kube::api::{Api, ListParams};
use sha2::{Digest, Sha256};

use super::apply::answered;
use super::manifests::{Component, DaprFacts, Images};
use super::names::DAPR_SYSTEM;
use super::pods::Replica;
use crate::backend::{ApiError, LabError, with_causes};
use crate::build::{Arch, Artefact};
use crate::cluster::installs::Done;
use crate::cluster::{self, Cluster, Registry};
use crate::image::{self, Image, Plan, SpinImage};
use crate::paths::Workspace;
use crate::spec::{LabSpec, Role, Stack};

/// What tells this checkout's labs from those of another.
pub fn workspace_id(workspace: &Workspace) -> String {
    let digest = Sha256::digest(workspace.root().display().to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The image of daprd that the cluster's injector would inject, so that there is one Dapr, and what its control plane is known by.
///
/// # Errors
/// Says that there is no Dapr on the cluster.
pub async fn dapr(client: &Client) -> Result<DaprFacts, LabError> {
    let missing = |cause: String| -> LabError {
        ApiError {
            operation: "find Dapr's control plane".to_owned(),
            object: format!("in namespace {DAPR_SYSTEM}"),
            cause,
            hint: Some(
                "helm upgrade --install dapr dapr/dapr --namespace dapr-system --create-namespace --wait"
                    .to_owned(),
            ),
            unreachable: false,
        }
        .into()
    };
    let injector = "dapr-sidecar-injector";
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), DAPR_SYSTEM);
    let found = answered("read", injector, deployments.get_opt(injector)).await?;
    let found = found.ok_or_else(|| missing(format!("there is no Deployment {injector}")))?;
    let pod = found.spec.and_then(|spec| spec.template.spec).unwrap_or_default();
    let mut env = pod.containers.into_iter().flat_map(|container| container.env.unwrap_or_default());
    let image = env.find(|variable| variable.name == "SIDECAR_IMAGE").and_then(|variable| variable.value);
    let image = image.ok_or_else(|| missing(format!("{injector} names no SIDECAR_IMAGE")))?;
    let bundles: Api<ConfigMap> = Api::namespaced(client.clone(), DAPR_SYSTEM);
    let name = "dapr-trust-bundle";
    let bundle = answered("read", name, bundles.get_opt(name)).await?;
    let anchors = bundle.and_then(|bundle| bundle.data).and_then(|mut data| data.remove("ca.crt"));
    let trust_anchors =
        anchors.ok_or_else(|| missing(format!("there is no ConfigMap {name} with ca.crt")))?;
    Ok(DaprFacts { image, trust_anchors })
}

/// How many nodes take pods.
///
/// # Errors
/// Fails where the cluster does not tell.
pub async fn nodes(client: &Client) -> Result<usize, LabError> {
    let api: Api<Node> = Api::all(client.clone());
    let nodes = answered("list", "nodes", api.list(&ListParams::default())).await?;
    let takes_pods = |node: &&Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        !taints.iter().any(|taint| taint.effect != "PreferNoSchedule")
    };
    Ok(nodes.items.iter().filter(takes_pods).count())
}

/// The version in an image's reference: its tag.
pub fn version_of(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split('@').next().unwrap_or(name);
    name.split_once(':').map_or("", |(_, tag)| tag).to_owned()
}

/// Dapr's components, from the files that every back end uses.
///
/// # Errors
/// Names the file that cannot be read.
pub fn components(workspace: &Workspace) -> Result<Vec<Component>, LabError> {
    let folder = workspace.components();
    let failed =
        |path: &std::path::Path, source| LabError::File { operation: "read", path: path.to_owned(), source };
    let entries = std::fs::read_dir(&folder).map_err(|source| failed(&folder, source))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut components = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|source| failed(&file, source))?;
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text)
            .map_err(|error| failed(&file, std::io::Error::other(error.to_string())))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        components.extend(documents.into_iter().map(|body| Component { file: name.clone(), body }));
    }
    Ok(components)
}

/// The Wasm files that a lab's nodes have to run.
pub fn wasm_files(workspace: &Workspace, spec: &LabSpec) -> BTreeSet<PathBuf> {
    let artefact = |role: &Role| match spec.stacks.of(*role) {
        Stack::SpinRust => Some(Artefact::SpinRust),
        Stack::SpinTs => Some(Artefact::SpinTs),
        Stack::WarpRust | Stack::ExpressTs => None,
    };
    let wasm = Role::ALL.iter().filter_map(artefact);
    wasm.map(|artefact| workspace.artefact(artefact.name())).collect()
}

/// Which images a lab needs. Spin applications go as OCI artefacts, which the shim compiles once for each node; see [`spin_image`].
pub fn image_plan(spec: &LabSpec) -> Plan {
    Plan::of(spec, SpinImage::Artefact, &[Arch::HOST])
}

/// How Spin applications come to a cluster's nodes: where one of them cannot pull an artefact, as images from scratch.
fn spin_image(nodes: &[cluster::Node]) -> SpinImage {
    match nodes.iter().find(|node| !node.pulls_artefacts()) {
        None => SpinImage::Artefact,
        Some(node) => {
            tracing::info!(
                node = node.name,
                runtime = node.container_runtime,
                "the node cannot pull OCI artefacts: Spin applications go as images from scratch"
            );
            SpinImage::Scratch
        }
    }
}

/// What an image is called among those of a lab.
fn name_of(image: &Image) -> String {
    let name = image.repository.rsplit('/').next().unwrap_or_default();
    name.trim_end_matches("-scratch").to_owned()
}

/// A lab's images, where its cluster pulls them from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InRegistry {
    /// What manifests name.
    pub references: Images,
    /// What a node keeps of each, by the same names.
    pub bytes: BTreeMap<String, u64>,
}

/// Assembles a lab's images, brings those to the cluster's registry that are not there, and tells whether anything was sent.
///
/// # Errors
/// Says which image cannot be made or pushed, or that nobody named a registry.
pub async fn images(
    workspace: &Workspace,
    spec: &LabSpec,
    cluster: &Cluster,
) -> Result<(InRegistry, Done), LabError> {
    let failed = |cause: String, hint: Option<String>| -> LabError {
        ApiError {
            operation: "bring the lab's images to the cluster".to_owned(),
            object: String::new(),
            cause,
            hint,
            unreachable: false,
        }
        .into()
    };
    let none = || {
        let hint = "LAB_REGISTRY=PUSH_HOST:PORT[=PULL_HOST:PORT]: where this machine pushes, and what the nodes call it";
        failed("nobody named a registry that the cluster's nodes pull from".to_owned(), Some(hint.to_owned()))
    };
    let registry = cluster.registry.as_ref().ok_or_else(none)?;
    let plan = Plan::of(spec, spin_image(&cluster.nodes), &[Arch::HOST]);
    let root = workspace.clone();
    // Reading, hashing and packing: seconds, once in a while.
    let assembled = tokio::task::spawn_blocking(move || plan.assemble(&root)).await;
    let assembled = assembled.map_err(|error| failed(error.to_string(), None))?;
    let images = assembled.map_err(|error| failed(with_causes(&error), error.hint()))?;
    let pushes = images.iter().map(|image| image::push(&registry.push_host, image));
    let mut done = Done::Unchanged;
    for pushed in futures_util::future::join_all(pushes).await {
        let pushed = pushed.map_err(|error| failed(with_causes(&error), Some(error.hint())))?;
        if pushed.sent > 0 {
            done = Done::Changed;
        }
    }
    let references = images.iter().map(|image| (name_of(image), image.reference(&registry.pull_host)));
    let bytes = images.iter().map(|image| (name_of(image), image.bytes()));
    Ok((InRegistry { references: references.collect(), bytes: bytes.collect() }, done))
}

/// The registry that `LAB_REGISTRY` names: where this machine pushes and, after `=`, what the nodes call it.
pub fn registry() -> Option<Registry> {
    let named = std::env::var("LAB_REGISTRY").ok().filter(|named| !named.is_empty())?;
    let (push, pull) = named.split_once('=').unwrap_or((&named, &named));
    Some(Registry { push_host: push.to_owned(), pull_host: pull.to_owned() })
}

/// Whether the nodes run the very images that the manifests name: what a pull reports is not what is there.
///
/// # Errors
/// Names the replica that runs another.
pub fn check_images(replicas: &[Replica], images: &Images) -> Result<(), LabError> {
    for (name, reference) in images {
        let Some((repository, digest)) = reference.split_once('@') else { continue };
        for replica in replicas {
            let same_repository = replica.image_id.contains(repository);
            if same_repository && !replica.image_id.ends_with(digest) {
                return Err(LabError::Refused(format!(
                    "{} runs {} and not {reference}, the image of {name}",
                    replica.name, replica.image_id,
                )));
            }
        }
    }
    Ok(())
}
