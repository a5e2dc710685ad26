//! What every manifest of every lab must be, whatever its settings: the lines of the checklist that need no cluster.

use serde_json::Value;

use super::*;
use crate::backend::kubernetes::facts;
use crate::paths::Workspace;
use crate::spec::{
    BackendKind, BlobStore, ClusterSpec, DaprStrategy, Emulators, SpinShape, Stack, Stacks, Topology, Tracing,
};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn images() -> Images {
    let names = [
        "servicebus-emulator",
        "blob-emulator",
        "azurite",
        "spin-rust",
        "spin-ts",
        "warp-rust",
        "warp-rust-static",
        "express-ts",
    ];
    names.map(|name| (name.to_owned(), format!("registry.example:5000/spin-lab/{name}@{DIGEST}"))).into()
}

/// The objects of a lab, as they are sent.
pub fn objects(spec: &LabSpec) -> Vec<Object> {
    let workspace = Workspace::above(std::path::Path::new(env!("CARGO_MANIFEST_DIR"))).expect("a workspace");
    let images = images();
    let alongside = (spec.cluster.emulators == Emulators::Alongside).then(|| Alongside {
        servicebus: "172.18.0.5".parse().expect("an address"),
        blob: "172.18.0.6".parse().expect("an address"),
    });
    let inputs = Inputs {
        spec,
        workspace: "0123456789abcdef".to_owned(),
        images: &images,
        dapr: DaprFacts { image: "ghcr.io/dapr/daprd:1.18.3".to_owned(), trust_anchors: "PEM".to_owned() },
        components: facts::components(&workspace).expect("the components"),
        alongside,
    };
    manifests(&inputs).expect("manifests").all().cloned().collect()
}

/// Every stack, topology, Spin shape, pool, strategy and place of the emulators that make a lab.
pub fn every_lab() -> Vec<LabSpec> {
    let mut labs = Vec::new();
    for stack in Stack::ALL {
        for topology in Topology::ALL {
            for spin_shape in SpinShape::ALL {
                for pools in Pools::ALL {
                    for dapr_strategy in DaprStrategy::ALL {
                        for emulators in Emulators::ALL {
                            let (spin_shape, pools) = (*spin_shape, *pools);
                            // Every second one traces, so that each shape is there with and without.
                            let tracing = Tracing::ALL[labs.len() % 2];
                            let (dapr_strategy, emulators) = (*dapr_strategy, *emulators);
                            let cluster =
                                ClusterSpec { context: None, spin_shape, pools, dapr_strategy, emulators };
                            labs.push(LabSpec {
                                stacks: Stacks::all(*stack),
                                topology: *topology,
                                backend: BackendKind::K3d,
                                tracing,
                                cluster,
                                ..LabSpec::default()
                            });
                        }
                    }
                }
            }
        }
    }
    labs.retain(|lab| lab.validate().is_ok());
    assert!(labs.len() > 64, "{}", labs.len());
    labs
}

pub fn lab(stack: Stack, topology: Topology, change: impl FnOnce(&mut LabSpec)) -> LabSpec {
    let backend = BackendKind::Kubernetes;
    let cluster = ClusterSpec::of(backend);
    let mut spec = LabSpec { stacks: Stacks::all(stack), topology, backend, cluster, ..LabSpec::default() };
    change(&mut spec);
    assert_eq!(spec.validate(), Ok(()));
    spec
}

pub fn find<'a>(objects: &'a [Object], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object.resource.kind == kind && object.name == name);
    let known: Vec<_> = objects.iter().map(Object::title).collect();
    &found.unwrap_or_else(|| panic!("no {kind} {name} in {known:?}")).body
}

fn pod_specs(objects: &[Object]) -> Vec<(&Object, &Value)> {
    let with_pods = objects.iter().filter(|object| !object.body["spec"]["template"].is_null());
    with_pods.map(|object| (object, &object.body["spec"]["template"]["spec"])).collect()
}

fn containers(pod: &Value) -> Vec<&Value> {
    pod["containers"].as_array().into_iter().flatten().collect()
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let outer =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

#[test]
fn names_labels_ports_and_quantities_are_what_the_api_takes() {
    for spec in every_lab() {
        for object in objects(&spec) {
            assert!(is_label(&object.name), "{}", object.title());
            let labels = object.body["metadata"]["labels"].as_object().expect("labels");
            for (key, value) in labels {
                let value = value.as_str().expect("text");
                assert!(value.len() <= 63 && is_label(value), "{} {key}={value}", object.title());
            }
            assert_eq!(labels[names::LAB], "main", "{}: what has no label is not removed", object.title());
        }
        for (object, pod) in pod_specs(&objects(&spec)) {
            for container in containers(pod) {
                assert!(is_label(container["name"].as_str().expect("a name")));
                for port in container["ports"].as_array().into_iter().flatten() {
                    let number = port["containerPort"].as_u64().expect("a number");
                    assert!((1..=65_535).contains(&number), "{}", object.title());
                    assert!(port["name"].as_str().expect("a name").len() <= 15, "{}", object.title());
                }
                let requests = &container["resources"]["requests"];
                assert_eq!((&requests["cpu"], &requests["memory"]), (&"20m".into(), &"32Mi".into()));
            }
        }
    }
}

#[test]
fn selectors_find_the_pods_that_are_made() {
    for spec in every_lab() {
        let objects = objects(&spec);
        for (object, _) in pod_specs(&objects) {
            let wanted = &object.body["spec"]["selector"]["matchLabels"][PART];
            assert_eq!(
                &object.body["spec"]["template"]["metadata"]["labels"][PART],
                wanted,
                "{}",
                object.title()
            );
            let label = wanted.as_str().expect("a label");
            assert!(names::part_of(label, names::APP).is_some(), "{label} is nothing that the lab knows");
        }
    }
}

/// B6, and that what runs is what was pushed.
#[test]
fn b6_no_manifest_names_this_machine_and_every_image_of_ours_is_pinned() {
    for spec in every_lab() {
        for object in objects(&spec) {
            let text = object.body.to_string();
            assert!(!text.contains("localhost:"), "{}: {text}", object.title());
        }
        for (object, pod) in pod_specs(&objects(&spec)) {
            for container in containers(pod) {
                let image = container["image"].as_str().expect("an image");
                let ours = image.starts_with("registry.example:5000/");
                assert!(ours == image.contains("@sha256:"), "{}: {image}", object.title());
                assert!(ours || image.starts_with("ghcr.io/dapr/daprd:"), "{image}");
            }
        }
    }
}

/// B4.
#[test]
fn b4_every_wasm_pod_has_its_runtime_class_and_a_command_and_a_pool_only_where_there_are_two() {
    for spec in every_lab() {
        let wasm = names::is_wasm(spec.stacks.distributor);
        let mixed = spec.cluster.pools == Pools::Mixed;
        let objects = objects(&spec);
        let classes: Vec<_> =
            objects.iter().filter(|object| object.resource.kind == "RuntimeClass").collect();
        assert_eq!(classes.len(), usize::from(wasm));
        for class in classes {
            assert_eq!(class.body["handler"], "spin");
            let pool = &class.body["scheduling"]["nodeSelector"]["pool"];
            assert_eq!(pool == "wasm", mixed, "{}", class.body);
        }
        for (object, pod) in pod_specs(&objects) {
            let is_app = Role::ALL.iter().any(|role| role.as_str() == object.name);
            let runs_wasm = wasm && is_app;
            assert_eq!(pod["runtimeClassName"] == "spin-lab-main", runs_wasm, "{}", object.title());
            assert_eq!(containers(pod)[0]["command"] == serde_json::json!(["/"]), runs_wasm);
            let pool = &pod["nodeSelector"]["pool"];
            let expected = match (mixed, runs_wasm) {
                (false, _) => Value::Null,
                (true, true) => "wasm".into(),
                (true, false) => "classic".into(),
            };
            assert_eq!(*pool, expected, "{}", object.title());
        }
    }
}

/// B3.
#[test]
fn b3_one_lab_has_three_shapes() {
    let plain = objects(&lab(Stack::SpinRust, Topology::Shared, |_| ()));
    assert_eq!(find(&plain, "Deployment", "distributor")["apiVersion"], "apps/v1");
    let native = objects(&lab(Stack::WarpRust, Topology::Shared, |_| ()));
    let pod = &find(&native, "Deployment", "distributor")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["args"], serde_json::json!(["--listen", "0.0.0.0:8080"]));
    let spin_app = objects(&lab(Stack::SpinRust, Topology::Shared, |spec| {
        spec.cluster.spin_shape = SpinShape::Spinapp;
    }));
    let app = find(&spin_app, "SpinApp", "distributor");
    assert_eq!(app["apiVersion"], "core.spinkube.dev/v1alpha1");
    assert_eq!(app["spec"]["variables"][0]["value"], "http://distributor-dapr:3500");
    // The operator's webhook writes null where there are none, and its schema refuses that.
    assert_eq!(app["spec"]["checks"]["readiness"]["httpGet"]["httpHeaders"], serde_json::json!([]));
    let executor = find(&spin_app, "SpinAppExecutor", "containerd-shim-spin");
    assert_eq!(executor["spec"]["deploymentConfig"]["runtimeClassName"], "spin-lab-main");
}

/// B14: each sidecar is one that works where it is.
#[test]
fn b14_a_native_sidecar_is_injected_and_a_wasm_one_needs_no_environment() {
    let native = objects(&lab(Stack::WarpRust, Topology::Sidecar, |_| ()));
    let template = &find(&native, "Deployment", "distributor")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["dapr.io/enabled"], "true");
    assert_eq!(template["metadata"]["annotations"]["dapr.io/app-port"], "8080");
    assert_eq!(containers(&template["spec"]).len(), 1);

    let wasm = objects(&lab(Stack::SpinTs, Topology::Sidecar, |_| ()));
    let template = &find(&wasm, "Deployment", "distributor")["spec"]["template"];
    assert!(template["metadata"]["annotations"].is_null(), "the injected one ends again and again there");
    let beside = containers(&template["spec"])[1];
    assert_eq!((&beside["name"], &beside["env"]), (&"daprd".into(), &Value::Null));
    assert_eq!(beside["command"], serde_json::json!(["/daprd"]));
    let args = beside["args"].to_string();
    assert!(args.contains("\"--mode\",\"standalone\"") && args.contains("/lab/components"), "{args}");
    let files = find(&wasm, "ConfigMap", "dapr-components");
    for file in ["distributor.yaml", "receiver-express.yaml", "secretstore.yaml"] {
        assert!(files["data"][file].is_string(), "{file} in {files}");
    }

    let spin_app = objects(&lab(Stack::SpinRust, Topology::Sidecar, |spec| {
        spec.cluster.spin_shape = SpinShape::Spinapp;
    }));
    assert_eq!(find(&spin_app, "Deployment", "distributor-dapr")["spec"]["replicas"], 1);
}

#[test]
fn the_components_are_those_of_every_back_end_and_only_the_store_differs() {
    let objects = objects(&lab(Stack::WarpRust, Topology::Shared, |_| ()));
    let component = find(&objects, "Component", "q-order-express-in");
    assert_eq!(component["spec"]["type"], "bindings.azure.servicebusqueues");
    assert_eq!(component["auth"]["secretStore"], "secretstore");
    assert_eq!(find(&objects, "Component", "secretstore")["spec"]["type"], "secretstores.kubernetes");
    // A secret is data of a Secret, nothing of anything else.
    for object in objects.iter().filter(|object| object.resource.kind != "Secret") {
        assert!(!object.body.to_string().contains("SharedAccessKey"), "{}", object.title());
    }
    let rule = &find(&objects, "Role", "secret-reader")["rules"][0];
    assert_eq!(
        (&rule["verbs"], &rule["resourceNames"]),
        (&serde_json::json!(["get"]), &serde_json::json!(["blob", "servicebus"]))
    );
}

#[test]
fn dapr_shared_is_as_many_as_asked_for_or_one_on_each_node() {
    let many = objects(&lab(Stack::SpinRust, Topology::Shared, |spec| spec.dapr_replicas = 10));
    assert_eq!(find(&many, "Deployment", "distributor-dapr")["spec"]["replicas"], 10);
    let everywhere = objects(&lab(Stack::SpinRust, Topology::Shared, |spec| {
        spec.cluster.dapr_strategy = DaprStrategy::Daemonset;
    }));
    let set = find(&everywhere, "DaemonSet", "distributor-dapr");
    let args = set["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    // Where the chart hangs with its defaults, or is killed while its application is away.
    assert!(args.contains("dapr-sentry.dapr-system.svc.cluster.local:443"), "{args}");
    assert!(set["spec"]["template"]["spec"]["containers"][0]["livenessProbe"].is_null());
    assert_eq!(set["spec"]["template"]["metadata"]["annotations"]["dapr.io/app-id"], "distributor");
}

#[test]
fn emulators_are_pods_or_services_that_lead_to_addresses() {
    let within = objects(&lab(Stack::WarpRust, Topology::Shared, |spec| spec.blob = BlobStore::Native));
    assert_eq!(find(&within, "Deployment", "servicebus")["spec"]["strategy"]["type"], "Recreate");
    let alongside = LabSpec {
        backend: BackendKind::K3d,
        cluster: ClusterSpec::of(BackendKind::K3d),
        ..lab(Stack::WarpRust, Topology::Shared, |_| ())
    };
    let alongside = objects(&alongside);
    assert!(find(&alongside, "Service", "servicebus")["spec"]["selector"].is_null());
    let slice = find(&alongside, "EndpointSlice", "blob");
    assert_eq!(slice["endpoints"][0]["addresses"][0], "172.18.0.6");
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "blob");
    assert!(!alongside.iter().any(|object| object.resource.kind == "Deployment" && object.name == "blob"));
}

#[test]
fn what_has_no_image_is_named() {
    let spec = LabSpec::default();
    let images = Images::new();
    let inputs = Inputs {
        spec: &spec,
        workspace: String::new(),
        images: &images,
        dapr: DaprFacts { image: String::new(), trust_anchors: String::new() },
        components: Vec::new(),
        alongside: None,
    };
    let error = manifests(&inputs).expect_err("no image").to_string();
    assert_eq!(error, "there is no image of servicebus-emulator");
}

/// Each Dapr of a lab that traces names a Configuration that is there: by annotation, by name, or as a mounted file.
#[test]
fn every_dapr_is_told_of_tracing_in_its_own_way() {
    for (stack, topology) in [
        (Stack::WarpRust, Topology::Sidecar),
        (Stack::WarpRust, Topology::Shared),
        (Stack::SpinRust, Topology::Sidecar),
    ] {
        let mut told = 0;
        for tracing in Tracing::ALL {
            let objects = objects(&lab(stack, topology, |spec| spec.tracing = *tracing));
            let on = *tracing == Tracing::On;
            assert_eq!(objects.iter().any(|object| object.resource.kind == "Configuration"), on);
            for (object, pods) in pod_specs(&objects) {
                let template = &object.body["spec"]["template"];
                let injected = template["metadata"]["annotations"]["dapr.io/enabled"] == "true";
                if injected {
                    assert_eq!(template["metadata"]["annotations"]["dapr.io/config"] == "tracing", on);
                    told += u32::from(on);
                }
                for container in pods["containers"].as_array().expect("containers") {
                    if container["name"] != "daprd" {
                        continue;
                    }
                    let args = container["args"].as_array().expect("arguments");
                    let named = args.iter().skip_while(|word| *word != "--config").nth(1);
                    assert_eq!(named.is_some(), on, "{}", object.title());
                    told += u32::from(on);
                    if let Some(file) = named.and_then(Value::as_str).filter(|name| name.starts_with('/')) {
                        let mounts = container["volumeMounts"].as_array().expect("mounts");
                        assert!(mounts.iter().any(|mount| mount["mountPath"] == file), "{mounts:?}");
                        let files = find(&objects, "ConfigMap", "dapr-components");
                        assert!(files["data"]["configuration.yaml"].is_string(), "{files}");
                    }
                }
            }
        }
        assert_eq!(told, 4, "the lab's own and one for each role: {stack} {topology}");
    }
}
