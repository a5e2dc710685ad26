//! Files of a component: which it sees, and that it cannot write them.

use crate::support::Setup;

fn setup() -> Setup {
    Setup::probe(
        "files = [\"assets/*.txt\", { source = \"other\", destination = \"/placed\" }]\n\
         exclude_files = [\"**/*.tmp\"]",
    )
    .file("assets/a.txt", "in assets")
    .file("assets/b.html", "not asked for")
    .file("other/deep/c.txt", "placed")
    .file("other/d.tmp", "excluded")
    .file("outside.txt", "outside")
}

#[test]
fn a22_a_guest_reads_its_files_and_no_others() {
    let host = setup().start();
    let read = |path: &str| host.get(&format!("/read?{path}")).text();
    assert_eq!(read("/assets/a.txt"), "Ok(\"in assets\")");
    assert_eq!(read("/placed/deep/c.txt"), "Ok(\"placed\")");
    for path in ["/assets/b.html", "/placed/d.tmp", "/outside.txt", "/../outside.txt", "/etc/passwd"] {
        assert!(read(path).starts_with("Err"), "{path}: {}", read(path));
    }
}

#[test]
fn a22_a_guest_without_files_sees_none() {
    let host = Setup::probe("").start();
    assert!(host.get("/read?/etc/passwd").text().starts_with("Err"));
}

#[test]
fn a22_files_are_written_only_where_allowed_and_never_for_good() {
    let host = setup().start();
    assert!(host.get("/write?/assets/a.txt").text().starts_with("Err"));
    assert!(host.get("/write?/new.txt").text().starts_with("Err"));
    let host = setup().arguments(&["--allow-transient-write"]).start();
    assert_eq!(host.get("/write?/assets/a.txt").text(), "Ok(())");
    assert_eq!(host.get("/read?/assets/a.txt").text(), "Ok(\"written\")");
    let own = std::fs::read_to_string(host.setup.path("assets/a.txt")).expect("it is there");
    assert_eq!(own, "in assets", "the guest has a copy");
}

#[test]
fn a22_the_copies_go_with_the_program() {
    let setup = setup();
    let temporary = setup.path("tmp");
    std::fs::create_dir(&temporary).expect("a directory");
    let host = setup.own().environment("TMPDIR", &temporary.display().to_string()).start();
    assert_eq!(host.get("/read?/assets/a.txt").status, 200);
    let count = || std::fs::read_dir(&temporary).expect("it is there").count();
    assert_eq!(count(), 1);
    host.signal("-TERM");
    host.wait_for("stopping");
    // The directory of the test goes with the host, so the end is seen from here.
    let deadline = std::time::Instant::now() + crate::http::PATIENCE;
    while count() > 0 {
        assert!(std::time::Instant::now() < deadline, "the copies are still there");
        std::thread::yield_now();
    }
}

#[test]
fn a22_files_that_cannot_be_had_stop_the_start() {
    for (files, said) in [
        ("[\"missing.txt\"]", "does not exist and is no pattern"),
        ("[{ source = \"missing\", destination = \"/x\" }]", "does not exist"),
        ("[{ source = \"a\", destination = \"x\" }]", "the destination `x` must be absolute"),
    ] {
        Setup::probe(&format!("files = {files}")).refused_saying(&[said]);
    }
}

/// Spin starts without the files that the pattern names.
#[test]
fn a22_a_pattern_that_leaves_the_directory_stops_the_start() {
    let setup = Setup::probe("files = [\"../*\"]").own();
    setup.refused_saying(&["is outside the application's directory"]);
}
