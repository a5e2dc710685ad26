//! The applications: a Deployment with a Service for a native one; for a Spin application the same with a RuntimeClass, or a
//! SpinApp, of which the Spin operator makes both.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec};
use serde_json::json;

use super::{Lab, NoImage, Object, container, port, ready_at, select, texts};
use crate::backend::kubernetes::names::{self, DaprPlace, ports};
use crate::backend::settings;
use crate::spec::{Packaging, Role, SpinShape, Stack, Tracing};

impl Lab<'_> {
    pub(super) fn app(&self, role: Role) -> Result<Vec<Object>, NoImage> {
        let stack = self.spec().stacks.of(role);
        if names::is_wasm(stack) && self.spec().cluster.spin_shape == SpinShape::Spinapp {
            return Ok(vec![self.spin_app(role, self.image(image_name(stack, self.spec().packaging))?)]);
        }
        let service = self.service(
            role.as_str(),
            Some(role.as_str()),
            &[("http", ports::SERVICE, names::app_port(stack))],
        );
        Ok(vec![service, self.app_deployment(role)?])
    }

    /// Dapr as the application reaches it.
    fn dapr_url(&self, role: Role) -> String {
        match names::dapr_place(self.spec(), role) {
            // By number: a name would be looked up, and might be answered with an address that nobody listens on.
            DaprPlace::Injected | DaprPlace::Beside => format!("http://127.0.0.1:{}", ports::DAPR_HTTP),
            DaprPlace::Own => format!("http://{role}-dapr:{}", ports::DAPR_HTTP),
        }
    }

    fn app_deployment(&self, role: Role) -> Result<Object, NoImage> {
        let stack = self.spec().stacks.of(role);
        let place = names::dapr_place(self.spec(), role);
        let wasm = names::is_wasm(stack);
        let mut containers = vec![self.app_container(role)?];
        let mut volumes = None;
        if place == DaprPlace::Beside {
            containers.push(self.daprd_beside(role));
            volumes = Some(self.files_of_daprd());
        }
        let mut pods = self.pods(role.as_str());
        pods.annotations =
            (place == DaprPlace::Injected).then(|| self.injected(role, names::app_port(stack)));
        Ok(Object::of(&Deployment {
            metadata: self.named(role.as_str()),
            spec: Some(DeploymentSpec {
                replicas: i32::try_from(self.spec().replicas).ok(),
                selector: select(role.as_str()),
                template: PodTemplateSpec {
                    metadata: Some(pods),
                    spec: Some(PodSpec {
                        containers,
                        volumes,
                        runtime_class_name: wasm.then(|| self.namespace.clone()),
                        node_selector: self.node_selector(wasm),
                        service_account_name: Some(names::ACCOUNT.to_owned()),
                        // Only a Dapr of a cluster asks that cluster for something.
                        automount_service_account_token: Some(place == DaprPlace::Injected),
                        enable_service_links: Some(false),
                        ..PodSpec::default()
                    }),
                },
                ..DeploymentSpec::default()
            }),
            ..Deployment::default()
        }))
    }

    fn app_container(&self, role: Role) -> Result<Container, NoImage> {
        let stack = self.spec().stacks.of(role);
        let port_number = names::app_port(stack);
        let env = vec![EnvVar {
            name: "DAPR_URL".to_owned(),
            value: Some(self.dapr_url(role)),
            ..EnvVar::default()
        }];
        let container = Container {
            env: Some(env),
            ports: Some(vec![port("http", port_number)]),
            readiness_probe: Some(ready_at("/healthz", port_number)),
            ..container(names::APP, self.image(image_name(stack, self.spec().packaging))?)
        };
        Ok(match names::is_wasm(stack) {
            // The shim wants a command, and reads it as nothing.
            true => Container { command: Some(texts(["/"])), security_context: None, ..container },
            false => {
                Container { args: Some(texts(["--listen", &format!("0.0.0.0:{port_number}")])), ..container }
            }
        })
    }

    /// What tells Dapr's injector to add a sidecar.
    fn injected(&self, role: Role, app_port: u16) -> BTreeMap<String, String> {
        let annotation = |name: &str, value: &str| (format!("dapr.io/{name}"), value.to_owned());
        let mut annotations = BTreeMap::from([
            annotation("enabled", "true"),
            annotation("app-id", role.as_str()),
            annotation("app-port", &app_port.to_string()),
            annotation("enable-metrics", "false"),
            // The default of a daprd elsewhere; the injector's own is to wait for ever.
            annotation("graceful-shutdown-seconds", "5"),
            annotation("sidecar-cpu-request", "20m"),
            annotation("sidecar-memory-request", "32Mi"),
        ]);
        if self.spec().tracing == Tracing::On {
            annotations.extend([annotation("config", settings::TRACING)]);
        }
        annotations
    }

    fn spin_app(&self, role: Role, image: String) -> Object {
        let checks = json!({
            // The operator's webhook would write null where there are none, which its own schema refuses.
            "httpGet": { "path": "/healthz", "httpHeaders": [] },
            "initialDelaySeconds": 0,
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 5,
            "successThreshold": 1,
        });
        let body = json!({
            "apiVersion": "core.spinkube.dev/v1alpha1",
            "kind": "SpinApp",
            "metadata": self.named(role.as_str()),
            "spec": {
                "image": image,
                "executor": names::EXECUTOR,
                "replicas": self.spec().replicas,
                "variables": [{ "name": "dapr_url", "value": self.dapr_url(role) }],
                "checks": { "readiness": checks },
                "podLabels": self.pods(role.as_str()).labels,
                "serviceAccountName": names::ACCOUNT,
                "resources": super::requests(),
            },
        });
        Object::custom("spinapps", body)
    }
}

/// What the image of a stack's application is called.
const fn image_name(stack: Stack, packaging: Packaging) -> &'static str {
    match (stack, packaging) {
        (Stack::SpinRust, _) => "spin-rust",
        (Stack::SpinTs, _) => "spin-ts",
        (Stack::WarpRust, Packaging::Full) => "warp-rust",
        (Stack::WarpRust, Packaging::Static) => "warp-rust-static",
        (Stack::ExpressTs, _) => "express-ts",
    }
}
