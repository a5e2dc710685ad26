//! The data set in the store: a manifest and chunks, written and read through Dapr's output binding `testdata`.
//!
//! What is stored survives Dapr, which sorts keys, drops white space and escapes: chunks are JSON arrays of orders, and the
//! manifest's digest is of the orders as this crate writes them, not of the stored bytes.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::dapr::Dapr;
use super::error::FlowError;
use super::http;
use super::limits;
use super::orders::{self, GENERATOR, Order};

/// What the manifest blob says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this shape.
    pub version: u32,
    /// [`GENERATOR`] when the orders were made.
    pub generator: u32,
    /// Orders in all.
    pub count: u64,
    /// The seed that they came from.
    pub seed: u64,
    /// Their encoded size in bytes.
    pub bytes: u64,
    /// SHA-256 over the orders as [`DataSet::body`] gives them, each with a newline; lower case hexadecimal.
    pub sha256: String,
    /// Orders in each chunk, in the order of ids.
    pub chunks: Vec<u64>,
}

/// Version of [`Manifest`].
pub const MANIFEST: u32 = 1;

/// A data set: a byte an order. Bodies are made again from the seed whenever they are needed, which takes microseconds; a million of them
/// would take 700 MB.
#[derive(Debug, Clone)]
pub struct DataSet {
    manifest: Manifest,
    outboxes: Box<[u8]>,
}

/// Name of the data set of `count` orders from `seed`; its blobs begin with it.
pub fn name(count: u64, seed: u64) -> String {
    format!("orders-{count}-seed-{seed}")
}

fn manifest_name(count: u64, seed: u64) -> String {
    format!("{}-manifest", name(count, seed))
}

fn chunk_name(count: u64, seed: u64, number: usize) -> String {
    format!("{}-chunk-{number:05}", name(count, seed))
}

impl DataSet {
    /// Makes the orders; nothing is stored.
    pub fn generate(count: u64, seed: u64) -> Result<Self, FlowError> {
        if !(1..=limits::ORDERS).contains(&count) {
            return Err(FlowError::Count { count });
        }
        let mut outboxes = Vec::with_capacity(count as usize);
        let mut digest = Sha256::new();
        let mut chunks = Chunks::default();
        let mut bytes = 0;
        for order in orders::generate(count, seed) {
            let body = encoded(&order);
            digest.update(body.as_bytes());
            digest.update(b"\n");
            bytes += body.len() as u64;
            chunks.add(body.len() + 1);
            outboxes.push(order.outbox() as u8);
        }
        let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let chunks = chunks.sizes();
        let manifest =
            Manifest { version: MANIFEST, generator: GENERATOR, count, seed, bytes, sha256, chunks };
        Ok(Self { manifest, outboxes: outboxes.into() })
    }

    /// What the manifest says, or would say.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Orders in the set.
    pub fn len(&self) -> usize {
        self.outboxes.len()
    }

    /// Whether the set has no order; a set that was generated or loaded has one at least.
    pub fn is_empty(&self) -> bool {
        self.outboxes.is_empty()
    }

    /// Id of the order at `index`.
    pub fn id(&self, index: usize) -> Option<u64> {
        (index < self.len()).then_some(index as u64 + 1)
    }

    /// Index in [`crate::spec::OUTBOXES`] of the container in which the order at `index` must end.
    pub fn outbox(&self, index: usize) -> Option<usize> {
        self.outboxes.get(index).map(|outbox| usize::from(*outbox))
    }

    /// The order at `index` as compact JSON.
    pub fn body(&self, index: usize) -> Option<String> {
        Some(encoded(&orders::order(self.manifest.seed, self.id(index)?)))
    }

    /// The indices of each chunk.
    fn chunks(&self) -> Vec<Range<usize>> {
        let mut first = 0;
        let mut indices = |size: &u64| {
            let range = first..first + *size as usize;
            first = range.end;
            range
        };
        self.manifest.chunks.iter().map(&mut indices).collect()
    }

    /// Where an order's id stands. Ids go from 1 without a gap.
    pub fn index_of(&self, id: u64) -> Option<usize> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        (index < self.len()).then_some(index)
    }
}

fn broken(count: u64, seed: u64, problem: impl Into<String>) -> FlowError {
    FlowError::DataSet { name: name(count, seed), problem: problem.into() }
}

/// As the data set is stored and sent.
fn encoded(order: &Order) -> String {
    // Plain fields under names: nothing that JSON could not say.
    serde_json::to_string(order).unwrap_or_default()
}

/// How many orders go into each chunk.
#[derive(Default)]
struct Chunks {
    full: Vec<u64>,
    orders: u64,
    bytes: usize,
}

impl Chunks {
    fn add(&mut self, length: usize) {
        if self.orders > 0 && self.bytes + length > limits::CHUNK_BYTES {
            self.full.push(self.orders);
            (self.orders, self.bytes) = (0, 0);
        }
        self.orders += 1;
        self.bytes += length;
    }

    fn sizes(mut self) -> Vec<u64> {
        self.full.push(self.orders);
        self.full
    }
}

/// What [`ensure`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It was there already.
    Found,
    /// It was written now.
    Written,
}

/// Makes sure that the data set is in the store. One that is there with the same count, seed and generator stays, unless
/// `force`; the manifest is written last, so that a broken-off write is never taken for a whole one.
pub async fn ensure(
    dapr: &Dapr,
    count: u64,
    seed: u64,
    force: bool,
) -> Result<(Manifest, Stored), FlowError> {
    if !force && let Some(manifest) = manifest(dapr, count, seed).await? {
        return Ok((manifest, Stored::Found));
    }
    let set = DataSet::generate(count, seed)?;
    store(dapr, &set).await?;
    Ok((set.manifest, Stored::Written))
}

/// The stored manifest, if it is one of this version, generator, count and seed.
async fn manifest(dapr: &Dapr, count: u64, seed: u64) -> Result<Option<Manifest>, FlowError> {
    let Some(bytes) = dapr.load(&manifest_name(count, seed)).await? else { return Ok(None) };
    // Whatever cannot be read is of another version, or damaged: in both cases it is written again.
    let found = serde_json::from_slice::<Manifest>(&bytes).ok();
    Ok(found.filter(|found| {
        let same =
            (found.version, found.generator, found.count, found.seed) == (MANIFEST, GENERATOR, count, seed);
        let whole = found.chunks.iter().try_fold(0_u64, |sum, size| sum.checked_add(*size)) == Some(count);
        same && whole && found.chunks.len() <= limits::CHUNKS
    }))
}

/// Writes the chunks, then the manifest.
pub async fn store(dapr: &Dapr, set: &DataSet) -> Result<(), FlowError> {
    let Manifest { count, seed, .. } = set.manifest;
    for (number, indices) in set.chunks().into_iter().enumerate() {
        let bodies: Vec<_> = indices.filter_map(|index| set.body(index)).collect();
        let chunk = RawValue::from_string(format!("[{}]", bodies.join(",")));
        let chunk = chunk.map_err(|error| broken(count, seed, error.to_string()))?;
        dapr.store(&chunk_name(count, seed, number), &chunk).await?;
    }
    let manifest = to_raw_value(&set.manifest).map_err(|error| broken(count, seed, error.to_string()))?;
    dapr.store(&manifest_name(count, seed), &manifest).await
}

/// Reads the data set back through Dapr and checks it against its manifest.
pub async fn load(dapr: &Dapr, count: u64, seed: u64) -> Result<DataSet, FlowError> {
    let manifest =
        manifest(dapr, count, seed).await?.ok_or_else(|| broken(count, seed, "not in the store"))?;
    let set = DataSet::generate(count, seed)?;
    if set.manifest != manifest {
        return Err(broken(count, seed, "not what its manifest says"));
    }
    let (reader, chunks) = (dapr.clone(), Arc::<[Range<usize>]>::from(set.chunks()));
    // Few at a time: a chunk that is read is some MB.
    let read = http::each_of(limits::CHUNKS_READ, chunks.len(), move |number| {
        let (dapr, indices) = (reader.clone(), chunks.get(number).cloned().unwrap_or_default());
        async move {
            let chunk = chunk_name(count, seed, number);
            let bytes = dapr.load(&chunk).await?;
            let bytes = bytes.ok_or_else(|| broken(count, seed, format!("without its blob {chunk}")))?;
            let found = serde_json::from_slice::<Vec<Order>>(&bytes)
                .map_err(|error| broken(count, seed, format!("unreadable in {chunk}: {error}")))?;
            let expected = indices.map(|index| orders::order(seed, index as u64 + 1));
            match found.into_iter().eq(expected) {
                true => Ok(()),
                false => Err(broken(count, seed, format!("not what its manifest says, in {chunk}"))),
            }
        }
    });
    read.await?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_below_their_bound_and_hold_everything() {
        let set = DataSet::generate(5_000, 1).unwrap();
        let sizes = &set.manifest().chunks;
        assert_eq!(sizes.iter().sum::<u64>(), 5_000);
        assert!(sizes.len() > 1);
        let mut first = 0;
        for size in sizes {
            let last = first + *size as usize;
            let bytes: usize = (first..last).map(|index| set.body(index).unwrap().len() + 1).sum();
            assert!(bytes <= limits::CHUNK_BYTES);
            first = last;
        }
    }

    #[test]
    fn an_order_longer_than_a_chunk_has_one_of_its_own() {
        let mut chunks = Chunks::default();
        for length in [1, limits::CHUNK_BYTES + 1, 1] {
            chunks.add(length);
        }
        assert_eq!(chunks.sizes(), [1, 1, 1]);
    }

    #[test]
    fn the_data_set_of_a_seed_is_the_same_for_ever() {
        let manifest = DataSet::generate(1_000, 42).unwrap().manifest;
        let digest = "0129b9cc5159960e56beb92204ff46e71023f9a74c30085e905d90ae2fb73d2c";
        assert_eq!(manifest.sha256, digest, "raise GENERATOR when the orders of a seed change");
    }

    #[test]
    fn counts_out_of_bounds_are_refused() {
        for count in [0, limits::ORDERS + 1] {
            assert!(matches!(DataSet::generate(count, 1), Err(FlowError::Count { .. })));
        }
    }

    #[test]
    fn index_of_an_id() {
        let set = DataSet::generate(3, 1).unwrap();
        assert_eq!([0, 1, 3, 4, u64::MAX].map(|id| set.index_of(id)), [None, Some(0), Some(2), None, None]);
    }
}
