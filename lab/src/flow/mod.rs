//! The measured flow: generate, store, load, schedule, observe, verify. It knows endpoints, never processes or pods.
//!
//! [`run`] does a whole measurement. Tests use the pieces: [`dataset::ensure`] and [`dataset::load`],
//! [`schedule::schedule`], [`observe::await_done`] and [`observe::wait_until`], [`verify::verify`], and the clients
//! [`broker::Broker`], [`blobs::Blobs`] and [`dapr::Dapr`].

pub mod blobs;
pub mod broker;
pub mod clock;
pub mod dapr;
pub mod dataset;
pub mod error;
mod http;
pub mod limits;
pub mod observe;
pub mod orders;
mod run;
pub mod scaling;
pub mod schedule;
pub mod stages;
pub mod usage;
pub mod verify;

pub use error::FlowError;
pub use run::{
    DeadLetter, Measured, Progress, ProgressSink, RunOptions, Scheduling, Setup, StopFlag, run,
    stop_recorders,
};
pub use schedule::Profile;
