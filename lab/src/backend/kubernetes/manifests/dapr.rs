//! Dapr in pods of its own, and beside a Wasm application.
//!
//! In pods of its own it is what Dapr Shared's chart makes, as typed objects: the chart's arguments with the addresses that
//! Dapr 1.18 answers on, the name of the control plane's namespace as 1.18 reads it, no copy of the trust made by every replica at
//! once, and no liveness probe that kills a Dapr whose application is away.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapKeySelector, ConfigMapVolumeSource, Container, EnvVar, EnvVarSource, ObjectFieldSelector,
    PodSpec, PodTemplateSpec, ProjectedVolumeSource, SecretVolumeSource, ServiceAccountTokenProjection,
    Volume, VolumeMount, VolumeProjection,
};

use super::foundation::{
    COMPONENT_FILES, COMPONENTS_AT, CONFIGURATION_AT, CONFIGURATION_FILE, SECRET_FILE, SECRETS_AT, TRUST,
};
use super::{Lab, Object, container, port, ready_at, select, texts};
use crate::backend::kubernetes::names::{self, DAPR_SYSTEM, DAPRD, DaprPlace, ports};
use crate::backend::settings;
use crate::spec::{DaprStrategy, Role, Topology, Tracing};

/// The volume with the token that Dapr's certificate authority takes.
const TOKEN: &str = "dapr-identity-token";

impl Lab<'_> {
    /// Every Dapr that is a pod of its own, with its Service.
    pub(super) fn daprs(&self) -> Vec<Object> {
        let mut objects = vec![self.dapr_pods("lab-dapr", "lab", None, Some(1))];
        for role in Role::ALL.iter().copied() {
            if names::dapr_place(self.spec(), role) != DaprPlace::Own {
                continue;
            }
            let name = format!("{role}-dapr");
            let everywhere = self.spec().topology == Topology::Shared
                && self.spec().cluster.dapr_strategy == DaprStrategy::Daemonset;
            let replicas = (!everywhere).then_some(self.spec().dapr_replicas);
            let ports = [
                ("http", ports::DAPR_HTTP, ports::DAPR_HTTP),
                ("grpc", ports::DAPR_GRPC, ports::DAPR_GRPC),
                ("internal", ports::DAPR_INTERNAL, ports::DAPR_INTERNAL),
            ];
            objects.push(self.service(&name, Some(&name), &ports));
            objects.push(self.dapr_pods(&name, role.as_str(), Some(role.as_str()), replicas));
        }
        objects
    }

    /// As many as are asked for, or one on each node.
    fn dapr_pods(&self, name: &str, app_id: &str, app: Option<&str>, replicas: Option<u32>) -> Object {
        let mut metadata = self.pods(name);
        // Dapr's certificate authority compares it with the name that a pod asks a certificate for.
        metadata.annotations.get_or_insert_default().insert("dapr.io/app-id".to_owned(), app_id.to_owned());
        let template = PodTemplateSpec {
            metadata: Some(metadata),
            spec: Some(PodSpec {
                containers: vec![self.daprd_of_the_cluster(app_id, app)],
                volumes: Some(vec![identity_token()]),
                node_selector: self.node_selector(false),
                service_account_name: Some(names::ACCOUNT.to_owned()),
                enable_service_links: Some(false),
                ..PodSpec::default()
            }),
        };
        match replicas {
            Some(replicas) => Object::of(&Deployment {
                metadata: self.named(name),
                spec: Some(DeploymentSpec {
                    replicas: i32::try_from(replicas).ok(),
                    selector: select(name),
                    template,
                    ..DeploymentSpec::default()
                }),
                ..Deployment::default()
            }),
            None => Object::of(&DaemonSet {
                metadata: self.named(name),
                spec: Some(DaemonSetSpec { selector: select(name), template, ..DaemonSetSpec::default() }),
                ..DaemonSet::default()
            }),
        }
    }

    /// With the control plane: components from the cluster, a certificate from its authority.
    fn daprd_of_the_cluster(&self, app_id: &str, app: Option<&str>) -> Container {
        let system = |service: &str| format!("{service}.{DAPR_SYSTEM}.svc.cluster.local:443");
        let mut args = texts(["--mode", "kubernetes", "--enable-mtls", "--dapr-listen-addresses", "0.0.0.0"]);
        args.extend(["--control-plane-address".to_owned(), system("dapr-api")]);
        args.extend(["--sentry-address".to_owned(), system("dapr-sentry")]);
        args.extend(texts(["--app-id", app_id, "--enable-metrics=false"]));
        args.extend(["--dapr-http-port".to_owned(), ports::DAPR_HTTP.to_string()]);
        args.extend(["--dapr-grpc-port".to_owned(), ports::DAPR_GRPC.to_string()]);
        args.extend(["--dapr-internal-grpc-port".to_owned(), ports::DAPR_INTERNAL.to_string()]);
        if self.spec().tracing == Tracing::On {
            args.extend(texts(["--config", settings::TRACING]));
        }
        if let Some(app) = app {
            args.extend(texts(["--app-channel-address", app]));
            args.extend(["--app-port".to_owned(), ports::SERVICE.to_string()]);
        }
        let env = vec![
            field("NAMESPACE", "metadata.namespace"),
            field("POD_NAME", "metadata.name"),
            value("DAPR_CONTROLPLANE_NAMESPACE", DAPR_SYSTEM),
            value("DAPR_CONTROLPLANE_TRUST_DOMAIN", "cluster.local"),
            EnvVar {
                name: "DAPR_TRUST_ANCHORS".to_owned(),
                value_from: Some(EnvVarSource {
                    config_map_key_ref: Some(ConfigMapKeySelector {
                        name: TRUST.to_owned(),
                        key: "ca.crt".to_owned(),
                        ..ConfigMapKeySelector::default()
                    }),
                    ..EnvVarSource::default()
                }),
                ..EnvVar::default()
            },
        ];
        Container {
            args: Some(args),
            env: Some(env),
            volume_mounts: Some(vec![mount(TOKEN, "/var/run/secrets/dapr.io/sentrytoken")]),
            ..self.daprd()
        }
    }

    /// Without anything of its environment: everything is an argument or a file.
    pub(super) fn daprd_beside(&self, role: Role) -> Container {
        let mut args = texts(["--mode", "standalone", "--app-id", role.as_str(), "--enable-metrics=false"]);
        args.extend(["--dapr-http-port".to_owned(), ports::DAPR_HTTP.to_string()]);
        args.extend(["--dapr-grpc-port".to_owned(), ports::DAPR_GRPC.to_string()]);
        args.extend(texts(["--app-channel-address", "127.0.0.1"]));
        args.extend(["--app-port".to_owned(), names::app_port(self.spec().stacks.of(role)).to_string()]);
        args.extend(texts(["--resources-path", COMPONENTS_AT]));
        // File by file: a volume that is mounted whole has links and a folder beside its files, each of which daprd warns of.
        let files = self.component_files();
        let mut mounts: Vec<_> = files
            .keys()
            .map(|name| VolumeMount {
                sub_path: Some(name.clone()),
                ..mount(COMPONENT_FILES, &format!("{COMPONENTS_AT}/{name}"))
            })
            .collect();
        mounts.push(mount(SECRET_FILE, SECRETS_AT));
        if self.spec().tracing == Tracing::On {
            args.extend(texts(["--config", CONFIGURATION_AT]));
            mounts.push(VolumeMount {
                sub_path: Some(CONFIGURATION_FILE.to_owned()),
                ..mount(COMPONENT_FILES, CONFIGURATION_AT)
            });
        }
        Container { args: Some(args), volume_mounts: Some(mounts), ..self.daprd() }
    }

    /// The volumes of [`Lab::daprd_beside`].
    pub(super) fn files_of_daprd(&self) -> Vec<Volume> {
        let components =
            ConfigMapVolumeSource { name: COMPONENT_FILES.to_owned(), ..ConfigMapVolumeSource::default() };
        let secrets =
            SecretVolumeSource { secret_name: Some(SECRET_FILE.to_owned()), ..SecretVolumeSource::default() };
        vec![
            Volume { name: COMPONENT_FILES.to_owned(), config_map: Some(components), ..Volume::default() },
            Volume { name: SECRET_FILE.to_owned(), secret: Some(secrets), ..Volume::default() },
        ]
    }

    /// What every Dapr of ours has in common.
    fn daprd(&self) -> Container {
        Container {
            command: Some(texts(["/daprd"])),
            ports: Some(vec![port("dapr-http", ports::DAPR_HTTP), port("dapr-grpc", ports::DAPR_GRPC)]),
            readiness_probe: Some(ready_at("/v1.0/healthz", ports::DAPR_HTTP)),
            ..container(DAPRD, self.inputs.dapr.image.clone())
        }
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn value(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() };
    let value_from = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value_from: Some(value_from), ..EnvVar::default() }
}

/// A token for Dapr's certificate authority alone, as the injector mounts it.
fn identity_token() -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(format!("spiffe://cluster.local/ns/{DAPR_SYSTEM}/dapr-sentry")),
        expiration_seconds: Some(7200),
        path: "token".to_owned(),
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    Volume {
        name: TOKEN.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![source]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}
