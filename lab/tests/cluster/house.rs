//! Everything that a whole lab needs of its surroundings, played: files to make images of, a cluster that can take pods, Dapr on it.

use std::path::Path;

use lab::backend::kubernetes::{KubernetesBackend, Patience};
use lab::build::{Arch, Artefact, Program};
use lab::spec::{BackendKind, BlobStore, ClusterSpec, LabSpec, Packaging, Stack, Stacks};
use serde_json::json;

use crate::fakes::Fakes;

/// A native lab of static files in the current kubeconfig context.
pub fn spec() -> LabSpec {
    LabSpec {
        name: "main".to_owned(),
        backend: BackendKind::Kubernetes,
        cluster: ClusterSpec::of(BackendKind::Kubernetes),
        stacks: Stacks::all(Stack::WarpRust),
        packaging: Packaging::Static,
        blob: BlobStore::Native,
        ..LabSpec::default()
    }
}

/// A supervisor's back end for that lab.
pub fn backend(fakes: &Fakes) -> KubernetesBackend {
    impatient(fakes, |_| ())
}

/// The same with other bounds.
pub fn impatient(fakes: &Fakes, change: impl FnOnce(&mut Patience)) -> KubernetesBackend {
    let mut patience = Patience::default();
    change(&mut patience);
    KubernetesBackend::with(fakes.workspace(), spec(), patience)
}

/// Puts what a supervisor finds: the component files, what images are made of, the lab's folders; and a cluster with one node.
pub fn furnish(fakes: &Fakes) {
    let workspace = fakes.workspace();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("components");
    // The command line knows a workspace by what only its root has.
    let folders = [
        workspace.components(),
        workspace.dist(),
        workspace.lab("main").logs(),
        workspace.root().join("apps/order"),
    ];
    for folder in folders {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    std::fs::write(workspace.root().join("Cargo.toml"), "").expect("a file");
    for file in std::fs::read_dir(from).expect("the components").flatten() {
        std::fs::copy(file.path(), workspace.components().join(file.file_name())).expect("a file");
    }
    for program in [Program::WarpRust, Program::ServicebusEmulator, Program::BlobEmulator] {
        let file = workspace.artefact(Artefact::Static(program, Arch::HOST).name());
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, program.name()).expect("a file");
    }
    fakes.api.put_ready(&["one"]);
}

/// Dapr's control plane as helm installs it.
pub fn put_dapr(fakes: &Fakes) {
    let labels = json!({ "app.kubernetes.io/version": "1.18.3" });
    let env = json!([{ "name": "SIDECAR_IMAGE", "value": "ghcr.io/dapr/daprd:1.18.3" }]);
    let pod = json!({ "spec": { "containers": [{ "name": "injector", "env": env }] } });
    let injector = json!({
        "kind": "Deployment", "apiVersion": "apps/v1",
        "metadata": { "name": "dapr-sidecar-injector", "namespace": "dapr-system", "labels": labels },
        "spec": { "replicas": 1, "selector": {}, "template": pod }, "status": { "availableReplicas": 1 },
    });
    fakes.api.has("/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sidecar-injector", injector);
    let bundle = json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "dapr-trust-bundle" },
        "data": { "ca.crt": "-----BEGIN CERTIFICATE-----\n" },
    });
    fakes.api.has("/api/v1/namespaces/dapr-system/configmaps/dapr-trust-bundle", bundle);
}
