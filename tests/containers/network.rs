//! The emulators on one network of the engine: they find each other by name, as they do beside a cluster.

use lab::image::Part;
use serde_json::json;
use testcontainers::ImageExt as _;

use crate::stage::{Stage, answers, url, workspace};

/// The account that every tool for Azurite knows, and its published key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What differs between labs: the secrets to which the components refer.
fn secrets(servicebus: &str, blob: &str) -> String {
    json!({
        "servicebus": { "connectionString": format!(
            "Endpoint=sb://{servicebus};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        ) },
        "blob": { "accountName": ACCOUNT, "accountKey": KEY, "endpoint": format!("http://{blob}:10000") },
    })
    .to_string()
}

fn secret_store() -> String {
    json!({
        "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": { "name": "secretstore" },
        "spec": { "type": "secretstores.local.file", "version": "v1", "metadata": [
            { "name": "secretsFile", "value": "/lab/secrets.json" },
            { "name": "multiValued", "value": "true" },
        ] },
    })
    .to_string()
}

fn queues() -> String {
    let queues =
        ["q-order-ingress", "q-order-express", "q-order-standard"].map(|name| json!({ "Name": name }));
    json!({ "UserConfig": { "Namespaces": [{ "Name": "sbemulatorns", "Queues": queues, "Topics": [] }] } })
        .to_string()
}

/// An order through Dapr to the broker, and a chunk of data through Dapr to the blob store, with the components of every lab.
#[tokio::test]
async fn the_emulators_find_each_other_by_name() {
    let case = "emulators on one network";
    let Some(stage) = Stage::open(case).await else { return };
    let id = std::process::id();
    let (network, servicebus, blob) =
        (format!("spin-lab-{id}"), format!("servicebus-{id}"), format!("blob-{id}"));
    let broker = stage
        .image(Part::ServicebusEmulator)
        .await
        .with_cmd([
            "--listen",
            "0.0.0.0:5672",
            "--http-listen",
            "0.0.0.0:5300",
            "--config",
            "/lab/Config.json",
        ])
        .with_copy_to("/lab/Config.json", queues().into_bytes())
        .with_container_name(&servicebus)
        .with_network(&network);
    let broker = stage.start(broker).await;
    let store = stage.image(Part::BlobEmulator).await.with_container_name(&blob).with_network(&network);
    let _store = stage.start(store).await;

    let components = std::fs::read(workspace().components().join("lab.yaml")).unwrap();
    let dapr = stage
        .image(Part::DaprEmulator)
        .await
        .with_cmd([
            "--dapr-listen-addresses",
            "0.0.0.0",
            "--app-id",
            "lab",
            "--resources-path",
            "/lab/components",
        ])
        .with_copy_to("/lab/secrets.json", secrets(&servicebus, &blob).into_bytes())
        .with_copy_to("/lab/components/secretstore.yaml", secret_store().into_bytes())
        .with_copy_to("/lab/components/lab.yaml", components)
        .with_network(&network);
    let dapr = stage.start(dapr).await;
    let dapr = url(&dapr, 3500).await;
    answers("Dapr in a container", &format!("{dapr}/v1.0/healthz"), 204).await;

    let client = reqwest::Client::new();
    let call = |binding: &str, body: serde_json::Value| {
        client.post(format!("{dapr}/v1.0/bindings/{binding}")).json(&body).send()
    };
    let sent = call("q-order-ingress-out", json!({ "operation": "create", "data": { "orderId": 7 } }))
        .await
        .unwrap();
    assert!(sent.status().is_success(), "{} {}", sent.status(), sent.text().await.unwrap());
    let queues: serde_json::Value = reqwest::get(format!("{}/_emulator/queues", url(&broker, 5300).await))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ingress = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "q-order-ingress").unwrap();
    assert_eq!(ingress["enqueued_total"], 1, "{queues}");

    let stored = json!({ "operation": "create", "data": "chunk", "metadata": { "blobName": "chunk" } });
    let stored = call("testdata", stored).await.unwrap();
    assert!(stored.status().is_success(), "{} {}", stored.status(), stored.text().await.unwrap());
    let got =
        call("testdata", json!({ "operation": "get", "metadata": { "blobName": "chunk" } })).await.unwrap();
    assert_eq!(got.text().await.unwrap(), "chunk");
}
