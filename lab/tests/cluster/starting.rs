//! The start of a whole lab, up to what stops it.

use std::time::Duration;

use lab::backend::kubernetes::{KubernetesBackend, Patience};
use lab::backend::{Backend, Failure, Lab, LabError, Lifetime, StartOptions};
use lab::exit::Exit;
use lab::spec::{BackendKind, ClusterSpec, LabSpec, Role};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fakes::{Fakes, case, failure};
use crate::house::{backend, furnish, impatient, put_dapr, spec};

/// The lab's namespace, and what stands in paths before its objects.
const NAMESPACE: &str = "spin-lab-main";
const OBJECTS: &str = "/api/v1/namespaces/spin-lab-main";

/// A lab of `spin-rust` on k3d.
fn spin_on_k3d() -> LabSpec {
    let (backend, cluster) = (BackendKind::K3d, ClusterSpec::of(BackendKind::K3d));
    LabSpec { name: "main".to_owned(), backend, cluster, ..LabSpec::default() }
}

/// Puts a module in the place of the Spin application; its export says which SDK it was written with.
fn put_guest(fakes: &Fakes, sdk: &str) {
    let export = format!("spin-sdk-version-{sdk}");
    let row = [&[u8::try_from(export.len()).expect("short")], export.as_bytes(), &[0, 0]].concat();
    let section = [&[7, u8::try_from(row.len() + 1).expect("short"), 1], row.as_slice()].concat();
    let wasm = [b"\0asm\x01\0\0\0", section.as_slice()].concat();
    let path = fakes.workspace().artefact("spin-rust.wasm");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::create_dir_all(fakes.workspace().lab("main").folder()).expect("a folder");
    std::fs::write(path, wasm).expect("a file");
}

#[test]
fn b2_up_refuses_a_guest_that_the_nodes_cannot_run_and_calls_nothing() {
    case("starting::b2_up_refuses_a_guest_that_the_nodes_cannot_run_and_calls_nothing", async |mut fakes| {
        fakes.on("'k3d cluster list '*", "echo 'FATA no engine' >&2; exit 1");
        fakes.install(&[]);
        let up = async || KubernetesBackend::new(fakes.workspace(), spin_on_k3d()).up().await;
        put_guest(&fakes, "7-0");
        let error = up().await.expect_err("the shim is too old");
        assert_eq!(
            error.to_string(),
            "spin-rust.wasm was written with spin-sdk 7.0, which needs Spin 4.0.0 or newer; shim 0.24.0 has Spin 3.6.3"
        );
        assert_eq!(error.exit(), Exit::Usage);
        assert_eq!(fakes.calls(), Vec::<String>::new());
        assert!(fakes.lab_file("on-cluster.json").is_none(), "there is nothing to clean");

        // One that they can run: now the cluster is looked for.
        put_guest(&fakes, "5-2");
        let error = up().await.expect_err("no engine");
        assert!(error.to_string().contains("FATA no engine"), "{error}");
        assert_eq!(fakes.calls(), ["k3d cluster list --output json"]);
    });
}

/// A cluster with Dapr, on which everything gets ready that is not said to be otherwise.
fn stage(fakes: &Fakes) {
    furnish(fakes);
    put_dapr(fakes);
    fakes.install(&[]);
}

/// Starts the lab, which fails, and ends it: then nothing of it is left.
async fn fails(fakes: &Fakes) -> LabError {
    fails_with(fakes, |_| ()).await
}

async fn fails_with(fakes: &Fakes, patience: impl FnOnce(&mut Patience)) -> LabError {
    let lab = impatient(fakes, patience);
    let error = lab.up().await.expect_err("it cannot start");
    lab.down().await;
    assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
    assert_eq!(fakes.lab_file("on-cluster.json"), None);
    error
}

/// The failure of one pod.
fn failure_of(error: &LabError) -> &Failure {
    let LabError::Failed(failure) = error else { panic!("{error}") };
    failure
}

/// The status of a pod of which one container is not ready.
fn waiting(container: &str, reason: &str, more: Value) -> Value {
    let mut status = json!({
        "name": container, "ready": false, "restartCount": 0, "image": "registry/warp-rust@sha256:0", "imageID": "",
        "state": { "waiting": { "reason": reason, "message": "Back-off" } },
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    json!({ "phase": "Pending", "containerStatuses": [status] })
}

#[test]
fn an_image_that_cannot_be_pulled_ends_the_start_with_the_registrys_words() {
    case("starting::an_image_that_cannot_be_pulled_ends_the_start_with_the_registrys_words", async |fakes| {
        stage(&fakes);
        fakes.api.pods_are("distributor", waiting("app", "ImagePullBackOff", json!({})));
        let start = async {
            fakes.api.asked(&format!("PATCH {OBJECTS}")).await;
            fakes.api.event(
                NAMESPACE,
                "distributor-1",
                "Failed",
                "Failed to pull image \"warp-rust\": no such host",
            );
        };
        let (error, ()) = tokio::join!(fails(&fakes), start);
        let failure = failure_of(&error);
        assert_eq!(failure.resource, "distributor-1");
        assert!(failure.what.starts_with("cannot pull its image registry/warp-rust@sha256:0"), "{error}");
        assert_eq!(failure.last_status.as_deref(), Some("Failed to pull image \"warp-rust\": no such host"));
        assert!(failure.log_tail.iter().any(|line| line.starts_with("event Failed: ")), "{error}");
        assert!(failure.hint.as_ref().is_some_and(|hint| hint.contains("kubectl describe pod")));
        assert_eq!(error.exit(), Exit::StartFailed);
    });
}

#[test]
fn what_the_cluster_does_not_allow_is_named_with_the_object() {
    case("starting::what_the_cluster_does_not_allow_is_named_with_the_object", async |fakes| {
        stage(&fakes);
        let role = "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/spin-lab-main/roles/secret-reader";
        fakes.api.once(role, 403, failure(403, "user \"somebody\" may not grant rights"));
        let error = fails(&fakes).await;
        assert_eq!(
            error.to_string(),
            "failed to apply Role secret-reader: 403 user \"somebody\" may not grant rights"
        );
        assert!(error.hint().is_some_and(|hint| hint.starts_with("kubectl auth can-i")));
        assert_eq!(error.exit(), Exit::StartFailed);
    });
}

/// The path of the distributor's Deployment.
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/spin-lab-main/deployments/distributor";

#[test]
fn a_pod_that_ends_again_and_again_is_told_with_what_it_said_last() {
    case("starting::a_pod_that_ends_again_and_again_is_told_with_what_it_said_last", async |fakes| {
        stage(&fakes);
        let ended = json!({ "terminated": { "exitCode": 2, "reason": "Error" } });
        let crashes = json!({ "restartCount": 3, "lastState": ended });
        fakes.api.pods_are("distributor", waiting("app", "CrashLoopBackOff", crashes));
        let log = format!("{OBJECTS}/pods/distributor-1/log");
        fakes.api.put(&log, 200, "listening\npanicked: no queue\n".into());
        let error = fails(&fakes).await;
        let failure = failure_of(&error);
        assert_eq!(
            (failure.resource.as_str(), failure.last_status.as_deref()),
            ("distributor-1", Some("exit code 2"))
        );
        assert!(failure.what.starts_with("ends again and again (3 times)"), "{error}");
        assert_eq!(failure.log_tail, ["listening", "panicked: no queue"]);
        // Of the one before: the present one has said nothing yet.
        let query = fakes.api.query_of(&format!("GET {log}")).expect("it was asked");
        assert!(query.contains("previous=true") && query.contains("container=app"), "{query}");
    });
}

#[test]
fn a_pod_that_finds_no_node_is_told_with_what_the_cluster_lacks() {
    case("starting::a_pod_that_finds_no_node_is_told_with_what_the_cluster_lacks", async |fakes| {
        stage(&fakes);
        let message = "0/1 nodes are available: 1 Insufficient memory.";
        let condition = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
        fakes.api.pods_are("receiver-express", json!({ "phase": "Pending", "conditions": [condition] }));
        let error = fails_with(&fakes, |patience| patience.node = Duration::ZERO).await;
        let failure = failure_of(&error);
        assert_eq!(
            (failure.resource.as_str(), failure.last_status.as_deref()),
            ("receiver-express", Some(message))
        );
        assert!(failure.what.starts_with("finds no node"), "{error}");
        assert!(failure.hint.as_ref().is_some_and(|hint| hint.starts_with("fewer replicas")));
    });
}

#[test]
fn a_pod_on_a_node_without_the_shim_is_told_with_the_node_and_the_fix() {
    case("starting::a_pod_on_a_node_without_the_shim_is_told_with_the_node_and_the_fix", async |fakes| {
        stage(&fakes);
        fakes.api.pods_are("distributor", waiting("app", "ContainerCreating", json!({})));
        let start = async {
            fakes.api.asked(&format!("PATCH {DEPLOYMENT}")).await;
            let message = "failed to get sandbox runtime: no runtime for \"spin\" is configured";
            fakes.api.event(NAMESPACE, "distributor-1", "FailedCreatePodSandBox", message);
        };
        let (error, ()) = tokio::join!(fails(&fakes), start);
        let failure = failure_of(&error);
        assert!(failure.what.starts_with("runs on a node without the Spin runtime"), "{error}");
        let hint = failure.hint.as_deref().expect("what to do");
        assert!(
            hint.contains("kubectl label node one pool=classic") && hint.contains("--pools mixed"),
            "{hint}"
        );
    });
}

#[test]
fn a_pod_that_is_never_ready_ends_the_start_at_its_deadline_with_events_and_last_lines() {
    case(
        "starting::a_pod_that_is_never_ready_ends_the_start_at_its_deadline_with_events_and_last_lines",
        async |fakes| {
            stage(&fakes);
            let starting = json!({ "name": "app", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": { "running": {} } });
            fakes.api.pods_are("distributor", json!({ "phase": "Running", "containerStatuses": [starting] }));
            fakes.api.put(&format!("{OBJECTS}/pods/distributor-1/log"), 200, "waiting for dapr\n".into());
            let start = async {
                fakes.api.asked(&format!("PATCH {DEPLOYMENT}")).await;
                fakes.api.event(NAMESPACE, "distributor-1", "Unhealthy", "Readiness probe failed: 503");
            };
            let patience = |patience: &mut Patience| patience.ready = Duration::from_secs(1);
            let (error, ()) = tokio::join!(fails_with(&fakes, patience), start);
            let failure = failure_of(&error);
            assert!(failure.what.starts_with("was not ready after 1 s"), "{error}");
            assert_eq!(failure.last_status.as_deref(), Some("not ready: distributor"));
            assert_eq!(
                failure.log_tail,
                ["event Unhealthy: Readiness probe failed: 503", "waiting for dapr"]
            );
            assert_eq!((error.exit(), error.hint().as_deref()), (Exit::NotReady, Some("cargo lab logs")));
        },
    );
}

#[test]
fn a_conflict_and_ended_credentials_are_told_as_what_they_are() {
    case("starting::a_conflict_and_ended_credentials_are_told_as_what_they_are", async |fakes| {
        stage(&fakes);
        let patch = format!("PATCH {DEPLOYMENT}");
        let conflict = "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas";
        fakes.api.once(&patch, 409, failure(409, conflict));
        let error = fails(&fakes).await;
        assert_eq!(error.to_string(), format!("failed to apply Deployment distributor: 409 {conflict}"));
        // The fields are the lab's, whoever had them.
        let query = fakes.api.query_of(&patch).expect("it was asked");
        assert!(query.contains("force=true") && query.contains("fieldManager=spin-lab"), "{query}");

        fakes.api.once(&patch, 401, failure(401, "Unauthorized"));
        let error = fails(&fakes).await;
        assert_eq!(error.exit(), Exit::Unavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains("log in to the cluster again")), "{error}");
        // From the first question on.
        fakes.api.once("GET /api/v1/nodes", 401, failure(401, "Unauthorized"));
        let error = fails(&fakes).await;
        assert_eq!(error.to_string(), "cluster 'mine' refuses this user: Unauthorized");
        assert_eq!(error.exit(), Exit::Unavailable);
    });
}

#[test]
fn a_webhook_that_is_not_ready_is_waited_for_and_not_for_ever() {
    case("starting::a_webhook_that_is_not_ready_is_waited_for_and_not_for_ever", async |fakes| {
        stage(&fakes);
        let patch = format!("PATCH {DEPLOYMENT}");
        let webhook = "Internal error occurred: failed calling webhook \"sidecar-injector.dapr.io\": connection refused";
        fakes.api.once(&patch, 500, failure(500, webhook));
        fakes.api.once(&patch, 500, failure(500, webhook));
        let lab = backend(&fakes);
        lab.up().await.expect("it answers the third time");
        assert_eq!(fakes.api.requests().iter().filter(|request| **request == patch).count(), 3);
        lab.down().await;

        fakes.api.put(DEPLOYMENT, 500, failure(500, webhook));
        // Nothing else stands in the way of the removal: what was not made is not removed either.
        let lab = impatient(&fakes, |patience| patience.webhook = Duration::from_secs(1));
        let error = lab.up().await.expect_err("it never answers");
        let said = format!(
            "failed to apply Deployment distributor: a webhook did not answer for 1 s: 500 {webhook}"
        );
        assert_eq!(error.to_string(), said);
        assert!(error.hint().is_some_and(|hint| hint.starts_with("kubectl get pods -A")));
        lab.down().await;
        assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
    });
}

/// Starts a lab and takes its supervisor away half-way, as `kill -9` does.
async fn dies_half_way(fakes: &Fakes) {
    fakes.api.pods_are("distributor", waiting("app", "ContainerCreating", json!({})));
    let lab = backend(fakes);
    let deployed = format!("PATCH {DEPLOYMENT}");
    tokio::select! {
        outcome = lab.up() => panic!("it cannot be ready: {outcome:?}"),
        () = fakes.api.asked(&deployed) => {}
    }
    assert!(fakes.lab_file("on-cluster.json").is_some(), "whoever cleans up finds it");
    fakes.api.pods_get_ready("distributor");
}

#[test]
fn what_a_killed_start_has_left_is_removed_by_the_next_one() {
    case("starting::what_a_killed_start_has_left_is_removed_by_the_next_one", async |fakes| {
        stage(&fakes);
        dies_half_way(&fakes).await;
        fakes.api.has(&format!("{OBJECTS}/configmaps/left"), json!({ "kind": "ConfigMap", "metadata": {} }));
        let lab = backend(&fakes);
        lab.up().await.expect("it is ready");
        assert_eq!(fakes.api.object(&format!("{OBJECTS}/configmaps/left")), None);
        lab.down().await;
        assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
    });
}

#[test]
fn what_a_killed_start_has_left_is_removed_by_lab_down() {
    case("starting::what_a_killed_start_has_left_is_removed_by_lab_down", async |fakes| {
        stage(&fakes);
        dies_half_way(&fakes).await;
        let down = async || {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lab"));
            command.arg("down").env("LAB_ROOT", fakes.workspace().root()).stdin(std::process::Stdio::null());
            let output = command.output().await.expect("it runs");
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
        };
        assert_eq!(down().await, "stopped: main\n");
        assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
        assert_eq!(fakes.lab_file("on-cluster.json"), None);
        assert_eq!(down().await, "nothing was running\n");
    });
}

#[test]
fn what_pods_log_is_in_the_files_that_every_back_end_has() {
    case("starting::what_pods_log_is_in_the_files_that_every_back_end_has", async |fakes| {
        stage(&fakes);
        fakes.api.put(&format!("{OBJECTS}/pods/distributor-1/log"), 200, "one\ntwo\n".into());
        let lab = backend(&fakes);
        lab.up().await.expect("it is ready");
        // The end of a lab waits for the end of its logs.
        lab.down().await;
        assert_eq!(fakes.lab_file("logs/distributor-1.log").as_deref(), Some("one\ntwo\n"));
    });
}

/// Starts the lab as commands and tests do, with a supervisor of its own; gives the steps that were told, too.
async fn start(fakes: &Fakes) -> (Result<Lab, LabError>, Vec<(String, String)>) {
    let options = StartOptions {
        workspace: fakes.workspace(),
        program: env!("CARGO_BIN_EXE_lab").into(),
        lifetime: Lifetime::WithThisProcess,
        one_of_a_few: false,
        yes: true,
    };
    let mut told = Vec::new();
    let lab = Lab::start_with(&spec(), options, |step| told.push((step.resource, step.program))).await;
    (lab, told)
}

#[test]
fn a_supervisor_tells_each_step_the_critical_path_and_what_was_kept() {
    case("starting::a_supervisor_tells_each_step_the_critical_path_and_what_was_kept", async |fakes| {
        stage(&fakes);
        let (lab, told) = start(&fakes).await;
        let lab = lab.expect("it is ready");
        let step = |resource: &str, program: &str| (resource.to_owned(), program.to_owned());
        for known in [
            step("cluster", "kept"),
            step("dapr", "kept"),
            step("distributor-1", "warp-rust-static"),
            step("applications", "done"),
        ] {
            assert!(told.contains(&known), "{known:?} is not in {told:?}");
        }
        let lines = lab.timings().lines();
        assert!(
            lines[0].starts_with("critical path: cluster ") && lines[0].contains(" → foundation "),
            "{lines:?}"
        );
        assert!(lines[0].contains(" → applications "), "{lines:?}");
        assert_eq!(lines[1], "kept: cluster, dapr, images");
        let parts = lab.status().await.expect("it lives");
        let app = parts.iter().find(|part| part.name == "distributor-1").expect("it is there");
        assert!(app.image_bytes.is_some_and(|bytes| bytes > 0), "{app:?}");
        let dapr = parts.iter().find(|part| part.program == "daprd").expect("it is there");
        assert_eq!((dapr.image_bytes, dapr.version.as_deref()), (None, Some("1.18.3")));
        lab.down().await.expect("it ends");
        assert_eq!(fakes.api.paths(OBJECTS), Vec::<String>::new());
    });
}

#[test]
fn what_a_supervisor_lacks_ends_the_start_as_it_would_without_one() {
    case("starting::what_a_supervisor_lacks_ends_the_start_as_it_would_without_one", async |fakes| {
        furnish(&fakes);
        fakes.install(&["helm"]);
        let error = start(&fakes).await.0.expect_err("there is no helm");
        assert_eq!(error.to_string(), "'helm' is needed and is not installed");
        assert_eq!(error.exit(), Exit::ProgramMissing);
        assert!(error.hint().is_some_and(|hint| hint.contains("install helm")), "{:?}", error.hint());
    });
}

#[test]
fn an_address_leads_to_a_pod_that_is_ready_and_ends_where_none_is() {
    case("starting::an_address_leads_to_a_pod_that_is_ready_and_ends_where_none_is", async |fakes| {
        stage(&fakes);
        let lab = backend(&fakes);
        lab.up().await.expect("it is ready");
        let url = lab.endpoints().expect("addresses").apps[&Role::Distributor].clone();
        let connect = || TcpStream::connect(url.trim_start_matches("http://").to_owned());
        let mut stream = connect().await.expect("somebody listens");
        stream.write_all(b", hello").await.expect("it listens");
        let mut said = [0; "distributor-1, hello".len()];
        stream.read_exact(&mut said).await.expect("it answers");
        assert_eq!(said, *b"distributor-1, hello");

        let away = waiting("app", "ContainerCreating", json!({}));
        let mut changes = lab.changes();
        fakes.api.pods_are("distributor", away);
        let is_away =
            || lab.status().iter().any(|part| part.name == "distributor-1" && part.state != "ready");
        while !is_away() {
            changes.changed().await.expect("it lives");
        }
        let mut said = Vec::new();
        connect().await.expect("somebody listens").read_to_end(&mut said).await.expect("it ends");
        assert_eq!(said, b"");
        lab.down().await;
    });
}
