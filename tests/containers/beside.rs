//! Broker and blob store beside a cluster: they are seen, followed and counted like what is in it.

use std::path::PathBuf;
use std::time::Duration;

use lab::backend::kubernetes::beside;
use lab::build;
use lab::cluster::Cluster;
use lab::image::engine::{Engine, Label};
use lab::image::{Part, Plan};
use lab::spec::{BlobStore, LabSpec};
use tests::until;

use crate::stage::{Stage, workspace};

/// A network with the label of everything beside the cluster, as the program that makes clusters would leave it.
async fn cluster(engine: &Engine) -> Cluster {
    let name = format!("spin-lab-beside-{}", std::process::id());
    engine.network(&name, Label { name: "spin-lab.lab", value: &name }).await.unwrap();
    Cluster {
        label: format!("spin-lab.lab={name}"),
        network: Some(name.clone()),
        name,
        kubeconfig: PathBuf::new(),
        context: String::new(),
        registry: None,
        nodes: Vec::new(),
    }
}

#[tokio::test]
async fn what_is_beside_a_cluster_is_seen_followed_and_counted() {
    let Some(stage) = Stage::open("emulators beside a cluster").await else { return };
    let spec = LabSpec { name: "beside".to_owned(), blob: BlobStore::Native, ..LabSpec::default() };
    let parts = [Part::ServicebusEmulator, Part::of_blob(spec.blob)];
    let plan = Plan { parts: parts.into(), arches: vec![build::Arch::HOST] };
    tokio::task::spawn_blocking(move || build::build(&workspace(), &plan.artefacts(), |_| {}).unwrap())
        .await
        .unwrap();
    let cluster = cluster(&stage.engine).await;
    let containers = beside::start(&workspace(), &spec, &cluster).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let files = lab::paths::Workspace::at(folder.path()).lab("beside");
    std::fs::create_dir_all(files.logs()).unwrap();
    let states = || -> Vec<(String, String)> {
        containers.status(&files).into_iter().map(|row| (row.name, row.state)).collect()
    };
    let named = |servicebus: &str| {
        [("servicebus", servicebus), ("blob", "ready")].map(|(name, state)| (name.into(), state.into()))
    };
    assert_eq!(states(), named("ready"));
    for row in containers.status(&files) {
        assert!(row.image_bytes.is_some_and(|bytes| bytes > 1_000_000), "{row:?}");
    }
    for used in containers.usage().await.unwrap() {
        assert!(used.cpu_seconds > 0.0 && used.rss_bytes > 100_000, "{used:?}");
    }

    let log = files.log("servicebus");
    let stopped = async {
        until("the log to be copied", Duration::from_secs(10), || async {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("Emulator Service is Successfully Up!") { Ok(()) } else { Err(said) }
        })
        .await;
        let label = Label { name: "spin-lab.lab", value: &cluster.name };
        stage.engine.remove_all(label).await.unwrap();
    };
    tokio::join!(containers.follow("servicebus", &log), stopped);
    assert_eq!(states(), named("failed"));
    let lost = containers.usage().await.unwrap_err().to_string();
    assert!(lost.contains("read the counters of") && lost.contains("servicebus"), "{lost}");
}
