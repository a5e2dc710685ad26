//! Clusters against stand-ins of k3d, kind, docker, helm, kubectl and of an API server. Lines of the checklist in
//! `lab/docs/kubernetes.md` are named where a test is about one.

mod api;
mod doctor;
mod fakes;
mod files;
mod golden;
mod house;
mod installing;
mod leaving;
mod starting;

use std::time::Duration;

use fakes::{Fakes, case, failure, list, node};
use lab::cluster::installs::{Done, Planned};
use lab::cluster::{CallError, ClusterError, Current, NodeImage, Provider};
use lab::exit::Exit;
use serde_json::json;

/// The name of the cluster of lab `main` in the workspace of a case.
fn name_of(provider: &Provider) -> String {
    provider.planned().name
}

/// What `k3d cluster list --output json` prints of a cluster.
fn listed(name: &str, running: u32, nodes: u32) -> String {
    json!([
        { "name": "somebody-elses", "serversRunning": 1, "serversCount": 1, "agentsRunning": 0, "agentsCount": 0 },
        {
            "name": name, "network": { "name": format!("k3d-{name}") }, "nodes": [],
            "serversRunning": running.min(1), "serversCount": 1,
            "agentsRunning": running.saturating_sub(1), "agentsCount": nodes - 1,
            "imageVolume": "", "hasLoadbalancer": false
        }
    ])
    .to_string()
}

/// k3d as it is: a cluster is listed once it was created, and no more when it was deleted.
fn k3d(fakes: &mut Fakes, name: &str) {
    let there = listed(name, 2, 2);
    let kubeconfig = fakes.api.kubeconfig(&format!("k3d-{name}"));
    fakes
        .on(
            "'k3d cluster list --output json'",
            &format!("if [ -e there ]; then echo '{there}'; else echo '[]'; fi"),
        )
        .on("'k3d cluster create '*", "touch there")
        .on("'k3d cluster delete '*", "rm there")
        .on("'k3d kubeconfig get '*", &format!("echo '{kubeconfig}'"));
}

#[test]
fn b7_b9_an_absent_cluster_is_made_and_waited_for_and_a_running_one_is_left_alone() {
    case(
        "b7_b9_an_absent_cluster_is_made_and_waited_for_and_a_running_one_is_left_alone",
        async |mut fakes| {
            let provider = Provider::k3d(fakes.settings());
            let name = name_of(&provider);
            k3d(&mut fakes, &name);
            fakes.install(&[]);
            fakes.api.put_ready(&["server", "agent"]);

            let (cluster, done) = provider.ensure().await.expect("it is made");
            assert_eq!(done, Done::Changed);
            assert_eq!(cluster.nodes.len(), 2);
            assert_eq!(cluster.nodes[0].container_runtime, "containerd://2.1.5");
            let calls = fakes.calls();
            assert_eq!(calls[0], "k3d cluster list --output json");
            let create = calls[1].strip_prefix("k3d cluster create --config ").expect("it is made next");
            assert!(create.ends_with("/.lab/main/cluster.yaml --wait --timeout 180s"), "{create}");
            assert_eq!(calls[2..], [format!("k3d kubeconfig get {name}")]);

            let (_, done) = provider.ensure().await.expect("it is there");
            assert_eq!(done, Done::Unchanged);
            assert_eq!(
                fakes.calls(),
                ["k3d cluster list --output json", &format!("k3d kubeconfig get {name}")]
            );
        },
    );
}

#[test]
fn b7_a_stopped_cluster_is_started() {
    case("b7_a_stopped_cluster_is_started", async |mut fakes| {
        let provider = Provider::k3d(fakes.settings());
        let name = name_of(&provider);
        let stopped = listed(&name, 0, 2);
        k3d(&mut fakes, &name);
        let there = listed(&name, 2, 2);
        let rule = format!(
            "if [ -e stopped ]; then echo '{stopped}'; elif [ -e there ]; then echo '{there}'; else echo '[]'; fi"
        );
        let mut fakes = fakes.with_first("'k3d cluster list '*", &rule);
        fakes.on("'k3d cluster start '*", "rm stopped");
        fakes.install(&[]);
        fakes.api.put_ready(&["server", "agent"]);
        provider.ensure().await.expect("it is made");
        fakes.touch("stopped");
        fakes.calls();

        let (_, done) = provider.ensure().await.expect("it is started");
        assert_eq!(done, Done::Changed);
        assert_eq!(
            fakes.calls(),
            [
                "k3d cluster list --output json".to_owned(),
                format!("k3d cluster start {name} --wait --timeout 180s"),
                format!("k3d kubeconfig get {name}"),
            ]
        );
    });
}

#[test]
fn b7_what_an_interrupted_up_has_left_is_removed_before_the_cluster_is_made_anew() {
    case(
        "b7_what_an_interrupted_up_has_left_is_removed_before_the_cluster_is_made_anew",
        async |mut fakes| {
            let provider = Provider::k3d(fakes.settings());
            let name = name_of(&provider);
            k3d(&mut fakes, &name);
            fakes.install(&[]);
            fakes.touch("there");
            fakes.api.put_ready(&["server", "agent"]);
            provider.ensure().await.expect("it is made anew");
            let calls = fakes.calls();
            let place = |words: &str| calls.iter().position(|call| call.starts_with(words)).expect(words);
            assert!(place("k3d cluster delete") < place("k3d cluster create"), "{calls:?}");
        },
    );
}

#[test]
fn b7_garbage_is_told_as_what_it_is() {
    case("b7_garbage_is_told_as_what_it_is", async |mut fakes| {
        fakes.on("'k3d cluster list '*", "echo 'WARN something'");
        fakes.install(&[]);
        let error = Provider::k3d(fakes.settings()).ensure().await.expect_err("nobody understands it");
        assert!(matches!(error, ClusterError::Call(CallError::Garbage { .. })), "{error}");
        assert_eq!(error.to_string(), "`k3d cluster list --output json` printed something unexpected");
    });
}

#[test]
fn b8_a_missing_program_is_told_with_the_line_that_installs_it() {
    case("b8_a_missing_program_is_told_with_the_line_that_installs_it", async |fakes| {
        fakes.install(&["k3d", "kind"]);
        for (provider, program) in
            [(Provider::k3d(fakes.settings()), "k3d"), (Provider::kind(fakes.settings()), "kind")]
        {
            let error = provider.ensure().await.expect_err("it is missing");
            assert_eq!(error.exit(), Exit::ProgramMissing);
            assert_eq!(error.to_string(), format!("'{program}' is needed and is not installed"));
            assert!(error.hint().is_some_and(|hint| hint.contains(program)), "{:?}", error.hint());
            // Nothing was ever made, so there is nothing to remove.
            assert_eq!(provider.delete().await.expect("nothing to do"), Vec::<String>::new());
        }
        assert!(fakes.calls().iter().all(|call| call.starts_with("docker container ls ")), "it only looks");
    });
}

#[test]
fn b8_a_dry_run_prints_every_file_and_command_and_calls_nothing() {
    case("b8_a_dry_run_prints_every_file_and_command_and_calls_nothing", async |fakes| {
        fakes.install(&[]);
        let mut settings = fakes.settings();
        settings.mixed_pools = true;
        settings.node_image = NodeImage::Own;
        for provider in [Provider::k3d(settings.clone()), Provider::kind(settings)] {
            let text: Vec<String> =
                provider.plan().expect("a plan").iter().map(ToString::to_string).collect();
            let text = text.join("\n").replace(&fakes.workspace().root().display().to_string(), "ROOT");
            let name = name_of(&provider);
            let kind = name_of(&provider) == name && provider.planned().context.starts_with("kind-");
            let mut wanted = vec![
                "cat > ROOT/.lab/main/cluster.yaml <<'END'".to_owned(),
                "docker build --tag spin-lab/".to_owned(),
                "SHA256_X86_64=eec8df96fa3a4fe5dbc57ffb706461692c055299dd6d22dff9444863a2a12281".to_owned(),
                "# waits at most 120 s until 3 nodes are Ready".to_owned(),
            ];
            if kind {
                wanted.push(format!("ROOT/.lab/main/certs.d/{name}-registry:5000/hosts.toml"));
                wanted.push("kind create cluster --config ROOT/.lab/main/cluster.yaml".to_owned());
                wanted.push(format!("--name {name}-registry"));
            } else {
                wanted.push(
                    "k3d cluster create --config ROOT/.lab/main/cluster.yaml --wait --timeout 180s"
                        .to_owned(),
                );
                wanted.push(format!("k3d node create {name}-wasm --cluster {name} --role agent"));
                wanted.push("--k3s-node-label pool=wasm".to_owned());
            }
            for words in wanted {
                assert!(text.contains(&words), "{words} is not in:\n{text}");
            }
        }
        assert!(fakes.calls().is_empty(), "a dry run calls nothing");
        assert!(fakes.lab_file("cluster.yaml").is_none(), "a dry run writes nothing");
    });
}

#[test]
fn b9_a_cluster_that_cannot_be_made_leaves_its_logs_and_nothing_else() {
    case("b9_a_cluster_that_cannot_be_made_leaves_its_logs_and_nothing_else", async |mut fakes| {
        let provider = Provider::k3d(fakes.settings());
        let name = name_of(&provider);
        let mut fakes = {
            k3d(&mut fakes, &name);
            fakes.with_first(
                "'k3d cluster create '*",
                "touch there\necho 'FATA cannot: no space left on device' >&2\nexit 1",
            )
        };
        fakes
            .on(
                &format!("*'ls --all --filter label=k3d.cluster={name} '*"),
                "if [ -e there ]; then echo k3d-server-0; fi",
            )
            .on("'docker container logs '*", "echo 'containerd: no room'; echo 'kubelet: gone' >&2");
        fakes.install(&[]);
        let error = provider.ensure().await.expect_err("it cannot be made");
        assert_eq!(error.exit(), Exit::StartFailed);
        assert_eq!(error.hint().as_deref(), Some("docker system prune"));
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(
            source.contains("ended with exit status: 1\n  │ FATA cannot: no space left on device"),
            "{source}"
        );

        let log = fakes.lab_file("logs/node-k3d-server-0.log").expect("the node's log");
        assert_eq!(log, "containerd: no room\nkubelet: gone\n");
        let calls = fakes.calls();
        assert!(calls.contains(&format!("k3d cluster delete {name}")), "{calls:?}");
        for file in ["cluster.yaml", "kubeconfig", "kubeconfig.new"] {
            assert!(fakes.lab_file(file).is_none(), "{file} is left");
        }
    });
}

#[test]
fn b9_a_cluster_that_does_not_become_ready_is_removed_and_its_events_are_saved() {
    case("b9_a_cluster_that_does_not_become_ready_is_removed_and_its_events_are_saved", async |mut fakes| {
        let mut settings = fakes.settings();
        settings.ready_within = Duration::from_millis(50);
        let provider = Provider::k3d(settings);
        let name = name_of(&provider);
        k3d(&mut fakes, &name);
        fakes.install(&[]);
        fakes.api.put_ready(&["server", "agent"]);
        fakes.api.put(
            "/api/v1/nodes",
            200,
            list("NodeList", "v1", vec![node("server", true), node("agent", false)]),
        );
        let event = json!({
            "metadata": { "name": "e" }, "reason": "InvalidDiskCapacity", "message": "0 bytes",
            "involvedObject": { "kind": "Node", "name": "agent" }, "lastTimestamp": "2026-01-01T00:00:00Z"
        });
        fakes.api.put("/api/v1/events", 200, list("EventList", "v1", vec![event]));
        let error = provider.ensure().await.expect_err("it does not become ready");
        assert_eq!(error.exit(), Exit::NotReady);
        let source = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(source.ends_with("last seen: 2 of 2 nodes; not ready: agent"), "{source}");
        let events = fakes.lab_file("logs/events.log").expect("the events");
        assert!(events.contains("InvalidDiskCapacity Node/agent: 0 bytes"), "{events}");
        assert!(fakes.calls().contains(&format!("k3d cluster delete {name}")));
    });
}

#[test]
fn b9_each_thing_that_a_cluster_lacks_is_named() {
    case("b9_each_thing_that_a_cluster_lacks_is_named", async |fakes| {
        let file = fakes.workspace().root().join("kubeconfig");
        std::fs::write(&file, fakes.api.kubeconfig("mine")).expect("a file");
        let current = || Provider::Current(Current::find_in(file.clone(), None, None).expect("a context"));
        assert!(!current().is_own());
        fakes.api.put_ready(&["one"]);
        let (cluster, done) = current().ensure().await.expect("it is ready");
        assert_eq!((cluster.context.as_str(), done), ("mine", Done::Unchanged));
        assert_eq!(cluster.nodes[0].pool.as_deref(), Some("wasm"));
        assert!(current().delete().await.expect("nothing").is_empty());

        // A user whose credentials have ended is told at once; waiting does not help.
        fakes.api.put("/api/v1/nodes", 401, failure(401, "Unauthorized"));
        let error = current().ensure().await.expect_err("refused");
        assert_eq!(error.to_string(), "cluster 'mine' refuses this user: Unauthorized");
        assert_eq!(error.exit(), Exit::Unavailable);
    });
}

#[test]
fn a_context_that_does_not_exist_is_refused() {
    case("a_context_that_does_not_exist_is_refused", async |fakes| {
        let file = fakes.workspace().root().join("kubeconfig");
        let find = |context| Current::find_in(file.clone(), context, None);
        assert!(matches!(find(None), Err(ClusterError::NoContext { source: Some(_), .. })));
        std::fs::write(&file, fakes.api.kubeconfig("mine")).expect("a file");
        assert_eq!(find(Some("mine")).expect("it is there").context(), "mine");
        let error = find(Some("other")).expect_err("it is not there");
        assert_eq!(error.to_string(), "no context 'other' in the kubeconfig");
        assert_eq!(error.exit(), Exit::Usage);
    });
}

#[test]
fn b12_images_that_a_node_lacks_are_found_whatever_an_import_said() {
    case("b12_images_that_a_node_lacks_are_found_whatever_an_import_said", async |mut fakes| {
        fakes
            .on(
                "'docker exec one ctr '*",
                "echo registry:5000/app@sha256:1; echo registry:5000/other@sha256:2",
            )
            .on("'docker exec two ctr '*", "echo registry:5000/other@sha256:2")
            .on("'docker exec gone ctr '*", "echo 'No such container: gone' >&2; exit 1");
        fakes.install(&[]);
        let provider = Provider::k3d(fakes.settings());
        let image = ["registry:5000/app@sha256:1".to_owned()];
        let nodes = ["one", "two"].map(str::to_owned);
        let missing = provider.missing_images(&nodes, &image).await.expect("an answer");
        assert_eq!(missing, ["two: registry:5000/app@sha256:1"]);
        assert_eq!(fakes.calls()[0], "docker exec one ctr --namespace k8s.io images list --quiet");
        let error = provider.missing_images(&["gone".to_owned()], &image).await.expect_err("no node");
        assert!(error.to_string().contains("No such container: gone"), "{error}");
    });
}

#[test]
fn b18_down_removes_everything_and_a_second_one_nothing() {
    case("b18_down_removes_everything_and_a_second_one_nothing", async |mut fakes| {
        let provider = Provider::k3d(fakes.settings());
        let name = name_of(&provider);
        k3d(&mut fakes, &name);
        let once = |file: &str, prints: &str| format!("if [ -e {file} ]; then echo {prints}; fi");
        fakes
            .on(
                &format!("*'ls --all --filter label=spin-lab.cluster={name} '*"),
                &once("beside", "servicebus"),
            )
            .on(&format!("*'ls --all --filter label=k3d.cluster={name} '*"), &once("half", "k3d-registry"))
            .on(
                &format!("'docker network ls --filter name=^k3d-{name}$ '*"),
                &once("half", &format!("k3d-{name}")),
            )
            .on(
                &format!("'docker volume ls --filter label=spin-lab.cluster={name} '*"),
                &once("beside", "data"),
            )
            .on("'docker container rm '*k3d-registry", "true")
            .on("'docker container rm '*servicebus", "true")
            .on("'docker volume rm data'", "rm beside half");
        fakes.install(&[]);
        for file in ["there", "beside", "half"] {
            fakes.touch(file);
        }
        let removed = provider.delete().await.expect("it is removed");
        let cluster = format!("k3d cluster {name}");
        assert_eq!(removed, ["servicebus", &cluster, "k3d-registry", &format!("k3d-{name}"), "data"]);
        let calls = fakes.calls();
        assert!(calls.contains(&"docker container rm --force --volumes servicebus".to_owned()), "{calls:?}");
        assert!(calls.contains(&format!("docker network rm k3d-{name}")), "{calls:?}");

        assert!(provider.delete().await.expect("nothing to do").is_empty());
        let calls = fakes.calls();
        let changes = |call: &&String| [" rm", " delete"].iter().any(|word| call.contains(word));
        assert_eq!(calls.iter().find(changes), None, "a second one changes nothing");
    });
}

#[test]
fn b18_what_cannot_be_removed_is_told() {
    case("b18_what_cannot_be_removed_is_told", async |mut fakes| {
        let provider = Provider::k3d(fakes.settings());
        let name = name_of(&provider);
        k3d(&mut fakes, &name);
        let mut fakes = fakes.with_first("'k3d cluster delete '*", "echo 'FATA network in use' >&2; exit 1");
        fakes.on("nothing", "true");
        fakes.install(&[]);
        fakes.touch("there");
        let error = provider.delete().await.expect_err("it stays");
        assert!(error.to_string().contains("FATA network in use"), "{error}");
    });
}

#[test]
fn b20_an_own_node_image_is_built_with_its_checksums_or_not_at_all() {
    case("b20_an_own_node_image_is_built_with_its_checksums_or_not_at_all", async |mut fakes| {
        let mut settings = fakes.settings();
        settings.node_image = NodeImage::Own;
        let provider = Provider::k3d(settings.clone());
        k3d(&mut fakes, &name_of(&provider));
        fakes.install(&[]);
        fakes.api.put_ready(&["server", "agent"]);
        provider.ensure().await.expect("it is made");
        let calls = fakes.calls();
        let build = calls
            .iter()
            .position(|call| call.starts_with("docker build --tag spin-lab/k3d-node:"))
            .expect("built");
        let create = calls.iter().position(|call| call.starts_with("k3d cluster create")).expect("created");
        assert!(build < create);
        assert!(
            calls[build].contains("--build-arg SHIM=0.23.0") && calls[build].ends_with("/k3d/node"),
            "{calls:?}"
        );
        assert!(fakes.lab_file("cluster.yaml").expect("a file").contains("spin-lab/k3d-node:v0.23.0"));

        settings.versions.nodes.get_mut("k3d").expect("k3d").own.sha256.remove("aarch64");
        let error = Provider::k3d(settings).plan().expect_err("no checksum");
        assert_eq!(error.to_string(), "no checksum of shim 0.23.0 for aarch64 stands in k3d/versions.toml");
    });
}

#[test]
fn b2_a_guest_that_the_nodes_cannot_run_is_refused_before_a_cluster_is_made() {
    case("b2_a_guest_that_the_nodes_cannot_run_is_refused_before_a_cluster_is_made", async |fakes| {
        let write = |name: &str, bytes: &[u8]| {
            let path = fakes.workspace().root().join(name);
            std::fs::write(&path, bytes).expect("a file");
            path
        };
        // A module with one export: the length of the section, one row, the length of its name, the name, kind and index.
        let module = |export: &str| {
            let name = u8::try_from(export.len()).expect("short");
            [b"\0asm\x01\0\0\0\x07", &[name + 4, 1, name][..], export.as_bytes(), &[0, 0]].concat()
        };
        let good = write("good.wasm", &module("spin-sdk-version-5-2"));
        let new = write("new.wasm", &module("spin-sdk-version-7-0"));
        let (k3d, kind) = (Provider::k3d(fakes.settings()), Provider::kind(fakes.settings()));
        for provider in [&k3d, &kind] {
            provider.check_guests(std::slice::from_ref(&good)).expect("it runs");
        }
        let error = k3d.check_guests(&[good, new.clone()]).expect_err("it does not run");
        let said = "new.wasm was written with spin-sdk 7.0, which needs Spin 4.0.0 or newer; shim 0.24.0 has Spin 3.6.3";
        assert_eq!((error.to_string().as_str(), error.exit()), (said, Exit::Usage));
        assert!(kind.check_guests(&[new]).is_err(), "of a shim that tells no Spin the least is assumed");
        let garbage = write("garbage.wasm", b"#!/bin/sh");
        assert!(matches!(k3d.check_guests(&[garbage]), Err(ClusterError::File { .. })));
        assert!(fakes.calls().is_empty());
    });
}

#[test]
fn a_kind_cluster_is_made_with_a_registry_beside_it() {
    case("a_kind_cluster_is_made_with_a_registry_beside_it", async |mut fakes| {
        let provider = Provider::kind(fakes.settings());
        let name = name_of(&provider);
        let kubeconfig = fakes.api.kubeconfig(&format!("kind-{name}"));
        fakes
            .on("'kind get clusters'", &format!("if [ -e there ]; then echo other; echo {name}; fi"))
            .on("'kind create '*", "touch there")
            .on("'kind delete '*", "rm there")
            .on("'kind get kubeconfig '*", &format!("echo '{kubeconfig}'"))
            .on(
                &format!("*'label=io.x-k8s.kind.cluster={name} --format {{{{.Names}}}} {{{{.State}}}}'"),
                &format!(
                    "if [ -e stopped ]; then state=exited; else state=running; fi; echo {name}-worker $state"
                ),
            );
        fakes.install(&[]);
        fakes.api.put_ready(&["control-plane", "worker"]);
        provider.ensure().await.expect("it is made");
        let registry = provider.planned().registry.expect("a registry");
        let port = registry.push_host.strip_prefix("localhost:").expect("from outside");
        let run = format!("--network kind --publish 127.0.0.1:{port}:5000 docker.io/library/registry:2");
        let calls = fakes.calls();
        assert!(
            calls.iter().any(|call| call.starts_with("docker run --detach") && call.ends_with(&run)),
            "{calls:?}"
        );
        let hosts = fakes.lab_file(&format!("certs.d/{}/hosts.toml", registry.pull_host)).expect("a file");
        assert!(hosts.contains(&format!("[host.\"http://{}\"]", registry.pull_host)), "{hosts}");

        fakes.touch("stopped");
        provider.ensure().await.expect("it is started");
        let start = format!("docker container start {name}-worker {name}-registry");
        assert!(fakes.calls().contains(&start));

        let removed = provider.delete().await.expect("it is removed");
        assert!(removed.contains(&format!("kind cluster {name}")), "{removed:?}");
    });
}

#[test]
fn what_is_planned_is_what_a_person_could_paste() {
    let shown = |planned: Planned| planned.to_string();
    assert_eq!(
        shown(Planned::File { path: "a/b".into(), content: "x: 1\n".to_owned() }),
        "cat > a/b <<'END'\nx: 1\nEND"
    );
    assert_eq!(shown(Planned::Does("waits".to_owned())), "# waits");
}
