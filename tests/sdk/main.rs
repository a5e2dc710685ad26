//! The official SDKs of Service Bus and of Blob Storage against the emulators: whoever knows the cloud by them must not
//! notice the difference.
//!
//! The cases are written in the SDKs' own languages (`python/`, `javascript/`); here is what runs them. Azurite gets the
//! blob cases too: it shows that they ask for nothing that only our emulator does. One case alone, while it is mended:
//! `LAB_SDK_CASES=defer,peek cargo test --test sdk python_servicebus`.
//!
//! `blob_table.json` is one table for Python, JavaScript and Go: each plays it on both stores, and what it sees must be
//! the same.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test and names its line")]

mod blob_table;
mod emulator;
mod install;
mod suite;

use emulator::Emulator;
use install::Language;
use suite::{Suite, Variables};
use tests::skips::skip;

#[tokio::test]
async fn python_servicebus() {
    servicebus(Language::Python).await;
}

#[tokio::test]
async fn javascript_servicebus() {
    servicebus(Language::JavaScript).await;
}

#[tokio::test]
async fn python_blob() {
    blob(Language::Python, Emulator::blob).await;
}

#[tokio::test]
async fn javascript_blob() {
    blob(Language::JavaScript, Emulator::blob).await;
}

#[tokio::test]
async fn python_blob_on_azurite() {
    blob(Language::Python, Emulator::azurite).await;
}

#[tokio::test]
async fn javascript_blob_on_azurite() {
    blob(Language::JavaScript, Emulator::azurite).await;
}

#[tokio::test]
async fn python_blob_table() {
    blob_table(Language::Python).await;
}

#[tokio::test]
async fn javascript_blob_table() {
    blob_table(Language::JavaScript).await;
}

#[tokio::test]
async fn go_blob_table() {
    blob_table(Language::Go).await;
}

async fn servicebus(language: Language) {
    let Some(suite) = installed(language, "servicebus_suite").await else { return };
    let cases = suite.cases().await;
    let queues: Vec<_> = cases.iter().map(|case| case.argument.as_str()).collect();
    let emulator = Emulator::servicebus(&suite.name(), &queues).await;
    let variables = Variables::from([("SERVICEBUS_CONNECTION_STRING", emulator.connection_string())]);
    suite.run(&cases, &variables, &emulator).await;
    emulator.stop().await;
}

async fn blob(language: Language, start: impl AsyncFnOnce(&str) -> Emulator) {
    let Some(suite) = installed(language, "blob_suite").await else { return };
    let cases = suite.cases().await;
    let emulator = start(&suite.name()).await;
    suite.run(&cases, &variables_of(&emulator), &emulator).await;
    emulator.stop().await;
}

/// Plays the one table of cases on both stores and compares what was seen.
async fn blob_table(language: Language) {
    let Some(suite) = installed(language, "blob_table").await else { return };
    let (ours, azurite) = (Emulator::blob(&suite.name()).await, Emulator::azurite(&suite.name()).await);
    let table = blob_table::path();
    let on_ours = suite.play(&table, &variables_of(&ours)).await;
    let on_azurite = suite.play(&table, &variables_of(&azurite)).await;
    blob_table::compare(&on_ours, &on_azurite);
    ours.stop().await;
    azurite.stop().await;
}

fn variables_of(store: &Emulator) -> Variables {
    Variables::from([
        ("BLOB_ACCOUNT", emulator::ACCOUNT.to_owned()),
        ("BLOB_ACCOUNT_KEY", emulator::ACCOUNT_KEY.to_owned()),
        ("BLOB_ACCOUNT_URL", store.account_url()),
    ])
}

/// The suite, with its SDKs installed; nothing, and a line that says why, where the machine lacks the language.
async fn installed(language: Language, name: &'static str) -> Option<Suite> {
    match install::install(language).await {
        Ok(interpreter) => Some(Suite::new(interpreter, name)),
        Err(lacking) => {
            skip(&format!("{name} ({})", lacking.what), lacking.reason);
            None
        }
    }
}
