//! The table of blob cases that every SDK plays on both stores: statuses, headers and results must agree, but for what is
//! listed here with its reason.
//!
//! It must not know how a step is carried out.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// A case, as it was played.
#[derive(Debug, Deserialize)]
pub struct Played {
    #[serde(rename = "case")]
    name: String,
    seen: Vec<Step>,
}

/// What a step saw: the answers on the wire, in order, and what the SDK made of them.
#[derive(Debug, Deserialize)]
struct Step {
    op: String,
    answers: Vec<Answer>,
    result: Value,
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
}

/// Headers of which the value matters.
const VALUES: [&str; 25] = [
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "x-ms-access-tier",
    "x-ms-access-tier-inferred",
    "x-ms-blob-content-length",
    "x-ms-blob-content-md5",
    "x-ms-blob-public-access",
    "x-ms-blob-type",
    "x-ms-copy-progress",
    "x-ms-copy-status",
    "x-ms-error-code",
    "x-ms-has-immutability-policy",
    "x-ms-has-legal-hold",
    "x-ms-lease-state",
    "x-ms-lease-status",
    "x-ms-meta-kind",
    "x-ms-request-server-encrypted",
    "x-ms-server-encrypted",
];

/// Headers that are there or not; their values differ from store to store.
const PRESENCE: [&str; 7] = [
    "etag",
    "last-modified",
    "x-ms-copy-completion-time",
    "x-ms-copy-id",
    "x-ms-copy-source",
    "x-ms-creation-time",
    "x-ms-request-id",
];

/// Steps whose answer is the blob's content or its size, so that a length can be compared; other answers are XML, which
/// each store writes in its own way, and the SDK's result is what is compared.
const OF_CONTENT: [&str; 3] = ["get", "properties", "sas_get"];

/// Where Azurite differs from the REST reference, or the reference leaves it open: operation, header, reason.
const KNOWN: [(&str, &str, &str); 6] = [
    ("get", "x-ms-blob-content-md5", "Azurite gives it without a range too; Get Blob: only for a range"),
    ("sas_get", "x-ms-blob-content-md5", "as for get"),
    ("get", "content-md5", "Azurite computes it of what was made of blocks; Get Blob: only if it is stored"),
    ("commit", "content-md5", "Azurite gives it unasked; Put Block List: only if it was sent"),
    ("blocks", "etag", "Azurite has one without a blob; Get Block List: only with committed blocks"),
    ("blocks", "last-modified", "as for the tag"),
];

/// The table.
pub fn path() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/blob_table.json").to_owned()
}

/// Holds what was seen on our store against what was seen on Azurite.
///
/// # Panics
/// When they differ in anything that is not [`KNOWN`], or nothing was compared.
pub fn compare(ours: &[Played], azurite: &[Played]) {
    let names = |played: &[Played]| played.iter().map(|case| case.name.clone()).collect::<Vec<_>>();
    assert!(names(ours) == names(azurite) && ours.len() > 5, "{:?} {:?}", names(ours), names(azurite));
    let mut differences = Vec::new();
    for (ours, azurite) in ours.iter().zip(azurite) {
        assert_eq!(ours.seen.len(), azurite.seen.len(), "{}", ours.name);
        for (number, (one, other)) in ours.seen.iter().zip(&azurite.seen).enumerate() {
            let step = format!("{} {number} {}", ours.name, one.op);
            differences.extend(differences_of(one, other).into_iter().map(|what| format!("{step}: {what}")));
        }
    }
    assert!(differences.is_empty(), "ours | Azurite\n{}", differences.join("\n"));
}

fn differences_of(ours: &Step, azurite: &Step) -> Vec<String> {
    let statuses = |step: &Step| step.answers.iter().map(|answer| answer.status).collect::<Vec<_>>();
    if statuses(ours) != statuses(azurite) {
        return vec![format!("status {:?} | {:?}", statuses(ours), statuses(azurite))];
    }
    let mut differences = Vec::new();
    if ours.result != azurite.result {
        differences.push(format!("result {} | {}", ours.result, azurite.result));
    }
    for (one, other) in ours.answers.iter().zip(&azurite.answers) {
        for name in compared(&ours.op, one.status, other) {
            let shown = |answer: &Answer| match answer.headers.get(name) {
                Some(_) if PRESENCE.contains(&name) => Some("there".to_owned()),
                value => value.cloned(),
            };
            if shown(one) != shown(other) {
                differences.push(format!("{name} {:?} | {:?}", shown(one), shown(other)));
            }
        }
    }
    differences
}

/// The headers of an answer that are compared.
fn compared<'a>(op: &str, status: u16, azurite: &'a Answer) -> BTreeSet<&'a str> {
    let metadata = azurite.headers.keys().map(String::as_str).filter(|name| name.starts_with("x-ms-meta-"));
    let known = |name: &str| KNOWN.iter().any(|(of, header, _)| *of == op && *header == name);
    let of_body = |name: &str| ["content-length", "content-type"].contains(&name);
    let is_content = status < 300 && OF_CONTENT.contains(&op);
    let wanted = VALUES.into_iter().chain(PRESENCE).chain(metadata);
    wanted.filter(|name| !known(name) && (is_content || !of_body(name))).collect()
}
