//! What helm installs: the calls, the order, and that what is there is left alone.

use lab::cluster::charts::{Install, steps};
use lab::cluster::installs::{Done, Event, Graph};
use lab::cluster::{Cluster, Provider, Settings};
use serde_json::{Value, json};

use crate::fakes::{Fakes, case, list};

const ALL: [Install; 3] = [Install::SpinOperator, Install::CertManager, Install::Dapr];

/// The planned cluster of a case, with its kubeconfig in place.
fn cluster(fakes: &Fakes, settings: &Settings) -> Cluster {
    let cluster = Provider::k3d(settings.clone()).planned();
    std::fs::create_dir_all(cluster.kubeconfig.parent().expect("a folder")).expect("a folder");
    std::fs::write(&cluster.kubeconfig, fakes.api.kubeconfig(&cluster.context)).expect("a file");
    cluster
}

fn workload(name: &str, version: &str, ready: u32) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app.kubernetes.io/version": version } },
        "spec": { "replicas": 1, "serviceName": name, "selector": {}, "template": {} },
        "status": { "availableReplicas": ready, "readyReplicas": ready, "replicas": 1 }
    })
}

/// Puts the workloads of a namespace: one Deployment and one StatefulSet.
fn put(fakes: &Fakes, namespace: &str, version: &str, ready: u32) {
    for (kind, plural) in [("DeploymentList", "deployments"), ("StatefulSetList", "statefulsets")] {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
        fakes.api.put(&path, 200, list(kind, "apps/v1", vec![workload("one", version, ready)]));
    }
}

#[test]
fn charts_are_installed_in_the_order_that_they_need_and_named_by_version() {
    case(
        "installing::charts_are_installed_in_the_order_that_they_need_and_named_by_version",
        async |fakes| {
            let settings = fakes.settings();
            let cluster = cluster(&fakes, &settings);
            fakes.install(&[]);
            let steps = steps(&settings, &cluster, &ALL, &[]).expect("steps");
            let mut started = Vec::new();
            let timings = Graph::new(steps)
                .expect("a graph")
                .run(|event| {
                    if let Event::Started { step } = event {
                        started.push(step.to_owned());
                    }
                })
                .await
                .expect("they are installed");
            // Dapr and cert-manager at once, the operator when cert-manager is there.
            assert_eq!(started[..2], ["cert-manager", "dapr"]);
            let path = timings.critical_path();
            assert!(!path.is_empty() && timings.steps.iter().all(|timing| timing.done == Done::Changed));

            let calls = fakes.calls();
            let call = |words: &str| calls.iter().position(|call| call.contains(words)).expect(words);
            assert!(call("upgrade --install cert-manager") < call("spin-operator.crds.yaml"));
            assert!(call("spin-operator.crds.yaml") < call("upgrade --install spin-operator"));
            let dapr = &calls[call("upgrade --install dapr")];
            for words in [
                "helm upgrade --install dapr dapr --version 1.18.3 --repo https://dapr.github.io/helm-charts/",
                "--namespace dapr-system --create-namespace --values",
                "/k3d/charts/dapr.yaml",
                &format!("--kube-context {} --wait --timeout 300s", cluster.context),
            ] {
                assert!(dapr.contains(words), "{words} is not in {dapr}");
            }
            assert!(calls.iter().any(|call| {
                call.contains("oci://ghcr.io/spinframework/charts/spin-operator --version 0.6.1")
            }));
        },
    );
}

#[test]
fn what_is_there_and_available_in_its_version_is_left_alone() {
    case("installing::what_is_there_and_available_in_its_version_is_left_alone", async |fakes| {
        let settings = fakes.settings();
        let cluster = cluster(&fakes, &settings);
        fakes.install(&[]);
        for (version, ready, calls) in [("1.18.3", 1, 0), ("1.18.3", 0, 1), ("1.17.0", 1, 1)] {
            put(&fakes, "dapr-system", version, ready);
            let steps = steps(&settings, &cluster, &[Install::Dapr], &[]).expect("steps");
            let timings = Graph::new(steps).expect("a graph").run(|_| {}).await.expect("it is done");
            assert_eq!(fakes.calls().len(), calls, "{version}, {ready} ready");
            let done = if calls == 0 { Done::Unchanged } else { Done::Changed };
            assert_eq!(timings.steps[0].done, done);
        }
    });
}

#[test]
fn a_chart_that_fails_stops_what_needs_it_and_says_what_helm_said() {
    case("installing::a_chart_that_fails_stops_what_needs_it_and_says_what_helm_said", async |mut fakes| {
        let settings = fakes.settings();
        let cluster = cluster(&fakes, &settings);
        fakes.on(
            "'helm upgrade --install cert-manager '*",
            "echo 'Error: failed calling webhook: connection refused' >&2; exit 1",
        );
        fakes.install(&[]);
        let steps =
            steps(&settings, &cluster, &[Install::CertManager, Install::SpinOperator], &[]).expect("steps");
        let error = Graph::new(steps).expect("a graph").run(|_| {}).await.expect_err("it fails");
        assert_eq!(error.step, "cert-manager");
        assert!(
            error.source.to_string().contains("│ Error: failed calling webhook: connection refused"),
            "{}",
            error.source
        );
        let calls = fakes.calls();
        assert!(!calls.iter().any(|call| call.contains("spin-operator")), "{calls:?}");
    });
}

#[test]
fn the_plan_of_an_install_says_when_it_is_skipped_and_what_it_calls() {
    case("installing::the_plan_of_an_install_says_when_it_is_skipped_and_what_it_calls", async |fakes| {
        let settings = fakes.settings();
        let cluster = Provider::k3d(settings.clone()).planned();
        let steps = steps(&settings, &cluster, &[Install::Dapr], &[]).expect("steps");
        let graph = Graph::new(steps).expect("a graph");
        let lines: Vec<String> =
            graph.plan().flat_map(|(_, _, planned)| planned.iter().map(ToString::to_string)).collect();
        assert_eq!(lines[0], "# unless dapr 1.18.3 is there and available:");
        assert!(lines[1].starts_with("helm upgrade --install dapr dapr --version 1.18.3"), "{lines:?}");
    });
}

#[test]
fn charts_at_hand_are_installed_where_no_repository_is_in_reach() {
    case("installing::charts_at_hand_are_installed_where_no_repository_is_in_reach", async |fakes| {
        let mut settings = fakes.settings();
        settings.charts = Some("/charts".into());
        let cluster = cluster(&fakes, &settings);
        fakes.install(&[]);
        let steps = steps(&settings, &cluster, &ALL, &[]).expect("steps");
        Graph::new(steps).expect("a graph").run(|_| {}).await.expect("they are installed");
        let calls = fakes.calls();
        assert!(!calls.iter().any(|call| call.contains("://") || call.contains("--version")), "{calls:?}");
        for words in [
            "helm upgrade --install dapr /charts/dapr --namespace",
            "--filename /charts/spin-operator.crds.yaml ",
        ] {
            assert!(calls.iter().any(|call| call.contains(words)), "{words} is not in {calls:?}");
        }
    });
}

#[test]
fn what_a_foreign_cluster_has_in_another_version_stays_as_it_is() {
    case("installing::what_a_foreign_cluster_has_in_another_version_stays_as_it_is", async |fakes| {
        let settings = fakes.settings();
        let own = cluster(&fakes, &settings);
        let foreign = Cluster { network: None, ..own };
        fakes.install(&[]);
        let run = async || {
            let steps = steps(&settings, &foreign, &[Install::Dapr], &[]).expect("steps");
            Graph::new(steps).expect("a graph").run(|_| {}).await
        };
        put(&fakes, "dapr-system", "1.16.9", 1);
        let error = run().await.expect_err("it is another's");
        let said = "dapr 1.16.9 is in namespace dapr-system of a cluster that the lab did not make, and 1.18.3 is needed";
        assert_eq!(error.source.to_string(), said);
        // One that starts is waited for.
        put(&fakes, "dapr-system", "1.18.3", 0);
        let (timings, ()) = tokio::join!(run(), async { put(&fakes, "dapr-system", "1.18.3", 1) });
        assert_eq!(timings.expect("it is ready").steps[0].done, Done::Unchanged);
        assert_eq!(fakes.calls(), Vec::<String>::new());
        // Where there is nothing it is installed.
        fakes.api.put(
            "/apis/apps/v1/namespaces/dapr-system/deployments",
            200,
            list("DeploymentList", "apps/v1", Vec::new()),
        );
        fakes.api.put(
            "/apis/apps/v1/namespaces/dapr-system/statefulsets",
            200,
            list("StatefulSetList", "apps/v1", Vec::new()),
        );
        run().await.expect("it is installed");
        assert_eq!(fakes.calls().len(), 1);
    });
}

/// The operator took 80 s to start: its pod was made before its certificate, and the kubelet looked again only after long pauses.
#[test]
fn a_pod_that_waits_for_a_certificate_is_replaced_when_it_is_there() {
    case("installing::a_pod_that_waits_for_a_certificate_is_replaced_when_it_is_there", async |mut fakes| {
        let settings = fakes.settings();
        let cluster = cluster(&fakes, &settings);
        // helm waits until the case says so.
        fakes.on("'helm upgrade --install spin-operator '*", "until [ -e ready ]; do sleep 0.01; done");
        fakes.install(&[]);
        let pod = json!({ "metadata": { "name": "waits" }, "spec": { "containers": [] } });
        let pods = "/api/v1/namespaces/spin-operator/pods";
        fakes.api.put(pods, 200, list("PodList", "v1", vec![pod.clone()]));
        fakes.api.put(&format!("{pods}/waits"), 200, pod);
        let steps =
            steps(&settings, &cluster, &[Install::CertManager, Install::SpinOperator], &[]).expect("steps");
        let graph = Graph::new(steps).expect("a graph");
        let watch = async {
            let secret = "/api/v1/namespaces/spin-operator/secrets/webhook-server-cert";
            fakes.api.asked(&format!("GET {secret}")).await;
            let delete = format!("DELETE {pods}/waits");
            assert!(!fakes.api.requests().contains(&delete), "there is no certificate yet");
            let there = json!({ "kind": "Secret", "apiVersion": "v1", "metadata": { "name": "webhook-server-cert" } });
            fakes.api.put(secret, 200, there);
            fakes.api.asked(&delete).await;
            fakes.touch("ready");
        };
        let (timings, ()) = tokio::join!(graph.run(|_| {}), watch);
        assert_eq!(timings.expect("it is installed").steps.len(), 2);
    });
}
