//! Images against a registry that remembers what it was asked: what is sent, what is not sent again, and what is found out
//! about a registry that lies. The lines of the checklist for clusters are named by their number.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::image_of::{Platform, Start};
use super::*;
use crate::build::Arch;
use crate::paths::Workspace;

/// A registry in memory, as far as the distribution specification 1.1 has it for pushing and pulling by digest.
#[derive(Default)]
struct Registry {
    /// Blobs and manifests with their media types, by path.
    content: HashMap<String, (String, Vec<u8>)>,
    /// What was asked for: `PUT blobs`, `GET manifests`.
    asked: Vec<String>,
    /// What it gives in place of every manifest.
    lie: Option<Vec<u8>>,
    /// It refuses whatever would change it.
    read_only: bool,
}

type Shared = Arc<Mutex<Registry>>;

async fn serve(registry: Registry) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(registry));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    tokio::spawn(axum::serve(listener, router).into_future());
    (address, shared)
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let path = parts.uri.path().trim_start_matches("/v2/").to_owned();
    let kind = if path.contains("/manifests/") { "manifests" } else { "blobs" };
    let mut registry = shared.lock().expect("the registry");
    registry.asked.push(format!("{} {kind}", parts.method));
    let changes = parts.method != Method::GET && parts.method != Method::HEAD;
    if registry.read_only && changes {
        return (StatusCode::FORBIDDEN, "read only").into_response();
    }
    match parts.method {
        Method::POST => {
            (StatusCode::ACCEPTED, [(header::LOCATION, format!("/v2/{path}session"))]).into_response()
        }
        Method::PUT => registry.take(&path, &parts, &body),
        _ => registry.give(&path, kind, parts.method == Method::HEAD),
    }
}

impl Registry {
    fn take(&mut self, path: &str, parts: &axum::http::request::Parts, body: &Bytes) -> Response {
        let digest = Digest::of(body);
        let wanted = match parts.uri.query().and_then(|query| query.strip_prefix("digest=")) {
            Some(digest) => digest.replace("%3A", ":"),
            None => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        if digest.as_str() != wanted {
            return (StatusCode::BAD_REQUEST, "other content than its digest says").into_response();
        }
        let path = path.replace("uploads/session", digest.as_str());
        if path.contains("/manifests/") && !self.has_all(&path, body) {
            return (StatusCode::BAD_REQUEST, "a blob of this manifest is not here").into_response();
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        self.content.insert(path.clone(), (kind.unwrap_or_default().to_owned(), body.to_vec()));
        (StatusCode::CREATED, [(header::LOCATION, format!("/v2/{path}"))]).into_response()
    }

    fn has_all(&self, path: &str, manifest: &[u8]) -> bool {
        let manifest: Value = serde_json::from_slice(manifest).expect("a manifest is JSON");
        let repository = path.split("/manifests/").next().unwrap_or_default();
        let listed = |key: &str| manifest[key].as_array().cloned().unwrap_or_default();
        let there = |kind: &str, descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap_or_default();
            self.content.contains_key(&format!("{repository}/{kind}/{digest}"))
        };
        let config = manifest.get("config");
        listed("layers").iter().chain(config).all(|blob| there("blobs", blob))
            && listed("manifests").iter().all(|child| there("manifests", child))
    }

    fn give(&self, path: &str, kind: &str, head: bool) -> Response {
        let Some((media_type, content)) = self.content.get(path) else {
            let code = if kind == "blobs" { "BLOB_UNKNOWN" } else { "MANIFEST_UNKNOWN" };
            let body = format!(r#"{{"errors":[{{"code":"{code}"}}]}}"#);
            return (StatusCode::NOT_FOUND, body).into_response();
        };
        let content = self.lie.as_ref().filter(|_| kind == "manifests" && !head).unwrap_or(content);
        let headers = [
            (header::CONTENT_TYPE, media_type.clone()),
            (header::HeaderName::from_static("docker-content-digest"), Digest::of(content).to_string()),
        ];
        (headers, content.clone()).into_response()
    }
}

fn asked(shared: &Shared, what: &str) -> usize {
    let mut registry = shared.lock().expect("the registry");
    let count = registry.asked.iter().filter(|asked| *asked == what).count();
    registry.asked.retain(|asked| asked != what);
    count
}

fn platform(arch: Arch, upper: &str) -> Platform {
    let layer = |name: &str, content: &str| {
        let mut files = Files::default();
        files.text(name, content);
        files.archive().expect("a layer")
    };
    let layers = vec![layer("/lower", "the same"), layer("/upper", upper)];
    Platform::of_files("it", arch, layers, &Start::default())
}

fn image(upper: &str) -> Image {
    Image::new("spin-lab/it", vec![platform(Arch::Amd64, upper)])
}

#[tokio::test]
async fn b6_what_is_pushed_is_named_by_its_digest_and_what_is_there_is_not_sent_again() {
    let (address, shared) = serve(Registry::default()).await;
    let one = image("one");
    let pushed = push(&address, &one).await.expect("a push");
    assert_eq!((pushed.sent, pushed.known), (4, 0), "two layers, configuration, manifest");
    let of_manifest = one.target.bytes();
    assert_eq!(pushed.sent_bytes, one.blobs().iter().map(|blob| blob.bytes()).sum::<u64>() + of_manifest);
    assert_eq!((asked(&shared, "PUT blobs"), asked(&shared, "PUT manifests")), (3, 1));
    // The same again: nothing is sent.
    let again = push(&address, &one).await.expect("a push");
    assert_eq!((again.sent, again.known), (0, 4));
    assert_eq!((asked(&shared, "PUT blobs"), asked(&shared, "PUT manifests")), (0, 0));
    // Another upper layer: the lower one is there.
    let other = push(&address, &image("other")).await.expect("a push");
    assert_eq!((other.sent, other.known), (3, 1));
    let reference = one.reference("registry:5000");
    assert!(reference.starts_with("registry:5000/spin-lab/it@sha256:") && !reference.contains("localhost"));
}

#[tokio::test]
async fn every_architecture_is_sent_and_then_the_list_of_them() {
    let (address, shared) = serve(Registry::default()).await;
    let both = Image::new("spin-lab/it", vec![platform(Arch::Amd64, "x"), platform(Arch::Arm64, "y")]);
    push(&address, &both).await.expect("a push");
    assert_eq!(asked(&shared, "PUT manifests"), 3);
    let registry = shared.lock().expect("the registry");
    let (kind, content) = &registry.content[&format!("spin-lab/it/manifests/{}", both.digest())];
    assert_eq!((kind.as_str(), content), (INDEX_TYPE, &both.target.content));
}

#[tokio::test]
async fn a_registry_with_other_content_than_was_sent_is_found_out() {
    let (address, _) = serve(Registry { lie: Some(b"{}".to_vec()), ..Registry::default() }).await;
    let error = push(&address, &image("one")).await.expect_err("a lie");
    // The client compares the digest too, and either may be first.
    assert!(
        matches!(
            error,
            RegistryError::Different { .. } | RegistryError::Refused { operation: "read back", .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_refuses_or_is_not_there_is_named() {
    let (address, _) = serve(Registry { read_only: true, ..Registry::default() }).await;
    let error = push(&address, &image("one")).await.expect_err("read only");
    assert!(error.to_string().contains("failed to send spin-lab/it@sha256:"), "{error}");
    assert!(error.hint().contains(&address));
    let error = push("127.0.0.1:1", &image("one")).await.expect_err("nobody");
    assert!(
        error.to_string().contains("failed to look for") && error.to_string().contains("127.0.0.1:1"),
        "{error}"
    );
}

/// A workspace whose `spin-host` writes the layout that the real one writes; that one is tested by its own suite and, with
/// this module, by `tests/containers`.
fn workspace_with_layout(broken: bool) -> (tempfile::TempDir, Workspace) {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::at(folder.path());
    let locked = br#"{"spin_lock_version":0}"#.to_vec();
    let locked = Blob::new("application/vnd.fermyon.spin.application.v1+config", locked);
    let wasm = Blob::new("application/vnd.wasm.content.layer.v1+wasm", b"\0asm".to_vec());
    let config = serde_json::json!({ "architecture": "wasm", "os": "wasip1",
        "config": { "Labels": { "com.fermyon.spin.lockedAppDigest": locked.digest } },
        "rootfs": { "type": "layers", "diff_ids": [] } });
    let config = Blob::new(CONFIG_TYPE, config.to_string().into_bytes());
    let layers = vec![wasm, locked];
    let described: Vec<_> = layers.iter().map(image_of::descriptor).collect();
    let manifest = serde_json::json!({ "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": image_of::descriptor(&config), "layers": described });
    let manifest = Blob::new(MANIFEST_TYPE, manifest.to_string().into_bytes());
    let image = Image::new("spin-lab/spin-rust", vec![Platform { manifest, config, layers, arch: None }]);
    layout::write(&image, &folder.path().join("written")).expect("a layout");
    fs::create_dir_all(workspace.dist()).expect("a folder");
    let host = workspace.artefact("spin-host");
    let script = match broken {
        true => "#!/bin/sh\necho 'no such module' >&2\nexit 2\n".to_owned(),
        false => format!("#!/bin/sh\ncp -r '{}' \"$4\"\n", folder.path().join("written").display()),
    };
    fs::write(&host, script).expect("a file");
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).expect("a mode");
    (folder, workspace)
}

#[tokio::test]
async fn b5_a_spin_artefact_goes_through_a_registry_as_it_was_written_and_is_no_list() {
    let (_folder, workspace) = workspace_with_layout(false);
    let plan = Plan { parts: [Part::SpinRust].into(), arches: Arch::ALL.into() };
    let images = plan.assemble(&workspace).expect("images");
    let [image] = images.as_slice() else { panic!("one image") };
    assert_eq!(image.target.media_type, MANIFEST_TYPE, "the shim takes no list, whatever the architectures");
    let (address, shared) = serve(Registry::default()).await;
    push(&address, image).await.expect("a push");
    let registry = shared.lock().expect("the registry");
    let get = |kind: &str, digest: &str| {
        let (_, content) = &registry.content[&format!("spin-lab/spin-rust/{kind}/{digest}")];
        serde_json::from_slice::<Value>(content).expect("JSON")
    };
    let manifest = get("manifests", image.digest().as_str());
    let layers = manifest["layers"].as_array().expect("layers");
    let last = layers.last().expect("a layer");
    assert_eq!(last["mediaType"], "application/vnd.fermyon.spin.application.v1+config");
    let config = get("blobs", manifest["config"]["digest"].as_str().expect("a digest"));
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["config"]["Labels"]["com.fermyon.spin.lockedAppDigest"], last["digest"]);
    let left: Vec<_> = fs::read_dir(workspace.images()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_spin_artefact_that_cannot_be_written_says_why_and_leaves_nothing() {
    let (_folder, workspace) = workspace_with_layout(true);
    let plan = Plan { parts: [Part::SpinRust].into(), arches: vec![Arch::HOST] };
    let error = plan.assemble(&workspace).expect_err("no artefact").to_string();
    assert!(error.contains("spin-host --from") && error.contains("no such module"), "{error}");
    assert_eq!(fs::read_dir(workspace.images()).expect("a folder").count(), 0);
}

/// Files that stand for what was built: an image is the same whatever runs it.
fn workspace_with_programs() -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().expect("a folder");
    let workspace = Workspace::at(folder.path());
    fs::create_dir_all(workspace.dist()).expect("a folder");
    for part in [Part::ServicebusEmulator, Part::BlobEmulator, Part::DaprEmulator, Part::WarpRustStatic] {
        for artefact in part.artefacts(&Arch::ALL) {
            fs::write(workspace.artefact(artefact.name()), artefact.name()).expect("a file");
        }
    }
    let current = std::env::current_exe().expect("this program");
    fs::copy(current, workspace.artefact("warp-rust")).expect("a program");
    fs::write(workspace.artefact("spin-rust.wasm"), b"\0asm").expect("a file");
    let app = workspace.root().join("apps/spin/rust");
    fs::create_dir_all(&app).expect("a folder");
    fs::write(app.join("spin.toml"), include_str!("../../../apps/spin/rust/spin.toml")).expect("a file");
    (folder, workspace)
}

fn paths(layer: &Blob) -> Vec<String> {
    let mut archive = tar::Archive::new(layer.content.as_slice());
    let entries = archive.entries().expect("entries");
    entries.map(|entry| entry.expect("an entry").path().expect("a path").display().to_string()).collect()
}

#[test]
fn a_static_image_holds_one_program_for_each_architecture() {
    let (_folder, workspace) = workspace_with_programs();
    let plan = Plan { parts: [Part::ServicebusEmulator].into(), arches: Arch::ALL.into() };
    let images = plan.assemble(&workspace).expect("images");
    let [image] = images.as_slice() else { panic!("one image") };
    assert_eq!(image.target.media_type, INDEX_TYPE);
    for platform in &image.platforms {
        let [layer] = platform.layers.as_slice() else { panic!("one layer") };
        assert_eq!(paths(layer), ["servicebus-emulator"]);
        let config: Value = serde_json::from_slice(&platform.config.content).expect("JSON");
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/servicebus-emulator"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert!(config["config"]["Cmd"].to_string().contains("0.0.0.0:5672"), "{config}");
    }
    let again = plan.assemble(&workspace).expect("images");
    assert_eq!(again[0].digest(), image.digest(), "the same content has the same digest");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_image_holds_the_program_above_the_libraries_that_it_names() {
    let (_folder, workspace) = workspace_with_programs();
    let plan = Plan { parts: [Part::WarpRust].into(), arches: vec![Arch::HOST] };
    let images = plan.assemble(&workspace).expect("images");
    let [lower, upper] = images[0].platforms[0].layers.as_slice() else { panic!("two layers") };
    assert_eq!(paths(upper), ["warp-rust"]);
    let lower = paths(lower);
    for wanted in ["libc.so", "etc/passwd", "etc/nsswitch.conf", "tmp"] {
        assert!(lower.iter().any(|path| path.contains(wanted)), "{wanted}: {lower:?}");
    }
    let other = Arch::ALL.into_iter().find(|arch| *arch != Arch::HOST).expect("another");
    let error = Plan { arches: vec![other], ..plan }.assemble(&workspace).expect_err("another machine's");
    assert!(error.to_string().contains("this machine's architecture only"), "{error}");
}

#[test]
fn a_spin_image_from_scratch_holds_the_manifest_and_its_module() {
    let (_folder, workspace) = workspace_with_programs();
    let plan = Plan { parts: [Part::SpinRustScratch].into(), arches: vec![Arch::HOST] };
    let images = plan.assemble(&workspace).expect("images");
    assert_eq!(paths(&images[0].platforms[0].layers[0]), ["order.wasm", "spin.toml"]);
    assert_eq!(images[0].target.media_type, MANIFEST_TYPE);
    fs::remove_file(workspace.artefact("spin-rust.wasm")).expect("a file");
    let error = plan.assemble(&workspace).expect_err("not built");
    assert!(error.to_string().contains("spin-rust.wasm"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("cargo lab build --images"));
}

#[test]
fn the_archive_for_an_engine_names_what_it_holds() {
    let image = image("one");
    if Arch::HOST != Arch::Amd64 {
        assert!(archive(&image).is_err(), "another machine's");
        return;
    }
    let (tag, content) = archive(&image).expect("an archive");
    assert!(tag.starts_with("spin-lab/it:") && tag.len() == "spin-lab/it:".len() + 12, "{tag}");
    let mut held = HashMap::new();
    let mut tar = tar::Archive::new(content.as_slice());
    for entry in tar.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
        held.insert(entry.path().expect("a path").display().to_string(), content);
    }
    let manifest: Value = serde_json::from_slice(&held["manifest.json"]).expect("JSON");
    assert_eq!(manifest[0]["RepoTags"][0], tag.as_str());
    for (layer, blob) in
        manifest[0]["Layers"].as_array().expect("layers").iter().zip(&image.platforms[0].layers)
    {
        assert_eq!(held[layer.as_str().expect("a name")], blob.content);
    }
    assert!(held.contains_key(manifest[0]["Config"].as_str().expect("a name")));
}
