//! What everything else of a lab stands on: namespace, RuntimeClass, rights, secrets, Dapr's components.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::api::node::v1::{RuntimeClass, Scheduling};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::{Lab, Object};
use crate::backend::kubernetes::names::{self, DaprPlace};
use crate::backend::settings;
use crate::spec::{Role as LabRole, SpinShape, Tracing};

/// The ConfigMap with Dapr's trust, as Dapr calls its own.
pub(super) const TRUST: &str = "dapr-trust-bundle";

/// The ConfigMap with the components, for a Dapr that reads files.
pub(super) const COMPONENT_FILES: &str = "dapr-components";

/// The Secret with the secrets in one file, for a Dapr that reads files.
pub(super) const SECRET_FILE: &str = "dapr-secrets";

/// Where a Dapr that reads files finds its components.
pub(super) const COMPONENTS_AT: &str = "/lab/components";

/// The Configuration among the component files; it is mounted elsewhere, since it is no component.
pub(super) const CONFIGURATION_FILE: &str = "configuration.yaml";

/// Where it finds its Configuration.
pub(super) const CONFIGURATION_AT: &str = "/lab/configuration.yaml";

/// Where it finds its secrets.
pub(super) const SECRETS_AT: &str = "/lab/secrets";

/// The namespace of a lab. It is the first thing of a lab on a cluster, since it tells others that there is one.
pub fn own_namespace(lab: &str, workspace: &str) -> Object {
    let metadata = ObjectMeta {
        name: Some(names::namespace(lab)),
        labels: Some(names::labels(lab)),
        annotations: Some(BTreeMap::from([(names::WORKSPACE.to_owned(), workspace.to_owned())])),
        ..ObjectMeta::default()
    };
    Object::of(&Namespace { metadata, ..Namespace::default() })
}

impl Lab<'_> {
    pub(super) fn foundation(&self) -> Vec<Object> {
        let mut objects = vec![own_namespace(&self.spec().name, &self.inputs.workspace)];
        let roles = || LabRole::ALL.iter().copied();
        let wasm = roles().any(|role| names::is_wasm(self.spec().stacks.of(role)));
        if wasm {
            objects.push(self.runtime_class());
            if self.spec().cluster.spin_shape == SpinShape::Spinapp {
                objects.push(self.executor());
            }
        }
        objects.extend(self.rights());
        objects.extend(self.secrets());
        objects.extend(self.components());
        if roles().any(|role| names::dapr_place(self.spec(), role) == DaprPlace::Beside) {
            objects.extend(self.files());
        }
        objects.push(self.trust());
        if self.spec().tracing == Tracing::On {
            let mut body = settings::tracing_configuration();
            body["metadata"] = json!(self.named(settings::TRACING));
            objects.push(Object::custom("configurations", body));
        }
        objects
    }

    /// Of the lab alone, so that it can be removed with it and changes nothing for anybody else.
    fn runtime_class(&self) -> Object {
        let scheduling = self
            .node_selector(true)
            .map(|selector| Scheduling { node_selector: Some(selector), ..Scheduling::default() });
        let metadata = self.global(self.namespace.clone());
        let handler = names::HANDLER.to_owned();
        Object::of(&RuntimeClass { metadata, handler, scheduling, ..RuntimeClass::default() })
    }

    /// How the Spin operator deploys the SpinApps of this namespace.
    fn executor(&self) -> Object {
        let body = json!({
            "apiVersion": "core.spinkube.dev/v1alpha1",
            "kind": "SpinAppExecutor",
            "metadata": self.named(names::EXECUTOR),
            "spec": {
                "createDeployment": true,
                "deploymentConfig": { "runtimeClassName": self.namespace, "installDefaultCACerts": false },
            },
        });
        Object::custom("spinappexecutors", body)
    }

    /// Dapr reads the two secrets of the lab itself, and nothing else.
    fn rights(&self) -> [Object; 3] {
        let account = ServiceAccount { metadata: self.named(names::ACCOUNT), ..ServiceAccount::default() };
        let secrets = settings::secrets("", "").into_keys().map(str::to_owned).collect();
        let rule = PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(vec!["secrets".to_owned()]),
            resource_names: Some(secrets),
            verbs: vec!["get".to_owned()],
            ..PolicyRule::default()
        };
        let role = Role { metadata: self.named("secret-reader"), rules: Some(vec![rule]) };
        let binding = RoleBinding {
            metadata: self.named("secret-reader"),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "Role".to_owned(),
                name: "secret-reader".to_owned(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: names::ACCOUNT.to_owned(),
                namespace: Some(self.namespace.clone()),
                ..Subject::default()
            }]),
        };
        [Object::of(&account), Object::of(&role), Object::of(&binding)]
    }

    fn secrets(&self) -> Vec<Object> {
        let secret = |(name, keys): (&str, BTreeMap<&str, String>)| {
            let bytes = |(key, value): (&str, String)| (key.to_owned(), ByteString(value.into_bytes()));
            Object::of(&Secret {
                metadata: self.named(name),
                data: Some(keys.into_iter().map(bytes).collect()),
                ..Secret::default()
            })
        };
        self.secret_values().into_iter().map(secret).collect()
    }

    fn secret_values(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, String>> {
        settings::secrets("servicebus", format!("blob:{}", names::ports::BLOB))
    }

    /// The components as they are, and the store that they name: here the cluster's own secrets.
    fn components(&self) -> Vec<Object> {
        let store = json!({
            "apiVersion": "dapr.io/v1alpha1",
            "kind": "Component",
            "metadata": self.named(settings::SECRET_STORE),
            "spec": { "type": "secretstores.kubernetes", "version": "v1", "metadata": [] },
        });
        let component = |component: &super::Component| {
            let mut body = component.body.clone();
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            body["metadata"] = json!(self.named(name));
            Object::custom("components", body)
        };
        let components = self.inputs.components.iter().map(component);
        std::iter::once(Object::custom("components", store)).chain(components).collect()
    }

    /// The components as files, by name, for a Dapr that knows no cluster; its secret store is a file, too.
    pub(super) fn component_files(&self) -> BTreeMap<String, String> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for component in &self.inputs.components {
            let text = files.entry(component.file.clone()).or_default();
            // Documents of YAML, each of which is JSON.
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&format!("{:#}\n", component.body));
        }
        let store = settings::secret_store_of_file(&std::path::Path::new(SECRETS_AT).join("secrets.json"));
        files.insert("secretstore.yaml".to_owned(), format!("{store:#}\n"));
        files
    }

    /// The same components and secrets, and the Configuration, as what a pod mounts.
    fn files(&self) -> [Object; 2] {
        let mut files = self.component_files();
        if self.spec().tracing == Tracing::On {
            let text = format!("{:#}\n", settings::tracing_configuration());
            files.insert(CONFIGURATION_FILE.to_owned(), text);
        }
        let components =
            ConfigMap { metadata: self.named(COMPONENT_FILES), data: Some(files), ..ConfigMap::default() };
        let secrets = ByteString(json!(self.secret_values()).to_string().into_bytes());
        let secrets = Secret {
            metadata: self.named(SECRET_FILE),
            data: Some(BTreeMap::from([("secrets.json".to_owned(), secrets)])),
            ..Secret::default()
        };
        [Object::of(&components), Object::of(&secrets)]
    }

    /// What Dapr's control plane is known by, where the lab's own Dapr can read it.
    fn trust(&self) -> Object {
        let anchors = ("ca.crt".to_owned(), self.inputs.dapr.trust_anchors.clone());
        Object::of(&ConfigMap {
            metadata: self.named(TRUST),
            data: Some(BTreeMap::from([anchors])),
            ..ConfigMap::default()
        })
    }
}
