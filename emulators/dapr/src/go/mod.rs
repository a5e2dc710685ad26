//! What Go's standard library does to the bytes that pass through daprd: JSON, numbers, escaping, times, truth.
//!
//! An application sees these rules in its messages and blobs, so they are copied exactly. Nothing here knows HTTP,
//! AMQP or a component.

pub mod json;
mod number;
pub mod text;
pub mod time;
