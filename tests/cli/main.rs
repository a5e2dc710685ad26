//! The command `lab` and the programs that it starts, as a person or a script meets them: what they say, how they end,
//! what they refuse.
//!
//! Texts that people read are snapshots. After a deliberate change: `INSTA_UPDATE=always cargo test --test cli`, and read
//! the difference.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test and names its line")]

mod bad_files;
mod compare;
mod help;
mod labs;
mod machine;
mod matrix;
mod refusals;
mod running;
mod scaling;
mod support;
