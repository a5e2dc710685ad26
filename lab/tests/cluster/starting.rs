//! The start of a whole lab, up to what stops it.

use lab::backend::Backend;
use lab::backend::kubernetes::KubernetesBackend;
use lab::exit::Exit;
use lab::spec::{BackendKind, ClusterSpec, LabSpec};

use crate::fakes::{Fakes, case};

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
