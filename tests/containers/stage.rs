//! What the cases stand on: the engine, images in it, containers that are gone with their test. It asserts nothing of its own
//! but that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use lab::build::{self, Arch};
use lab::image::engine::Engine;
use lab::image::{Image, Part, Plan};
use lab::paths::Workspace;
use testcontainers::core::IntoContainerPort as _;
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt as _};
use tests::skips::skip;
use tests::until;
use tokio::sync::{Mutex, OnceCell};

/// From the start of a container until the program in it answers; Azurite takes seconds.
const READY: Duration = Duration::from_secs(30);

/// The label of every container of these tests, by which one that is left is found.
pub const LABEL: &str = "spin-lab.test";

/// A container, gone when it is dropped.
pub type Running = ContainerAsync<GenericImage>;

pub fn workspace() -> Workspace {
    Workspace::above(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The engine, if this machine has one that these tests can use.
pub struct Stage {
    pub engine: Engine,
    case: &'static str,
}

/// Images that are in the engine, by what they hold: each is loaded once.
static LOADED: OnceCell<Mutex<BTreeMap<Part, String>>> = OnceCell::const_new();

impl Stage {
    pub async fn open(case: &'static str) -> Option<Self> {
        match Engine::connect().await {
            Ok(engine) => Some(Self { engine, case }),
            Err(_) => {
                skip(case, "no Docker engine");
                None
            }
        }
    }

    /// Puts the image of a part into the engine, and gives it as it is started.
    pub async fn image(&self, part: Part) -> GenericImage {
        let loaded = LOADED.get_or_init(|| async { Mutex::default() }).await;
        let mut loaded = loaded.lock().await;
        let tag = match loaded.get(&part) {
            Some(tag) => tag.clone(),
            None => {
                let tag = self.engine.load(&assembled(part, &[Arch::HOST]).await).await.unwrap();
                loaded.insert(part, tag.clone());
                tag
            }
        };
        let (name, version) = tag.split_once(':').unwrap();
        part.ports()
            .iter()
            .fold(GenericImage::new(name, version), |image, port| image.with_exposed_port(port.tcp()))
    }

    /// Starts a container, labelled with its case.
    pub async fn start(&self, request: impl Into<ContainerRequest<GenericImage>>) -> Running {
        request.into().with_label(LABEL, self.case).start().await.unwrap()
    }
}

/// The image of a part, built if it has to be.
pub async fn assembled(part: Part, arches: &[Arch]) -> Image {
    let plan = Plan { parts: BTreeSet::from([part]), arches: arches.to_vec() };
    // Building takes its time, and a runtime that waits for it stops what goes on beside it.
    tokio::task::spawn_blocking(move || {
        let workspace = workspace();
        build::build(&workspace, &plan.artefacts(), |_| {}).unwrap();
        plan.assemble(&workspace).unwrap().remove(0)
    })
    .await
    .unwrap()
}

/// Where a port of a container is on this machine.
pub async fn url(running: &Running, port: u16) -> String {
    format!("http://127.0.0.1:{}", running.get_host_port_ipv4(port).await.unwrap())
}

/// Asks until the answer has that status.
pub async fn answers(what: &str, url: &str, status: u16) {
    until(&format!("{what} at {url}"), READY, || async {
        match reqwest::get(url).await {
            Ok(answer) if answer.status().as_u16() == status => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
