//! AMQP 1.0 towards clients: connections, sessions, links, and the nodes that answer requests.
//!
//! It turns frames into operations on entities and their results into frames. It must not hold a message, decide what becomes
//! of one, or know when something is due: that is the broker's.

mod accept;
mod attach;
mod connection;
mod context;
mod driver;
mod error;
mod inbound;
mod link;
mod management;
mod request;
mod session;
mod settlement;
mod transfer;
mod unsettled;

pub use driver::{Limits, drive};
