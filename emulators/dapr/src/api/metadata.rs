//! `GET /v1.0/metadata` and `PUT /v1.0/metadata/{key}` (dapr, `pkg/api/http/metadata.go`).

use std::collections::BTreeMap;
use std::sync::PoisonError;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::reply::{data, empty, error};
use super::{Call, Reply};
use crate::bindings::go_json;
use crate::go::text::duration_text;
use crate::limits::METADATA_KEYS_MAX;
use crate::runtime::{RUNTIME_VERSION, Runtime};

/// Features that daprd 1.18 turns on by itself.
const ENABLED_FEATURES: &[&str] = &["HotReload", "WorkflowsRemoteActivityReminder"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    runtime_version: &'a str,
    enabled_features: &'a [&'a str],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
    extended: BTreeMap<String, String>,
    app_connection_properties: AppConnection<'a>,
    actor_runtime: ActorRuntime,
}

#[derive(Serialize)]
struct Component<'a> {
    name: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    capabilities: &'a [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppConnection<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    protocol: &'a str,
    channel_address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_concurrency: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<AppHealth<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AppHealth<'a> {
    health_check_path: &'a str,
    health_probe_interval: String,
    health_probe_timeout: String,
    health_threshold: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActorRuntime {
    runtime_status: &'static str,
    host_ready: bool,
    placement: &'static str,
}

pub(super) fn get(runtime: &Runtime) -> Reply {
    let options = &runtime.options;
    let components = runtime.loaded.iter().map(|loaded| Component {
        name: &loaded.name,
        r#type: &loaded.component_type,
        version: &loaded.version,
        capabilities: &loaded.capabilities,
    });
    let app_connection_properties = AppConnection {
        port: options.app_port,
        protocol: &options.app_protocol,
        channel_address: &options.app_channel_address,
        max_concurrency: (options.app_max_concurrency > 0).then_some(options.app_max_concurrency),
        health: options.enable_app_health_check.then(|| AppHealth {
            health_check_path: &options.app_health_check_path,
            health_probe_interval: duration_text(options.health_interval()),
            health_probe_timeout: duration_text(options.health_timeout()),
            health_threshold: options.health_threshold(),
        }),
    };
    let metadata = Metadata {
        id: &options.app_id,
        runtime_version: RUNTIME_VERSION,
        enabled_features: ENABLED_FEATURES,
        components: components.collect(),
        extended: runtime.extended.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        app_connection_properties,
        actor_runtime: ActorRuntime {
            runtime_status: "DISABLED",
            host_ready: false,
            placement: "placement: disconnected",
        },
    };
    match go_json(&metadata) {
        Ok(json) => data(StatusCode::OK, [&json[..], b"\n"].concat().into()),
        Err(cause) => error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_INTERNAL", &cause),
    }
}

pub(super) async fn put(runtime: &Runtime, key: &str, call: Call) -> Reply {
    let value: Bytes = match call.body(runtime.options.body_bytes_max()).await {
        Ok(body) => body,
        Err(cause) => {
            let message = format!("failed to read request body: {cause}");
            return error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_BODY_READ", &message);
        }
    };
    let mut extended = runtime.extended.lock().unwrap_or_else(PoisonError::into_inner);
    if extended.len() >= METADATA_KEYS_MAX && !extended.contains_key(key) {
        let message = format!("more than {METADATA_KEYS_MAX} keys");
        return error(StatusCode::INTERNAL_SERVER_ERROR, "ERR_INTERNAL", &message);
    }
    extended.insert(key.to_owned(), String::from_utf8_lossy(&value).into_owned());
    empty()
}
