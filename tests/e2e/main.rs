//! The end-to-end suite: orders in, blobs out, whatever happens in between.
//!
//! It speaks of labs, roles, replicas and orders. It must not name a process, a pid, a pod or a back end: the same cases
//! are to run on every one.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test and names its line")]

mod faults;
mod flow;
mod scaling;
mod schedule;
mod support;
mod unchanged;
