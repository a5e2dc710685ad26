//! The images through a real registry and back.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::build::Arch;
use lab::image::{Blob, Image, Part, push};
use serde_json::Value;
use tests::skips::skip;

use crate::stage::{answers, assembled};

/// The names that the registry of the distribution project has: from its Go module, and from Debian.
const PROGRAMS: [&str; 2] = ["registry", "docker-registry"];

/// A registry that keeps everything in a folder of its own, and is gone when it is dropped.
struct Registry {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Registry {
    async fn start(case: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; the registry cannot say which port it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            folder.path().join("data").display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let Some(child) = PROGRAMS.iter().find_map(|program| serve(program, &file)) else {
            skip(case, "no registry program");
            return None;
        };
        let registry = Self { child, address, _folder: folder };
        answers("the registry", &format!("http://{}/v2/", registry.address), 200).await;
        Some(registry)
    }

    async fn get(&self, image: &Image, kind: &str, blob: &Blob) -> Vec<u8> {
        let url = format!("http://{}/v2/{}/{kind}/{}", self.address, image.repository, blob.digest);
        let request = reqwest::Client::new().get(url).header("accept", &blob.media_type);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.bytes().await.unwrap().to_vec()
    }
}

fn serve(program: &str, config: &Path) -> Option<Child> {
    let mut command = Command::new(program);
    command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

/// Sends an image twice and reads all of it back.
async fn comes_back(registry: &Registry, image: &Image) {
    let first = push(&registry.address, image).await.unwrap();
    assert!(first.sent > 0, "{first:?}");
    let again = push(&registry.address, image).await.unwrap();
    assert_eq!((again.sent, again.known), (0, first.sent + first.known));
    for blob in image.blobs() {
        assert_eq!(registry.get(image, "blobs", blob).await, blob.content, "{blob:?}");
    }
    for manifest in image.children().chain([&image.target]) {
        assert_eq!(registry.get(image, "manifests", manifest).await, manifest.content, "{manifest:?}");
    }
}

/// Line B5 of the checklist for clusters, with the artefact that `spin-host` writes and a registry that checks what it takes.
#[tokio::test]
async fn a_spin_artefact_comes_back_as_it_went() {
    let Some(registry) = Registry::start("a Spin artefact through a registry").await else { return };
    let image = assembled(Part::SpinRust, &[Arch::HOST]).await;
    comes_back(&registry, &image).await;
    let manifest: Value = serde_json::from_slice(&image.target.content).unwrap();
    let last = manifest["layers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["mediaType"], "application/vnd.fermyon.spin.application.v1+config");
}

#[tokio::test]
async fn a_static_image_of_both_architectures_comes_back_as_it_went() {
    let Some(registry) = Registry::start("an image of two architectures through a registry").await else {
        return;
    };
    let image = assembled(Part::BlobEmulator, &Arch::ALL).await;
    assert_eq!(image.platforms.len(), 2);
    comes_back(&registry, &image).await;
}
