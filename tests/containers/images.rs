//! Every image that an engine can start, started.

use lab::image::Part;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncBuilder as _;
use testcontainers::{GenericBuildableImage, ImageExt as _};

use crate::stage::{Stage, answers, assembled, url, workspace};

async fn serves(case: &'static str, part: Part, port: u16, path: &str, status: u16) {
    let Some(stage) = Stage::open(case).await else { return };
    let running = stage.start(stage.image(part).await).await;
    answers(case, &format!("{}{path}", url(&running, port).await), status).await;
}

#[tokio::test]
async fn the_broker_serves_from_scratch() {
    serves("the broker's image", Part::ServicebusEmulator, 5300, "/health", 200).await;
}

#[tokio::test]
async fn the_blob_store_serves_from_scratch() {
    serves("the blob store's image", Part::BlobEmulator, 10000, "/_emulator/clock", 200).await;
}

/// There is no open page: an unsigned list is refused like this once it serves.
#[tokio::test]
async fn azurite_serves_with_node() {
    serves("Azurite's image", Part::Azurite, 10000, "/devstoreaccount1?comp=list", 403).await;
}

#[tokio::test]
async fn the_static_native_application_serves_from_scratch() {
    serves("the static image of warp-rust", Part::WarpRustStatic, 3000, "/healthz", 200).await;
}

#[tokio::test]
async fn the_full_native_application_serves_with_the_libraries_beside_it() {
    serves("the full image of warp-rust", Part::WarpRust, 3000, "/healthz", 200).await;
}

#[tokio::test]
async fn the_typescript_application_serves_with_node() {
    serves("the image of express-ts", Part::ExpressTs, 3000, "/healthz", 200).await;
}

/// A container has the arguments that it was given and no others: the negative twin of all that serve.
#[tokio::test]
async fn a_program_that_refuses_its_arguments_ends_and_says_why() {
    let case = "an image with wrong arguments";
    let Some(stage) = Stage::open(case).await else { return };
    let image = stage.image(Part::BlobEmulator).await.with_cmd(["--no-such-flag"]);
    let running = stage.start(image).await;
    let code = tests::until("the end", std::time::Duration::from_secs(20), || async {
        running.exit_code().await.unwrap().ok_or("it runs")
    })
    .await;
    assert_eq!(code, 2);
    let said = String::from_utf8(running.stderr_to_vec().await.unwrap()).unwrap();
    assert!(said.contains("--no-such-flag"), "{said}");
}

/// What a user with Docker builds is what the lab puts into its images.
#[tokio::test]
async fn the_dockerfiles_make_images_that_serve() {
    let case = "the Dockerfiles";
    let Some(stage) = Stage::open(case).await else { return };
    for (part, name, port, path) in [
        (Part::ServicebusEmulator, "servicebus", 5300, "/health"),
        (Part::BlobEmulator, "blob", 10000, "/_emulator/clock"),
    ] {
        assembled(part, &[lab::build::Arch::HOST]).await;
        let program = workspace().artefact(&format!("{part}-static"));
        let dockerfile = workspace().root().join(format!("emulators/{name}/Dockerfile"));
        let built = GenericBuildableImage::new(format!("spin-lab-test/{name}"), "dockerfile")
            .with_dockerfile(dockerfile)
            .with_file(program, part.to_string())
            .build_image()
            .await
            .unwrap();
        let running = stage.start(built.with_exposed_port(port.tcp())).await;
        answers(case, &format!("{}{path}", url(&running, port).await), 200).await;
    }
}
