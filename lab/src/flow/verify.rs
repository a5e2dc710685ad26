//! Compares every blob with the order that it must hold, after the run: the right container, the right name, equal as JSON values.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::{Blobs, Pages};
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

    fn add_unexpected(&mut self, container: &str, name: &str) {
        self.unexpected_blobs += 1;
        if self.unexpected_examples.len() < super::limits::EXAMPLES {
            self.unexpected_examples.push(format!("{container}/{name}"));
        }
    }
}

/// What was found for one order: a byte, since a run may have a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Found {
    /// No blob in its place.
    #[default]
    Nothing,
    /// A blob in its place that holds something else.
    Altered,
    /// Its blob.
    Whole,
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
    let mut misplaced = BTreeSet::new();
    let mut verification = Verification { expected: set.len() as u64, ..Verification::default() };
    let compared = Arc::new(AtomicU64::new(0));
    for (outbox, container) in OUTBOXES.iter().enumerate() {
        let mut pages = Pages::default();
        // Page by page, so that no more than one is held.
        while let Some(names) = blobs.page(container, &mut pages).await? {
            let mut in_place = Vec::new();
            for name in names {
                match name.parse().ok().and_then(|id| set.index_of(id)) {
                    Some(index) if set.outbox(index) == Some(outbox) => in_place.push(index),
                    Some(index) => drop(misplaced.insert(index)),
                    None => verification.add_unexpected(container, &name),
                }
            }
            for (index, what) in compare(blobs, set, in_place, &compared, progress.clone()).await? {
                if let Some(found) = found.get_mut(index) {
                    *found = what;
                }
            }
        }
    }
    for (index, found) in found.iter().enumerate() {
        let id = set.id(index).unwrap_or_default();
        match found {
            Found::Nothing => verification.lost.add(id),
            Found::Altered => verification.altered.add(id),
            Found::Whole => verification.correct += 1,
        }
        if misplaced.contains(&index) {
            verification.misplaced.add(id);
        }
    }
    Ok(verification)
}

/// Of each order what its blob is.
async fn compare(
    blobs: &Blobs,
    set: &Arc<DataSet>,
    indices: Vec<usize>,
    compared: &Arc<AtomicU64>,
    progress: impl Fn(u64) + Clone + Send + 'static,
) -> Result<Vec<(usize, Found)>, FlowError> {
    let count = indices.len();
    let indices: Arc<[usize]> = indices.into();
    let (blobs, set, compared) = (blobs.clone(), set.clone(), compared.clone());
    http::each(count, move |position| {
        let (blobs, set, progress) = (blobs.clone(), set.clone(), progress.clone());
        let (indices, compared) = (indices.clone(), compared.clone());
        async move {
            let index = indices.get(position).copied().unwrap_or_default();
            let container =
                set.outbox(index).and_then(|outbox| OUTBOXES.get(outbox)).copied().unwrap_or_default();
            let id = set.id(index).unwrap_or_default();
            let blob = blobs.get(container, &id.to_string()).await?;
            progress(compared.fetch_add(1, Ordering::Relaxed) + 1);
            let found = match (blob, set.body(index)) {
                (Some(blob), Some(order)) if is_same(&blob, &order) => Found::Whole,
                (Some(_), _) => Found::Altered,
                // Listed and then gone: somebody deletes what we verify.
                (None, _) => Found::Nothing,
            };
            Ok((index, found))
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
