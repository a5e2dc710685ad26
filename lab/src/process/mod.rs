//! One child process: spawn, ready, log, stop. The only place that spawns what a lab is made of.
//!
//! It knows programs, ports and probes; it does not know what a lab is.

mod announce;
mod ask;
mod child;
mod daemon;
mod ports;
mod probe;
mod run;
mod spawner;
mod usage;

pub use announce::Announces;
pub use ask::first_line;
pub use child::Child;
pub use daemon::{Daemon, Lifeline};
pub use ports::{PortTaken, ReservedPort};
pub use probe::{NotReady, Probe, WhyNotReady};
pub use run::{NotRun, Ran, ToRun, run};
pub use spawner::{Dies, Program, Spawner};
pub use usage::{Sample, group_lives, identity, sample};
