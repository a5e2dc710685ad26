//! `bindings.azure.blobstorage` against a store that remembers what it is asked.

use serde_json::{Value, json};

use super::blob_store::BlobStore;
use super::support::{Answer, DEADLINE, Dapr, Setup};

async fn dapr(more: &[(&str, &str)]) -> (Dapr, BlobStore) {
    let store = BlobStore::start().await;
    let dapr = Setup::new().file("box.yaml", store.component(more)).start().await;
    (dapr, store)
}

async fn operate(dapr: &Dapr, operation: &str, metadata: Value) -> Answer {
    dapr.bind("box", &json!({ "operation": operation, "metadata": metadata })).await
}

/// The component's error, without what the API puts before it.
fn error(answer: &Answer) -> String {
    let (status, code, message) = answer.refusal();
    assert_eq!((status, &*code), (500, "ERR_INVOKE_OUTPUT_BINDING"), "{message}");
    message.strip_prefix("error invoking output binding box: ").expect("the envelope").to_owned()
}

#[tokio::test]
async fn c02_c12_c54_c60_create_stores_and_names_the_blob() {
    let (dapr, store) = dapr(&[]).await;
    let answer = dapr.create("box", json!({ "b": 1, "a": "<&>" }), json!({ "blobName": "a b/1" })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("metadata.blobname"), Some("a b/1"));
    assert_eq!(answer.json()["blobName"], "a b/1");
    let url = format!("{}/account/box/a%20b%2F1", store.endpoint);
    assert_eq!(answer.json()["blobURL"], *url);
    let blob = store.blob("a%20b%2F1").expect("stored");
    assert_eq!(blob.content, br#"{"a":"\u003c\u0026\u003e","b":1}"#, "as Go marshals it");
    assert_eq!(blob.headers["x-ms-blob-type"], "BlockBlob");
}

#[tokio::test]
async fn c10_c54_data_is_stored_as_go_would_write_it() {
    let (dapr, store) = dapr(&[]).await;
    for (data, stored) in [
        (json!("plain \"text\"\n<"), "plain \"text\"\n<"),
        (json!([1, 2.50, 1e21]), "[1,2.5,1e+21]"),
        (json!(null), "null"),
        (json!({ "n": 9_007_199_254_740_993_u64 }), "{\"n\":9007199254740992}"),
    ] {
        assert_eq!(dapr.create("box", data, json!({ "blobName": "x" })).await.status, 200);
        let content = store.blob("x").expect("stored").content;
        assert_eq!(String::from_utf8_lossy(&content), stored, "and what was there is written over");
    }
    operate(&dapr, "create", json!({ "blobName": "nothing" })).await;
    assert_eq!(store.blob("nothing").expect("stored").content, b"null");
}

#[tokio::test]
async fn c55_a_blob_without_a_name_gets_one() {
    let (dapr, store) = dapr(&[]).await;
    for metadata in [json!({}), json!({ "blobName": "" }), json!({ "blobname": "other-case" })] {
        let answer = dapr.create("box", json!(1), metadata).await;
        let name = answer.json()["blobName"].as_str().expect("a name").to_owned();
        assert_eq!((name.len(), name.matches('-').count()), (36, 4), "{name}");
        assert_eq!(answer.header("metadata.blobname"), Some(&*name));
        assert!(store.blob(&name).is_some());
    }
}

#[tokio::test]
async fn c56_c57_metadata_sets_headers_and_the_rest_is_the_blobs_own() {
    let (dapr, store) = dapr(&[]).await;
    let metadata =
        json!({ "blobName": "x", "ContentType": "text/plain", "cacheControl": "no-cache", "My-Key": "käse" });
    assert_eq!(dapr.create("box", json!("text"), metadata).await.status, 200);
    let headers = store.blob("x").expect("stored").headers;
    assert_eq!(headers["x-ms-blob-content-type"], "text/plain");
    assert_eq!(headers["x-ms-blob-cache-control"], "no-cache");
    assert_eq!(headers["x-ms-meta-mykey"], "kse");
    for absent in ["x-ms-meta-contenttype", "x-ms-meta-blobname"] {
        assert!(!headers.contains_key(absent), "{headers:?}");
    }

    let wrong = dapr.create("box", json!(1), json!({ "blobName": "y", "contentMD5": "short" })).await;
    assert!(error(&wrong).contains("must be 128 bits and base64 encoded"), "{}", wrong.text());
    assert!(store.blob("y").is_none());
}

#[tokio::test]
async fn c54_base64_is_decoded_where_the_component_says_so() {
    let (dapr, store) = dapr(&[("decodeBase64", "true")]).await;
    assert_eq!(dapr.create("box", json!("aGk="), json!({ "blobName": "x" })).await.status, 200);
    assert_eq!(store.blob("x").expect("stored").content, b"hi");
    let wrong = dapr.create("box", json!("a*k="), json!({ "blobName": "y" })).await;
    assert!(error(&wrong).contains("illegal base64 data at input byte 1"), "{}", wrong.text());
    assert!(store.blob("y").is_none());
}

#[tokio::test]
async fn c13_c58_get_gives_the_bytes_and_metadata_when_asked() {
    let (dapr, _store) = dapr(&[]).await;
    dapr.create("box", json!("raw"), json!({ "blobName": "x", "mine": "1" })).await;
    let answer = operate(&dapr, "get", json!({ "blobName": "x" })).await;
    assert_eq!((answer.status, &*answer.text()), (200, "raw"));
    assert_eq!(answer.header("content-type"), Some("application/json"), "whatever it is");
    assert_eq!(answer.header("metadata.mine"), None);
    let answer = operate(&dapr, "get", json!({ "blobName": "x", "includeMetadata": "true" })).await;
    assert_eq!(answer.header("metadata.mine"), Some("1"));
    let answer = operate(&dapr, "get", json!({ "blobName": "x", "includeMetadata": "perhaps" })).await;
    assert!(error(&answer).contains("perhaps"), "{}", answer.text());
}

#[tokio::test]
async fn c02_delete_removes_and_answers_nothing() {
    let (dapr, store) = dapr(&[]).await;
    dapr.create("box", json!(1), json!({ "blobName": "x" })).await;
    let answer = operate(&dapr, "delete", json!({ "blobName": "x" })).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert!(store.blob("x").is_none());
    let wrong = operate(&dapr, "delete", json!({ "blobName": "x", "deleteSnapshots": "some" })).await;
    assert!(error(&wrong).contains("invalid delete snapshot option type: some"), "{}", wrong.text());
}

#[tokio::test]
async fn c58_a_blob_that_is_not_there_and_one_without_a_name_are_told_apart() {
    let (dapr, _store) = dapr(&[]).await;
    for operation in ["get", "delete"] {
        let absent = operate(&dapr, operation, json!({ "blobName": "absent" })).await;
        assert!(error(&absent).contains("blob not found"), "{operation}: {}", absent.text());
        let nameless = operate(&dapr, operation, json!({})).await;
        assert!(error(&nameless).contains("blobName is a required attribute"), "{}", nameless.text());
    }
}

#[tokio::test]
async fn c59_list_goes_over_pages_until_there_are_enough() {
    let (dapr, store) = dapr(&[]).await;
    for name in ["a1", "a2", "a3", "a4", "a5", "b1"] {
        dapr.create("box", json!(name), json!({ "blobName": name })).await;
    }
    let list = async |data: Value| dapr.bind("box", &json!({ "operation": "list", "data": data })).await;
    let names = |answer: &Answer| -> Vec<String> {
        let items = answer.json();
        let items = items.as_array().expect("an array");
        items.iter().map(|item| item["Name"].as_str().expect("a name").to_owned()).collect()
    };
    let all = list(json!({ "prefix": "a" })).await;
    assert_eq!(names(&all), ["a1", "a2", "a3", "a4", "a5"]);
    assert_eq!(all.header("metadata.number"), Some("5"));
    assert_eq!(all.header("metadata.pagestraversed"), Some("3"));
    assert_eq!(all.json()[0]["Properties"]["ContentLength"], 2);
    assert_eq!(names(&list(json!({ "maxResults": 2 })).await), ["a1", "a2"]);
    assert_eq!(names(&list(json!({ "marker": "a5" })).await), ["a5", "b1"]);
    assert_eq!(names(&list(json!(null)).await).len(), 6);

    let before = store.requests().len();
    let wrong = list(json!("x")).await;
    assert!(error(&wrong).contains("cannot unmarshal string into Go value"), "{}", wrong.text());
    assert_eq!(store.requests().len(), before, "the store was not asked");
}

#[tokio::test]
async fn c60_the_container_is_made_at_the_start_unless_it_is_there_or_not_wanted() {
    let store = BlobStore::start().await;
    let start = async |more: &[(&str, &str)]| {
        Setup::new().file("box.yaml", store.component(more)).start().await;
    };
    start(&[("disableEntityManagement", "true")]).await;
    assert!(store.containers().is_empty());
    start(&[]).await;
    start(&[]).await;
    assert_eq!(store.containers(), ["box"]);
}

#[tokio::test]
async fn a_store_that_is_busy_is_asked_again_as_often_as_the_component_says() {
    let (dapr, store) = dapr(&[("retryCount", "1")]).await;
    store.fail_with(&[503]);
    assert_eq!(dapr.create("box", json!(1), json!({ "blobName": "x" })).await.status, 200);
    store.fail_with(&[503, 503]);
    let refused = dapr.create("box", json!(1), json!({ "blobName": "y" })).await;
    let error = error(&refused);
    assert!(error.starts_with("error uploading az blob: "), "{error}");
    assert!(error.contains("RESPONSE 503") && error.contains("ERROR CODE: ServerBusy"), "{error}");
    store.fail_with(&[400]);
    let before = store.requests().len();
    assert_eq!(dapr.create("box", json!(1), json!({ "blobName": "z" })).await.status, 500);
    assert_eq!(store.requests().len(), before + 1, "what was refused for good is not tried again");
}

/// A call that waits for its next try is in flight for a while. A stop that had to cut it off used to end with 0, and a
/// grace time of 0 used to be none instead of one without end.
#[tokio::test]
async fn c20_c47_a_stop_lets_a_call_in_flight_finish_but_not_beyond_its_grace_time() {
    for (grace, failures, answer, code) in
        [("10", &[503][..], Some(200), 0), ("0", &[503], Some(200), 0), ("1", &[503; 4], None, 1)]
    {
        let store = BlobStore::start().await;
        let setup = Setup::new().file("box.yaml", store.component(&[]));
        let dapr = setup.args(&["--dapr-graceful-shutdown-seconds", grace]).start().await;
        store.fail_with(failures);
        let body = json!({ "operation": "create", "data": 1, "metadata": { "blobName": "x" } }).to_string();
        let call = reqwest::Client::new().post(dapr.url("/v1.0/bindings/box")).body(body).send();
        let call = tokio::spawn(call);
        tests::until("the first try", DEADLINE, async || {
            let requests = store.requests();
            if requests.iter().any(|request| request.contains("/box/x")) { Ok(()) } else { Err(requests) }
        })
        .await;
        dapr.signal("-TERM");
        let ended = dapr.ended().await;
        assert_eq!(ended.status.code(), Some(code), "grace {grace}: {}", ended.log);
        let answered = call.await.expect("the call does not panic").map(|answer| answer.status().as_u16());
        assert_eq!(answered.ok(), answer, "grace {grace}");
        assert_eq!(store.blob("x").is_some(), answer.is_some());
    }
}
