//! What a lab leaves on a cluster that it did not make: nothing of its own, and everything that it found.

use lab::backend::Backend;
use serde_json::{Value, json};

use crate::api::failure;
use crate::fakes::{Fakes, case};
use crate::house::{backend, furnish, put_dapr};

const SYSTEM: &str = "/api/v1/namespaces/dapr-system";

fn namespace(name: &str, labels: Value) -> Value {
    json!({ "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": name, "labels": labels } })
}

/// The namespace of another lab.
fn put_other_lab(fakes: &Fakes) {
    let labels = json!({ "app.kubernetes.io/managed-by": "spin-lab", "spin-lab/lab": "other" });
    fakes.api.has("/api/v1/namespaces/spin-lab-other", namespace("spin-lab-other", labels));
}

fn definition(fakes: &Fakes, plural: &str, group: &str) -> String {
    let name = format!("{plural}.{group}");
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let version = json!({ "name": "v1alpha1", "served": true, "storage": true });
    let definition = json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "metadata": { "name": name },
        "spec": { "group": group, "scope": "Namespaced", "names": { "kind": plural, "plural": plural }, "versions": [version] },
    });
    fakes.api.has(&path, definition);
    path
}

/// What helm would do: Dapr is there when it has been noted and helm was called.
async fn up_with_dapr(fakes: &Fakes) -> lab::backend::kubernetes::KubernetesBackend {
    let lab = backend(fakes);
    let install = async {
        fakes.api.asked(&format!("PATCH {SYSTEM}")).await;
        put_dapr(fakes);
    };
    let (up, ()) = tokio::join!(lab.up(), install);
    up.expect("it is ready");
    lab
}

fn helm(fakes: &Fakes) -> Vec<String> {
    let words = |call: String| call.split(' ').take(4).collect::<Vec<_>>().join(" ");
    fakes.calls().into_iter().filter(|call| call.starts_with("helm")).map(words).collect()
}

#[test]
fn down_removes_what_up_has_installed_and_nothing_is_left() {
    case("leaving::down_removes_what_up_has_installed_and_nothing_is_left", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        let lab = up_with_dapr(&fakes).await;
        assert_eq!(helm(&fakes), ["helm upgrade --install dapr"]);
        let note = fakes.api.object(SYSTEM).expect("a namespace")["metadata"]["annotations"].clone();
        assert_eq!(note["spin-lab/installed"], "release namespace definitions");
        let made = definition(&fakes, "components", "dapr.io");
        let anothers = definition(&fakes, "certificates", "cert-manager.io");

        lab.down().await;
        assert_eq!(helm(&fakes), ["helm uninstall dapr --namespace"]);
        assert_eq!(fakes.api.paths("/api/v1/namespaces/"), Vec::<String>::new());
        assert_eq!((fakes.api.object(&made), fakes.api.object(&anothers).is_some()), (None, true));
        assert_eq!(fakes.lab_file("on-cluster.json"), None);
        lab.down().await;
        assert_eq!(helm(&fakes), Vec::<String>::new());
    });
}

#[test]
fn what_a_lab_found_stays_when_it_goes() {
    case("leaving::what_a_lab_found_stays_when_it_goes", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        fakes.api.has(SYSTEM, namespace("dapr-system", json!({})));
        put_dapr(&fakes);
        let lab = backend(&fakes);
        lab.up().await.expect("it is ready");
        let kept: Vec<_> =
            lab.timings().lines().into_iter().filter(|line| line.starts_with("kept")).collect();
        assert_eq!(kept, ["kept: cluster, dapr, images"]);
        lab.down().await;
        assert_eq!(fakes.calls(), Vec::<String>::new());
        let left = fakes.api.paths("/api/v1/namespaces/");
        assert_eq!(left, [SYSTEM, &format!("{SYSTEM}/configmaps/dapr-trust-bundle")]);
    });
}

#[test]
fn what_another_lab_still_needs_is_removed_by_the_last_one() {
    case("leaving::what_another_lab_still_needs_is_removed_by_the_last_one", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        // The namespace was there, and so are somebody's components.
        fakes.api.has(SYSTEM, namespace("dapr-system", json!({})));
        let definition = definition(&fakes, "components", "dapr.io");
        let lab = up_with_dapr(&fakes).await;
        put_other_lab(&fakes);
        fakes.calls();
        lab.down().await;
        assert_eq!(helm(&fakes), Vec::<String>::new());

        // The other one goes: it has installed nothing itself.
        let lab = backend(&fakes);
        lab.up().await.expect("it is ready");
        fakes.api.forget("/api/v1/namespaces/spin-lab-other");
        lab.down().await;
        assert_eq!(helm(&fakes), ["helm uninstall dapr --namespace"]);
        let left = fakes.api.object(SYSTEM).expect("it was there before");
        assert!(left["metadata"]["annotations"]["spin-lab/installed"].is_null(), "{left}");
        assert!(fakes.api.object(&definition).is_some(), "it was there before");
    });
}

#[test]
fn an_install_that_was_left_half_made_is_removed_and_made_anew() {
    case("leaving::an_install_that_was_left_half_made_is_removed_and_made_anew", async |mut fakes| {
        furnish(&fakes);
        let mut noted = namespace("dapr-system", json!({}));
        noted["metadata"]["annotations"] = json!({ "spin-lab/installed": "release namespace" });
        fakes.api.has(SYSTEM, noted);
        put_dapr(&fakes);
        let injector = "/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sidecar-injector";
        let mut starting = fakes.api.object(injector).expect("it is there");
        starting["status"] = json!({});
        fakes.api.has(injector, starting);
        fakes.on("'helm upgrade '*", "exit 1");
        fakes.install(&[]);
        // While another lab is there, that one may be at it, and is waited for.
        put_other_lab(&fakes);
        let lab = backend(&fakes);
        let other_goes = async {
            fakes.api.asked("GET /apis/apps/v1/namespaces/dapr-system/deployments").await;
            fakes.api.asked("GET /api/v1/namespaces").await;
            assert_eq!(helm(&fakes), Vec::<String>::new());
            fakes.api.forget("/api/v1/namespaces/spin-lab-other");
        };
        let (up, ()) = tokio::join!(lab.up(), other_goes);
        assert!(up.expect_err("helm fails").to_string().contains("helm upgrade --install dapr"));
        assert_eq!(helm(&fakes), ["helm uninstall dapr --namespace", "helm upgrade --install dapr"]);
    });
}

#[test]
fn of_two_labs_that_start_at_once_one_installs_and_the_other_waits() {
    case("leaving::of_two_labs_that_start_at_once_one_installs_and_the_other_waits", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        put_other_lab(&fakes);
        // Both found nothing, and the other one was the first to write.
        fakes.api.once(&format!("PATCH {SYSTEM}"), 409, failure(409, "conflict with spin-lab-other"));
        let other_installs = async {
            fakes.api.asked(&format!("PATCH {SYSTEM}")).await;
            let mut noted = namespace("dapr-system", json!({}));
            noted["metadata"]["annotations"] =
                json!({ "spin-lab/installed": "release namespace", "spin-lab/installer": "other" });
            fakes.api.has(SYSTEM, noted);
            fakes.api.asked("GET /api/v1/namespaces").await;
            put_dapr(&fakes);
        };
        let lab = backend(&fakes);
        let (up, ()) = tokio::join!(lab.up(), other_installs);
        up.expect("it is ready");
        assert_eq!(helm(&fakes), Vec::<String>::new());
        let note = fakes.api.object(SYSTEM).expect("a namespace")["metadata"]["annotations"].clone();
        assert_eq!(note["spin-lab/installer"], "other");
    });
}

#[test]
fn the_note_of_a_lab_that_is_gone_stops_no_other() {
    case("leaving::the_note_of_a_lab_that_is_gone_stops_no_other", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        let mut noted = namespace("dapr-system", json!({}));
        noted["metadata"]["annotations"] =
            json!({ "spin-lab/installed": "release", "spin-lab/installer": "other" });
        fakes.api.has(SYSTEM, noted);
        let _lab = up_with_dapr(&fakes).await;
        assert_eq!(helm(&fakes), ["helm upgrade --install dapr"]);
        let note = fakes.api.object(SYSTEM).expect("a namespace")["metadata"]["annotations"].clone();
        assert_eq!(note["spin-lab/installed"], "release", "what was found at first stays");
        assert_ne!(note["spin-lab/installer"], "other");
        assert!(fakes.api.query_of(&format!("PATCH {SYSTEM}")).is_some_and(|query| query.contains("force")));
    });
}

#[test]
fn a_namespace_of_somebody_else_is_still_there_after_the_start_that_was_refused() {
    case(
        "leaving::a_namespace_of_somebody_else_is_still_there_after_the_start_that_was_refused",
        async |fakes| {
            furnish(&fakes);
            put_dapr(&fakes);
            fakes.install(&[]);
            let mine = "/api/v1/namespaces/spin-lab-main";
            let (labels, another) = (
                json!({ "app.kubernetes.io/managed-by": "spin-lab", "spin-lab/lab": "main" }),
                "another checkout",
            );
            for (labels, said) in
                [(json!({}), "was not made by a lab"), (labels, "of a lab of another checkout")]
            {
                let mut namespace = namespace("spin-lab-main", labels);
                namespace["metadata"]["annotations"] = json!({ "spin-lab/workspace": another });
                fakes.api.has(mine, namespace);
                let lab = backend(&fakes);
                let error = lab.up().await.expect_err("it is not the lab's");
                assert!(error.to_string().contains(said), "{error}");
                lab.down().await;
                assert!(fakes.api.object(mine).is_some(), "{said}");
                assert!(!fakes.api.requests().iter().any(|request| request.starts_with("DELETE")), "{said}");
            }
        },
    );
}

#[test]
fn what_cannot_be_asked_about_is_not_taken_for_absent() {
    case("leaving::what_cannot_be_asked_about_is_not_taken_for_absent", async |fakes| {
        furnish(&fakes);
        put_dapr(&fakes);
        fakes.install(&[]);
        let sets = "GET /apis/apps/v1/namespaces/dapr-system/statefulsets";
        fakes.api.once(sets, 500, crate::fakes::failure(500, "etcd is busy"));
        let lab = backend(&fakes);
        let error = lab.up().await.expect_err("nobody knows what is there");
        assert!(error.to_string().contains("etcd is busy"), "{error}");
        assert_eq!(helm(&fakes), Vec::<String>::new());
        lab.down().await;
        assert_eq!(helm(&fakes), Vec::<String>::new());
    });
}

#[test]
fn a_chart_stays_while_somebody_has_objects_of_its_kinds() {
    case("leaving::a_chart_stays_while_somebody_has_objects_of_its_kinds", async |fakes| {
        furnish(&fakes);
        fakes.install(&[]);
        let lab = up_with_dapr(&fakes).await;
        definition(&fakes, "components", "dapr.io");
        let theirs = "/apis/dapr.io/v1alpha1/components";
        let component = json!({ "kind": "components", "apiVersion": "dapr.io/v1alpha1", "metadata": { "name": "theirs" } });
        fakes.api.put(theirs, 200, crate::fakes::list("components", "dapr.io/v1alpha1", vec![component]));
        fakes.calls();
        lab.down().await;
        assert_eq!(helm(&fakes), Vec::<String>::new());
        let note = fakes.api.object(SYSTEM).expect("it stays");
        assert_eq!(note["metadata"]["annotations"]["spin-lab/installed"], "release namespace definitions");
    });
}
