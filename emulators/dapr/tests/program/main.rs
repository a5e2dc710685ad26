//! The program as an application and a person meet it: component files in a folder, an application and a blob store
//! that the test plays, HTTP calls, signals, exit codes.
//!
//! The same cases run on a real daprd with `LAB_DAPRD_BIN`: they use daprd's flags only, and those about what is
//! deliberately different are left out there. Messages of a queue are the business of `tests/dapr`.

mod api;
mod app_start;
mod blob_store;
mod blobs;
mod command_line;
mod components;
mod invocation;
mod metrics;
mod resiliency;
mod silent_broker;
mod support;
mod tracing;

use std::path::PathBuf;

use support::{Ended, Setup, any_port};

/// Address of a broker that is not there. Components that are made for it start: the link is opened when needed.
const NO_BROKER: &str = "127.0.0.1:1";

/// The program that is tested when no other is asked for.
fn dapr_emulator() -> PathBuf {
    env!("CARGO_BIN_EXE_dapr-emulator").into()
}

/// Starts a Dapr that ends by itself.
async fn ended(setup: Setup) -> Ended {
    setup.spawn(any_port()).ended().await
}
