//! Every manifest of every lab against what an API server holds it against: the schemas of Kubernetes, those of the custom kinds as
//! far as a lab uses them (`schemas/`, written for this), both without room for a field that nobody knows; and the rules for names
//! and labels, which no schema tells.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::tests::{every_lab, find, lab, objects};
use crate::spec::{SpinShape, Stack, Topology};

/// Refuses every field that a schema does not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(close);
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn of<K: JsonSchema>() -> Validator {
    let mut schema = json!(schemars::schema_for!(K));
    close(&mut schema);
    jsonschema::validator_for(&schema).expect("a schema")
}

fn custom(text: &str) -> Validator {
    jsonschema::validator_for(&serde_json::from_str(text).expect("JSON")).expect("a schema")
}

/// By kind.
static SCHEMAS: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    BTreeMap::from([
        ("Component", custom(include_str!("schemas/component.schema.json"))),
        ("Configuration", custom(include_str!("schemas/configuration.schema.json"))),
        ("ConfigMap", of::<ConfigMap>()),
        ("DaemonSet", of::<DaemonSet>()),
        ("Deployment", of::<Deployment>()),
        ("EndpointSlice", of::<EndpointSlice>()),
        ("Namespace", of::<Namespace>()),
        ("Role", of::<Role>()),
        ("RoleBinding", of::<RoleBinding>()),
        ("RuntimeClass", of::<RuntimeClass>()),
        ("Secret", of::<Secret>()),
        ("Service", of::<Service>()),
        ("ServiceAccount", of::<ServiceAccount>()),
        ("SpinApp", custom(include_str!("schemas/spinapp.schema.json"))),
        ("SpinAppExecutor", custom(include_str!("schemas/spinappexecutor.schema.json"))),
    ])
});

static METADATA: LazyLock<Validator> = LazyLock::new(of::<ObjectMeta>);

/// What an API server would say against an object.
fn wrong(object: &Value) -> Vec<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let Some(schema) = SCHEMAS.get(kind) else { return vec![format!("nobody knows the kind '{kind}'")] };
    let told = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    let mut wrong: Vec<String> = schema.iter_errors(object).map(told).collect();
    wrong.extend(METADATA.iter_errors(&object["metadata"]).map(told));
    names(object, kind, &mut wrong);
    wrong
}

/// Names and labels, wherever they stand.
fn names(object: &Value, kind: &str, wrong: &mut Vec<String>) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let fits = match kind {
        // Of a Service and a Namespace it becomes a name in DNS.
        "Service" => is_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase()),
        "Namespace" => is_label(name),
        _ => name.len() <= 253 && name.split('.').all(is_label),
    };
    if !fits {
        wrong.push(format!("/metadata/name: '{name}' is no name of a {kind}"));
    }
    let places = [
        "/metadata/labels",
        "/metadata/annotations",
        "/spec/podLabels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/spec/template/metadata/annotations",
        "/spec/template/spec/nodeSelector",
        "/scheduling/nodeSelector",
    ];
    for place in places {
        for (key, value) in object.pointer(place).and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or("\0");
            if !is_qualified(key) || !(place.ends_with("annotations") || is_value(value)) {
                wrong.push(format!("{place}: '{key}: {value}' is none"));
            }
        }
    }
    let containers = object.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        let ports = container["ports"].as_array().into_iter().flatten();
        // A port's name is shorter than others.
        let names = ports.map(|port| (&port["name"], 15)).chain([(&container["name"], 63)]);
        for (name, most) in names {
            let name = name.as_str().unwrap_or_default();
            if !is_label(name) || name.len() > most {
                wrong.push(format!("/spec/template/spec/containers: '{name}' is no name"));
            }
        }
    }
}

/// RFC 1123: small letters, digits and, within, hyphens.
fn is_label(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(plain);
    text.len() <= 63
        && text.bytes().all(|byte| plain(byte) || byte == b'-')
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

/// A label's value, and its key after the slash: letters, digits and, within, `-`, `_` and `.`.
fn is_word(text: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// `name`, or a domain, a slash and a name.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((domain, name)) => domain.len() <= 253 && domain.split('.').all(is_label) && is_word(name),
        None => is_word(key),
    }
}

#[test]
fn every_manifest_of_every_lab_is_one_that_an_api_server_takes() {
    let mut kinds = std::collections::BTreeSet::new();
    for spec in every_lab() {
        for object in objects(&spec) {
            kinds.insert(object.resource.kind.clone());
            assert_eq!(wrong(&object.body), Vec::<String>::new(), "{} of {spec:?}", object.title());
        }
    }
    assert!(kinds.iter().map(String::as_str).eq(SCHEMAS.keys().copied()), "{kinds:?}");
}

/// What is said against an object of a lab in which one thing was changed.
fn said(kind: &str, name: &str, place: &str, value: Value) -> String {
    let spec = lab(Stack::SpinRust, Topology::Sidecar, |spec| {
        if matches!(kind, "SpinApp" | "SpinAppExecutor") {
            spec.cluster.spin_shape = SpinShape::Spinapp;
        }
    });
    let mut object = find(&objects(&spec), kind, name).clone();
    assert_eq!(wrong(&object), Vec::<String>::new());
    let (parent, key) = place.rsplit_once('/').expect("a place");
    object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in {kind}"))[key] = value;
    wrong(&object).join("; ")
}

#[test]
fn a_mistyped_field_a_wrong_type_and_a_missing_field_are_each_refused() {
    let container = "/spec/template/spec/containers/0";
    for (kind, name, place, value, told) in [
        ("Deployment", "distributor", &format!("{container}/readinesProbe"), json!({}), "readinesProbe"),
        ("Deployment", "distributor", &"/spec/replicas".to_owned(), json!("1"), "/spec/replicas"),
        ("Deployment", "distributor", &"/spec/selector".to_owned(), Value::Null, "/spec/selector"),
        ("Service", "distributor", &"/spec/ports/0/targetPorts".to_owned(), json!(80), "targetPorts"),
        ("Role", "secret-reader", &"/rules/0/verbs".to_owned(), json!("get"), "/rules/0/verbs"),
        ("RuntimeClass", "spin-lab-main", &"/handlers".to_owned(), json!("spin"), "handlers"),
        ("Namespace", "spin-lab-main", &"/metadata/label".to_owned(), json!({}), "label"),
        ("Component", "secretstore", &"/spec/metadatas".to_owned(), json!([]), "metadatas"),
        ("Component", "secretstore", &"/spec/version".to_owned(), json!(1), "/spec/version"),
        ("SpinApp", "distributor", &"/spec/runtimeClassName".to_owned(), json!("x"), "runtimeClassName"),
        ("SpinApp", "distributor", &"/spec/replicas".to_owned(), json!("1"), "/spec/replicas"),
        (
            "SpinApp",
            "distributor",
            &"/spec/checks/readiness/httpGet/httpHeaders".to_owned(),
            Value::Null,
            "httpHeaders",
        ),
        (
            "SpinAppExecutor",
            "containerd-shim-spin",
            &"/spec/createDeployments".to_owned(),
            json!(true),
            "createDeployments",
        ),
        ("SpinAppExecutor", "containerd-shim-spin", &"/metadata/labels/a".to_owned(), json!(1), "/labels/a"),
    ] {
        let wrong = said(kind, name, place, value);
        assert!(wrong.contains(told), "{kind} {place}: {wrong:?}");
    }
    assert_eq!(wrong(&json!({ "kind": "Deploymnet" }))[0], "nobody knows the kind 'Deploymnet'");
}

#[test]
fn a_bad_name_and_a_bad_label_are_each_refused() {
    for (kind, name, place, value) in [
        ("Deployment", "distributor", "/metadata/name", json!("Distributor")),
        ("Deployment", "distributor", "/metadata/name", json!("distributor_1")),
        ("Service", "distributor", "/metadata/name", json!("1-distributor")),
        ("Namespace", "spin-lab-main", "/metadata/name", json!("a".repeat(64))),
        ("Deployment", "distributor", "/metadata/labels/-x", json!("y")),
        ("Deployment", "distributor", "/metadata/labels/x", json!("of mine")),
        ("Deployment", "distributor", "/spec/template/metadata/labels/x", json!("x".repeat(64))),
        ("Deployment", "distributor", "/spec/template/spec/containers/0/name", json!("App")),
        (
            "Deployment",
            "distributor",
            "/spec/template/spec/containers/0/ports/0/name",
            json!("longer-than-a-port"),
        ),
        ("SpinApp", "distributor", "/spec/podLabels/x", json!("a/b")),
    ] {
        assert_ne!(said(kind, name, place, value.clone()), "", "{kind} {place} {value}");
    }
}
