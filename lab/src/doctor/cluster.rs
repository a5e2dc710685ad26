//! What clusters need: an engine that can hold nodes, programs that are new enough, and room.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::Finding;
use crate::cluster::versions::{ProgramVersion, Version, Versions};
use crate::cluster::{Call, CallError, OwnKind, Provider, Settings, install};
use crate::paths::Workspace;

const NODES: &str = "the nodes of a cluster, which are containers";
const INSTALLS: &str = "installing Dapr and the Spin operator";

/// What a cluster of the lab's own needs.
pub(super) async fn own(kind: OwnKind, lab: &str) -> Vec<Finding> {
    let settings = match settings(lab) {
        Ok(settings) => settings,
        Err(finding) => return vec![*finding],
    };
    let versions = &settings.versions;
    let mut findings = engine(versions).await;
    let (name, nodes) = match kind {
        OwnKind::K3d => ("k3d", versions.nodes.get("k3d")),
        OwnKind::Kind => ("kind", versions.nodes.get("kind")),
    };
    findings.push(program(versions, name, &["version"], "making the cluster").await);
    findings.push(program(versions, "helm", &["version", "--short"], INSTALLS).await);
    findings.push(kubectl(nodes.map(|nodes| nodes.published.kubernetes.clone())).await);
    findings.extend(inotify());
    let provider = match kind {
        OwnKind::K3d => Provider::k3d(settings),
        OwnKind::Kind => Provider::kind(settings),
    };
    findings.extend(port(&provider));
    findings
}

/// What somebody else's cluster needs.
pub(super) async fn foreign() -> Vec<Finding> {
    match settings("main") {
        Ok(settings) => vec![
            program(&settings.versions, "helm", &["version", "--short"], INSTALLS).await,
            kubectl(None).await,
        ],
        Err(finding) => vec![*finding],
    }
}

fn settings(lab: &str) -> Result<Settings, Box<Finding>> {
    let finding = |message: String| {
        let fix = Some("run it within the checkout, or set LAB_ROOT".to_owned());
        Box::new(Finding {
            name: "versions",
            needed_for: "every cluster",
            ok: false,
            blocker: true,
            message,
            fix,
        })
    };
    let workspace = Workspace::find().map_err(|error| finding(error.to_string()))?;
    Settings::new(workspace, lab).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        finding(format!("{error}{cause}"))
    })
}

fn bad(
    name: &'static str,
    needed_for: &'static str,
    blocker: bool,
    message: String,
    fix: Option<String>,
) -> Finding {
    Finding { name, needed_for, ok: false, blocker, message, fix }
}

fn good(name: &'static str, needed_for: &'static str, message: String) -> Finding {
    Finding { name, needed_for, ok: true, blocker: false, message, fix: None }
}

/// A call's failure in one line.
fn failed(name: &'static str, needed_for: &'static str, error: &CallError) -> Finding {
    let message = error.to_string().replace("\n  │ ", "; ");
    bad(name, needed_for, true, message, error.hint())
}

/// A program that has to have a version.
async fn program(
    versions: &Versions,
    name: &'static str,
    args: &[&str],
    needed_for: &'static str,
) -> Finding {
    match Call::new(name, args.iter().copied()).run().await {
        Ok(text) => judged(versions, name, &text, needed_for),
        Err(error) => failed(name, needed_for, &error),
    }
}

fn judged(versions: &Versions, name: &'static str, text: &str, needed_for: &'static str) -> Finding {
    let first = text.lines().next().unwrap_or_default().trim().to_owned();
    let least =
        versions.programs.get(name).map(|ProgramVersion { least, .. }| least.as_str()).unwrap_or("0.0.0");
    match (Version::find(text), least.parse::<Version>()) {
        (Some(found), Ok(wanted)) if found >= wanted => good(name, needed_for, first),
        (Some(found), _) => {
            let message = format!("{name} {found} is too old: {least} or newer is needed");
            bad(name, needed_for, true, message, Some(install(name)))
        }
        (None, _) => {
            let message = format!("'{first}' names no version; {least} or newer is needed");
            bad(name, needed_for, true, message, Some(install(name)))
        }
    }
}

#[derive(Deserialize)]
struct KubectlVersions {
    #[serde(rename = "clientVersion")]
    client: KubectlVersion,
    #[serde(rename = "serverVersion")]
    server: Option<KubectlVersion>,
}

#[derive(Deserialize)]
struct KubectlVersion {
    #[serde(rename = "gitVersion")]
    git: String,
}

/// kubectl, at most one minor version away from the cluster: that which will be made, or that which answers.
async fn kubectl(cluster: Option<String>) -> Finding {
    const NEEDED_FOR: &str = "applying the Spin operator's definitions";
    let mut call = Call::new("kubectl", ["version", "--output", "json"]);
    call = if cluster.is_some() { call.and(["--client"]) } else { call.and(["--request-timeout", "10s"]) };
    let text = match call.run().await {
        Ok(text) => text,
        Err(error) => return failed("kubectl", NEEDED_FOR, &error),
    };
    let Ok(found) = serde_json::from_str::<KubectlVersions>(&text) else {
        let message = format!("`{call}` printed something unexpected");
        return bad("kubectl", NEEDED_FOR, true, message, Some(install("kubectl")));
    };
    let client = found.client.git;
    let Some(server) = cluster.or(found.server.map(|server| server.git)) else {
        return bad(
            "kubectl",
            NEEDED_FOR,
            true,
            format!("{client}, and no cluster answers"),
            Some("kubectl config get-contexts".to_owned()),
        );
    };
    let apart = match (client.parse::<Version>(), server.parse::<Version>()) {
        (Ok(client), Ok(server)) => client.minors_apart(server),
        _ => None,
    };
    match apart {
        Some(0 | 1) => good("kubectl", NEEDED_FOR, format!("{client}, for Kubernetes {server}")),
        _ => {
            let message = format!("{client} is more than one minor version away from Kubernetes {server}");
            // It mostly works; what does not is told by the call that fails.
            bad("kubectl", NEEDED_FOR, false, message, Some(install("kubectl")))
        }
    }
}

/// What the engine says of itself, and whether it can hold nodes.
async fn engine(versions: &Versions) -> Vec<Finding> {
    let version = Call::new("docker", ["version", "--format", "{{.Server.Version}}"]);
    let docker = match version.run().await {
        Ok(text) => judged(versions, "docker", &text, NODES),
        Err(error) => return vec![failed("docker", NODES, &error)],
    };
    let call = Call::new("docker", ["info", "--format", "{{json .}}"]);
    let info: Value = match call.run().await {
        Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
        Err(error) => return vec![docker, failed("docker info", NODES, &error)],
    };
    let word = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or("not told").to_owned();
    let folder = PathBuf::from(word("DockerRootDir"));
    let mut findings =
        vec![docker, storage(&word("Driver"), &info), cgroup(&word("CgroupVersion")), privileged().await];
    findings.extend(disk(if folder.is_dir() { &folder } else { Path::new("/") }));
    findings
}

fn storage(driver: &str, info: &Value) -> Finding {
    const NAME: &str = "storage driver";
    // Nodes lay an overlay of their own over what they get.
    if matches!(driver, "vfs" | "zfs" | "btrfs" | "devicemapper") {
        let message = format!("{driver}: nodes are slow on it, or do not start");
        let fix = "\"storage-driver\": \"overlay2\" in /etc/docker/daemon.json".to_owned();
        return bad(NAME, NODES, false, message, Some(fix));
    }
    let snapshotter =
        info.get("DriverStatus").is_some_and(|status| status.to_string().contains("snapshotter"));
    let with = if snapshotter {
        ", containerd's image store: images reach nodes through the registry only"
    } else {
        ""
    };
    good(NAME, NODES, format!("{driver}{with}"))
}

fn cgroup(version: &str) -> Finding {
    if version == "1" {
        let message = "version 1: the kubelet of the node image refuses it".to_owned();
        let fix = "boot with systemd.unified_cgroup_hierarchy=1".to_owned();
        return bad("cgroup", NODES, true, message, Some(fix));
    }
    good("cgroup", NODES, format!("version {version}"))
}

/// Whether a privileged container can be started. An image with nothing in it shows it without a download: where the engine
/// allows it, all that fails is that there is no program to start.
async fn privileged() -> Finding {
    const NAME: &str = "privileged";
    const IMAGE: &str = "spin-lab/nothing:doctor";
    // An archive without files: two empty blocks.
    let empty = "\0".repeat(1024);
    if let Err(error) = Call::new("docker", ["import", "-", IMAGE]).reading(empty).run().await {
        return failed(NAME, NODES, &error);
    }
    let run = ["run", "--rm", "--privileged", "--network", "none", IMAGE, "/nothing"];
    let said = match Call::new("docker", run).run().await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    // Left behind, it would do no harm.
    let _ = Call::new("docker", ["image", "rm", "--force", IMAGE]).run().await;
    if said.contains("no such file or directory") {
        return good(NAME, NODES, "containers may be privileged".to_owned());
    }
    let reason =
        said.lines().map(str::trim_start).find(|line| line.starts_with('│')).unwrap_or(&said).to_owned();
    let message = format!("privileged containers are refused: {}", reason.trim_start_matches('│').trim());
    let fix =
        "take a machine or an engine that allows them, or a cluster that is there: --backend kubernetes"
            .to_owned();
    bad(NAME, NODES, true, message, Some(fix))
}

/// Part of a disk that has to be free: below it a kubelet with the usual settings sends pods away. The lab's own nodes have
/// other settings, so this is no blocker.
const FREE_PERCENT: f64 = 15.0;

fn disk(folder: &Path) -> Option<Finding> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    // Not every system counts blocks in 64 bits.
    let (free, all) = (stat.blocks_available() as f64, stat.blocks() as f64);
    let percent = 100.0 * free / all.max(1.0);
    let gib = free * stat.fragment_size() as f64 / f64::from(1 << 30);
    let message = format!("{gib:.0} GiB free at {}, {percent:.0} %", folder.display());
    Some(match percent > FREE_PERCENT {
        true => good("disk", NODES, message),
        false => {
            let message = format!("{message}: {FREE_PERCENT} % are needed");
            bad("disk", NODES, false, message, Some("docker system prune".to_owned()))
        }
    })
}

/// What containerd, kubelet and their pods watch, on each node; the usual 128 instances are used up by two nodes.
const INOTIFY: [(&str, u64); 2] = [("max_user_instances", 512), ("max_user_watches", 524_288)];

fn inotify() -> Option<Finding> {
    let mut low = Vec::new();
    let mut found = Vec::new();
    for (name, least) in INOTIFY {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?;
        let value: u64 = text.trim().parse().ok()?;
        found.push(format!("{name} {value}"));
        if value < least {
            low.push(format!("fs.inotify.{name}={least}"));
        }
    }
    let found = found.join(", ");
    Some(match low.is_empty() {
        true => good("inotify", NODES, found),
        false => bad(
            "inotify",
            NODES,
            false,
            format!("{found}: too few for several nodes"),
            Some(format!("sudo sysctl {}", low.join(" "))),
        ),
    })
}

/// The registry's port: free, or taken by the very cluster.
fn port(provider: &Provider) -> Option<Finding> {
    let registry = provider.planned().registry?;
    let port: u16 = registry.push_host.rsplit(':').next()?.parse().ok()?;
    let own = provider.was_made();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let needed_for = "the registry of the cluster";
    Some(match (free, own) {
        (true, _) => good("port", needed_for, format!("{port} is free")),
        (false, true) => good("port", needed_for, format!("{port} is this lab's")),
        (false, false) => {
            let message = format!("{port} is taken by another program");
            bad(
                "port",
                needed_for,
                true,
                message,
                Some("choose another name for the lab: --lab NAME".to_owned()),
            )
        }
    })
}
