//! The blob store as a client sees it: raw HTTP over TCP against the library's `serve`, and the program itself.

mod bad_input;
mod blobs;
mod blocks;
mod containers;
mod control;
mod copies;
mod credentials;
mod data;
mod fuzz;
mod lists;
mod program;
mod support;
