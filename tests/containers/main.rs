//! The images in a container engine: each one starts and answers, the emulators find each other by name on a network, an
//! artefact comes back from a registry as it went, and nothing is left behind.
//!
//! Containers are testcontainers'; images are the lab's own. Where there is no engine, every case says so.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test and names its line")]

mod beside;
mod cleanup;
mod images;
mod network;
mod registry;
mod stage;
