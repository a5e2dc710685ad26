//! Measures this part alone.

fn main() {}
