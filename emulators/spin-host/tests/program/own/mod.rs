//! What only spin-host has: these tests run it also where `LAB_SPIN_BIN` names a real Spin.
//!
//! | module | why it is not asked of Spin |
//! | --- | --- |
//! | `cache` | the cache has another form, and its counters are in spin-host's log |
//! | `ends` | Spin stops at once; `--stop-on-stdin-eof` |
//! | `features` | how this package is built |
//! | `image` | `--write-oci-layout`, and a layout as `--from` |
//! | `limits` | `--request-timeout`, the bounds on outbound requests and chains; a guest that computes keeps a thread of Spin |
//! | `network` | Spin looks for updates and plugins |
//! | `refusals` | what Spin runs and spin-host does not |
//! | `start` | the line that announces, flags, `--shim-compat`, `--trap-unknown-imports` |
//! | `tuned` | `--engine-profile` |

mod cache;
mod ends;
mod features;
mod image;
mod limits;
mod network;
mod refusals;
mod start;
mod tuned;

use std::path::Path;

use crate::support::{self, Setup};

/// The probe on all paths, run by spin-host.
fn probe(lines: &str) -> Setup {
    Setup::probe(lines).own()
}

/// A manifest, run by spin-host.
fn manifest(text: &str) -> Setup {
    Setup::manifest(text).own()
}

/// A manifest of one component on all paths, run by spin-host.
fn component(source: &Path) -> Setup {
    manifest(&support::manifest(source, ""))
}
