//! The blob store as a client sees it: raw HTTP over TCP against the library's `serve`, and the program itself.

mod bad_input;
mod blobs;
mod containers;
mod control;
mod credentials;
mod lists;
mod program;
mod support;
