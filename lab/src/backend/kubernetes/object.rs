//! One object of a cluster, as data: what it is, where it lives and what is sent. It does not speak to a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use kube::api::ApiResource;
use serde::Serialize;
use serde_json::Value;

/// One object as it is sent to the API server.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Group, version, kind and the word for it in paths.
    pub resource: ApiResource,
    /// Its namespace; `None` where it belongs to the cluster.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The whole object.
    pub body: Value,
}

impl Object {
    /// Of a typed object.
    pub fn of<K>(object: &K) -> Self
    where
        K: Resource + Metadata<Ty = ObjectMeta> + Serialize,
    {
        let resource = ApiResource {
            group: K::GROUP.to_owned(),
            version: K::VERSION.to_owned(),
            api_version: K::API_VERSION.to_owned(),
            kind: K::KIND.to_owned(),
            plural: K::URL_PATH_SEGMENT.to_owned(),
        };
        // Types of the API are plain data: maps with text as keys.
        let body = serde_json::to_value(object).unwrap_or_default();
        let metadata = object.metadata();
        Self {
            resource,
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone().unwrap_or_default(),
            body,
        }
    }

    /// Of an object of a custom kind; `body` has `apiVersion`, `kind` and `metadata`.
    pub fn custom(plural: &str, body: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let api_version = text(&body["apiVersion"]);
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text(&body["kind"]),
            plural: plural.to_owned(),
            api_version: api_version.clone(),
        };
        let namespace = body["metadata"]["namespace"].as_str().map(str::to_owned);
        Self { resource, namespace, name: text(&body["metadata"]["name"]), body }
    }

    /// `Deployment distributor`, as errors and progress name it.
    pub fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }
}
