//! Joins what the recorders saw into stages, by order. Pure: rows in, latencies out.

use std::num::NonZeroU64;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blobs::BlobRow;
use super::broker::MessageRow;
use super::clock::shift;
use super::limits;
use super::schedule::Profile;
use crate::spec::{OUTBOXES, QUEUES};

/// One stage's latencies over all orders that have both of its instants; microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// The stage's name.
    pub name: String,
    /// From which instant to which.
    pub meaning: String,
    /// Orders that count.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_us: f64,
    /// The least.
    pub min_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The greatest.
    pub max_us: u64,
}

/// Blobs written in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrittenPoint {
    /// Beginning of the interval, milliseconds since T0.
    pub since_t0_ms: i64,
    /// Orders whose blob was first written in it.
    pub blobs: u64,
}

/// Where the instant of a blob comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlobInstants {
    /// The blob store's recorder.
    BlobRecorder,
    /// The settlement of the receiver's message, shortly after the blob was written.
    Settlement,
}

/// What the recorders' rows say about a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Timings {
    /// The stages in the order in which an order meets them, then the whole way.
    pub stages: Vec<Stage>,
    /// Where blob instants come from.
    pub blob_instants: BlobInstants,
    /// The last order's first blob; the broker's clock, microseconds.
    pub last_blob_us: Option<u64>,
    /// Blobs over time.
    pub written: Vec<WrittenPoint>,
    /// Width of one interval of `written`, milliseconds.
    pub written_interval_ms: u64,
    /// Orders that were delivered before they were due.
    pub delivered_early: Ids,
    /// Orders whose message arrived after the instant for which it was meant: due when it came.
    pub arrived_late: Ids,
    /// Orders of which a message was delivered, or a blob written, more than once, or that were forwarded more than once.
    pub duplicated: Ids,
    /// Rows whose key is no order of this run.
    pub foreign_rows: u64,
}

/// How many, and the first ids in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ids {
    /// How many orders.
    pub count: u64,
    /// At most ten of their ids, ascending.
    pub examples: Vec<u64>,
}

impl Ids {
    /// Counts one more; ids come in ascending order.
    pub fn add(&mut self, id: u64) {
        self.count += 1;
        if self.examples.len() < limits::EXAMPLES {
            self.examples.push(id);
        }
    }
}

/// The instants of one order, none of which is ever 0: 64 bytes, of which a run may have a million. Of several the first counts, so that
/// a duplicate makes no stage quicker.
#[derive(Debug, Clone, Default)]
struct Trail {
    due: Option<NonZeroU64>,
    distributor_got: Option<NonZeroU64>,
    forwarded: Option<NonZeroU64>,
    receiver_got: Option<NonZeroU64>,
    settled: Option<NonZeroU64>,
    written: Option<NonZeroU64>,
    ingress_rows: u32,
    forwarded_rows: u32,
    writes: u32,
    deliveries_most: u32,
}

/// The stages in the order in which an order meets them, then the whole way.
pub const NAMES: [&str; 5] = ["ingress queue", "distributor", "second queue", "receiver", "end to end"];

/// What recorders' rows say about each order, gathered row by row.
#[derive(Debug, Clone)]
pub struct Trails {
    trails: Vec<Trail>,
    foreign_rows: u64,
}

impl Trails {
    /// Of `orders` orders with ids from 1.
    pub fn of(orders: usize) -> Self {
        Self { trails: vec![Trail::default(); orders], foreign_rows: 0 }
    }

    /// Takes a row of the broker's.
    pub fn message(&mut self, row: &MessageRow) {
        match row.order_id().and_then(|id| at(&mut self.trails, id)) {
            Some(trail) => trail.message(row),
            None => self.foreign_rows += 1,
        }
    }

    /// Takes a row of the blob store's; `shift_us` turns its instants into the broker's.
    pub fn blob(&mut self, row: &BlobRow, shift_us: i64) {
        if !OUTBOXES.contains(&row.container.as_str()) {
            return;
        }
        match row.blob.parse().ok().and_then(|id| at(&mut self.trails, id)) {
            Some(trail) => {
                trail.writes += 1;
                first(&mut trail.written, Some(shift(row.written_us, shift_us)));
            }
            None => self.foreign_rows += 1,
        }
    }

    /// Joins them into stages. Orders were due from `t0_us` on as `profile` says.
    pub fn timings(mut self, (t0_us, profile): (u64, Profile), blob_instants: BlobInstants) -> Timings {
        if blob_instants == BlobInstants::Settlement {
            for trail in &mut self.trails {
                trail.written = trail.settled;
            }
        }
        let trails = self.trails;
        let mut timings = Timings {
            stages: stages(&trails, blob_instants),
            blob_instants,
            last_blob_us: trails.iter().filter_map(|trail| trail.written).max().map(NonZeroU64::get),
            written: Vec::new(),
            written_interval_ms: 0,
            delivered_early: Ids::default(),
            arrived_late: Ids::default(),
            duplicated: Ids::default(),
            foreign_rows: self.foreign_rows,
        };
        find(&trails, t0_us, profile, &mut timings);
        written(&trails, t0_us, &mut timings);
        timings
    }
}

fn at(trails: &mut [Trail], id: u64) -> Option<&mut Trail> {
    trails.get_mut(usize::try_from(id.checked_sub(1)?).ok()?)
}

fn first(slot: &mut Option<NonZeroU64>, instant: Option<u64>) {
    if let Some(instant) = instant.and_then(NonZeroU64::new) {
        *slot = Some(slot.map_or(instant, |earlier| earlier.min(instant)));
    }
}

impl Trail {
    fn message(&mut self, row: &MessageRow) {
        self.deliveries_most = self.deliveries_most.max(row.delivery_count);
        if row.queue == QUEUES[0] {
            self.ingress_rows += 1;
            first(&mut self.due, Some(row.due_us));
            first(&mut self.distributor_got, row.delivered_us);
        } else {
            self.forwarded_rows += 1;
            first(&mut self.forwarded, Some(row.enqueued_us));
            first(&mut self.receiver_got, row.delivered_us);
            if row.outcome.as_deref() == Some("completed") {
                first(&mut self.settled, row.settled_us);
            }
        }
    }

    fn is_duplicated(&self) -> bool {
        self.deliveries_most > 1 || self.ingress_rows > 1 || self.forwarded_rows > 1 || self.writes > 1
    }
}

/// One of an order's instants.
type Instant = fn(&Trail) -> Option<NonZeroU64>;

/// A stage: its name, what it means, its first and its last instant.
type Span = (&'static str, &'static str, Instant, Instant);

fn stages(trails: &[Trail], instants: BlobInstants) -> Vec<Stage> {
    let (receiver, whole) = match instants {
        BlobInstants::BlobRecorder => ("delivered to the receiver → blob written", "due → blob written"),
        BlobInstants::Settlement => ("delivered to the receiver → settled", "due → receiver settled"),
    };
    let spans: [Span; 5] = [
        (NAMES[0], "due → delivered to the distributor", |t| t.due, |t| t.distributor_got),
        (
            NAMES[1],
            "delivered to the distributor → accepted by the second queue",
            |t| t.distributor_got,
            |t| t.forwarded,
        ),
        (
            NAMES[2],
            "accepted by the second queue → delivered to the receiver",
            |t| t.forwarded,
            |t| t.receiver_got,
        ),
        (NAMES[3], receiver, |t| t.receiver_got, |t| t.written),
        (NAMES[4], whole, |t| t.due, |t| t.written),
    ];
    spans.map(|span| stage(trails, span)).into()
}

fn stage(trails: &[Trail], (name, meaning, from, to): Span) -> Stage {
    let most = u64::try_from(limits::LATENCY_MOST.as_micros()).unwrap_or(u64::MAX);
    // Three significant figures; the bounds are constants that the histogram takes.
    let mut histogram = Histogram::<u64>::new_with_bounds(1, most, 3).ok();
    for trail in trails {
        if let (Some(from), Some(to), Some(histogram)) = (from(trail), to(trail), histogram.as_mut()) {
            // An order that was forwarded twice can be delivered before its last forwarding: no time at all.
            histogram.saturating_record(to.get().saturating_sub(from.get()));
        }
    }
    let value = |quantile: f64| histogram.as_ref().map_or(0, |found| found.value_at_quantile(quantile));
    let max = histogram.as_ref().map_or(0, Histogram::max);
    Stage {
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        count: histogram.as_ref().map_or(0, Histogram::len),
        mean_us: histogram.as_ref().map_or(0.0, Histogram::mean),
        min_us: histogram.as_ref().map_or(0, Histogram::min).min(max),
        p50_us: value(0.5).min(max),
        p90_us: value(0.9).min(max),
        p99_us: value(0.99).min(max),
        max_us: max,
    }
}

fn find(trails: &[Trail], t0_us: u64, profile: Profile, timings: &mut Timings) {
    for (index, trail) in trails.iter().enumerate() {
        let id = index as u64 + 1;
        let intended_us = t0_us + profile.offset_us(index);
        if let (Some(due), Some(delivered)) = (trail.due, trail.distributor_got) {
            let (due, delivered) = (due.get(), delivered.get());
            if delivered < due.max(intended_us) {
                timings.delivered_early.add(id);
            }
            if due > intended_us {
                timings.arrived_late.add(id);
            }
        }
        if trail.is_duplicated() {
            timings.duplicated.add(id);
        }
    }
}

/// About 60 intervals of a round width.
fn written(trails: &[Trail], t0_us: u64, timings: &mut Timings) {
    let Some(last) = timings.last_blob_us else { return };
    let span_ms = last.saturating_sub(t0_us) / 1_000;
    let width = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000]
        .into_iter()
        .find(|width| span_ms / width < 60)
        .unwrap_or(span_ms.max(1));
    let mut counts = vec![0_u64; usize::try_from(span_ms / width).unwrap_or(0) + 1];
    for instant in trails.iter().filter_map(|trail| trail.written) {
        let index = usize::try_from(instant.get().saturating_sub(t0_us) / 1_000 / width).unwrap_or(0);
        if let Some(count) = counts.get_mut(index) {
            *count += 1;
        }
    }
    timings.written_interval_ms = width;
    timings.written = (0..)
        .zip(counts)
        .map(|(index, blobs)| WrittenPoint { since_t0_ms: index * width as i64, blobs })
        .collect();
}

#[cfg(test)]
mod tests {
    use super::super::broker::Key;
    use super::*;

    const T0: u64 = 1_000_000;
    fn compute(
        orders: usize,
        due: (u64, Profile),
        messages: &[MessageRow],
        blobs: Option<&[BlobRow]>,
        shift_us: i64,
    ) -> Timings {
        let mut trails = Trails::of(orders);
        messages.iter().for_each(|row| trails.message(row));
        blobs.unwrap_or_default().iter().for_each(|row| trails.blob(row, shift_us));
        let recorded = blobs.map_or(BlobInstants::Settlement, |_| BlobInstants::BlobRecorder);
        trails.timings(due, recorded)
    }

    const BURST: (u64, Profile) = (T0, Profile::Burst);

    fn row(queue: usize, id: u64, enqueued: u64, due: u64, delivered: u64, settled: u64) -> MessageRow {
        MessageRow {
            queue: QUEUES[queue].into(),
            key: Some(Key::Number(id)),
            sequence_number: id,
            enqueued_us: enqueued,
            due_us: due,
            delivered_us: Some(delivered),
            settled_us: Some(settled),
            delivery_count: 1,
            outcome: Some("completed".into()),
        }
    }

    fn blob(id: u64, written_us: u64) -> BlobRow {
        BlobRow { container: OUTBOXES[0].into(), blob: id.to_string(), written_us, bytes: 700 }
    }

    fn whole(id: u64) -> [MessageRow; 2] {
        [row(0, id, T0 - 500, T0, T0 + 10, T0 + 40), row(1, id, T0 + 30, T0 + 30, T0 + 100, T0 + 190)]
    }

    #[test]
    fn each_stage_is_between_its_two_instants() {
        let timings = compute(1, BURST, &whole(1), Some(&[blob(1, T0 + 150)]), 0);
        let p50: Vec<_> = timings.stages.iter().map(|stage| (stage.name.as_str(), stage.p50_us)).collect();
        let expected = [
            ("ingress queue", 10),
            ("distributor", 20),
            ("second queue", 70),
            ("receiver", 50),
            ("end to end", 150),
        ];
        assert_eq!(p50, expected);
        assert_eq!(timings.last_blob_us, Some(T0 + 150));
        assert_eq!(timings.duplicated.count + timings.delivered_early.count + timings.arrived_late.count, 0);
    }

    #[test]
    fn without_a_blob_recorder_the_settlement_counts() {
        let timings = compute(1, BURST, &whole(1), None, 0);
        assert_eq!(timings.blob_instants, BlobInstants::Settlement);
        assert_eq!(timings.stages[3].p50_us, 90);
        assert_eq!(timings.last_blob_us, Some(T0 + 190));
    }

    #[test]
    fn instants_of_the_blob_store_are_moved_to_the_brokers_clock() {
        let timings = compute(1, BURST, &whole(1), Some(&[blob(1, T0 + 5_150)]), -5_000);
        assert_eq!(timings.stages[4].p50_us, 150);
    }

    #[test]
    fn a_delivery_before_t0_is_found() {
        let mut rows = whole(1);
        rows[0].delivered_us = Some(T0 - 1);
        assert_eq!(compute(1, BURST, &rows, None, 0).delivered_early, Ids { count: 1, examples: vec![1] });
    }

    #[test]
    fn an_arrival_after_t0_is_found() {
        let mut rows = whole(1);
        rows[0].due_us = T0 + 5;
        assert_eq!(compute(1, BURST, &rows, None, 0).arrived_late.examples, [1]);
    }

    /// The second order of a steady run is due half a second after T0: early is before that, and late after it.
    #[test]
    fn each_order_of_a_steady_run_is_held_against_its_own_instant() {
        let steady = (T0, Profile::Steady { rate_per_second: 2 });
        let due = T0 + 500_000;
        let with = |due_us, delivered_us| {
            let mut rows = whole(1).to_vec();
            rows.extend([row(0, 2, T0 - 400, due_us, delivered_us, due + 40), whole(2)[1].clone()]);
            compute(2, steady, &rows, None, 0)
        };
        let good = with(due, due + 7);
        assert_eq!((good.delivered_early.count, good.arrived_late.count), (0, 0));
        assert_eq!(good.stages[0].max_us, 10, "from its own instant, not from T0");
        assert_eq!(with(T0, T0 + 7).delivered_early.examples, [2]);
        assert_eq!(with(due + 1_000, due + 1_007).arrived_late.examples, [2]);
    }

    #[test]
    fn duplicates_of_each_kind_are_found() {
        let again =
            compute(1, BURST, &[whole(1)[0].clone(), whole(1)[1].clone(), whole(1)[1].clone()], None, 0);
        assert_eq!(again.duplicated.examples, [1], "forwarded twice");
        let mut rows = whole(1);
        rows[1].delivery_count = 2;
        assert_eq!(compute(1, BURST, &rows, None, 0).duplicated.examples, [1], "delivered twice");
        let twice = [blob(1, T0 + 150), blob(1, T0 + 160)];
        let timings = compute(1, BURST, &whole(1), Some(&twice), 0);
        assert_eq!(timings.duplicated.examples, [1], "written twice");
        assert_eq!(timings.last_blob_us, Some(T0 + 150), "the first write counts");
    }

    #[test]
    fn rows_of_others_count_for_nobody() {
        let mut rows = whole(2).to_vec();
        rows.extend(whole(1));
        rows[0].key = None;
        rows[1].key = Some(Key::Text("x".into()));
        let timings = compute(1, BURST, &rows, Some(&[blob(9, T0)]), 0);
        assert_eq!((timings.foreign_rows, timings.stages[0].count), (3, 1));
    }

    #[test]
    fn every_blob_is_in_one_interval() {
        let rows: Vec<_> = (1..=500).flat_map(whole).collect();
        let blobs: Vec<_> = (1..=500).map(|id| blob(id, T0 + id * 7_000)).collect();
        let timings = compute(500, BURST, &rows, Some(&blobs), 0);
        assert_eq!(timings.written.iter().map(|point| point.blobs).sum::<u64>(), 500);
        assert!(timings.written.len() <= 61 && timings.written_interval_ms == 100);
    }
}
