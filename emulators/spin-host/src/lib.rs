//! Runs `spin.toml` applications with the HTTP trigger in wasmtime, as Spin 3.6.3 does.
//!
//! Data flows one way: a manifest and values become an [`app::App`], which a [`server`] answers requests with. Nothing
//! here knows any other program of the lab. What differs from Spin is listed in this crate's README.

pub mod app;
pub mod cache;
pub mod component;
pub mod digest;
pub mod engine;
mod files;
pub mod guest;
pub mod headers;
pub mod hosts;
pub mod imports;
pub mod limits;
pub mod manifest;
pub mod oci;
mod outbound;
mod read;
pub mod routes;
pub mod server;
pub mod stdio;
pub mod variables;
mod worker;
