//! `lab doctor --backend …` and `lab versions`, as programs and people see them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fakes::{Fakes, case};

/// What the command line prints as JSON, checked against its schema.
fn lab(fakes: &Fakes, args: &[&str], schema: &str) -> (Option<i32>, Value) {
    let workspace = fakes.workspace();
    for mark in ["lab/components", "apps/order"] {
        std::fs::create_dir_all(workspace.root().join(mark)).expect("a folder");
    }
    std::fs::write(workspace.root().join("Cargo.toml"), "").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    let output = command
        .args(args)
        .args(["--format", "json"])
        .env("LAB_ROOT", workspace.root())
        .output()
        .expect("it runs");
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{schema}.schema.json"));
    let schema = serde_json::from_str(&std::fs::read_to_string(path).expect("a schema")).expect("JSON");
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let wrong: Vec<String> =
        schema.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    (output.status.code(), value)
}

/// A machine on which everything is as it should be.
fn healthy(fakes: &mut Fakes) {
    let info = r#"{"Driver":"overlay2","CgroupVersion":"2","DockerRootDir":"/"}"#;
    let client = r#"{"clientVersion":{"gitVersion":"v1.35.9"}}"#;
    fakes
        .on("'docker version '*", "echo 28.0.1")
        .on("'docker info '*", &format!("echo '{info}'"))
        .on("'docker import '*", "cat > /dev/null; echo sha256:1")
        .on(
            "'docker run --rm --privileged '*",
            "echo 'exec: \"/nothing\": stat /nothing: no such file or directory' >&2; exit 127",
        )
        .on("'k3d version'", "echo 'k3d version v5.9.0'; echo 'k3s version v1.33.6-k3s1 (default)'")
        .on("'kind version'", "echo 'kind v0.31.0 go1.25.5 linux/amd64'")
        .on("'helm version --short'", "echo v3.18.4+gd80839c")
        .on("'kubectl version --output json --client'", &format!("echo '{client}'"));
}

fn finding(value: &Value, name: &str) -> Value {
    let findings = value["findings"].as_array().expect("findings");
    findings
        .iter()
        .find(|finding| finding["name"] == name)
        .unwrap_or_else(|| panic!("{name} in {value}"))
        .clone()
}

const LOOKED_AT: [&str; 10] =
    ["docker", "storage driver", "cgroup", "privileged", "disk", "k3d", "helm", "kubectl", "inotify", "port"];

#[test]
fn the_doctor_looks_at_everything_that_a_k3d_cluster_needs() {
    case("doctor::the_doctor_looks_at_everything_that_a_k3d_cluster_needs", async |mut fakes| {
        healthy(&mut fakes);
        fakes.install(&[]);
        let (_, value) = lab(&fakes, &["doctor", "--backend", "k3d"], "doctor");
        assert_eq!(value["backend"], "k3d");
        for name in LOOKED_AT {
            let finding = finding(&value, name);
            // What the machine of the test has is as it is.
            let is_ours = ["disk", "inotify"].contains(&name);
            assert!(is_ours || finding["ok"] == true, "{finding}");
            assert!(finding["ok"] == true || finding["fix"].is_string(), "{finding}");
        }
        assert_eq!(finding(&value, "kubectl")["message"], "v1.35.9, for Kubernetes v1.35.2+k3s1");
        assert_eq!(finding(&value, "privileged")["message"], "containers may be privileged");
        let calls = fakes.calls();
        assert!(calls.contains(&"docker image rm --force spin-lab/nothing:doctor".to_owned()), "{calls:?}");
        let (_, value) = lab(&fakes, &["doctor", "--backend", "kind"], "doctor");
        assert_eq!(finding(&value, "kind")["ok"], true);
    });
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_helps() {
    let wrong: [(&str, &str, &str, &str, &str); 9] = [
        (
            "'docker version '*",
            "echo 'Cannot connect to the Docker daemon' >&2; exit 1",
            "docker",
            "exit status: 1",
            "systemctl start docker",
        ),
        ("'docker version '*", "echo 18.9.1", "docker", "18.9.1 is too old: 20.10.5", "docker"),
        (
            "'docker info '*",
            "echo '{\"Driver\":\"vfs\",\"CgroupVersion\":\"2\"}'",
            "storage driver",
            "vfs",
            "overlay2",
        ),
        (
            "'docker info '*",
            "echo '{\"Driver\":\"overlay2\",\"CgroupVersion\":\"1\"}'",
            "cgroup",
            "version 1",
            "unified_cgroup_hierarchy",
        ),
        (
            "'docker run '*",
            "echo 'runc: operation not permitted' >&2; exit 125",
            "privileged",
            "refused: runc: operation not permitted",
            "--backend kubernetes",
        ),
        ("'k3d version'", "echo 'k3d version v5.4.9'", "k3d", "k3d 5.4.9 is too old: 5.8.3 or newer", "k3d"),
        ("'k3d version'", "echo garbage", "k3d", "'garbage' names no version", "k3d"),
        (
            "'kubectl version '*",
            "echo '{\"clientVersion\":{\"gitVersion\":\"v1.30.0\"}}'",
            "kubectl",
            "more than one minor version",
            "kubectl",
        ),
        ("'helm version '*", "exit 1", "helm", "exit status: 1", ""),
    ];
    let name = "doctor::the_doctor_says_what_is_wrong_and_what_helps";
    case(name, async move |mut fakes| {
        healthy(&mut fakes);
        for (pattern, answer, looked_at, message, fix) in wrong {
            fakes = fakes.with_first(pattern, answer);
            fakes.install(&[]);
            let (code, value) = lab(&fakes, &["doctor", "--backend", "k3d"], "doctor");
            let finding = finding(&value, looked_at);
            assert_eq!(finding["ok"], false, "{finding}");
            assert!(finding["message"].as_str().expect("text").contains(message), "{finding}");
            assert!(finding["fix"].as_str().unwrap_or_default().contains(fix), "{finding}");
            assert!(finding["blocker"] == false || code == Some(3), "{code:?}: {finding}");
            fakes.without_first();
        }
        fakes.install(&["docker", "helm"]);
        std::fs::remove_file(fakes.program("helm")).expect("it was there");
        std::fs::remove_file(fakes.program("docker")).expect("it was there");
        let (code, value) = lab(&fakes, &["doctor", "--backend", "k3d"], "doctor");
        assert_eq!(code, Some(3));
        for program in ["docker", "helm"] {
            let said = format!("'{program}' is needed and is not installed");
            assert_eq!(finding(&value, program)["message"], said.as_str());
        }
    });
}

#[test]
fn the_doctor_asks_a_foreign_cluster_for_its_version() {
    case("doctor::the_doctor_asks_a_foreign_cluster_for_its_version", async |mut fakes| {
        let both = r#"{"clientVersion":{"gitVersion":"v1.35.9"},"serverVersion":{"gitVersion":"v1.33.13"}}"#;
        fakes
            .on("'helm version --short'", "echo v3.18.4")
            .on("'kubectl version --output json --request-timeout 10s'", &format!("echo '{both}'"));
        fakes.install(&["docker", "k3d", "kind"]);
        let (_, value) = lab(&fakes, &["doctor", "--backend", "kubernetes"], "doctor");
        assert_eq!(finding(&value, "kubectl")["ok"], false, "two minor versions apart");
        let one = r#"{"clientVersion":{"gitVersion":"v1.35.9"}}"#;
        let fakes = fakes.with_first("'kubectl '*", &format!("echo '{one}'"));
        fakes.install(&["docker", "k3d", "kind"]);
        let (_, value) = lab(&fakes, &["doctor", "--backend", "kubernetes"], "doctor");
        assert_eq!(finding(&value, "kubectl")["message"], "v1.35.9, and no cluster answers");
    });
}

#[test]
fn b2_versions_are_printed_for_programs_and_for_people() {
    case("doctor::b2_versions_are_printed_for_programs_and_for_people", async |fakes| {
        let (code, value) = lab(&fakes, &["versions"], "versions");
        assert_eq!(code, Some(0));
        assert_eq!(value["nodes"]["k3d"]["published"]["spin"], "3.6.3");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        let output =
            command.arg("versions").env("LAB_ROOT", fakes.workspace().root()).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(
            text.lines().any(|line| line.contains("k3d node, published") && line.contains("shim 0.24.0")),
            "{text}"
        );

        std::fs::write(fakes.workspace().cluster_files().join("versions.toml"), "[x]\n").expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        let output =
            command.arg("versions").env("LAB_ROOT", fakes.workspace().root()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).expect("text");
        assert!(text.contains("versions.toml is not as it must be\ncaused by: "), "{text}");
    });
}
