//! Compares every blob with the order that it must hold, after the run: the right container, the right name, equal as JSON values.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::Blobs;
use super::dataset::DataSet;
use super::error::FlowError;
use super::http;
use super::stages::Ids;
use crate::spec::OUTBOXES;

/// What the blobs say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Orders that were expected.
    pub expected: u64,
    /// Orders whose blob is in the right container and holds the order, equal as JSON values.
    pub correct: u64,
    /// Orders without a blob in the right container.
    pub lost: Ids,
    /// Orders whose blob holds something else.
    pub altered: Ids,
    /// Orders with a blob in the wrong container.
    pub misplaced: Ids,
    /// Blobs whose name is no order of this run.
    pub unexpected_blobs: u64,
    /// The first of their names, as container/name.
    pub unexpected_examples: Vec<String>,
}

impl Verification {
    /// Whether every order is there, once, unchanged, and nothing else is.
    pub const fn is_clean(&self) -> bool {
        self.correct == self.expected
            && self.lost.count == 0
            && self.altered.count == 0
            && self.misplaced.count == 0
            && self.unexpected_blobs == 0
    }
}

/// What was found for one order.
#[derive(Debug, Clone, Copy, Default)]
struct Found {
    in_place: bool,
    misplaced: bool,
    altered: bool,
}

/// Lists both containers, gets every blob and compares. Order `n` of the set is blob `n` of the container of its delivery.
pub async fn verify(blobs: &Blobs, set: &Arc<DataSet>) -> Result<Verification, FlowError> {
    verify_with(blobs, set, |_| {}).await
}

/// As [`verify`], telling how many blobs were compared.
pub(crate) async fn verify_with(
    blobs: &Blobs,
    set: &Arc<DataSet>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Verification, FlowError> {
    let mut found = vec![Found::default(); set.len()];
    let mut verification = Verification { expected: set.len() as u64, ..Verification::default() };
    let mut to_compare = Vec::new();
    for (outbox, container) in OUTBOXES.iter().enumerate() {
        for name in blobs.list(container).await? {
            let Some(index) = name.parse().ok().and_then(|id| set.index_of(id)) else {
                verification.unexpected_blobs += 1;
                if verification.unexpected_examples.len() < super::limits::EXAMPLES {
                    verification.unexpected_examples.push(format!("{container}/{name}"));
                }
                continue;
            };
            let in_place = set.outbox(index) == Some(outbox);
            if let Some(found) = found.get_mut(index) {
                found.in_place |= in_place;
                found.misplaced |= !in_place;
            }
            if in_place {
                to_compare.push(index);
            }
        }
    }
    for (index, same) in compare(blobs, set, to_compare, progress).await? {
        if let Some(found) = found.get_mut(index) {
            match same {
                Some(same) => found.altered = !same,
                // Listed and then gone: somebody deletes what we verify.
                None => found.in_place = false,
            }
        }
    }
    for (index, found) in found.iter().enumerate() {
        let id = set.id(index).unwrap_or_default();
        match found {
            Found { in_place: false, .. } => verification.lost.add(id),
            Found { altered: true, .. } => verification.altered.add(id),
            Found { .. } => verification.correct += 1,
        }
        if found.misplaced {
            verification.misplaced.add(id);
        }
    }
    Ok(verification)
}

/// Of each order its blob: `Some(true)` when equal, `None` when there is none.
async fn compare(
    blobs: &Blobs,
    set: &Arc<DataSet>,
    indices: Vec<usize>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Vec<(usize, Option<bool>)>, FlowError> {
    let count = indices.len();
    let indices: Arc<[usize]> = indices.into();
    let (blobs, set) = (blobs.clone(), set.clone());
    let compared = Arc::new(std::sync::atomic::AtomicU64::new(0));
    http::each(count, move |position| {
        let (blobs, set, progress) = (blobs.clone(), set.clone(), progress.clone());
        let (indices, compared) = (indices.clone(), compared.clone());
        async move {
            let index = indices.get(position).copied().unwrap_or_default();
            let container =
                set.outbox(index).and_then(|outbox| OUTBOXES.get(outbox)).copied().unwrap_or_default();
            let id = set.id(index).unwrap_or_default();
            let blob = blobs.get(container, &id.to_string()).await?;
            progress(compared.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1);
            Ok((index, blob.map(|blob| is_same(&blob, set.body(index).unwrap_or_default()))))
        }
    })
    .await
}

/// Equal as JSON values: Dapr sorts keys and escapes, and neither changes a value.
fn is_same(blob: &[u8], order: &str) -> bool {
    let blob = serde_json::from_slice::<Value>(blob);
    let order = serde_json::from_str::<Value>(order);
    matches!((blob, order), (Ok(blob), Ok(order)) if blob == order)
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn json_values_decide_and_not_bytes() {
        assert!(is_same(br#"{"b": "\u003c", "a":1}"#, r#"{"a":1,"b":"<"}"#));
        for altered in [&br#"{"a":2}"#[..], br#"{"a":1,"b":null}"#, br#"{"a":"1"}"#, b"{", b"", b"\xff"] {
            assert!(!is_same(altered, r#"{"a":1}"#));
        }
    }
}
