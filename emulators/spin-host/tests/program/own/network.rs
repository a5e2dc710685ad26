//! Without any network: neither the start nor a request needs one.

use std::process::Command;

use super::probe;

/// Set for the process that runs within the empty network.
const INSIDE: &str = "SPIN_HOST_TEST_WITHOUT_NETWORK";

/// The test runs itself again in a network that has nothing but its own loopback device.
#[cfg(target_os = "linux")]
#[test]
fn a30_it_runs_without_a_network_and_without_spin() {
    if std::env::var_os(INSIDE).is_some() {
        return serve_one_request();
    }
    let may_unshare = Command::new("unshare").args(["-rn", "ip", "link", "set", "lo", "up"]).output();
    if !may_unshare.is_ok_and(|output| output.status.success()) {
        eprintln!("not tested: this machine lets nobody make a network (unshare -rn ip link set lo up)");
        return;
    }
    let itself = std::env::current_exe().expect("a path");
    let output = Command::new("unshare")
        .args(["-rn", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(itself)
        .args(["--exact", "own::network::a30_it_runs_without_a_network_and_without_spin", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare is there");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// The program gets no PATH either, so there is no `spin` that it could start.
fn serve_one_request() {
    let host = probe("allowed_outbound_hosts = [\"http://self\"]").start();
    assert_eq!(host.get("/counter").text(), "1");
    assert!(host.get("/fetch?/request").text().starts_with("200 GET"));
}
