//! Component files: who sees them, which way they work, where their values come from, and what is refused, where.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::NO_BROKER;
use super::blob_store::BlobStore;
use super::silent_broker::SilentBroker;
use super::support::{App, Dapr, Ended, Setup, component, connection_string, is_real_daprd, queue};

/// Names and capabilities of what was loaded.
async fn loaded(dapr: &Dapr) -> Vec<(String, Value)> {
    let metadata = dapr.get("/v1.0/metadata").await.json();
    let components = metadata["components"].as_array().cloned().unwrap_or_default();
    let one = |component: &Value| {
        (component["name"].as_str().expect("a name").to_owned(), component["capabilities"].clone())
    };
    let mut loaded: Vec<_> = components.iter().map(one).collect();
    loaded.sort_by(|a, b| a.0.cmp(&b.0));
    loaded
}

/// Asserts that it ended with the code for wrong usage and said all of this, and that nothing was started.
fn assert_refused(ended: &Ended, said: &[&str]) {
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    for text in said {
        assert!(ended.log.contains(text), "{text:?} is not in: {}", ended.log);
    }
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[tokio::test]
async fn c26_scopes_decide_who_sees_a_component() {
    let scoped = |name: &str, scopes: &str| queue(name, NO_BROKER, &[]) + scopes;
    let dapr = Setup::new()
        .file("all.yaml", scoped("for-all", ""))
        .file("mine.yaml", scoped("for-me", "scopes: [other, orders]\n"))
        .file("other.yaml", scoped("for-others", "scopes: [other]\n"))
        .file("none.yaml", scoped("for-none", "scopes: []\n"))
        .start()
        .await;
    let names: Vec<_> = loaded(&dapr).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["for-all", "for-me", "for-none"]);
    let (_, _, message) = dapr.bind("for-others", &json!({ "operation": "create" })).await.refusal();
    assert!(message.ends_with("couldn't find output binding for-others"), "{message}");
}

#[tokio::test]
async fn c23_c24_direction_decides_which_way_a_binding_works() {
    let (both, input, output) =
        (json!(["INPUT_BINDING", "OUTPUT_BINDING"]), ["INPUT_BINDING"], ["OUTPUT_BINDING"]);
    let dapr = Setup::new()
        .file("a.yaml", queue("a", NO_BROKER, &[]))
        .file("b.yaml", queue("b", NO_BROKER, &[("direction", "input")]))
        .file("c.yaml", queue("c", NO_BROKER, &[("Direction", " Output ")]))
        .file("d.yaml", queue("d", NO_BROKER, &[("direction", "INPUT, output")]))
        .start()
        .await;
    let expected = [("a", both.clone()), ("b", json!(input)), ("c", json!(output)), ("d", both)];
    let expected = expected.map(|(name, capabilities)| (name.to_owned(), capabilities));
    assert_eq!(loaded(&dapr).await, expected);
}

#[tokio::test]
async fn c27_secrets_come_from_a_file_of_many_values() {
    let store = BlobStore::start().await;
    let secrets =
        json!({ "blob": { "accountName": "account", "accountKey": "a2V5" }, "plain": store.endpoint });
    let dapr = Setup::new()
        .file("secrets.json", secrets.to_string())
        .file(
            "a-box.yaml",
            referring(&[("accountName", "blob"), ("accountKey", "blob"), ("endpoint", "plain")]),
        )
        .file("store.yaml", secret_store(&[("secretsFile", "FOLDER/secrets.json"), ("multiValued", "true")]))
        .start()
        .await;
    assert_eq!(dapr.create("box", json!(1), json!({ "blobName": "x" })).await.status, 200);
    assert!(store.blob("x").is_some());
    assert!(!dapr.log.text().contains("a2V5"), "{}", dapr.log.text());
}

#[tokio::test]
async fn c27_secrets_come_from_a_flat_file() {
    let store = BlobStore::start().await;
    let secrets = json!({ "blob": { "name": "account", "key": "a2V5" }, "endpoint": store.endpoint });
    let items = "  - {name: accountName, secretKeyRef: {name: 'blob:name'}}\n  \
                 - {name: accountKey, secretKeyRef: {name: 'blob:key', key: 'blob:key'}}\n  \
                 - {name: endpoint, secretKeyRef: {name: endpoint, key: endpoint}}\n";
    let dapr = Setup::new()
        .file("secrets.json", secrets.to_string())
        .file("box.yaml", with_items(items))
        .file("store.yaml", secret_store(&[("secretsFile", "FOLDER/secrets.json")]))
        .start()
        .await;
    assert_eq!(dapr.create("box", json!(1), json!({ "blobName": "x" })).await.status, 200);
}

#[tokio::test]
async fn c27_secrets_and_values_come_from_the_environment() {
    let store = BlobStore::start().await;
    let items = "  - {name: accountName, secretKeyRef: {name: TEST_ACCOUNT}}\n  \
                 - {name: accountKey, secretKeyRef: {name: TEST_KEY, key: TEST_KEY}}\n  \
                 - {name: endpoint, envRef: TEST_ENDPOINT}\n";
    let dapr = Setup::new()
        .file("box.yaml", with_items(items))
        .file("store.yaml", component("secrets", "secretstores.local.env", &[]))
        .env("TEST_ACCOUNT", "account")
        .env("TEST_KEY", "a2V5")
        .env("TEST_ENDPOINT", &store.endpoint)
        .start()
        .await;
    assert_eq!(dapr.create("box", json!(1), json!({ "blobName": "x" })).await.status, 200);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_what_the_component_misses() {
    if is_real_daprd("it names no line") {
        return;
    }
    for (store, account) in [
        (secret_store(&[("secretsFile", "FOLDER/secrets.json"), ("multiValued", "true")]), "absent"),
        (component("secrets", "secretstores.local.env", &[]), "TEST_ABSENT"),
        // Dapr's own secrets are not handed out.
        (component("secrets", "secretstores.local.env", &[]), "DAPR_API_TOKEN"),
    ] {
        let ended = super::ended(
            Setup::new()
                .file("secrets.json", "{}")
                .file("box.yaml", referring(&[("accountName", account)]))
                .file("store.yaml", store)
                .env("DAPR_API_TOKEN", "s3cret"),
        )
        .await;
        assert_refused(&ended, &["box.yaml:8: ", "missing or empty accountName field from metadata"]);
        assert!(!ended.log.contains("s3cret"), "{}", ended.log);
    }
}

#[tokio::test]
async fn c27_the_app_id_fills_its_template() {
    let store = BlobStore::start().await;
    let text = store.component(&[]).replace("value: \"box\"", "value: \"box-{appID}\"");
    Setup::new().file("box.yaml", text).start().await;
    assert_eq!(store.containers(), ["box-orders"]);
}

#[tokio::test]
async fn c27_a_uuid_fills_its_template_anew_at_each_start() {
    let store = BlobStore::start().await;
    let text = store.component(&[]).replace("value: \"box\"", "value: \"box-{uuid}\"");
    for _ in 0..2 {
        Setup::new().file("box.yaml", text.clone()).start().await;
    }
    let containers = store.containers();
    assert!(containers.len() == 2 && containers[0] != containers[1], "{containers:?}");
    assert!(containers.iter().all(|name| name.len() == "box-".len() + 36), "{containers:?}");
}

#[tokio::test]
async fn c26_files_of_several_documents_and_other_kinds_are_read() {
    let other = "apiVersion: dapr.io/v1alpha1\nkind: Resiliency\nmetadata: {name: r}\nspec: {}\n";
    let text = format!("{}---\n{other}---\n{}", queue("a", NO_BROKER, &[]), queue("b", NO_BROKER, &[]));
    let dapr = Setup::new().file("all.yml", text).file("notes.txt", "not YAML: [").start().await;
    let names: Vec<_> = loaded(&dapr).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_told_with_file_and_line_and_nothing_starts() {
    if is_real_daprd("it skips such documents") {
        return;
    }
    let good = queue("orders", NO_BROKER, &[("maxActiveMessages", "100")]);
    for (from, to, place, said) in [
        ("kind: Component", "kind: Component\nspecs: {}", "bad.yaml:3:", "specs"),
        ("metadata: {name: orders}", "metadata: {nmae: orders}", "bad.yaml:3:", "nmae"),
        ("metadata: {name: orders}", "metadata: {name: a/b}", "bad.yaml:3:", "invalid name"),
        ("  version: v1", "  verison: v1", "bad.yaml:6:", "verison"),
        ("  version: v1", "  version: v1\n  ignoreErrors: perhaps", "bad.yaml:7:", "invalid boolean"),
        (
            "{name: \"queueName\", value: \"orders\"}",
            "{name: queueName, vlaue: orders}",
            "bad.yaml:9:",
            "vlaue",
        ),
        (
            "  type: bindings.azure.servicebusqueues",
            "  type: bindings.kafka",
            "bad.yaml:5:",
            "bindings.kafka",
        ),
        ("  version: v1", "  version: v2", "bad.yaml:5:", "couldn't find binding"),
        ("maxActiveMessages", "maxActiveMesages", "bad.yaml:11:", "unknown property \"maxActiveMesages\""),
        ("\"100\"", "\"many\"", "bad.yaml:11:", "cannot parse 'maxActiveMessages' as int"),
        ("\"100\"", "\"0\"", "bad.yaml:11:", "must be 1 or greater"),
        ("\"true\"", "\"ture\"", "bad.yaml:10:", "neither true nor false"),
        ("\"true\"", "\"false\"", "bad.yaml:10:", "set disableEntityManagement to \"true\""),
        (
            "maxActiveMessages",
            "maxRetriableErrorsPerSec\", value: \"-1\"}\n  - {name: \"x",
            "bad.yaml:12:",
            "\"x\"",
        ),
        (
            "\"maxActiveMessages\", value: \"100\"",
            "direction, value: inwards",
            "bad.yaml:11:",
            "input, output, or both",
        ),
        ("SharedAccessKey=SAS_KEY_VALUE;", "", "bad.yaml:8:", "SharedAccessKey"),
        ("UseDevelopmentEmulator=true;", "", "bad.yaml:8:", "UseDevelopmentEmulator=true"),
        (
            "\"queueName\", value: \"orders\"",
            "\"queueName\", value: \"\"",
            "bad.yaml:9:",
            "missing queueName",
        ),
        (
            "\"maxActiveMessages\", value: \"100\"",
            "namespaceName, value: x.servicebus.windows.net",
            "bad.yaml:11:",
            "connectionString and namespaceName cannot both be specified",
        ),
        (
            "\"maxActiveMessages\", value: \"100\"",
            "ttlInSeconds, value: soon",
            "bad.yaml:11:",
            "invalid ttl 0s: ttl value must be a valid integer: actual is 'soon'",
        ),
        ("kind: Component", "kind: [", "bad.yaml:", ""),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let ended = super::ended(Setup::new().file("bad.yaml", text)).await;
        assert_refused(&ended, &[place, said]);
        assert!(!ended.log.contains("SAS_KEY_VALUE"), "{}", ended.log);
    }
}

#[tokio::test]
async fn what_is_wrong_about_a_blob_component_is_told_too() {
    if is_real_daprd("it names no line") {
        return;
    }
    let store = BlobStore::start().await;
    let good = store.component(&[("retryCount", "3")]);
    for (from, to, place, said) in [
        ("\"a2V5\"", "\"a*b\"", "bad.yaml:9:", "decode account key: illegal base64 data at input byte 1"),
        ("\"containerName\"", "\"containerNmae\"", "bad.yaml:11:", "unknown property \"containerNmae\""),
        ("\"3\"", "\"three\"", "bad.yaml:12:", "cannot parse 'retryCount' as int"),
        (
            "\"retryCount\", value: \"3\"",
            "publicAccessLevel, value: all",
            "bad.yaml:12:",
            "invalid public access level",
        ),
        ("http://", "https://", "bad.yaml:10:", "plain http"),
        ("\"accountKey\", value: \"a2V5\"", "accountKey, value: \"\"", "bad.yaml:9:", "Entra ID"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        assert_refused(&super::ended(Setup::new().file("bad.yaml", text)).await, &[place, said]);
    }
    assert!(store.requests().is_empty(), "nothing was started");
}

#[tokio::test]
async fn c26_one_name_stands_once() {
    let ended = super::ended(
        Setup::new()
            .file("a.yaml", queue("same", NO_BROKER, &[]))
            .file("b.yaml", queue("same", NO_BROKER, &[])),
    )
    .await;
    assert_ne!(ended.status.code(), Some(0));
    assert!(ended.log.contains("duplicate definition of Component name same"), "{}", ended.log);
    if !is_real_daprd("places and exit code") {
        assert_refused(&ended, &["b.yaml:5: ", "a.yaml:5: rename one of them"]);
    }
}

#[tokio::test]
async fn secret_stores_are_checked_like_bindings() {
    if is_real_daprd("it names no line") {
        return;
    }
    let file = ("secretsFile", "FOLDER/secrets.json");
    for (store, secrets, said) in [
        (secret_store(&[]), "{}", &["store.yaml:5: ", "missing local secrets file"][..]),
        (secret_store(&[file]), "[]", &["store.yaml:8: ", "secrets.json:1: "]),
        (secret_store(&[file]), "{\n\"a\": 1,\n}", &["secrets.json:3: "]),
        (secret_store(&[("secretsFile", "/no/such/file")]), "{}", &["store.yaml:8: ", "/no/such/file"]),
        (secret_store(&[file, ("multiValue", "true")]), "{}", &["store.yaml:9: ", "multiValued"]),
        (
            component("secrets", "secretstores.local.env", &[("prefx", "A_")]),
            "{}",
            &["store.yaml:8: ", "prefix"],
        ),
        (String::new(), "{}", &["box.yaml:5: ", "references a secret store that isn't loaded: secrets"]),
    ] {
        let ended = super::ended(
            Setup::new()
                .file("secrets.json", secrets)
                .file("box.yaml", referring(&[("accountName", "x")]))
                .file("store.yaml", store),
        )
        .await;
        assert_refused(&ended, said);
    }
}

#[tokio::test]
async fn c28_a_service_that_refuses_or_is_not_there_ends_the_start_unless_errors_are_ignored() {
    let store = BlobStore::start().await;
    let refusing = store.component(&[]).replace("value: \"box\"", "value: \"forbidden\"");
    let absent = store.component(&[]).replace(&store.endpoint, "http://127.0.0.1:1");
    let absent = absent.replace("  version: v1\n", "  version: v1\n  initTimeout: 200ms\n");
    for (text, said) in [(&refusing, "AuthorizationFailure"), (&absent, "init timeout")] {
        let ended = super::ended(Setup::new().file("box.yaml", text)).await;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains("box") && ended.log.contains(said), "{}", ended.log);

        let ignoring = text.replace("  version: v1\n", "  version: v1\n  ignoreErrors: true\n");
        let setup = Setup::new().file("box.yaml", ignoring).file("q.yaml", queue("q", NO_BROKER, &[]));
        let names: Vec<_> = loaded(&setup.start().await).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["q"], "the rest is there");
    }
}

#[tokio::test]
async fn c28_a_component_has_five_seconds_to_start() {
    let (store, silent) = (BlobStore::start().await, SilentBroker::start().await);
    let text = store.component(&[]).replace(&store.endpoint, &format!("http://{}", silent.address));
    let start = Instant::now();
    let ended = super::ended(Setup::new().file("box.yaml", text)).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(ended.log.contains("init timeout for component box"), "{}", ended.log);
}

#[tokio::test]
async fn c29_settings_that_cannot_be_end_the_start_in_the_components_words() {
    let good = queue("orders", NO_BROKER, &[("maxActiveMessages", "100")]);
    let connection = connection_string(NO_BROKER);
    for (from, to, said) in [
        ("\"100\"", "\"0\"", "must be 1 or greater"),
        (
            "\"maxActiveMessages\", value: \"100\"",
            "maxRetriableErrorsPerSec, value: \"-1\"",
            "must not be negative",
        ),
        ("\"queueName\", value: \"orders\"", "queueName, value: \"\"", "missing queueName"),
        (
            "\"maxActiveMessages\", value: \"100\"",
            "namespaceName, value: ns.servicebus.windows.net",
            "connectionString and namespaceName cannot both be specified",
        ),
        (&*connection, "", "either one of connection string or namespace name are required"),
        ("bindings.azure.servicebusqueues", "bindings.none", "bindings.none"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        let ended = super::ended(Setup::new().file("bad.yaml", text)).await;
        assert_ne!(ended.status.code(), Some(0), "{said}: {}", ended.log);
        assert!(ended.log.contains(said) && ended.log.contains("orders"), "{said}: {}", ended.log);
    }
}

#[tokio::test]
async fn keys_are_not_in_what_is_logged() {
    let (app, broker) = (App::start(|_| 200).await, SilentBroker::start().await);
    let setup = Setup::new()
        .file("q.yaml", queue("q", &broker.address, &[("direction", "input")]))
        .file("none.yaml", queue("none", NO_BROKER, &[("direction", "input")]));
    let dapr = setup.app(app.port).start().await;
    broker.connected("the input", &dapr).await;
    if !is_real_daprd("it says so after a minute") {
        dapr.logged(NO_BROKER).await;
    }
    assert!(!dapr.log.text().contains("SAS_KEY_VALUE"), "{}", dapr.log.text());
}

fn secret_store(metadata: &[(&str, &str)]) -> String {
    component("secrets", "secretstores.local.file", metadata)
}

/// The component `box`, whose metadata begins with these lines.
fn with_items(items: &str) -> String {
    let text = component("box", "bindings.azure.blobstorage", &[("containerName", "box")]);
    text.replace("  metadata:\n", &format!("  metadata:\n{items}")) + "auth: {secretStore: secrets}\n"
}

/// The component `box`, which takes these properties from the secrets of that name, under the property's own key.
fn referring(properties: &[(&str, &str)]) -> String {
    let item = |(property, secret): &(&str, &str)| {
        // A secret that is a text has its own name for a key.
        let key = if secret.chars().all(|c| c.is_ascii_uppercase() || c == '_') || *secret == "plain" {
            secret
        } else {
            property
        };
        format!("  - {{name: {property}, secretKeyRef: {{name: {secret}, key: {key}}}}}\n")
    };
    with_items(&properties.iter().map(item).collect::<String>())
}
