//! The native Rust stack: one warp server that is distributor or receiver by the route that Dapr calls.
//!
//! It knows its environment and Dapr. What an order is and where it goes is the `order` crate's.

pub mod app;
pub mod dapr;
