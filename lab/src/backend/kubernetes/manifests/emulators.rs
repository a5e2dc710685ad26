//! Broker and blob store: Deployments in the lab's namespace, or Services that lead to containers beside the cluster. Either
//! way they are called `servicebus` and `blob` in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Container, PodSpec, PodTemplateSpec, Probe, TCPSocketAction, Volume,
    VolumeMount,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};

use super::{Lab, NoImage, Object, container, port, ready_at, select};
use crate::backend::kubernetes::beside;
use crate::backend::kubernetes::names::{self, ports};
use crate::backend::settings;
use crate::spec::BlobStore;

/// The ConfigMap and the volume with the broker's configuration.
const CONFIG: &str = "servicebus-config";

const CONFIG_AT: &str = "/lab/config";

const BROKER: [(&str, u16, u16); 2] =
    [("amqp", ports::AMQP, ports::AMQP), ("http", ports::BROKER_HTTP, ports::BROKER_HTTP)];

const BLOB: [(&str, u16, u16); 1] = [("http", ports::BLOB, ports::BLOB)];

impl Lab<'_> {
    pub(super) fn emulators(&self) -> Result<Vec<Object>, NoImage> {
        if let Some(alongside) = self.inputs.alongside {
            return Ok(vec![
                self.service("servicebus", None, &BROKER),
                self.slice("servicebus", alongside.servicebus, &BROKER),
                self.service("blob", None, &BLOB),
                self.slice("blob", alongside.blob, &BLOB),
            ]);
        }
        let config = settings::broker_config(self.spec());
        Ok(vec![
            self.broker_config(&config),
            self.service("servicebus", Some("servicebus"), &BROKER),
            self.broker(&config)?,
            self.service("blob", Some("blob"), &BLOB),
            self.blob()?,
        ])
    }

    /// Where a Service without a selector leads.
    fn slice(&self, service: &str, address: IpAddr, ports: &[(&str, u16, u16)]) -> Object {
        let port = |(name, _, target): &(&str, u16, u16)| EndpointPort {
            name: Some((*name).to_owned()),
            port: Some(i32::from(*target)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        };
        let mut metadata = self.named(service);
        let labels = metadata.labels.get_or_insert_default();
        labels.insert("kubernetes.io/service-name".to_owned(), service.to_owned());
        // The controller of such slices: it must not be the one that removes what it did not make.
        labels.insert("endpointslice.kubernetes.io/managed-by".to_owned(), names::MANAGER.to_owned());
        Object::of(&EndpointSlice {
            metadata,
            address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
            endpoints: vec![Endpoint {
                addresses: vec![address.to_string()],
                conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
                ..Endpoint::default()
            }],
            ports: Some(ports.iter().map(port).collect()),
        })
    }

    fn broker_config(&self, config: &str) -> Object {
        Object::of(&ConfigMap {
            metadata: self.named(CONFIG),
            data: Some(BTreeMap::from([("Config.json".to_owned(), config.to_owned())])),
            ..ConfigMap::default()
        })
    }

    fn broker(&self, config: &str) -> Result<Object, NoImage> {
        let container = Container {
            args: Some(beside::broker_arguments()),
            ports: Some(vec![port("amqp", ports::AMQP), port("http", ports::BROKER_HTTP)]),
            readiness_probe: Some(ready_at("/health", ports::BROKER_HTTP)),
            volume_mounts: Some(vec![VolumeMount {
                name: CONFIG.to_owned(),
                mount_path: CONFIG_AT.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]),
            ..container("servicebus", self.image("servicebus-emulator")?)
        };
        let volume = Volume {
            name: CONFIG.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: CONFIG.to_owned(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        };
        let digest: String =
            Sha256::digest(config).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(self.store("servicebus", container, vec![volume], Some(digest)))
    }

    fn blob(&self) -> Result<Object, NoImage> {
        let container = match self.spec().blob {
            BlobStore::Native => Container {
                readiness_probe: Some(ready_at("/_emulator/clock", ports::BLOB)),
                ..container("blob", self.image("blob-emulator")?)
            },
            BlobStore::Azurite => Container {
                // There is no page that answers 200 to everybody.
                readiness_probe: Some(Probe {
                    tcp_socket: Some(TCPSocketAction {
                        port: IntOrString::Int(i32::from(ports::BLOB)),
                        ..TCPSocketAction::default()
                    }),
                    period_seconds: Some(1),
                    ..Probe::default()
                }),
                ..container("blob", self.image("azurite")?)
            },
        };
        let container = Container {
            args: Some(beside::blob_arguments(self.spec().blob)),
            ports: Some(vec![port("http", ports::BLOB)]),
            ..container
        };
        Ok(self.store("blob", container, Vec::new(), None))
    }

    /// One that holds its state in memory: there is never a second one beside it.
    fn store(
        &self,
        name: &str,
        container: Container,
        volumes: Vec<Volume>,
        config: Option<String>,
    ) -> Object {
        let mut pods = self.pods(name);
        pods.annotations = config.map(|digest| BTreeMap::from([(names::CONFIG.to_owned(), digest)]));
        Object::of(&Deployment {
            metadata: self.named(name),
            spec: Some(DeploymentSpec {
                replicas: Some(1),
                selector: select(name),
                strategy: Some(DeploymentStrategy {
                    type_: Some("Recreate".to_owned()),
                    ..DeploymentStrategy::default()
                }),
                template: PodTemplateSpec {
                    metadata: Some(pods),
                    spec: Some(PodSpec {
                        containers: vec![container],
                        volumes: (!volumes.is_empty()).then_some(volumes),
                        node_selector: self.node_selector(false),
                        automount_service_account_token: Some(false),
                        enable_service_links: Some(false),
                        ..PodSpec::default()
                    }),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        })
    }
}
