//! The lab: what it is made of ([`spec`]), what runs it ([`backend`], [`cluster`], [`process`]), what is measured with it ([`flow`])
//! and how that is told ([`report`], [`stats`]). The command line ([`cli`]) is the only part that prints.
//!
//! Data flows one way: spec → backend → endpoints → flow → report.

pub mod backend;
pub mod build;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod doctor;
pub mod exit;
pub mod flow;
pub mod image;
pub mod limits;
pub mod logs;
pub mod paths;
pub mod process;
pub mod relay;
pub mod report;
pub mod spec;
pub mod stats;
