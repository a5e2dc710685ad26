//! The bounds of what makes and fills a cluster, each with its reason.

use std::time::Duration;

pub use crate::limits::{CLUSTER_POLL, PORTS};

/// Lines of a failed program's stderr that an error shows.
pub const STDERR_TAIL_LINES: usize = 8;

/// Characters of a k3d cluster's name: k3d refuses more.
pub const CLUSTER_NAME_CHARACTERS: usize = 32;

/// From the question of a program that only looks (`k3d cluster list`, `docker ps`) until its answer.
pub const LOOK: Duration = Duration::from_secs(30);

/// From the order to make or start a cluster until k3d or kind is done. Their own bounds come before; the rest is for pulling
/// images of a gigabyte.
pub const CLUSTER_CREATED: Duration = Duration::from_secs(600);

/// From then on until its nodes are Ready and names are resolved.
pub const CLUSTER_READY: Duration = Duration::from_secs(120);

/// From the order to remove a cluster until it is gone.
pub const CLUSTER_DELETED: Duration = Duration::from_secs(120);

/// From a question to a cluster's API until its answer.
pub const API_ANSWER: Duration = Duration::from_secs(10);

/// From the order to install a chart until everything in it is ready; the rest is for pulling its images.
pub const CHART_INSTALLED: Duration = Duration::from_secs(300);

/// From the order to remove a chart until everything in it is gone: its pods have 30 s of their own to end.
pub const CHART_REMOVED: Duration = Duration::from_secs(120);

/// From the order to apply a manifest until it is accepted, its download included.
pub const MANIFEST_APPLIED: Duration = Duration::from_secs(60);

/// Lines of a node's log that are saved when a cluster fails.
pub const EVIDENCE_LINES: u32 = 500;

/// Events that are saved when a cluster fails.
pub const EVIDENCE_EVENTS: u32 = 1_000;

/// How many objects of one kind are looked at, to see whether somebody needs a chart.
pub const OBJECTS_LOOKED_AT: u32 = 500;

/// All charts of a foreign cluster, each with its namespace.
pub const CHARTS_REMOVED: Duration =
    CHART_REMOVED.saturating_mul(2).saturating_add(LOOK).saturating_mul(CHARTS);

/// The charts that a lab may install.
const CHARTS: u32 = 3;
