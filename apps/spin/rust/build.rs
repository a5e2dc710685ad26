//! Gives the component the memory that a request needs from the start: growing it later costs two calls into the kernel
//! for every request, since every request gets a fresh instance.

const INITIAL_MEMORY_BYTES: u32 = 2 << 20;

fn main() {
    println!("cargo::rustc-link-arg-cdylib=--initial-memory={INITIAL_MEMORY_BYTES}");
    println!("cargo::rerun-if-changed=build.rs");
}
