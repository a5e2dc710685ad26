//! Gives the component as much memory as a request needs, and no more. Every request gets a fresh instance: memory that
//! is missing costs two calls into the kernel for each, and Spin's pool clears up to 2 MiB of what there is for each.

/// Rust's default is 1 MiB. JSON is read without recursion, so a deeply nested order needs no more than a flat one.
const STACK_BYTES: u32 = 64 << 10;

/// Stack, data (60 KiB) and heap for an order of some 10 KiB; a larger one makes the memory grow.
const INITIAL_MEMORY_BYTES: u32 = 256 << 10;

fn main() {
    println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK_BYTES}");
    println!("cargo::rustc-link-arg-cdylib=--initial-memory={INITIAL_MEMORY_BYTES}");
    println!("cargo::rerun-if-changed=build.rs");
}
