//! The start of a whole lab, up to what stops it.

use lab::backend::kubernetes::KubernetesBackend;
use lab::backend::{Backend, LabError};
use lab::exit::Exit;
use lab::spec::{BackendKind, ClusterSpec, LabSpec};
use serde_json::{Value, json};

use crate::fakes::{Fakes, case, failure};
use crate::house::{backend, furnish, put_dapr};

/// The lab's namespace, and what stands in paths before its objects.
const NAMESPACE: &str = "spin-lab-main";
const OBJECTS: &str = "/api/v1/namespaces/spin-lab-main";

/// A lab of `spin-rust` on k3d.
fn spin_on_k3d() -> LabSpec {
    let (backend, cluster) = (BackendKind::K3d, ClusterSpec::of(BackendKind::K3d));
    LabSpec { name: "main".to_owned(), backend, cluster, ..LabSpec::default() }
}

/// Puts a module in the place of the Spin application; its export says which SDK it was written with.
fn put_guest(fakes: &Fakes, sdk: &str) {
    let export = format!("spin-sdk-version-{sdk}");
    let row = [&[u8::try_from(export.len()).expect("short")], export.as_bytes(), &[0, 0]].concat();
    let section = [&[7, u8::try_from(row.len() + 1).expect("short"), 1], row.as_slice()].concat();
    let wasm = [b"\0asm\x01\0\0\0", section.as_slice()].concat();
    let path = fakes.workspace().artefact("spin-rust.wasm");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::create_dir_all(fakes.workspace().lab("main").folder()).expect("a folder");
    std::fs::write(path, wasm).expect("a file");
}

#[test]
fn b2_up_refuses_a_guest_that_the_nodes_cannot_run_and_calls_nothing() {
    case("starting::b2_up_refuses_a_guest_that_the_nodes_cannot_run_and_calls_nothing", async |mut fakes| {
        fakes.on("'k3d cluster list '*", "echo 'FATA no engine' >&2; exit 1");
        fakes.install(&[]);
        let up = async || KubernetesBackend::new(fakes.workspace(), spin_on_k3d()).up().await;
        put_guest(&fakes, "7-0");
        let error = up().await.expect_err("the shim is too old");
        assert_eq!(
            error.to_string(),
            "spin-rust.wasm was written with spin-sdk 7.0, which needs Spin 4.0.0 or newer; shim 0.24.0 has Spin 3.6.3"
        );
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(fakes.calls(), Vec::<String>::new());
        assert!(fakes.lab_file("on-cluster.json").is_none(), "there is nothing to clean");

        // One that they can run: now the cluster is looked for.
        put_guest(&fakes, "5-2");
        let error = up().await.expect_err("no engine");
        assert!(error.to_string().contains("FATA no engine"), "{error}");
        assert_eq!(fakes.calls(), ["k3d cluster list --output json"]);
    });
}

/// A cluster with Dapr, on which everything gets ready that is not said to be otherwise.
fn stage(fakes: &Fakes) {
    furnish(fakes);
    put_dapr(fakes);
    fakes.install(&[]);
}

/// Starts the lab, which fails, and ends it: then nothing of it is left.
async fn fails(fakes: &Fakes) -> LabError {
    let lab = backend(fakes);
    let error = lab.up().await.expect_err("it cannot start");
    lab.down().await;
    assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
    assert_eq!(fakes.lab_file("on-cluster.json"), None);
    error
}

/// The status of a pod of which one container is not ready.
fn waiting(container: &str, reason: &str, more: Value) -> Value {
    let mut status = json!({
        "name": container, "ready": false, "restartCount": 0, "image": "registry/warp-rust@sha256:0", "imageID": "",
        "state": { "waiting": { "reason": reason, "message": "Back-off" } },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    json!({ "phase": "Pending", "containerStatuses": [status] })
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_start_with_the_registrys_words() {
    case("starting::an_image_that_cannot_be_pulled_ends_the_start_with_the_registrys_words", async |fakes| {
        stage(&fakes);
        fakes.api.pods_are("distributor", waiting("app", "ImagePullBackOff", json!({})));
        let start = async {
            fakes.api.asked(&format!("PATCH {OBJECTS}")).await;
            fakes.api.event(
                NAMESPACE,
                "distributor-1",
                "Failed",
                "Failed to pull image \"warp-rust\": no such host",
            );
        };
        let (error, ()) = tokio::join!(fails(&fakes), start);
        let LabError::Failed(failure) = &error else { panic!("{error}") };
        assert_eq!(failure.resource, "distributor-1");
        assert!(failure.what.starts_with("cannot pull its image registry/warp-rust@sha256:0"), "{error}");
        assert_eq!(failure.last_status.as_deref(), Some("Failed to pull image \"warp-rust\": no such host"));
        assert!(failure.log_tail.iter().any(|line| line.starts_with("event Failed: ")), "{error}");
        assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains("kubectl describe pod")));
        assert_eq!(error.exit(), Exit::StartFailed);
    });
}

#[test]
fn what_the_cluster_does_not_allow_is_named_with_the_object() {
    case("starting::what_the_cluster_does_not_allow_is_named_with_the_object", async |fakes| {
        stage(&fakes);
        let role = "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/spin-lab-main/roles/secret-reader";
        fakes.api.once(role, 403, failure(403, "user \"somebody\" may not grant rights"));
        let error = fails(&fakes).await;
        assert_eq!(
            error.to_string(),
            "failed to apply Role secret-reader: 403 user \"somebody\" may not grant rights"
        );
        assert!(error.hint().is_some_and(|hint| hint.starts_with("kubectl auth can-i")));
        assert_eq!(error.exit(), Exit::StartFailed);
    });
}
