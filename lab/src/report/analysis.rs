//! What the measurements say about where the time went: sums by component, and what the flow waited for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backend::component;
use crate::flow::Measured;

/// From this share of all cores on, a run is bound by CPU: the rest is what scheduling and short pauses leave unused.
const BUSY_SHARE: f64 = 0.85;

/// From this share of one core on, a single part is what the others wait for, if it cannot use a second one.
const ONE_CORE_SHARE: f64 = 0.85;

/// CPU and memory of all replicas of one component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentUsage {
    /// The component: a part's name without the number of its replica.
    pub component: String,
    /// Replicas.
    pub replicas: u32,
    /// CPU seconds between T0 and the end.
    pub cpu_seconds: f64,
    /// CPU for one order, microseconds.
    pub us_per_order: f64,
    /// Share of the CPU that all parts used together, 0 to 1.
    pub share: f64,
    /// Sum of the greatest resident memory that each replica had, bytes.
    pub rss_most_bytes: u64,
}

/// What the flow was bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The machine's cores were busy.
    Cpu,
    /// One part kept about one core busy while others were free.
    OnePart,
    /// Neither: the parts waited for each other, for locks or for timers.
    Waiting,
    /// The system does not tell.
    Unknown,
}

/// Where the time went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// CPU and memory by component, the greatest user of CPU first.
    pub components: Vec<ComponentUsage>,
    /// CPU for one order of all components together, microseconds.
    pub us_per_order: f64,
    /// CPU seconds that the machine spent and no component was charged for: the kernel's own work, and other programs.
    pub elsewhere_cpu_seconds: Option<f64>,
    /// What the flow was bound by.
    pub bound: Bound,
    /// The same as a sentence.
    pub bound_by: String,
}

impl Analysis {
    /// Reads the measurements; `cores` is how many the lab may use.
    pub fn of(measured: &Measured, cores: u32) -> Self {
        let components = components(measured);
        let cpu_seconds: f64 = components.iter().map(|component| component.cpu_seconds).sum();
        let orders = measured.setup.orders.max(1) as f64;
        let machine = measured.machine.as_ref();
        let (bound, bound_by) = bound(measured, &components, cpu_seconds, cores);
        Self {
            us_per_order: cpu_seconds * 1e6 / orders,
            // Without parts there is nothing to compare with.
            elsewhere_cpu_seconds: machine
                .filter(|_| !components.is_empty())
                .map(|machine| (machine.busy_seconds - cpu_seconds).max(0.0)),
            components,
            bound,
            bound_by,
        }
    }
}

fn components(measured: &Measured) -> Vec<ComponentUsage> {
    let all: f64 = measured.parts.iter().map(|part| part.cpu_seconds).sum();
    let orders = measured.setup.orders.max(1) as f64;
    let mut by_name: BTreeMap<&str, ComponentUsage> = BTreeMap::new();
    for part in &measured.parts {
        let name = component(&part.name);
        let usage = by_name.entry(name).or_insert_with(|| ComponentUsage {
            component: name.to_owned(),
            replicas: 0,
            cpu_seconds: 0.0,
            us_per_order: 0.0,
            share: 0.0,
            rss_most_bytes: 0,
        });
        usage.replicas += 1;
        usage.cpu_seconds += part.cpu_seconds;
        usage.us_per_order = usage.cpu_seconds * 1e6 / orders;
        usage.share = if all > 0.0 { usage.cpu_seconds / all } else { 0.0 };
        usage.rss_most_bytes += part.rss_most_bytes;
    }
    let mut components: Vec<_> = by_name.into_values().collect();
    components.sort_by(|one, other| other.cpu_seconds.total_cmp(&one.cpu_seconds));
    components
}

fn bound(measured: &Measured, components: &[ComponentUsage], cpu: f64, cores: u32) -> (Bound, String) {
    let available = measured.usage_seconds * f64::from(cores.max(1));
    let busy = match &measured.machine {
        // Of a machine with more cores than the lab may use, the rest says nothing about the lab.
        Some(machine) if machine.cores == cores => machine.busy_share,
        _ if available > 0.0 && !components.is_empty() => cpu / available,
        _ => return (Bound::Unknown, "unknown: the system does not tell how busy it was".to_owned()),
    };
    let most = components.first();
    let most = most.map_or_else(String::new, |most| {
        format!("; most of it {} ({:.0} % of the lab's CPU)", most.component, most.share * 100.0)
    });
    let busy_text = format!("{:.0} % of {cores} cores busy", busy * 100.0);
    if busy >= BUSY_SHARE {
        return (Bound::Cpu, format!("CPU: {busy_text}{most}"));
    }
    let one = measured
        .parts
        .iter()
        .map(|part| (part.cpu_seconds / measured.usage_seconds.max(f64::EPSILON), part.name.as_str()))
        .filter(|(share, _)| *share >= ONE_CORE_SHARE)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((share, name)) = one {
        return (Bound::OnePart, format!("{name}, which used {share:.2} cores, with {busy_text}"));
    }
    // The last stage is the whole way.
    let stages = measured.stages.split_last().map_or(&[][..], |(_, stages)| stages);
    let longest = stages.iter().max_by_key(|stage| stage.p50_us);
    let longest = longest.map_or_else(String::new, |stage| {
        format!("; the longest stage is {} (median {:.1} ms)", stage.name, stage.p50_us as f64 / 1e3)
    });
    (Bound::Waiting, format!("waiting: only {busy_text}{longest}"))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::flow::usage::MachineUsage;

    #[test]
    fn replicas_are_summed_by_component() {
        assert_eq!(component("distributor-dapr-10"), "distributor-dapr");
        assert_eq!(component("servicebus"), "servicebus");
        assert_eq!(component("service-distributor"), "service-distributor");
        let analysis = Analysis::of(&sample::measured(), 2);
        let first = &analysis.components[0];
        assert_eq!((first.component.as_str(), first.replicas), ("distributor", 2));
        assert!((first.cpu_seconds - 1.5).abs() < 1e-9 && (first.us_per_order - 1_500.0).abs() < 1e-6);
        let shares: f64 = analysis.components.iter().map(|component| component.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
    }

    #[test]
    fn each_bound_is_named() {
        let mut measured = sample::measured();
        let busy = |busy_share: f64| Some(MachineUsage { cores: 2, busy_seconds: 3.0, busy_share });
        measured.machine = busy(0.95);
        let cpu = Analysis::of(&measured, 2);
        assert_eq!(cpu.bound, Bound::Cpu);
        assert!(cpu.bound_by.contains("95 % of 2 cores") && cpu.bound_by.contains("distributor"), "{cpu:?}");

        measured.machine = busy(0.6);
        let waiting = Analysis::of(&measured, 2);
        assert_eq!(waiting.bound, Bound::Waiting);
        assert!(waiting.bound_by.contains("longest stage is ingress queue"), "{waiting:?}");

        measured.parts[0].cpu_seconds = measured.usage_seconds * 0.97;
        let one = Analysis::of(&measured, 2);
        assert_eq!(one.bound, Bound::OnePart);
        assert!(one.bound_by.starts_with("distributor-1"), "{one:?}");

        (measured.machine, measured.parts) = (None, Vec::new());
        assert_eq!(Analysis::of(&measured, 2).bound, Bound::Unknown);
    }
}
