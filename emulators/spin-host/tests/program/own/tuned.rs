//! `--engine-profile tuned`: what it keeps, by the kernel's counters, and what it is called.

use super::{component, probe};
use crate::guest;
use crate::support::Host;

fn profile(name: &str) -> Host {
    component(&guest::probe().module).arguments(&["--engine-profile", name]).start()
}

#[test]
fn a24_the_profile_is_said_and_a_tuned_one_is_never_called_spin() {
    assert!(profile("spin").wait_for("wasmtime 48").contains("engine_profile=\"spin\" pooling=true"));
    let tuned = profile("tuned").wait_for("wasmtime 48");
    assert!(tuned.contains("engine_profile=\"spin-host tuned, not Spin\""), "{tuned}");
    let without = probe("").arguments(&["--disable-pooling"]).start();
    assert!(without.wait_for("wasmtime 48").contains("pooling=false"));
    assert_eq!(without.get("/counter").text(), "1");
    let by_variable = probe("").environment("SPIN_WASMTIME_POOLING", "0").start();
    assert!(by_variable.wait_for("wasmtime 48").contains("pooling=false"));
}

/// A guest that writes into 8 MiB: Spin's pool keeps 2 MiB of it, so that each request takes the rest from the kernel
/// anew, in 4 KiB pages; the tuned one keeps 16 MiB.
#[cfg(target_os = "linux")]
#[test]
fn a24_the_tuned_profile_takes_memory_from_the_kernel_once() {
    const REQUESTS: u64 = 20;
    let faults_each = |host: &Host| {
        assert_eq!(host.get("/touch?8").status, 200);
        let before = page_faults(host.id());
        (0..REQUESTS).for_each(|_| assert_eq!(host.get("/touch?8").status, 200));
        (page_faults(host.id()) - before) / REQUESTS
    };
    let (spin, tuned) = (faults_each(&profile("spin")), faults_each(&profile("tuned")));
    assert!(spin > 1_000, "Spin's: {spin} faults a request, tuned {tuned}");
    assert!(tuned < spin / 10, "Spin's: {spin} faults a request, tuned {tuned}");
}

/// Page faults of the process so far that needed no disk.
#[cfg(target_os = "linux")]
fn page_faults(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the process runs");
    let fields = stat.rsplit_once(')').expect("a name in brackets").1;
    fields.split_whitespace().nth(7).and_then(|field| field.parse().ok()).expect("a number")
}
