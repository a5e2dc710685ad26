//! What a lab has installed on a cluster that it did not make. It is noted on the cluster itself, on the namespace of each chart,
//! before helm begins: so every lab knows of it, also after one that was killed half-way, and the last one that goes takes it along.
//! What a lab found there has no note and is never removed. Of labs that start at the same moment one gets the note, and the others
//! wait for what it installs.

use std::fmt::Display;
use std::time::Instant;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;

use super::charts::Install;
use super::{Call, Cluster, ClusterError, LAB, MANAGER, Settings, limits, ready};

/// The annotation of a chart's namespace: what a lab has made, in words.
const INSTALLED: &str = "spin-lab/installed";

/// The annotation beside it: which lab installs it. Each lab writes it under a name of its own, so that the API server refuses the
/// second of two that write at once.
const INSTALLER: &str = "spin-lab/installer";

/// The release, and nothing else: namespace and definitions were there.
const RELEASE: &str = "release";

/// The namespace, too.
const NAMESPACE: &str = "namespace";

/// The definitions of the chart's custom objects, too.
const DEFINITIONS: &str = "definitions";

/// A foreign cluster, and what of it a lab speaks to.
pub(super) struct Foreign {
    name: String,
    namespaces: Api<Namespace>,
    client: Client,
}

impl Foreign {
    pub(super) async fn reach(cluster: &Cluster) -> Result<Self, ClusterError> {
        let client = ready::client(&cluster.kubeconfig, &cluster.context).await?;
        Ok(Self { name: cluster.name.clone(), namespaces: Api::all(client.clone()), client })
    }

    fn refused(&self, error: impl Display) -> ClusterError {
        ClusterError::Refused { cluster: self.name.clone(), answer: error.to_string() }
    }

    /// What is noted of a chart; `None` where no lab has installed it.
    async fn noted(&self, namespace: &str) -> Result<Option<String>, ClusterError> {
        let found = self.namespaces.get_opt(namespace).await.map_err(|error| self.refused(error))?;
        let annotations = found.and_then(|found| found.metadata.annotations).unwrap_or_default();
        Ok(annotations.get(INSTALLED).cloned())
    }

    /// Whether any lab has a namespace here.
    async fn is_used(&self, but_by: Option<&str>) -> Result<bool, ClusterError> {
        let labs = self.namespaces.list(&ListParams::default().labels(LAB)).await;
        let labs = labs.map_err(|error| self.refused(error))?;
        let of_another = |namespace: &Namespace| {
            let lab = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(LAB));
            lab.map(String::as_str) != but_by
        };
        Ok(labs.items.iter().any(of_another))
    }

    /// Notes that a chart, of which nothing is there, is installed by this lab from now on, and tells whether that may be: not while
    /// another lab that is here has noted itself. What a note says of what was found stays: it was written first.
    pub(super) async fn claim(
        &self,
        install: Install,
        namespace: &str,
        lab: &str,
    ) -> Result<bool, ClusterError> {
        let found = self.namespaces.get_opt(namespace).await.map_err(|error| self.refused(error))?;
        let annotations =
            found.as_ref().and_then(|found| found.metadata.annotations.clone()).unwrap_or_default();
        let installer = annotations.get(INSTALLER).filter(|installer| installer.as_str() != lab);
        if let Some(installer) = installer
            && self.is_here(installer).await?
        {
            return Ok(false);
        }
        let words = match annotations.get(INSTALLED) {
            Some(words) => words.clone(),
            None => {
                let mut words = vec![RELEASE];
                words.extend(found.is_none().then_some(NAMESPACE));
                words.extend(self.definitions(install).await?.is_empty().then_some(DEFINITIONS));
                words.join(" ")
            }
        };
        let note = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "annotations": { INSTALLED: words, INSTALLER: lab } },
        });
        let writer = PatchParams::apply(&format!("{MANAGER}-{lab}"));
        // The note of a lab that is gone is in nobody's way.
        let writer = if annotations.contains_key(INSTALLER) { writer.force() } else { writer };
        match self.namespaces.patch(namespace, &writer, &Patch::Apply(note)).await {
            Err(Error::Api(status)) if status.code == 409 => Ok(false),
            answer => answer.map(|_| true).map_err(|error| self.refused(error)),
        }
    }

    /// Whether a lab has a namespace here.
    async fn is_here(&self, lab: &str) -> Result<bool, ClusterError> {
        let labs = self.namespaces.list(&ListParams::default().labels(&format!("{LAB}={lab}"))).await;
        Ok(!labs.map_err(|error| self.refused(error))?.items.is_empty())
    }

    /// Whether what is there of a chart was left half-made: a lab has begun it, and no other lab is here that could be at it.
    pub(super) async fn is_left(&self, namespace: &str, lab: &str) -> Result<bool, ClusterError> {
        Ok(self.noted(namespace).await?.is_some() && !self.is_used(Some(lab)).await?)
    }

    /// The definitions of a chart's custom objects.
    async fn definitions(&self, install: Install) -> Result<Vec<CustomResourceDefinition>, ClusterError> {
        let all: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let all = all.list(&ListParams::default()).await.map_err(|error| self.refused(error))?;
        let own = |one: &CustomResourceDefinition| install.groups().contains(&one.spec.group.as_str());
        Ok(all.items.into_iter().filter(own).collect())
    }

    /// Removes what was noted of a chart beside its release, the note last.
    async fn forget(&self, install: Install, namespace: &str, note: &str) -> Result<(), ClusterError> {
        let made = |word: &str| note.split(' ').any(|made| made == word);
        let at_once = DeleteParams::default();
        if made(DEFINITIONS) {
            let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
            for definition in self.definitions(install).await? {
                let name = definition.metadata.name.clone().unwrap_or_default();
                gone(definitions.delete(&name, &at_once).await).map_err(|error| self.refused(error))?;
            }
        }
        if made(NAMESPACE) {
            gone(self.namespaces.delete(namespace, &at_once).await).map_err(|error| self.refused(error))?;
            // The next lab could install nothing in one that is going.
            let within = Instant::now() + limits::CHART_REMOVED;
            while self.noted(namespace).await?.is_some() {
                if Instant::now() > within {
                    return Err(self.refused(format_args!("namespace {namespace} does not go")));
                }
                tokio::time::sleep(limits::CLUSTER_POLL).await;
            }
        } else {
            let nothing =
                Patch::Merge(json!({ "metadata": { "annotations": { INSTALLED: null, INSTALLER: null } } }));
            let patched = self.namespaces.patch(namespace, &PatchParams::default(), &nothing).await;
            patched.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Whether somebody has made objects of a chart's kinds: they need what the chart installs, its definitions and, as keys of a
    /// certificate authority do, what is in its namespace. What helm has made is the charts' own.
    async fn is_needed(&self, install: Install) -> Result<bool, ClusterError> {
        for definition in self.definitions(install).await? {
            let objects = self.objects(&definition).await?;
            let of_helm = |object: &DynamicObject| {
                let annotations = object.metadata.annotations.as_ref();
                annotations.is_some_and(|annotations| annotations.contains_key("meta.helm.sh/release-name"))
            };
            // What another object has made goes with that one.
            let owned = |object: &DynamicObject| object.metadata.owner_references.is_some();
            if objects.iter().any(|object| !of_helm(object) && !owned(object)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn objects(
        &self,
        definition: &CustomResourceDefinition,
    ) -> Result<Vec<DynamicObject>, ClusterError> {
        let spec = &definition.spec;
        let Some(version) = spec.versions.iter().find(|version| version.served) else {
            return Ok(Vec::new());
        };
        let resource = ApiResource {
            group: spec.group.clone(),
            version: version.name.clone(),
            api_version: format!("{}/{}", spec.group, version.name),
            kind: spec.names.kind.clone(),
            plural: spec.names.plural.clone(),
        };
        let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let all = objects.list(&ListParams::default().limit(limits::OBJECTS_LOOKED_AT)).await;
        Ok(all.map_err(|error| self.refused(error))?.items)
    }
}

/// An answer to a deletion; that there is nothing is as good.
fn gone<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// The call that removes a chart's release, and waits until what it was made of is gone.
pub(super) fn uninstall(cluster: &Cluster, release: &str, namespace: &str) -> Call {
    let kubeconfig = cluster.kubeconfig.display().to_string();
    Call::new("helm", ["uninstall", release, "--namespace", namespace, "--ignore-not-found"])
        .and(["--kubeconfig", &kubeconfig, "--kube-context", &cluster.context])
        .and(["--wait", "--timeout", &format!("{}s", limits::CHART_REMOVED.as_secs())])
        .within(limits::CHART_REMOVED + limits::LOOK)
}

/// Removes the charts that labs have installed on a cluster that none has made, unless there is a lab on it, or somebody has made
/// objects of a chart's kinds. Gives their names.
///
/// # Errors
/// Fails where the cluster refuses or helm fails; what is left then keeps its note.
pub async fn remove(settings: &Settings, cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let foreign = Foreign::reach(cluster).await?;
    let mut removed = Vec::new();
    // What needs another goes before it.
    for install in [Install::SpinOperator, Install::CertManager, Install::Dapr] {
        let Some(chart) = settings.versions.charts.get(install.name()) else { continue };
        let Some(namespace) = &chart.namespace else { continue };
        let Some(note) = foreign.noted(namespace).await? else { continue };
        // Each time anew: a removal takes its time, and another lab may have come.
        if foreign.is_used(None).await? {
            return Ok(removed);
        }
        if foreign.is_needed(install).await? {
            tracing::info!(
                chart = install.name(),
                "stays: there are objects of its kinds that no lab has made"
            );
            continue;
        }
        let release = chart.release.as_deref().unwrap_or(install.name());
        uninstall(cluster, release, namespace).run().await?;
        foreign.forget(install, namespace, &note).await?;
        removed.push(install.name().to_owned());
    }
    Ok(removed)
}
