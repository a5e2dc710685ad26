//! The broker as its clients see it: AMQP frames and HTTP over TCP against the library's `serve`, the engine through
//! its public type, and the program itself.

mod bad_input;
mod client;
mod config;
mod control;
mod duplicates;
mod engine;
mod filter;
mod filter_properties;
mod forwarding;
mod handshake;
mod large;
mod lifecycle;
mod links;
mod locks;
mod management;
mod program;
mod receiving;
mod sending;
mod session_model;
mod sessions;
mod settling;
mod support;
mod times;
mod topics;
