//! Watches a run from the broker's counts alone: how deep the queues are, and when everything is through. Nothing here lists or
//! polls a store.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use super::broker::{Broker, QueueCounts};
use super::clock;
use super::error::FlowError;
use super::limits;
use crate::spec::QUEUES;

/// Where the orders are, counted from a starting point. In messages: a duplicate counts twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that the ingress queue accepted.
    pub accepted: u64,
    /// Messages that the distributor completed.
    pub distributed: u64,
    /// Messages that the receivers completed: their blobs are written.
    pub stored: u64,
    /// Messages that ended in a dead-letter queue, of any of the three queues.
    pub dead_lettered: u64,
    /// Messages of each of [`QUEUES`] that can be delivered now.
    pub active: [u64; 3],
    /// Messages of each of [`QUEUES`] that are delivered and not settled.
    pub locked: [u64; 3],
    /// Messages of each of [`QUEUES`] that wait for their instant or were set aside.
    pub waiting: [u64; 3],
}

impl Tally {
    /// What happened between two looks at the queues; counts of a moment are those of `now`.
    pub fn between(before: &[QueueCounts], now: &[QueueCounts]) -> Self {
        let mut tally = Self::default();
        let none = QueueCounts::default();
        for (index, name) in QUEUES.iter().enumerate() {
            let find = |counts: &'_ [QueueCounts]| counts.iter().find(|queue| queue.name == *name).cloned();
            let Some(now) = find(now) else { continue };
            let before = find(before).unwrap_or_else(|| none.clone());
            let completed = now.completed_total.saturating_sub(before.completed_total);
            if index == 0 {
                tally.accepted = now.enqueued_total.saturating_sub(before.enqueued_total);
                tally.distributed = completed;
            } else {
                tally.stored += completed;
            }
            tally.dead_lettered += now.dead_lettered_total.saturating_sub(before.dead_lettered_total);
            tally.active[index] = now.active;
            tally.locked[index] = now.locked;
            tally.waiting[index] = now.scheduled + now.deferred;
        }
        tally
    }

    /// Messages in the three queues now, delivered or not.
    pub fn in_queues(&self) -> u64 {
        [self.active, self.locked, self.waiting].iter().flatten().sum()
    }

    /// Whether `orders` orders have come to their end: nothing is in the queues and as many as were sent are stored or
    /// dead-lettered. (The sum alone would be fooled by duplicates, the queues alone by an order between two of them.)
    pub fn is_done(&self, orders: u64) -> bool {
        self.in_queues() == 0 && self.stored + self.dead_lettered >= orders
    }

    /// One line for people: the counts, and what is missing where.
    pub fn status(&self, orders: u64) -> String {
        let ended = self.stored + self.dead_lettered;
        let mut text = format!(
            "{} of {orders} orders accepted, {} distributed, {} stored, {} dead-lettered, {} missing",
            self.accepted,
            self.distributed,
            self.stored,
            self.dead_lettered,
            orders.saturating_sub(ended)
        );
        for (index, name) in QUEUES.iter().enumerate() {
            let (active, locked, waiting) = (self.active[index], self.locked[index], self.waiting[index]);
            if active + locked + waiting > 0 {
                let _ = write!(text, "; {name}: {active} active, {locked} locked, {waiting} scheduled");
            }
        }
        text
    }
}

/// Queue depths at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DepthPoint {
    /// Milliseconds since T0; below zero before it.
    pub since_t0_ms: i64,
    /// Messages of `q-order-ingress` that can be delivered, or are delivered and not settled.
    pub ingress: u64,
    /// The same of `q-order-express`.
    pub express: u64,
    /// The same of `q-order-standard`.
    pub standard: u64,
    /// Messages that the receivers have completed until now.
    pub stored: u64,
}

/// A series of bounded length: when it is full, every second point goes and from then on every second one is taken.
#[derive(Debug, Clone)]
pub struct Series<T> {
    points: Vec<T>,
    every: usize,
    offered: usize,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self { points: Vec::new(), every: 1, offered: 0 }
    }
}

impl<T> Series<T> {
    /// Takes the point, or leaves it out to stay within [`limits::SERIES_POINTS`].
    pub fn offer(&mut self, point: T) {
        if self.offered.is_multiple_of(self.every) {
            if self.points.len() == limits::SERIES_POINTS {
                let mut index = 0;
                self.points.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.every *= 2;
            }
            if self.offered.is_multiple_of(self.every) {
                self.points.push(point);
            }
        }
        self.offered += 1;
    }

    /// The points, oldest first.
    pub fn into_points(self) -> Vec<T> {
        self.points
    }
}

/// Bounds of one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The whole wait.
    pub deadline: Duration,
    /// The longest time in which no count changes.
    pub stall: Duration,
}

impl Patience {
    /// What a run of `orders` orders may need, the last of which is due `span` after the first.
    pub fn for_orders(orders: u64, span: Duration) -> Self {
        let each = limits::DEADLINE_PER_ORDER.saturating_mul(u32::try_from(orders).unwrap_or(u32::MAX));
        Self { deadline: limits::DEADLINE_BASE + each + span, stall: limits::STALL }
    }
}

/// Looks at the queues every [`limits::WATCH`] until `condition` holds, and hands each look to `look`. An error tells the last
/// counts, `orders` being what was expected.
pub async fn wait_until(
    broker: &Broker,
    before: &[QueueCounts],
    orders: u64,
    patience: Patience,
    what: &str,
    condition: impl Fn(&Tally) -> bool,
    mut look: impl FnMut(&Tally),
) -> Result<Tally, FlowError> {
    let begun = Instant::now();
    let mut ticks = interval(limits::WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut moved) = (Tally::default(), begun);
    loop {
        ticks.tick().await;
        let tally = Tally::between(before, &broker.queues().await?);
        look(&tally);
        if condition(&tally) {
            return Ok(tally);
        }
        if tally != last {
            (last, moved) = (tally, Instant::now());
        }
        let why = if begun.elapsed() >= patience.deadline {
            "the time is over"
        } else if moved.elapsed() >= patience.stall {
            "no count moved any more"
        } else {
            continue;
        };
        return Err(FlowError::Deadline {
            what: what.to_owned(),
            why,
            elapsed_seconds: begun.elapsed().as_secs_f64(),
            status: last.status(orders),
        });
    }
}

/// Waits until `orders` orders that were sent after `before` have come to their end.
pub async fn await_done(
    broker: &Broker,
    before: &[QueueCounts],
    orders: u64,
    patience: Patience,
) -> Result<Tally, FlowError> {
    let what = format!("{orders} orders to be stored");
    wait_until(broker, before, orders, patience, &what, |tally| tally.is_done(orders), |_| {}).await
}

/// As [`await_done`], with the depth of the queues over time; and it ends early when `stopped` says so.
pub(crate) async fn watch(
    broker: &Broker,
    before: &[QueueCounts],
    orders: u64,
    t0_lab_us: u64,
    patience: Patience,
    stopped: impl Fn() -> bool,
    progress: impl Fn(&Tally),
) -> Result<(Tally, Vec<DepthPoint>), FlowError> {
    let mut series = Series::default();
    let what = format!("{orders} orders to be stored");
    let done = |tally: &Tally| tally.is_done(orders) || stopped();
    let tally = wait_until(broker, before, orders, patience, &what, done, |tally| {
        let depth =
            |index: usize| tally.active.get(index).unwrap_or(&0) + tally.locked.get(index).unwrap_or(&0);
        series.offer(DepthPoint {
            since_t0_ms: (clock::now_us() as i64 - t0_lab_us as i64).div_euclid(1_000),
            ingress: depth(0),
            express: depth(1),
            standard: depth(2),
            stored: tally.stored,
        });
        progress(tally);
    });
    Ok((tally.await?, series.into_points()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(name: &str, active: u64, enqueued: u64, completed: u64, dead: u64) -> QueueCounts {
        QueueCounts {
            name: name.into(),
            active,
            enqueued_total: enqueued,
            completed_total: completed,
            dead_lettered_total: dead,
            ..QueueCounts::default()
        }
    }

    #[test]
    fn counted_from_the_starting_point() {
        let before = QUEUES.map(|name| counts(name, 0, 100, 90, 10));
        let now = [
            counts(QUEUES[0], 0, 110, 99, 11),
            counts(QUEUES[1], 1, 104, 92, 11),
            counts(QUEUES[2], 0, 105, 95, 10),
            counts("somebody-else", 7, 7, 7, 7),
        ];
        let tally = Tally::between(&before, &now);
        assert_eq!(
            (tally.accepted, tally.distributed, tally.stored, tally.dead_lettered),
            (10, 9, 7, 2),
            "{tally:?}"
        );
        assert!(!tally.is_done(9), "one is still active");
        let status = tally.status(10);
        assert!(status.contains("1 missing") && status.contains("q-order-express: 1 active"), "{status}");
    }

    #[test]
    fn duplicates_do_not_hide_what_is_still_in_a_queue() {
        let now =
            [counts(QUEUES[0], 0, 3, 3, 0), counts(QUEUES[1], 1, 4, 3, 0), counts(QUEUES[2], 0, 0, 0, 0)];
        assert!(!Tally::between(&[], &now).is_done(3));
    }

    #[test]
    fn a_series_keeps_within_its_bound_and_its_order() {
        let mut series = Series::default();
        for number in 0..50_000 {
            series.offer(number);
        }
        let points = series.into_points();
        assert!(points.len() <= limits::SERIES_POINTS && points.len() >= limits::SERIES_POINTS / 2);
        let step = points[1] - points[0];
        assert!(points.windows(2).all(|pair| pair[1] - pair[0] == step), "even steps");
        assert!(points.last().unwrap() + step >= 50_000);
    }
}
