//! How many replicas there were, and what scaling did, in words and as a chart.

use std::collections::BTreeMap;

use super::Report;
use super::chart::{self, Frame, Line};
use super::text::count;
use crate::backend::{Scalable, Target};
use crate::flow::Measured;
use crate::flow::scaling::{ReplicaPoint, ScaleStep};
use crate::spec::{DaprStrategy, LabSpec, Topology};

/// Changes of one component that a text shows.
const CHANGES_SHOWN: usize = 12;

/// The components whose number changed while the run was measured, and at each change when and to what.
fn changed(measured: &Measured) -> Vec<(String, Vec<(i64, u32)>)> {
    let mut by_name: BTreeMap<&str, Vec<(i64, u32)>> = BTreeMap::new();
    for point in &measured.replicas {
        for (name, ready) in &point.ready {
            let changes = by_name.entry(name).or_default();
            if changes.last().map(|(_, last)| last) != Some(ready) {
                changes.push((point.since_t0_ms, *ready));
            }
        }
    }
    let changed = by_name.into_iter().filter(|(_, changes)| changes.len() > 1);
    changed.map(|(name, changes)| (name.to_owned(), changes)).collect()
}

/// What differed from the lab's settings when the run began.
pub(super) fn scaled_before(spec: &LabSpec, measured: &Measured) -> Vec<(String, u32)> {
    let Some(first) = measured.replicas.first() else { return Vec::new() };
    let scaled_for_it = |name: &str| measured.scaling.iter().any(|step| step.scaled.resource == name);
    // Of a daemonset the nodes are the number.
    let by_nodes = spec.backend.is_cluster()
        && spec.topology == Topology::Shared
        && spec.cluster.dapr_strategy == DaprStrategy::Daemonset;
    let wanted = |name: &str| match name.parse::<Scalable>().map(|scalable| scalable.target) {
        Ok(Target::Dapr) if by_nodes => None,
        Ok(Target::Dapr) => Some(spec.dapr_replicas),
        Ok(Target::App) | Err(_) => Some(spec.replicas),
    };
    let differs = |(name, ready): (&String, &u32)| {
        let as_wanted = wanted(name).is_none_or(|wanted| wanted == *ready);
        (!as_wanted && !scaled_for_it(name)).then(|| (name.clone(), *ready))
    };
    first.ready.iter().filter_map(differs).collect()
}

/// One line for each component that changed, and one for the others.
pub(super) fn lines(measured: &Measured) -> Vec<(String, String)> {
    let changed = changed(measured);
    let mut rows: Vec<(String, String)> = Vec::new();
    for (name, changes) in &changed {
        let mut words: Vec<String> = Vec::new();
        for (index, (since_t0_ms, ready)) in changes.iter().enumerate().take(CHANGES_SHOWN) {
            let at = *since_t0_ms as f64 / 1e3;
            words.push(if index == 0 { ready.to_string() } else { format!("{ready} at {at:+.3} s") });
        }
        if changes.len() > CHANGES_SHOWN {
            words.push(format!("… ({} changes more)", changes.len() - CHANGES_SHOWN));
        }
        rows.push((name.clone(), words.join(", ")));
    }
    let same = |point: &ReplicaPoint| {
        let others = point.ready.iter().filter(|(name, _)| changed.iter().all(|(other, _)| other != *name));
        others.map(|(name, ready)| format!("{ready} {name}")).collect::<Vec<_>>().join(", ")
    };
    if let Some(same) = measured.replicas.last().map(same).filter(|same| !same.is_empty()) {
        rows.push(("the same throughout".to_owned(), same));
    }
    rows
}

/// What one order to scale did: a sentence, and a line for each replica that it started.
pub(super) struct StepWords {
    pub order: String,
    pub replicas: Vec<ReplicaWords>,
}

/// One replica that was started.
pub(super) struct ReplicaWords {
    pub name: String,
    /// Which one it was to be ready, from 1.
    pub nth: usize,
    pub ready_after: String,
    pub cold_start: String,
    /// CPU in the whole run: whether it got work.
    pub cpu: String,
}

pub(super) fn steps(report: &Report) -> Vec<StepWords> {
    report.measured.scaling.iter().map(|step| words(report, step)).collect()
}

fn words(report: &Report, step: &ScaleStep) -> StepWords {
    let ScaleStep { since_t0_ms, orders_done, scaled } = step;
    let order = format!(
        "{} {} → {}, ordered {:.3} s after T0 with {} of {} orders done, carried out after {:.1} ms",
        scaled.resource,
        scaled.from,
        scaled.to,
        since_t0_ms / 1e3,
        count(*orders_done),
        count(report.measured.setup.orders),
        scaled.took_ms
    );
    let cpu = |name: &str| {
        let part = report.measured.parts.iter().find(|part| part.name == name);
        part.map_or_else(|| "no CPU".to_owned(), |part| format!("{:.3} s of CPU", part.cpu_seconds))
    };
    let replica = |(index, started): (usize, &crate::backend::StartedReplica)| ReplicaWords {
        name: started.name.clone(),
        nth: index + 1,
        ready_after: format!("{:.1} ms", started.ready_after_ms),
        cold_start: format!("{:.1} ms", started.cold_start_ms),
        cpu: cpu(&started.name),
    };
    StepWords { order, replicas: scaled.started.iter().enumerate().map(replica).collect() }
}

/// CSS classes of the lines, and so how many there can be.
const CLASSES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A line for each component that changed, with its class and name; nothing where nothing changed.
pub(super) fn chart(measured: &Measured) -> (Vec<(&'static str, String)>, String) {
    let last_ms = measured.replicas.iter().map(|point| point.since_t0_ms);
    let end_ms = last_ms.chain(measured.depth.iter().map(|point| point.since_t0_ms)).max().unwrap_or(0);
    let mut keys = Vec::new();
    let mut lines = Vec::new();
    for (class, (name, changes)) in CLASSES.into_iter().zip(changed(measured)) {
        keys.push((class, name));
        lines.push(Line { class, points: steps_of(&changes, end_ms) });
    }
    let frame = Frame { label: "Ready replicas over time", x_unit: "seconds since T0", y_unit: "replicas" };
    (keys, chart::lines(frame, &lines))
}

/// Corners of the steps: a number holds until the next one.
fn steps_of(changes: &[(i64, u32)], end_ms: i64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (since_t0_ms, ready) in changes {
        let (x, y) = (*since_t0_ms as f64 / 1e3, f64::from(*ready));
        if let Some((_, before)) = points.last().copied() {
            points.push((x, before));
        }
        points.push((x, y));
    }
    if let Some((_, last)) = points.last().copied() {
        points.push((end_ms as f64 / 1e3, last));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::spec::BackendKind;

    #[test]
    fn a_number_that_changed_is_told_with_its_instants() {
        let report = sample::scaled();
        let rows = lines(&report.measured);
        assert_eq!(rows[0].0, "distributor");
        assert_eq!(rows[0].1, "1, 2 at +0.312 s, 3 at +0.315 s, 1 at +0.650 s");
        assert_eq!(rows[1], ("the same throughout".to_owned(), "3 distributor-dapr".to_owned()));
        let (keys, svg) = chart(&report.measured);
        assert_eq!(keys, [("a", "distributor".to_owned())]);
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert_eq!(steps_of(&[(0, 1), (500, 3)], 2_000), [(0.0, 1.0), (0.5, 1.0), (0.5, 3.0), (2.0, 3.0)]);
    }

    #[test]
    fn each_replica_is_told_with_its_times_and_whether_it_got_work() {
        let steps = steps(&sample::scaled());
        assert_eq!(
            steps[0].order,
            "distributor 1 → 3, ordered 0.300 s after T0 with 334 of 1,000 orders done, carried out after 15.2 ms"
        );
        let first = &steps[0].replicas[0];
        assert_eq!((first.nth, first.name.as_str()), (1, "distributor-2"));
        assert_eq!((first.ready_after.as_str(), first.cold_start.as_str()), ("12.0 ms", "7.5 ms"));
        assert_eq!(first.cpu, "0.700 s of CPU");
        assert_eq!(steps[0].replicas[1].cpu, "no CPU");
        assert!(steps[1].replicas.is_empty());
    }

    #[test]
    fn a_run_in_which_nothing_changed_has_no_chart_and_one_line() {
        let measured = sample::measured();
        assert_eq!(chart(&measured), (Vec::new(), String::new()));
        let line = "1 distributor, 3 distributor-dapr".to_owned();
        assert_eq!(lines(&measured), [("the same throughout".to_owned(), line)]);
    }

    #[test]
    fn a_lab_that_was_scaled_before_is_not_taken_for_the_one_that_was_started() {
        let mut measured = sample::measured();
        assert_eq!(scaled_before(&sample::spec(), &measured), []);
        measured.replicas[0].ready.insert("distributor".into(), 5);
        assert_eq!(scaled_before(&sample::spec(), &measured), [("distributor".to_owned(), 5)]);
    }

    #[test]
    fn a_daemonset_on_many_nodes_was_not_scaled() {
        let mut measured = sample::measured();
        measured.replicas[0].ready.insert("distributor-dapr".into(), 7);
        let mut spec =
            LabSpec { topology: Topology::Shared, backend: BackendKind::Kubernetes, ..sample::spec() };
        assert_eq!(scaled_before(&spec, &measured), [("distributor-dapr".to_owned(), 7)]);
        spec.cluster.dapr_strategy = DaprStrategy::Daemonset;
        assert_eq!(scaled_before(&spec, &measured), []);
    }
}
