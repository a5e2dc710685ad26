//! Versions of the programs that a lab runs, as each tells it itself. A program that does not tell has none; nothing is guessed.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::command::RealPrograms;
use crate::limits;
use crate::paths::Workspace;
use crate::process;

/// Versions of what is not ours, once they are known: a program is asked while the lab starts.
#[derive(Debug, Default, Clone)]
pub(super) struct Versions {
    told: Arc<OnceLock<Told>>,
}

#[derive(Debug)]
struct Told {
    daprd: Option<String>,
    spin: Option<String>,
    azurite: Option<String>,
}

impl Versions {
    /// Asks in a task of its own. Must be called within a runtime.
    pub fn ask(workspace: &Workspace, real: &RealPrograms) -> Self {
        let versions = Self::default();
        let (answer, real, workspace) = (Arc::clone(&versions.told), real.clone(), workspace.clone());
        tokio::spawn(async move {
            let (daprd, spin) = tokio::join!(of(real.daprd.as_deref()), of(real.spin.as_deref()));
            // Set once, here.
            let _ = answer.set(Told { daprd, spin, azurite: azurite(&workspace) });
        });
        versions
    }

    /// The version of a program that the lab runs.
    pub fn of_program(&self, program: &str, real: bool) -> Option<String> {
        let told = |which: fn(&Told) -> &Option<String>| which(self.told.get()?).clone();
        match program {
            "daprd" => told(|told| &told.daprd),
            "spin" => told(|told| &told.spin),
            "azurite" => told(|told| &told.azurite),
            // The programs of this repository have one version.
            _ if !real => Some(env!("CARGO_PKG_VERSION").to_owned()),
            _ => None,
        }
    }
}

/// `1.18.3` of daprd, `spin 3.6.3 (…)` of Spin: the first line without the program's own name.
async fn of(program: Option<&Path>) -> Option<String> {
    let line = process::first_line(program?, &["--version"], limits::VERSION_ANSWER).await?;
    let version = line.strip_prefix("spin ").unwrap_or(&line).trim();
    (!version.is_empty()).then(|| version.chars().take(limits::VERSION_CHARACTERS).collect())
}

fn azurite(workspace: &Workspace) -> Option<String> {
    let manifest = workspace.root().join("emulators/azurite/node_modules/azurite/package.json");
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(manifest).ok()?).ok()?;
    Some(manifest.get("version")?.as_str()?.to_owned())
}
