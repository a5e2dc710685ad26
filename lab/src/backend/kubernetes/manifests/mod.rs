//! A lab as objects of a cluster: pure functions from a [`LabSpec`], the references of its images and a few facts of the
//! cluster to typed objects, in the order in which they are applied. No I/O.

mod apps;
mod dapr;
mod emulators;
mod foundation;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, Probe, ResourceRequirements, SecurityContext, Service,
    ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

pub use foundation::own_namespace;

use super::names::{self, PART};
use super::object::Object;
use crate::spec::{LabSpec, Pools, Role};

/// The images of a lab by the name of what they hold, `servicebus-emulator`: what a manifest names, pinned by digest.
pub type Images = BTreeMap<String, String>;

/// What Dapr on the cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaprFacts {
    /// The image of daprd.
    pub image: String,
    /// The certificates that its control plane is known by, PEM.
    pub trust_anchors: String,
}

/// Where containers beside the cluster answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alongside {
    /// The broker.
    pub servicebus: IpAddr,
    /// The blob store.
    pub blob: IpAddr,
}

/// Everything that the objects depend on.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The lab.
    pub spec: &'a LabSpec,
    /// Which checkout it is of.
    pub workspace: String,
    /// Its images.
    pub images: &'a Images,
    /// Dapr's image and trust.
    pub dapr: DaprFacts,
    /// Dapr's components, as they are in the files that every back end uses.
    pub components: Vec<Component>,
    /// Where the emulators are, if they are beside the cluster.
    pub alongside: Option<Alongside>,
}

/// One component of Dapr, and the file that it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// The file's name.
    pub file: String,
    /// The component.
    pub body: Value,
}

/// The objects of a lab, in the order in which they are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifests {
    /// What everything else stands on: namespace, rights, secrets, components, and the emulators, which must be ready
    /// before Dapr starts: it makes its blob containers while it does.
    pub foundation: Vec<Object>,
    /// Applications and Dapr.
    pub workload: Vec<Object>,
}

impl Manifests {
    /// Everything, in order.
    pub fn all(&self) -> impl Iterator<Item = &Object> {
        self.foundation.iter().chain(&self.workload)
    }
}

/// The objects of a lab.
///
/// # Errors
/// Names what has no image.
pub fn manifests(inputs: &Inputs<'_>) -> Result<Manifests, NoImage> {
    let lab = Lab { inputs, namespace: names::namespace(&inputs.spec.name) };
    let mut foundation = lab.foundation();
    foundation.extend(lab.emulators()?);
    let mut workload = Vec::new();
    for role in Role::ALL {
        workload.extend(lab.app(*role)?);
    }
    workload.extend(lab.daprs());
    Ok(Manifests { foundation, workload })
}

/// Something that a lab runs has no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no image of {of}")]
pub struct NoImage {
    /// What it is.
    pub of: &'static str,
}

/// What all objects of one lab have in common.
struct Lab<'a> {
    inputs: &'a Inputs<'a>,
    namespace: String,
}

impl Lab<'_> {
    fn spec(&self) -> &LabSpec {
        self.inputs.spec
    }

    fn image(&self, of: &'static str) -> Result<String, NoImage> {
        self.inputs.images.get(of).cloned().ok_or(NoImage { of })
    }

    /// The metadata of an object in the lab's namespace.
    fn named(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta { namespace: Some(self.namespace.clone()), ..self.global(name) }
    }

    /// The metadata of an object of the cluster.
    fn global(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            labels: Some(names::labels(&self.spec().name)),
            ..ObjectMeta::default()
        }
    }

    /// The metadata of the pods of a part.
    fn pods(&self, part: &str) -> ObjectMeta {
        let mut labels = names::labels(&self.spec().name);
        labels.insert(PART.to_owned(), part.to_owned());
        ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }
    }

    /// The nodes on which a part runs; only in mixed pools are there two kinds.
    fn node_selector(&self, wasm: bool) -> Option<BTreeMap<String, String>> {
        let pool = if wasm { "wasm" } else { "classic" };
        let mixed = self.spec().cluster.pools == Pools::Mixed;
        mixed.then(|| BTreeMap::from([(names::POOL.to_owned(), pool.to_owned())]))
    }

    /// A Service in front of the pods of a part; without a selector somebody else says where it leads.
    fn service(&self, name: &str, part: Option<&str>, ports: &[(&str, u16, u16)]) -> Object {
        let port = |(name, port, target): &(&str, u16, u16)| ServicePort {
            name: Some((*name).to_owned()),
            port: i32::from(*port),
            target_port: Some(IntOrString::Int(i32::from(*target))),
            protocol: Some("TCP".to_owned()),
            ..ServicePort::default()
        };
        Object::of(&Service {
            metadata: self.named(name),
            spec: Some(ServiceSpec {
                selector: part.map(|part| BTreeMap::from([(PART.to_owned(), part.to_owned())])),
                ports: Some(ports.iter().map(port).collect()),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        })
    }
}

fn select(part: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(BTreeMap::from([(PART.to_owned(), part.to_owned())])),
        ..LabelSelector::default()
    }
}

fn texts<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Little is asked for, so that many replicas find room on two cores; there is no limit, since a Wasm application that is
/// compiled at its start would be throttled.
fn requests() -> ResourceRequirements {
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some(BTreeMap::from([quantity("cpu", "20m"), quantity("memory", "32Mi")])),
        ..ResourceRequirements::default()
    }
}

fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(port),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// Asked every second: the answer is cheap, and a replica is to count as soon as it serves.
fn ready_at(path: &str, port: u16) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(i32::from(port)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(1),
        timeout_seconds: Some(5),
        failure_threshold: Some(5),
        ..Probe::default()
    }
}

/// A container of ours or of Dapr's: no root, no more rights than it starts with.
fn container(name: &str, image: String) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        resources: Some(requests()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}
