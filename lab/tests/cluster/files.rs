//! The files of `k3d/`: valid as they are and as the lab fills them in, and of one mind about versions.

use std::path::{Path, PathBuf};

use lab::cluster::installs::Planned;
use lab::cluster::versions::{Version, Versions};
use lab::cluster::{ClusterError, Provider, Settings};
use lab::paths::Workspace;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

/// What the schema of k3d's file finds wrong.
fn wrong(config: &Value) -> Vec<String> {
    let schema = serde_json::from_str(include_str!("k3d-v1alpha5.schema.json")).expect("a schema");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    schema.iter_errors(config).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn settings(lab: &str) -> Settings {
    Settings::new(Workspace::at(root()), lab).expect("settings")
}

/// The file from which the cluster of a lab is made.
fn config(provider: &Provider) -> Value {
    let plan = provider.plan().expect("a plan");
    let file = plan.iter().find_map(|planned| match planned {
        Planned::File { path, content } if path.ends_with("cluster.yaml") => Some(content),
        _ => None,
    });
    yaml(file.expect("a file"))
}

#[test]
fn b1_the_k3d_configuration_is_valid_as_it_is_and_filled_in() {
    assert_eq!(wrong(&yaml(&read("k3d/cluster.yaml"))), Vec::<String>::new());
    assert!(!read("k3d/cluster.yaml").contains('$'), "k3d would expand it");
    for (lab, mixed) in
        [("main", false), ("main", true), (&*"x".repeat(40), false), ("a-very-long-name-ends-in-x", true)]
    {
        let mut settings = settings(lab);
        settings.mixed_pools = mixed;
        let provider = Provider::k3d(settings);
        let config = config(&provider);
        assert_eq!(wrong(&config), Vec::<String>::new(), "{lab}");
        let cluster = provider.planned();
        assert_eq!(config["metadata"]["name"], cluster.name.as_str());
        assert!(cluster.name.len() <= 32 && !config.to_string().contains('$'), "{config}");
        let registry = cluster.registry.expect("a registry");
        let (create, name) = (&config["registries"]["create"], format!("{}-registry", cluster.name));
        assert_eq!(create["name"], name.as_str());
        assert_eq!(registry.pull_host, format!("{name}:5000"));
        assert_eq!(registry.push_host, format!("localhost:{}", create["hostPort"].as_str().expect("text")));
        assert_eq!(config["options"]["runtime"]["ulimits"][0]["name"], "nofile");
        let args = config["options"]["k3s"]["extraArgs"].to_string();
        assert!(args.contains("eviction-hard=imagefs.available<1%,nodefs.available<1%"), "{args}");
        let labels = config["options"]["k3s"]["nodeLabels"].to_string();
        assert_eq!(labels.contains("pool=classic"), mixed, "{labels}");
        let image = config["image"].as_str().expect("text");
        assert_eq!(image.contains("rancher/k3s"), mixed, "the classic pool has no shim: {image}");
    }
}

#[test]
fn b1_a_wrong_configuration_is_noticed() {
    let good = yaml(&read("k3d/cluster.yaml"));
    for (pointer, value) in [
        ("/agents", Value::from("one")),
        ("/metadata/name", Value::from("x".repeat(33))),
        ("/kind", Value::from("Complex")),
        ("/options/k3d/timeout", Value::from("3 minutes")),
        ("/options/k3s/extraArgs/0/nodeFilters/0", Value::from("server:all")),
        ("/registries/create/hostPort", Value::from(5000)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert_eq!(wrong(&bad).len(), 1, "{pointer}: {:?}", wrong(&bad));
    }
    let mut mistyped = good;
    mistyped["options"]["k3s"]["extraArg"] = Value::Null;
    assert_eq!(wrong(&mistyped).len(), 1);
}

/// A file that k3d would change silently, and one that is no YAML.
#[test]
fn b1_a_template_that_cannot_work_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::at(folder.path());
    std::fs::create_dir(workspace.cluster_files()).expect("a folder");
    let file =
        |name: &str, text: &str| std::fs::write(workspace.cluster_files().join(name), text).expect("a file");
    file("versions.toml", &read("k3d/versions.toml"));
    let plan = || Provider::k3d(Settings::new(workspace.clone(), "main").expect("settings")).plan();
    for (text, cause) in [("token: $HOME\n", "it must not hold a dollar sign"), ("a: [", "")] {
        file("cluster.yaml", text);
        let error = plan().expect_err(text);
        assert!(matches!(error, ClusterError::Template { .. }), "{error}");
        assert!(std::error::Error::source(&error).expect("a cause").to_string().contains(cause));
    }
}

#[test]
fn the_kind_configuration_tells_containerd_of_the_shim_and_of_the_registry() {
    let mut settings = settings("main");
    for mixed in [false, true] {
        settings.mixed_pools = mixed;
        let config = config(&Provider::kind(settings.clone()));
        assert_eq!(config["apiVersion"], "kind.x-k8s.io/v1alpha4");
        let patches = config["containerdConfigPatches"].to_string();
        assert!(
            patches.contains("io.containerd.spin.v2") && patches.contains("/etc/containerd/certs.d"),
            "{patches}"
        );
        let nodes = config["nodes"].as_array().expect("nodes");
        let images: Vec<bool> = nodes
            .iter()
            .map(|node| node["image"].as_str().expect("text").contains("containerd-shim-spin"))
            .collect();
        assert_eq!(images, if mixed { vec![false, false, true] } else { vec![true, true] });
        let pools: Vec<&str> = nodes.iter().filter_map(|node| node["labels"]["pool"].as_str()).collect();
        assert_eq!(pools, if mixed { vec!["classic", "wasm"] } else { Vec::new() });
        assert!(
            nodes.iter().all(|node| node["extraMounts"][0]["containerPath"] == "/etc/containerd/certs.d")
        );
    }
}

#[test]
fn labs_of_two_checkouts_or_two_names_share_nothing() {
    let one = Provider::k3d(settings("main")).planned();
    let other_name = Provider::k3d(settings("other")).planned();
    let elsewhere = Settings { workspace: Workspace::at("/elsewhere"), ..settings("main") };
    let elsewhere = Provider::k3d(elsewhere).planned();
    for other in [&other_name, &elsewhere] {
        assert_ne!(one.name, other.name);
        assert_ne!(one.label, other.label);
        assert_ne!(one.registry, other.registry);
        assert_ne!(one.kubeconfig, other.kubeconfig);
    }
}

#[test]
fn b2_every_file_names_the_versions_that_versions_toml_has() {
    let versions = Versions::read(&Workspace::at(root())).expect("versions");
    for program in versions.programs.values() {
        let of = |text: &str| text.parse::<Version>().expect(text);
        assert!(of(&program.least) <= of(&program.version));
    }
    let least: Version = versions.programs["k3d"].least.parse().expect("a version");
    assert!(least >= "5.8.3".parse().expect("a version"));
    let (k3d, kind) = (&versions.nodes["k3d"], &versions.nodes["kind"]);
    assert!(read("k3d/cluster.yaml").contains(&format!("image: {}\n", k3d.published.image)));
    assert!(read("k3d/kind.yaml").contains(&format!("--image {}\n", kind.published.image)));
    for node in [&k3d.published, &k3d.own, &kind.published, &kind.own] {
        assert!(node.image.ends_with(&format!(":v{}", node.shim)), "{}", node.image);
    }
    for own in [&k3d.own, &kind.own] {
        assert!(own.sha256.values().all(|sum| sum.len() == 64) && own.sha256.len() == 2);
        assert!(own.base.is_some());
    }
    let dapr = &versions.charts["dapr"].version;
    assert!(versions.images["daprd"].ends_with(&format!(":{dapr}")));
    let azurite: Value = serde_json::from_str(&read("emulators/azurite/package.json")).expect("JSON");
    let azurite = azurite["dependencies"]["azurite"].as_str().expect("text");
    assert!(versions.images["azurite"].ends_with(&format!(":{azurite}")), "{azurite}");
    assert!(
        read("apps/spin/rust/Cargo.lock")
            .contains(&format!("name = \"spin-sdk\"\nversion = \"{}\"", versions.sdks.rust))
    );
    let lock: Value = serde_json::from_str(&read("apps/package-lock.json")).expect("JSON");
    let javascript = &lock["packages"]["node_modules/@spinframework/wasi-http-proxy"]["version"];
    assert_eq!(javascript, versions.sdks.javascript.as_str());
    for name in versions.charts.keys() {
        yaml(&read(&format!("k3d/charts/{name}.yaml")));
    }
}

#[test]
fn b2_every_version_is_a_row() {
    let versions = Versions::read(&Workspace::at(root())).expect("versions");
    let text: Vec<String> = versions.rows().iter().map(|row| row.join(" ")).collect();
    let text = text.join("\n");
    for words in [
        "k3d 5.",
        "shim 0.24.0, Spin 3.6.3",
        "spin-sdk (Rust) 5.2.0",
        "chart spin-operator 0.6.1",
        "chart dapr 1.18.3",
        "image azurite 3.35.0",
    ] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
}

#[test]
fn b19_the_workflow_installs_what_versions_toml_has_and_verifies_it() {
    let versions = Versions::read(&Workspace::at(root())).expect("versions");
    let workflow = yaml(&read(".github/workflows/k3d.yml"));
    for (name, program) in [("K3D", "k3d"), ("HELM", "helm"), ("KUBECTL", "kubectl"), ("KIND", "kind")] {
        let wanted = &versions.programs[program].version;
        assert_eq!(workflow["env"][format!("{name}_VERSION")], wanted.as_str(), "{program}");
    }
    assert_eq!(workflow["env"]["NODE_IMAGE"], versions.nodes["k3d"].published.image.as_str());
    assert_eq!(workflow["env"]["REGISTRY_IMAGE"], versions.images["registry"].as_str());
    let job = &workflow["jobs"]["e2e"];
    let rows = job["strategy"]["matrix"]["include"].as_array().expect("rows");
    let machines: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["backend"], row["arch"]).replace('"', "")).collect();
    assert!(
        machines.contains(&"k3d amd64".to_owned()) && machines.contains(&"k3d arm64".to_owned()),
        "{machines:?}"
    );
    for row in rows {
        let arch = row["arch"].as_str().expect("text");
        for program in ["k3d", "helm", "kubectl"] {
            let wanted = &versions.programs[program].sha256[arch];
            assert_eq!(row[format!("{program}_sha256")], wanted.as_str(), "{program} {arch}");
        }
    }
    assert!(job["timeout-minutes"].is_number(), "it has a budget");
    let steps = job["steps"].as_array().expect("steps");
    let has = |words: &str| steps.iter().any(|step| step.to_string().contains(words));
    assert!(has("cargo test --package tests --test e2e") && has("docker save") && has("docker load"));
    let bundle =
        steps.iter().find(|step| step["uses"].to_string().contains("upload-artifact")).expect("a bundle");
    assert_eq!(bundle["if"], "failure()");
    assert!(bundle["with"]["path"].to_string().contains("!.lab/**/kubeconfig*"), "credentials stay");
}

/// A tag of an action can be moved to other code; a commit cannot.
#[test]
fn b19_workflows_may_little_and_name_actions_by_commit() {
    let mut actions = 0;
    for name in ["ci", "images", "k3d"] {
        let text = read(&format!(".github/workflows/{name}.yml"));
        let workflow = yaml(&text);
        assert_eq!(workflow["permissions"], serde_json::json!({ "contents": "read" }), "{name}");
        assert_eq!(workflow["concurrency"]["cancel-in-progress"], true, "{name}");
        for line in text.lines().filter(|line| line.contains("uses: ")) {
            let commit = line.split('@').nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            assert!(
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{name}: {line}"
            );
            actions += 1;
        }
    }
    assert!(actions > 5, "{actions}");
}
