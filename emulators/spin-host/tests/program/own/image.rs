//! OCI layouts: written from a manifest, run like it, and nothing else than what their digests say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{manifest, probe};
use crate::guest;
use crate::support::Setup;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const WASM: &str = "application/vnd.wasm.content.layer.v1+wasm";
const DATA: &str = "application/vnd.wasm.content.layer.v1+data";
const APP: &str = "application/vnd.fermyon.spin.application.v1+config";

/// An application that has something of everything that an image carries.
fn application() -> Setup {
    let source = guest::probe().module.display().to_string();
    let text = format!(
        "spin_manifest_version = 2\n[application]\nname = \"shop\"\nversion = \"1.2.3\"\n[variables]\n\
         greeting = {{ default = \"hello\" }}\ntoken = {{ required = true, secret = true }}\n[[trigger.http]]\n\
         route = \"/...\"\ncomponent = \"front\"\n[[trigger.http]]\nroute = {{ private = true }}\n\
         component = \"back\"\n[[trigger.http]]\nid = \"fixed\"\nroute = \"/fixed\"\n\
         static_response = {{ status_code = 201, body = \"hi\" }}\n[component.front]\nsource = {source:?}\n\
         description = \"in front\"\nallowed_outbound_hosts = [\"http://back.spin.internal\"]\n\
         variables = {{ said = \"<{{{{greeting}}}}>\" }}\n\
         files = [{{ source = \"assets\", destination = \"/assets\" }}]\nexclude_files = [\"**/*.tmp\"]\n\
         [component.back]\nsource = {source:?}\nenvironment = {{ WHO = \"back\" }}\n"
    );
    manifest(&text)
        .file("assets/small.txt", "small")
        .file("assets/deep/large.txt", &"x".repeat(500))
        .file("assets/a.tmp", "")
}

fn write(setup: &Setup, name: &str) -> (PathBuf, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_spin-host"))
        .current_dir(setup.directory.path())
        .args(["--write-oci-layout", name])
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (setup.path(name), serde_json::from_slice(&output.stdout).expect("one line of JSON"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it is there")).expect("JSON")
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    let digits = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
    layout.join("blobs/sha256").join(digits)
}

fn sha256(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

#[test]
fn a27_the_image_has_the_form_that_the_shim_pulls() {
    let setup = application();
    let (layout, written) = write(&setup, "image");
    assert_eq!(json(&layout.join("oci-layout")), serde_json::json!({ "imageLayoutVersion": "1.0.0" }));
    let index = json(&layout.join("index.json"));
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
    let described = &index["manifests"][0];
    assert_eq!((&described["mediaType"], &described["digest"]), (&MANIFEST.into(), &written["image"]));
    let image = json(&blob(&layout, &described["digest"]));
    assert_eq!((&image["mediaType"], &image["config"]["mediaType"]), (&MANIFEST.into(), &CONFIG.into()));
    assert_eq!(image["annotations"]["org.opencontainers.image.title"], "shop");
    assert_eq!(image["annotations"]["org.opencontainers.image.version"], "1.2.3");
    let layers = image["layers"].as_array().expect("layers");
    let types: Vec<&str> = layers.iter().filter_map(|layer| layer["mediaType"].as_str()).collect();
    // Both components have one module, the small file is within the document, and the document comes last.
    assert_eq!(types, [WASM, DATA, APP]);
    for descriptor in layers.iter().chain([described, &image["config"]]) {
        let content = fs::read(blob(&layout, &descriptor["digest"])).expect("a blob");
        assert_eq!(
            (sha256(&content).into(), content.len().into()),
            (descriptor["digest"].clone(), descriptor["size"].clone())
        );
    }
    let config = json(&blob(&layout, &image["config"]["digest"]));
    assert_eq!((&config["architecture"], &config["os"]), (&"wasm".into(), &"wasip1".into()));
    let label = &config["config"]["Labels"]["com.fermyon.spin.lockedAppDigest"];
    assert_eq!(label, &layers[2]["digest"]);
}

#[test]
fn a27_the_locked_application_says_what_the_manifest_says() {
    let setup = application();
    let (layout, written) = write(&setup, "image");
    let image = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]["digest"]));
    let app = json(&blob(&layout, &image["layers"][2]["digest"]));
    assert_eq!(
        (&app["spin_lock_version"], &app["must_understand"][0]),
        (&1.into(), &"component_host_requirements".into())
    );
    assert_eq!(app["metadata"]["trigger"]["type"], "http");
    assert_eq!(
        app["variables"],
        serde_json::json!({ "greeting": { "default": "hello" }, "token": { "secret": true } })
    );
    assert_eq!(
        app["triggers"],
        serde_json::json!([
            { "id": "front-http-trigger", "trigger_type": "http", "trigger_config": { "component": "front", "route": "/..." } },
            { "id": "back-http-trigger", "trigger_type": "http",
              "trigger_config": { "component": "back", "route": { "private": true } } },
            { "id": "fixed", "trigger_type": "http",
              "trigger_config": { "static_response": { "status_code": 201, "body": "hi" }, "route": "/fixed" } },
        ])
    );
    let (back, front) = (&app["components"][0], &app["components"][1]);
    assert_eq!(back["env"]["WHO"], "back");
    let module = sha256(&fs::read(&guest::probe().module).expect("readable"));
    for (component, id) in [(back, "back"), (front, "front")] {
        assert_eq!(component["source"]["digest"], module.as_str(), "{id}");
        assert_eq!(written["components"][id], module.as_str(), "{id}");
    }
    assert_eq!(front["metadata"]["allowed_outbound_hosts"][0], "http://back.spin.internal");
    assert_eq!(front["host_requirements"]["local_service_chaining"], "required");
    assert_eq!(front["config"]["said"], "<{{ greeting }}>");
    let files: Vec<&str> =
        front["files"].as_array().expect("files").iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(files, ["assets/deep/large.txt", "assets/small.txt"]);
}

#[test]
fn a27_an_image_runs_as_its_manifest_does_and_the_digests_are_said() {
    let setup = application();
    let (_, written) = write(&setup, "image");
    let from_manifest = application().arguments(&["--variable", "token=t"]).start();
    let host = setup.arguments(&["--from", "image", "--variable", "token=t"]).start();
    for path in [
        "/fixed",
        "/variable?said",
        "/read?/assets/small.txt",
        "/read?/assets/deep/large.txt",
        "/read?/assets/a.tmp",
        "/fetch?http://back.spin.internal/environment",
        "/nothing",
    ] {
        let (one, other) = (host.get(path), from_manifest.get(path));
        assert_eq!((one.status, one.text()), (other.status, other.text()), "{path}");
    }
    let info: Value = serde_json::from_slice(&host.get("/.well-known/spin/info").body).expect("JSON");
    assert_eq!(
        info,
        serde_json::json!({ "name": "shop", "version": "1.2.3", "oci_image_digest": written["image"] })
    );
    let module = written["components"]["front"].as_str().expect("a digest").to_owned();
    for host in [host, from_manifest] {
        let line = host.wait_for("component loaded component=\"front\"");
        assert!(line.contains(&format!("digest={module}")), "{line}");
    }
}

#[test]
fn a27_the_same_application_gives_the_same_digests() {
    let (one, other) = (application(), application());
    assert_eq!(write(&one, "image").1, write(&other, "elsewhere").1);
    let changed = application().file("assets/small.txt", "other");
    assert_ne!(write(&one, "image").1["image"], write(&changed, "image").1["image"]);
}

#[test]
fn a27_content_that_is_not_what_its_digest_says_is_refused() {
    for (number, said) in [
        (0, "its digest is another one"),
        (1, "another digest than its name"),
        (2, "another digest than its name"),
    ] {
        let setup = application();
        let (layout, _) = write(&setup, "image");
        let image = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]["digest"]));
        let path = blob(&layout, &image["layers"][number]["digest"]);
        let mut content = fs::read(&path).expect("a blob");
        content[0] ^= 1;
        fs::write(&path, content).expect("ours");
        setup.arguments(&["--from", "image", "--variable", "token=t"]).refused_saying(&[said]);
    }
}

/// Writes an image whose locked application was changed, with digests that fit.
fn changed(from: &str, to: &str) -> Setup {
    let setup = probe("").arguments(&["--from", "image"]);
    let (layout, _) = write(&setup, "image");
    let mut index = json(&layout.join("index.json"));
    let mut image = json(&blob(&layout, &index["manifests"][0]["digest"]));
    let last = image["layers"].as_array().expect("layers").len() - 1;
    let app = fs::read_to_string(blob(&layout, &image["layers"][last]["digest"])).expect("a blob");
    assert!(app.contains(from), "{from}: {app}");
    let put = |content: String| {
        let digest: Value = sha256(content.as_bytes()).into();
        fs::write(blob(&layout, &digest), content).expect("ours");
        digest
    };
    image["layers"][last]["digest"] = put(app.replacen(from, to, 1));
    index["manifests"][0]["digest"] = put(image.to_string());
    fs::write(layout.join("index.json"), index.to_string()).expect("ours");
    setup
}

#[test]
fn a27_what_this_host_does_not_run_is_refused_in_a_sentence() {
    assert_eq!(changed("probe-app", "other-app").start().get("/counter").text(), "1", "so it can be changed");
    for (from, to, said) in [
        ("\"spin_lock_version\":0", "\"spin_lock_version\":2", "lock version 2 is of a later Spin"),
        (
            "\"trigger_type\":\"http\"",
            "\"trigger_type\":\"redis\"",
            "is of type `redis`, which is not supported",
        ),
        ("\"metadata\":{}", "\"metadata\":{\"key_value_stores\":[\"default\"]}", "uses key-value stores"),
        ("\"metadata\":{}", "\"metadata\":{},\"dependencies\":{\"a:b\":{}}", "has dependencies"),
        (
            "\"metadata\":{}",
            "\"metadata\":{},\"host_requirements\":{\"gpu\":\"required\"}",
            "understands `gpu`",
        ),
        ("\"id\":\"probe\"", "\"id\":\"../probe\"", "`../probe` is not a name that Spin accepts"),
        ("sha256:", "sha512:", "is no layer of the image"),
        (
            "\"metadata\":{}",
            "\"metadata\":{},\"files\":[{\"inline\":\"eA==\",\"path\":\"../x\"}]",
            "is no path within the guest's directory",
        ),
        ("\"triggers\":[{", "\"triggers\":[7,{", "invalid type: integer `7`"),
    ] {
        changed(from, to).refused_saying(&[said]);
    }
}
