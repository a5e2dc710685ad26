//! What `lab up` would do on a cluster, in order: the cluster, the images, every manifest as YAML. It asks no engine and no cluster.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::manifests::{self, Alongside, DaprFacts, Images, Inputs, NoImage};
use super::names;
use super::object::Object;
use super::{beside, facts, ground};
use crate::backend::LabError;
use crate::cluster::charts::{self, Install};
use crate::cluster::installs::{Graph, GraphError};
use crate::cluster::{Cluster, Registry};
use crate::cluster::{ClusterError, versions::VersionsError};
use crate::image::{ImageError, Part};
use crate::paths::Workspace;
use crate::spec::{Emulators, LabSpec, Role, SpinShape};

/// Why a dry run could not tell everything.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The versions.
    #[error(transparent)]
    Versions(#[from] VersionsError),
    /// The order of the installs.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A manifest without an image.
    #[error(transparent)]
    NoImage(#[from] NoImage),
    /// A manifest that is no YAML.
    #[error("failed to write {object} as YAML")]
    Yaml {
        /// Which one.
        object: String,
        /// Why.
        #[source]
        source: serde_saphyr::ser::Error,
    },
}

/// What a dry run has in place of facts that only a cluster knows.
const UNKNOWN_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Everything that `lab up` would do, as text: commands with comments, then YAML.
///
/// # Errors
/// Fails where a file of the workspace is not as it must be.
pub fn dry_run(workspace: &Workspace, spec: &LabSpec) -> Result<String, DryRunError> {
    let mut text = String::new();
    let cluster = cluster_part(workspace, spec, &mut text)?;
    let registry = cluster.as_ref().and_then(|cluster| cluster.registry.clone());
    let registry = registry.or_else(facts::registry).unwrap_or_else(|| Registry {
        push_host: "registry.example:5000".to_owned(),
        pull_host: "registry.example:5000".to_owned(),
    });
    let plan = facts::image_plan(spec);
    let mut images = Images::new();
    for part in &plan.parts {
        let name = part.to_string();
        let name = name.trim_end_matches("-scratch");
        let digest = digest_of(workspace, spec, *part);
        let _ = writeln!(
            text,
            "# image {}: assembled from dist/, pushed to {}/{}@{}",
            name,
            registry.push_host,
            part.repository(),
            digest.as_deref().unwrap_or("(its digest is known when dist/ is built)"),
        );
        let digest = digest.unwrap_or_else(|| UNKNOWN_DIGEST.to_owned());
        images.insert(name.to_owned(), format!("{}/{}@{digest}", registry.pull_host, part.repository()));
    }
    let versions = crate::cluster::versions::Versions::read(workspace)?;
    let dapr = versions.charts.get(Install::Dapr.name()).map_or("", |chart| chart.version.as_str());
    let alongside = (spec.cluster.emulators == Emulators::Alongside).then(|| Alongside {
        servicebus: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        blob: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    });
    if let (true, Some(Cluster { name, network: Some(network), label, .. })) = (alongside.is_some(), &cluster)
    {
        for (emulator, arguments) in
            [("servicebus", beside::broker_arguments()), ("blob", beside::blob_arguments(spec.blob))]
        {
            let arguments = arguments.join(" ");
            let _ = writeln!(
                text,
                "# container {name}-{emulator} on network {network}, label {label}: {arguments}"
            );
        }
        text.push_str("# waits until both answer; their addresses below are placeholders\n");
    }
    let inputs = Inputs {
        spec,
        workspace: facts::workspace_id(workspace),
        images: &images,
        dapr: DaprFacts {
            image: format!("ghcr.io/dapr/daprd:{dapr}"),
            trust_anchors: "(read from ConfigMap dapr-system/dapr-trust-bundle)\n".to_owned(),
        },
        components: facts::components(workspace)?,
        alongside,
    };
    let manifests = manifests::manifests(&inputs)?;
    let _ =
        writeln!(text, "# server-side apply by {}, then wait until the emulators are ready", names::MANAGER);
    yaml(&manifests.foundation, &mut text)?;
    text.push_str("---\n# server-side apply, then wait until every pod is ready\n");
    yaml(&manifests.workload, &mut text)?;
    Ok(text)
}

/// The digest of an image, where what it is made of has been built.
fn digest_of(workspace: &Workspace, spec: &LabSpec, part: Part) -> Option<String> {
    let mut plan = facts::image_plan(spec);
    plan.parts.retain(|other| *other == part);
    let images = plan.assemble(workspace).ok()?;
    Some(images.first()?.digest().as_str().to_owned())
}

/// The cluster and what is installed on it; `None` where there is no current context.
fn cluster_part(
    workspace: &Workspace,
    spec: &LabSpec,
    text: &mut String,
) -> Result<Option<Cluster>, DryRunError> {
    let settings = ground::settings_of(workspace, spec)?;
    let Ok(provider) = ground::provider(&settings, spec) else {
        text.push_str("# the current kubeconfig context; there is none here\n");
        return Ok(None);
    };
    for step in provider.plan()? {
        let _ = writeln!(text, "{step}");
    }
    let cluster = provider.planned();
    let installs = installs(spec);
    let graph = Graph::new(charts::steps(&settings, &cluster, &installs, &[])?)?;
    for (name, needs, planned) in graph.plan() {
        let after = if needs.is_empty() { String::new() } else { format!(", after {}", needs.join(", ")) };
        let _ = writeln!(text, "# install {name}{after}");
        for step in planned {
            let _ = writeln!(text, "{step}");
        }
    }
    Ok(Some(cluster))
}

/// What a lab needs of a cluster beside its nodes.
pub fn installs(spec: &LabSpec) -> Vec<Install> {
    let operator = spec.cluster.spin_shape == SpinShape::Spinapp
        && Role::ALL.iter().any(|role| names::is_wasm(spec.stacks.of(*role)));
    match operator {
        true => vec![Install::Dapr, Install::CertManager, Install::SpinOperator],
        false => vec![Install::Dapr],
    }
}

/// Objects as documents of YAML.
fn yaml(objects: &[Object], text: &mut String) -> Result<(), DryRunError> {
    for object in objects {
        let document = serde_saphyr::to_string(&object.body);
        let document = document.map_err(|source| DryRunError::Yaml { object: object.title(), source })?;
        let _ = write!(text, "---\n{document}");
        if !document.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(())
}
