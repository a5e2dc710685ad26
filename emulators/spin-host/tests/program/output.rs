//! What guests print: on the host's stderr with the component's id, and in files where asked.

use crate::guest::probe;
use crate::support::Setup;

#[test]
fn a26_lines_are_marked_with_the_component() {
    let host = Setup::probe("").start();
    assert_eq!(host.get("/print?hello%20you").status, 200);
    // Spin shows the lines as they are, and the last one when its end has come.
    let mark = if host.setup.is_judged() { "" } else { "[probe] " };
    for line in ["out hello you", "err hello you"] {
        host.wait_for(&format!("{mark}{line}"));
    }
    host.says("[probe] no line break");
}

#[test]
fn a26_quiet_shows_nothing_and_files_are_written_where_asked() {
    let host = Setup::probe("").arguments(&["--quiet", "--log-dir", "logs"]).start();
    assert_eq!(host.get("/print?one").status, 200);
    assert_eq!(host.get("/print?two").status, 200);
    let read = |name: &str| std::fs::read_to_string(host.setup.path("logs").join(name)).expect("a file");
    // Spin leaves the last line of an instance without an end.
    let end = if host.setup.is_judged() { "" } else { "\n" };
    let expected = format!("out one\nno line break{end}out two\nno line break{end}");
    assert_eq!(read("probe_stdout.txt"), expected);
    assert_eq!(read("probe_stderr.txt"), "err one\nerr two\n");
    assert!(!host.said().contains("out one"), "{}", host.said());
}

#[test]
fn a26_follow_shows_the_named_components_only() {
    let source = probe().module.display().to_string();
    let two = format!(
        "spin_manifest_version = 2\n[application]\nname = \"two\"\n[[trigger.http]]\nroute = \"/one/...\"\n\
         component = \"one\"\n[[trigger.http]]\nroute = \"/two/...\"\ncomponent = \"two\"\n[component.one]\n\
         source = {source:?}\n[component.two]\nsource = {source:?}\n"
    );
    let host = Setup::manifest(&two).arguments(&["--follow", "two"]).start();
    assert_eq!(host.get("/one/print?of%20one").status, 200);
    assert_eq!(host.get("/two/print?of%20two").status, 200);
    host.wait_for("out of two");
    assert!(!host.said().contains("out of one"), "{}", host.said());
    Setup::manifest(&two)
        .arguments(&["--follow", "three"])
        .refused_saying(&["--follow three: the application has no such component"]);
}
