//! How each image of files is put together: which files, and how the program in it is started. The native ones alone; Spin
//! applications are another matter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::image_of::{Image, Platform, Start};
use super::system::{self, USER};
use super::{Files, ImageError, Part};
use crate::build::{Arch, Artefact};
use crate::paths::Workspace;

/// Where Azurite's blob store begins, in its folder.
const AZURITE_MAIN: &str = "node_modules/azurite/dist/src/blob/main.js";

/// Where Node is in an image.
const NODE: &str = "/usr/local/bin/node";

/// An image of files, for one architecture or several.
pub(super) fn assemble(part: Part, workspace: &Workspace, arches: &[Arch]) -> Result<Image, ImageError> {
    let platforms = match part.static_program() {
        Some(program) => arches
            .iter()
            .map(|arch| {
                let file = workspace.artefact(Artefact::Static(program, *arch).name());
                from_scratch(part, *arch, program.name(), &file)
            })
            .collect::<Result<_, _>>()?,
        None => vec![of_this_machine(part, workspace, arches)?],
    };
    Ok(Image::new(part.repository(), platforms))
}

/// One static program and nothing else.
fn from_scratch(part: Part, arch: Arch, name: &str, file: &Path) -> Result<Platform, ImageError> {
    let mut files = Files::default();
    files.program(format!("/{name}"), file);
    let start = start(part, vec![format!("/{name}")]);
    Ok(Platform::of_files(&part.to_string(), arch, vec![files.archive()?], &start))
}

/// A program that stands on libraries of this machine: they are the lower layer, for they change with the machine alone.
fn of_this_machine(part: Part, workspace: &Workspace, arches: &[Arch]) -> Result<Platform, ImageError> {
    if !cfg!(target_os = "linux") {
        return Err(ImageError::NotLinux { image: part.repository() });
    }
    if let (false, Some(other)) = (arches.contains(&Arch::HOST), arches.first()) {
        return Err(ImageError::Arch { image: part.repository(), arch: other.as_str() });
    }
    let (mut lower, mut upper) = (Files::default(), Files::default());
    let entrypoint = match part {
        Part::WarpRust => {
            let program = workspace.artefact(Artefact::WarpRust.name());
            system::libraries(&program, &mut lower)?;
            upper.program("/warp-rust", &program);
            vec!["/warp-rust".to_owned()]
        }
        _ => {
            let node = system::node()?;
            system::libraries(&node, &mut lower)?;
            lower.program(NODE, &node);
            let script = if part == Part::ExpressTs {
                upper.data("/express-ts.cjs", &workspace.artefact(Artefact::ExpressTs.name()));
                "/express-ts.cjs".to_owned()
            } else {
                let packages = workspace.root().join("emulators/azurite/node_modules");
                upper.tree(Path::new("/azurite/node_modules"), &packages)?;
                format!("/azurite/{AZURITE_MAIN}")
            };
            vec![NODE.to_owned(), script]
        }
    };
    let layers = vec![lower.archive()?, upper.archive()?];
    Ok(Platform::of_files(&part.to_string(), Arch::HOST, layers, &start(part, entrypoint)))
}

/// Where Azurite listens in a container, ours or its own: every address, its well-known port.
pub const AZURITE_LISTENS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10_000);

/// What Azurite is told, wherever it runs: blobs in memory, 512 MiB of them (its own default is half of the machine's).
pub fn azurite_arguments(at: SocketAddr) -> Vec<String> {
    let (host, port) = (at.ip().to_string(), at.port().to_string());
    let listen = ["--blobHost", &host, "--blobPort", &port];
    let memory = ["--inMemoryPersistence", "--extentMemoryLimit", "512"];
    let rest = ["--skipApiVersionCheck", "--disableProductStyleUrl", "--disableTelemetry", "--silent"];
    listen.into_iter().chain(memory).chain(rest).map(str::to_owned).collect()
}

/// In a container a program listens on every address, or nobody could reach it.
fn start(part: Part, entrypoint: Vec<String>) -> Start {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let arguments = match part {
        Part::ServicebusEmulator => words(&["--listen", "0.0.0.0:5672", "--http-listen", "0.0.0.0:5300"]),
        Part::BlobEmulator => words(&["--listen", "0.0.0.0:10000"]),
        Part::DaprEmulator => words(&["--dapr-listen-addresses", "0.0.0.0"]),
        Part::Azurite => azurite_arguments(AZURITE_LISTENS),
        _ => words(&["--listen", "0.0.0.0:3000"]),
    };
    Start { entrypoint, arguments, ports: part.ports().to_vec(), user: Some(USER) }
}
