//! Dapr's queue bindings against a broker: what becomes of a call, what the application gets, what is settled how, and
//! what a stop leaves behind.
//!
//! The same cases run on a real daprd with `LAB_DAPRD_BIN`. What needs no broker is tested beside the emulator.

mod bad_apps;
mod broker;
mod checklist;
mod delivery;
mod differences;
mod gate;
mod limits;
mod output;
mod raw_app;
mod resiliency;
mod stop;
#[path = "../../emulators/dapr/tests/program/support.rs"]
mod support;
mod topology;

use std::collections::BTreeSet;
use std::path::PathBuf;

use lab::build::{self, Artefact};
use lab::paths::Workspace;

/// Built when it is missing or its sources have changed; cases that run at the same time wait for one build.
fn artefact(artefact: Artefact) -> PathBuf {
    let workspace = Workspace::find().expect("the suite runs in the workspace");
    let wanted = BTreeSet::from([artefact]);
    build::build(&workspace, &wanted, |_| {}).expect("the programs can be built");
    workspace.artefact(artefact.name())
}

/// The program that is tested when no other is asked for.
fn dapr_emulator() -> PathBuf {
    artefact(Artefact::DaprEmulator)
}
