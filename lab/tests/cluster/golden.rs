//! What a lab is on a cluster, word for word, in `k3d/golden`: the manifests of a few telling labs, and whole dry runs. A change of
//! them is a decision: run with `INSTA_UPDATE=always`, and read what became of the files.

use lab::backend::kubernetes::dry_run;
use lab::backend::kubernetes::manifests::{Component, DaprFacts, Images, Inputs, manifests};
use lab::cluster::Provider;
use lab::spec::{
    BackendKind, BlobStore, ClusterSpec, DaprStrategy, LabSpec, Pools, SpinShape, Stack, Topology,
};

use crate::fakes::{Fakes, case};
use crate::house::furnish;

/// Compares with a file of `k3d/golden`.
fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../k3d/golden"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn lab(backend: BackendKind, stack: &str, topology: Topology) -> LabSpec {
    LabSpec {
        name: "main".to_owned(),
        backend,
        cluster: ClusterSpec::of(backend),
        stacks: stack.parse().expect("stacks"),
        topology,
        blob: BlobStore::Native,
        ..LabSpec::default()
    }
}

/// The manifests of a lab but for rights, secrets and components, which are the same for each and stand in the dry runs.
fn shapes(spec: &LabSpec) -> String {
    let name =
        |name: &str| (name.to_owned(), format!("registry.example:5000/spin-lab/{name}@sha256:{:064}", 0));
    let images: Images = Stack::ALL
        .iter()
        .map(|stack| name(stack.as_str()))
        .chain(["servicebus-emulator", "blob-emulator"].map(name))
        .collect();
    let inputs = Inputs {
        spec,
        workspace: "0123456789abcdef".to_owned(),
        images: &images,
        dapr: DaprFacts { image: "ghcr.io/dapr/daprd:1.18.3".to_owned(), trust_anchors: "PEM".to_owned() },
        components: Vec::<Component>::new(),
        alongside: None,
    };
    let same = ["Namespace", "ServiceAccount", "Role", "RoleBinding", "Secret", "Component", "ConfigMap"];
    let manifests = manifests(&inputs).expect("manifests");
    let telling = manifests.all().filter(|object| !same.contains(&object.resource.kind.as_str()));
    telling.map(|object| format!("---\n{}", serde_saphyr::to_string(&object.body).expect("YAML"))).collect()
}

#[test]
fn the_manifests_of_telling_labs_are_as_written() {
    let kubernetes = BackendKind::Kubernetes;
    compare("native-sidecar", &shapes(&lab(kubernetes, "warp-rust", Topology::Sidecar)));
    compare("spin-sidecar", &shapes(&lab(kubernetes, "spin-rust", Topology::Sidecar)));
    compare("spin-shared", &shapes(&lab(kubernetes, "spin-rust", Topology::Shared)));
    let mut daemonset = lab(kubernetes, "spin-ts", Topology::Shared);
    daemonset.cluster.dapr_strategy = DaprStrategy::Daemonset;
    compare("spin-shared-daemonset", &shapes(&daemonset));
    let mut spinapp = lab(kubernetes, "spin-rust", Topology::Sidecar);
    spinapp.cluster.spin_shape = SpinShape::Spinapp;
    compare("spinapp-sidecar", &shapes(&spinapp));
    let stacks = "distributor=spin-rust,receiver-express=warp-rust,receiver-standard=express-ts";
    let mut mixed = lab(kubernetes, stacks, Topology::Sidecar);
    mixed.cluster.pools = Pools::Mixed;
    compare("mixed-pools", &shapes(&mixed));
}

/// A dry run without what is of this machine or follows from where the checkout is. Nothing has been built.
fn normalised(fakes: &Fakes, spec: &LabSpec) -> String {
    let _ = std::fs::remove_dir_all(fakes.workspace().dist());
    let text = dry_run(&fakes.workspace(), spec).expect("a dry run");
    let settings = fakes.settings();
    let own = [Provider::k3d(settings.clone()), Provider::kind(settings)];
    let mut text = text.replace(&fakes.workspace().root().display().to_string(), "ROOT");
    for cluster in own.map(|provider| provider.planned()) {
        let port =
            cluster.registry.and_then(|registry| Some(registry.push_host.rsplit_once(':')?.1.to_owned()));
        text = text.replace(&cluster.name, "CLUSTER").replace(&port.expect("a port"), "PORT");
    }
    let id = "spin-lab/workspace: ";
    let line = |line: &str| match line.split_once(id) {
        Some((before, _)) => format!("{before}{id}ID"),
        None => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn b8_whole_dry_runs_are_as_written_and_need_no_kubeconfig() {
    case("golden::b8_whole_dry_runs_are_as_written_and_need_no_kubeconfig", async |fakes| {
        furnish(&fakes);
        fakes.without_kubeconfig();
        let mut k3d = lab(BackendKind::K3d, "spin-rust", Topology::Shared);
        k3d.cluster.spin_shape = SpinShape::Spinapp;
        k3d.cluster.pools = Pools::Mixed;
        compare("dry-run-k3d", &normalised(&fakes, &k3d));
        compare("dry-run-kind", &normalised(&fakes, &lab(BackendKind::Kind, "spin-ts", Topology::Sidecar)));
    });
}

#[test]
fn b8_a_dry_run_of_a_context_says_what_it_would_do_there_and_asks_nobody() {
    case("golden::b8_a_dry_run_of_a_context_says_what_it_would_do_there_and_asks_nobody", async |fakes| {
        furnish(&fakes);
        let spec = lab(BackendKind::Kubernetes, "warp-rust", Topology::Sidecar);
        let registry = std::env::var("LAB_REGISTRY").expect("a registry");
        let kubeconfig = std::env::var("KUBECONFIG").expect("a kubeconfig");
        let text =
            normalised(&fakes, &spec).replace(&registry, "REGISTRY").replace(&kubeconfig, "KUBECONFIG");
        compare("dry-run-kubernetes", &text);
        assert_eq!(fakes.api.requests(), Vec::<String>::new());
        // Where there is none, that is what it says.
        fakes.without_kubeconfig();
        let text = dry_run(&fakes.workspace(), &spec).expect("a dry run");
        assert!(text.starts_with("# the current kubeconfig context; there is none here\n"), "{text}");
    });
}
