//! Replicas while a run is measured: the plan by which they are scaled as orders come through, and what the back end's history
//! says about how many were ready. It gives orders and reads answers; it starts nothing itself.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::FlowError;
use crate::backend::{ReplicaEvent, Scaled};

/// What the back end answers; the text of an error is the back end's own.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

/// Asks the back end when replicas became ready and ceased to be.
pub type ReplicaProbe = Arc<dyn Fn() -> Answer<Vec<ReplicaEvent>> + Send + Sync>;

/// Orders the back end to have so many replicas; answered when it has.
pub type ScaleOrder = Arc<dyn Fn(u32) -> Answer<Scaled> + Send + Sync>;

/// Scaling while the orders are under way.
#[derive(Clone)]
pub struct ScalePlan {
    /// Replicas before the run.
    pub first: u32,
    /// Replicas one after the other, each ordered when an equal share of the orders has come to its end: of two, the first after
    /// a third of the orders and the second after two.
    pub then: Vec<u32>,
    /// Gives the order.
    pub order: ScaleOrder,
}

/// One order to scale, given during the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleStep {
    /// When it was given, milliseconds since T0.
    pub since_t0_ms: f64,
    /// Orders that had come to their end by then.
    pub orders_done: u64,
    /// What it did.
    pub scaled: Scaled,
}

/// From one instant on, how many replicas were ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReplicaPoint {
    /// Milliseconds since T0; below zero before it.
    pub since_t0_ms: i64,
    /// Ready replicas of each application and of each Dapr: `distributor`, `distributor-dapr`, …
    pub ready: BTreeMap<String, u32>,
}

/// Carries out a plan in a task of its own, so that an order that takes long delays no look at the queues.
pub(super) struct Scaler {
    done: watch::Sender<u64>,
    task: JoinHandle<Result<Vec<(u64, Scaled)>, FlowError>>,
}

impl Scaler {
    /// `told` hears of every order that was carried out.
    pub fn start(
        plan: Option<ScalePlan>,
        orders: u64,
        told: impl Fn(&Scaled) + Send + Sync + 'static,
    ) -> Self {
        let (done, looked) = watch::channel(0);
        Self { done, task: tokio::spawn(carry_out(plan, orders, looked, told)) }
    }

    /// So many orders have come to their end.
    pub fn look(&self, done: u64) {
        self.done.send_replace(done);
    }

    /// Waits until the last order is carried out.
    pub async fn finish(self, t0_lab_us: u64) -> Result<Vec<ScaleStep>, FlowError> {
        let given = self.task.await.map_err(FlowError::Task)??;
        let step = |(orders_done, scaled): (u64, Scaled)| ScaleStep {
            since_t0_ms: (scaled.ordered_us as i64 - t0_lab_us as i64) as f64 / 1e3,
            orders_done,
            scaled,
        };
        Ok(given.into_iter().map(step).collect())
    }
}

async fn carry_out(
    plan: Option<ScalePlan>,
    orders: u64,
    mut looked: watch::Receiver<u64>,
    told: impl Fn(&Scaled),
) -> Result<Vec<(u64, Scaled)>, FlowError> {
    let mut given = Vec::new();
    let Some(plan) = plan else { return Ok(given) };
    let parts = plan.then.len() as u64 + 1;
    for (count, part) in plan.then.into_iter().zip(1..) {
        let share = orders.saturating_mul(part) / parts;
        // Without a sender the run is over, and not well: it says itself why.
        let Ok(done) = looked.wait_for(|done| *done >= share).await.map(|done| *done) else { break };
        let scaled = (plan.order)(count).await.map_err(FlowError::Scale)?;
        told(&scaled);
        given.push((done, scaled));
    }
    Ok(given)
}

/// The history as a series: how many were ready at `from_us`, and then every change.
pub(super) fn series(events: &[ReplicaEvent], from_us: u64, t0_lab_us: u64) -> Vec<ReplicaPoint> {
    let mut ready: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut points: Vec<ReplicaPoint> = Vec::new();
    for event in events {
        let name = event.of.to_string();
        names.insert(name.clone());
        match event.ready {
            true => ready.insert((name, event.replica)),
            false => ready.remove(&(name, event.replica)),
        };
        let since_t0_ms = (event.at_us.max(from_us) as i64 - t0_lab_us as i64).div_euclid(1_000);
        let count = |name: &String| ready.iter().filter(|(of, _)| of == name).count() as u32;
        let point = ReplicaPoint {
            since_t0_ms,
            ready: names.iter().map(|name| (name.clone(), count(name))).collect(),
        };
        // Of one millisecond the last state counts; what was before the run is one point.
        match points.last_mut().filter(|last| last.since_t0_ms == since_t0_ms) {
            Some(last) => *last = point,
            None => points.push(point),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Scalable;

    fn event(at_us: u64, of: &str, replica: u32, ready: bool) -> ReplicaEvent {
        ReplicaEvent { at_us, of: of.parse::<Scalable>().unwrap(), replica, ready }
    }

    fn counts(point: &ReplicaPoint) -> Vec<(&str, u32)> {
        point.ready.iter().map(|(name, count)| (name.as_str(), *count)).collect()
    }

    #[test]
    fn what_was_before_is_one_point_and_then_every_change_is_one() {
        let events = [
            event(1_000, "distributor", 1, true),
            event(2_000, "distributor-dapr", 1, true),
            event(3_000, "distributor", 2, true),
            event(4_000, "distributor", 2, false),
            event(12_000, "distributor", 2, true),
            event(12_400, "distributor", 3, true),
            event(20_000, "distributor", 1, false),
        ];
        let points = series(&events, 5_000, 10_000);
        let at: Vec<_> = points.iter().map(|point| point.since_t0_ms).collect();
        assert_eq!(at, [-5, 2, 10]);
        assert_eq!(counts(&points[0]), [("distributor", 1), ("distributor-dapr", 1)]);
        assert_eq!(counts(&points[1]), [("distributor", 3), ("distributor-dapr", 1)]);
        assert_eq!(counts(&points[2]), [("distributor", 2), ("distributor-dapr", 1)]);
        assert!(series(&[], 0, 0).is_empty());
    }

    /// Of a lab that lives long the oldest changes are forgotten; one that ends a readiness that nobody knows of ends nothing.
    #[test]
    fn a_history_may_begin_in_the_middle() {
        let events = [event(1, "distributor", 1, false), event(2, "distributor", 2, true)];
        assert_eq!(counts(&series(&events, 5, 5)[0]), [("distributor", 1)]);
    }

    fn plan(then: &[u32]) -> ScalePlan {
        let order: ScaleOrder = Arc::new(|to| {
            Box::pin(async move {
                let scaled = Scaled {
                    resource: "distributor".into(),
                    from: 0,
                    to,
                    ordered_us: 1_500,
                    took_ms: 1.0,
                    started: Vec::new(),
                    stopped: Vec::new(),
                };
                if to > 9 { Err("too many".to_owned()) } else { Ok(scaled) }
            })
        });
        ScalePlan { first: 1, then: then.to_vec(), order }
    }

    #[tokio::test]
    async fn each_step_waits_for_its_share_of_the_orders() {
        let (told, heard) = std::sync::mpsc::channel();
        let scaler = Scaler::start(Some(plan(&[5, 1])), 300, move |scaled| told.send(scaled.to).unwrap());
        scaler.look(99);
        tokio::task::yield_now().await;
        assert!(heard.try_recv().is_err(), "a third is not done");
        scaler.look(100);
        while heard.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        scaler.look(300);
        let steps = scaler.finish(1_000).await.unwrap();
        let seen: Vec<_> = steps.iter().map(|step| (step.scaled.to, step.orders_done)).collect();
        assert_eq!(seen, [(5, 100), (1, 300)]);
        assert!((steps[0].since_t0_ms - 0.5).abs() < 1e-9);
    }

    #[tokio::test]
    async fn an_order_that_is_refused_fails_the_run_and_none_is_no_order() {
        let scaler = Scaler::start(Some(plan(&[10])), 2, |_| ());
        scaler.look(2);
        assert!(matches!(scaler.finish(0).await, Err(FlowError::Scale(why)) if why == "too many"));
        assert_eq!(Scaler::start(None, 2, |_| ()).finish(0).await.unwrap(), []);
    }
}
