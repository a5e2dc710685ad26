//! The program as its user sees it: the built `spin-host` on `spin.toml` files with the guest of tests/guests/probe.
//!
//! It must not link the library, and with it wasmtime: that would cost a minute of building.

mod allowed_hosts;
mod bad_input;
mod checklist;
mod conformance;
mod files;
mod guest;
mod http;
mod instances;
mod outbound;
mod output;
mod own;
mod requests;
mod start;
mod streams;
mod support;
mod upstream;
mod variables;
