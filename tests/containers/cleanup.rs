//! What is left behind: nothing, whatever happened.

use std::time::Duration;

use lab::build::Arch;
use lab::image::engine::{Container, Label};
use lab::image::{Files, Part};
use testcontainers::ImageExt as _;
use tests::until;

use crate::stage::{LABEL, Stage, answers, assembled};

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_panics_leaves_no_container() {
    let case = "a test that panics";
    let Some(stage) = Stage::open(case).await else { return };
    let image = stage.image(Part::BlobEmulator).await;
    let engine = stage.engine.clone();
    let test = tokio::spawn(async move {
        let running = stage.start(image.with_network(format!("spin-lab-panic-{}", std::process::id()))).await;
        assert!(!running.is_running().await.unwrap(), "this test fails");
    });
    assert!(test.await.unwrap_err().is_panic());
    let label = Label { name: LABEL, value: case };
    until("the container to be gone", Duration::from_secs(20), || async {
        let left = engine.containers(label).await.unwrap();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// What a lab makes beside a cluster, with the lab's own way to make it.
#[tokio::test]
async fn what_a_lab_makes_is_found_by_its_label_and_removed_once() {
    let case = "containers of a lab";
    let Some(stage) = Stage::open(case).await else { return };
    let id = std::process::id();
    let (network, name) = (format!("spin-lab-net-{id}"), format!("spin-lab-blob-{id}"));
    let value = id.to_string();
    let label = Label { name: "spin-lab.lab", value: &value };
    let image = assembled(Part::BlobEmulator, &[Arch::HOST]).await;
    let image = stage.engine.load(&image).await.unwrap();
    stage.engine.network(&network, label).await.unwrap();
    stage.engine.network(&network, label).await.unwrap();
    let mut files = Files::default();
    files.text("/lab/note", "hello");
    let container = Container {
        name: &name,
        image: &image,
        arguments: &[],
        files: &files,
        network: &network,
        published: &[],
    };
    // A second start takes the place of the first.
    stage.engine.start(&container, label).await.unwrap();
    let address = stage.engine.start(&container, label).await.unwrap();
    answers("the blob store", &format!("http://{address}:10000/_emulator/clock"), 200).await;
    let removed = stage.engine.remove_all(label).await.unwrap();
    assert_eq!((removed.containers, removed.networks), (1, 1));
    let again = stage.engine.remove_all(label).await.unwrap();
    assert_eq!((again.containers, again.networks, again.volumes), (0, 0, 0));
    let wrong = Container { image: "spin-lab/none:none", ..container };
    let error = stage.engine.start(&wrong, label).await.unwrap_err();
    assert!(error.to_string().contains("failed to create container"), "{error}");
}
