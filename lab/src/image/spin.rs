//! Spin applications as images: as the OCI artefact that Spin's own tools push, which `spin-host` writes, and from scratch.

use std::fs;
use std::path::{Path, PathBuf};

use super::image_of::{Image, Platform, Start};
use super::{Files, ImageError, Part, layout, system};
use crate::build::{Arch, Artefact};
use crate::paths::Workspace;

/// The folder of the application's `spin.toml`.
const fn folder(part: Part) -> &'static str {
    match part {
        Part::SpinRust | Part::SpinRustScratch => "apps/spin/rust",
        _ => "apps/spin/typescript",
    }
}

/// The application as an OCI artefact: modules and the locked application as layers, no files. One manifest, never a list:
/// the shim takes nothing else, and one module serves every architecture.
pub(super) fn artefact(part: Part, workspace: &Workspace) -> Result<Image, ImageError> {
    let images = workspace.images();
    fs::create_dir_all(&images).map_err(file("create", &images))?;
    // Of this process alone: two that write the same application do not meet.
    let scratch = images.join(format!(".{part}-{}", std::process::id()));
    let host = workspace.artefact(Artefact::SpinHost.name());
    let manifest = workspace.root().join(folder(part)).join("spin.toml");
    let args = ["--from".as_ref(), manifest.as_os_str(), "--write-oci-layout".as_ref(), scratch.as_os_str()];
    let image =
        system::ask(&host, &args, workspace.root()).and_then(|_| layout::read(&scratch, part.repository()));
    fs::remove_dir_all(&scratch).ok();
    image
}

/// The application as files: `/spin.toml` and the modules beside it, which the shim reads from there.
pub(super) fn scratch(part: Part, workspace: &Workspace, arches: &[Arch]) -> Result<Image, ImageError> {
    let folder = workspace.root().join(folder(part));
    let path = folder.join("spin.toml");
    let text = fs::read_to_string(&path).map_err(file("read", &path))?;
    let (text, modules) =
        relocated(&text).map_err(|reason| ImageError::Document { path: path.clone(), reason })?;
    let mut files = Files::default();
    files.text("/spin.toml", text);
    for (name, from) in modules {
        files.data(name, &folder.join(from));
    }
    // Nothing in it is of a machine, but its manifest must be one that a node takes for its own.
    let arch = arches.first().copied().unwrap_or(Arch::HOST);
    let start = Start { entrypoint: vec!["/".to_owned()], ports: part.ports().to_vec(), ..Start::default() };
    let platform = Platform::of_files(&part.to_string(), arch, vec![files.archive()?], &start);
    Ok(Image::new(part.repository(), vec![platform]))
}

/// The manifest with every module beside it and nothing about building; and where each module is from.
fn relocated(text: &str) -> Result<(String, Vec<(String, PathBuf)>), String> {
    let mut manifest: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut modules = Vec::new();
    let components = manifest.get_mut("component").and_then(toml::Value::as_table_mut);
    for (id, component) in components.into_iter().flatten() {
        let component = component.as_table_mut().ok_or_else(|| format!("component `{id}` is no table"))?;
        let source = component
            .get("source")
            .and_then(toml::Value::as_str)
            .ok_or_else(|| format!("component `{id}` has no file as its source"))?;
        if component.contains_key("files") {
            return Err(format!(
                "component `{id}` has files, which an image from scratch does not take along"
            ));
        }
        let from = PathBuf::from(source);
        let name = format!("{id}.wasm");
        component.insert("source".to_owned(), name.clone().into());
        component.remove("build");
        modules.push((name, from));
    }
    if modules.is_empty() {
        return Err("it has no component".to_owned());
    }
    Ok((toml::to_string(&manifest).map_err(|error| error.to_string())?, modules))
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File { operation, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_the_modules_beside_it_and_no_build() {
        let text = include_str!("../../../apps/spin/rust/spin.toml");
        let (relocated, modules) = relocated(text).expect("a manifest");
        assert_eq!(modules, [("order.wasm".to_owned(), PathBuf::from("../../../dist/spin-rust.wasm"))]);
        let read: toml::Table = toml::from_str(&relocated).expect("TOML");
        assert_eq!(read["component"]["order"]["source"].as_str(), Some("order.wasm"));
        assert!(read["component"]["order"].get("build").is_none(), "{relocated}");
        assert_eq!(read["spin_manifest_version"].as_integer(), Some(2));
        assert_eq!(read["trigger"]["http"][0]["route"].as_str(), Some("/..."));
    }

    #[test]
    fn what_would_not_run_from_scratch_is_refused() {
        for (text, said) in [
            ("[[[", "TOML"),
            ("spin_manifest_version = 2", "no component"),
            ("[component.a]\nsource = { url = \"x\", digest = \"y\" }", "no file as its source"),
            ("[component.a]\nsource = \"a.wasm\"\nfiles = [\"b\"]", "has files"),
            ("component.a = 1", "is no table"),
        ] {
            let reason = relocated(text).expect_err(text);
            assert!(reason.contains(said), "{text}: {reason}");
        }
    }
}
