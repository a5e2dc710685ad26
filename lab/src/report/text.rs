//! The report for a terminal: plain lines, no colour, 100 columns.

use std::fmt::Write as _;

use super::chart::grouped;
use super::{GateCheck, PartKind, Report, replicas};
use crate::flow::Profile;
use crate::flow::stages::{BlobInstants, Ids};

/// Microseconds as people read them.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A count with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// Orders in a second, without a fraction.
pub(crate) fn rate(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

/// Bytes in MiB, without a fraction.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", count(bytes.div_ceil(1 << 20)))
}

/// The result in one sentence.
pub(crate) fn verdict(report: &Report) -> String {
    format!("{}{}", outcome(report), failed_gate(&report.gate))
}

fn outcome(report: &Report) -> String {
    let measured = &report.measured;
    let orders = count(measured.setup.orders);
    let seconds = measured.duration_seconds.map(|seconds| format!("{seconds:.2} s")).unwrap_or_default();
    if measured.interrupted {
        let verified = count(measured.verification.correct);
        return format!("a part: interrupted with {verified} of {orders} orders stored; no throughput");
    }
    let label = report.label().map(|label| format!(" ({label})")).unwrap_or_default();
    match measured.throughput_per_second {
        Some(_) if let Profile::Steady { rate_per_second } = measured.setup.profile => {
            format!("{orders} orders at {}/s: {}{label}", count(rate_per_second.into()), latency(report))
        }
        Some(throughput) => {
            format!("{orders} orders in {seconds}: {} orders/s{label}", rate(throughput))
        }
        None if report.clean => {
            format!("{orders} orders, all as they should be, but not each was recorded: no throughput")
        }
        None => format!("{orders} orders, and not all of them as they should be: no throughput"),
    }
}

/// How long an order of a steady run took, from the instant at which it was due.
fn latency(report: &Report) -> String {
    let measured = &report.measured;
    let Some(way) = measured.stages.last() else { return "no latency".to_owned() };
    let span = measured.setup.profile.span(measured.setup.orders).as_secs_f64();
    let after = measured.duration_seconds.map_or(0.0, |seconds| (seconds - span).max(0.0));
    let [p50, p99, most] = [way.p50_us, way.p99_us, way.max_us].map(duration);
    let after = duration((after * 1e6) as u64);
    format!(
        "p50 {p50}, p99 {p99}, at the most {most} from due to stored; all stored {after} after the last was due"
    )
}

/// The lab in one line.
pub(crate) fn shape(report: &Report) -> String {
    let lab = &report.lab;
    format!(
        "{}, {}, {} app and {} Dapr per role, blobs in {}, back end {}",
        lab.stack, lab.topology, lab.replicas, lab.dapr_replicas, lab.blob, lab.backend
    )
}

/// Counts of what went wrong, each with the first ids.
pub(crate) fn findings(report: &Report) -> Vec<(String, String)> {
    let measured = &report.measured;
    let verification = &measured.verification;
    let ids = |ids: &Ids| {
        let examples = ids.examples.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match ids.count {
            0 => "0".to_owned(),
            all if all > ids.examples.len() as u64 => format!("{} (orders {examples}, …)", count(all)),
            all => format!("{} (orders {examples})", count(all)),
        }
    };
    let mut rows = vec![
        (
            "verified".to_owned(),
            format!("{} of {}", count(verification.correct), count(verification.expected)),
        ),
        (if measured.interrupted { "not stored yet" } else { "lost" }.to_owned(), ids(&verification.lost)),
        ("altered".to_owned(), ids(&verification.altered)),
        ("misplaced".to_owned(), ids(&verification.misplaced)),
        ("duplicated (allowed)".to_owned(), ids(&measured.duplicated)),
        ("dead-lettered".to_owned(), count(measured.dead_lettered)),
        ("delivered before T0".to_owned(), ids(&measured.delivered_early)),
        ("scheduled after T0".to_owned(), ids(&measured.arrived_late)),
    ];
    if verification.unexpected_blobs > 0 {
        let examples = verification.unexpected_examples.join(", ");
        rows.push(("unexpected blobs".to_owned(), format!("{} ({examples})", verification.unexpected_blobs)));
    }
    for letter in &measured.dead_letters {
        let text = format!("{}: {}, {}", letter.queue, letter.reason, letter.description);
        rows.push(("dead letter".to_owned(), text));
    }
    if measured.recorder_dropped > 0 {
        let text = format!("{}: latencies are of a part of the orders", count(measured.recorder_dropped));
        rows.push(("rows without room".to_owned(), text));
    }
    rows
}

/// `real` or `stand-in`.
pub(crate) fn kind(part: &PartKind) -> &'static str {
    if part.real { "real" } else { "stand-in" }
}

/// A program with its version, where it tells one.
pub(crate) fn program(part: &PartKind) -> String {
    match &part.version {
        Some(version) => format!("{} {version}", part.program),
        None => part.program.clone(),
    }
}

/// What a node keeps of its image, where that is known.
pub(crate) fn image(part: &PartKind) -> String {
    match part.image_bytes {
        Some(bytes) => format!("{:.1} MB", bytes as f64 / 1e6),
        None => String::new(),
    }
}

/// Whether any part is of an image of the lab's.
pub(crate) fn has_images(parts: &[PartKind]) -> bool {
    parts.iter().any(|part| part.image_bytes.is_some())
}

/// A part, its program, the size of its image where any part has one, and what must be known of it.
pub(crate) fn part_line(part: &PartKind, program: &str, images: bool) -> String {
    let note = if part.note.is_empty() { String::new() } else { format!(": {}", part.note) };
    let image = if images { format!("{:>9}  ", image(part)) } else { String::new() };
    format!("  {:<30} {program:<31} {image}{}{note}\n", part.component, kind(part))
}

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut text = format!("{}\n{}\n", verdict(report), shape(report));
    judged(&mut text, report.previous.as_deref(), &report.gate);
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text.push('\n');
    checks(report, &mut text);
    stages(report, &mut text);
    cpu(report, &mut text);
    let _ = writeln!(text, "bound by      {}\n", report.analysis.bound_by);
    replicas(report, &mut text);
    text.push_str("real or stand-in\n");
    for part in &report.parts {
        let program = format!("{} × {}", part.replicas, program(part));
        text.push_str(&part_line(part, &program, has_images(&report.parts)));
    }
    conditions(report, &mut text);
    text
}

/// How many thresholds were not met, for the end of a headline.
pub(crate) fn failed_gate(gate: &[GateCheck]) -> String {
    match gate.iter().filter(|check| !check.passed).count() {
        0 => String::new(),
        failed => format!("; {failed} of {} thresholds not met", gate.len()),
    }
}

/// The run before, and the thresholds.
pub(crate) fn judged(text: &mut String, previous: Option<&str>, gate: &[GateCheck]) {
    if let Some(previous) = previous {
        let _ = writeln!(text, "{previous}");
    }
    for check in gate {
        let _ = writeln!(text, "threshold {}", check.words);
    }
}

fn checks(report: &Report, text: &mut String) {
    let rows = findings(report);
    if report.clean {
        let _ = writeln!(
            text,
            "verified      every order, {}; duplicated {}, dead-lettered 0, nothing before T0\n",
            count(report.measured.verification.correct),
            count(report.measured.duplicated.count)
        );
        return;
    }
    text.push_str("verified\n");
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<22} {value}");
    }
    text.push('\n');
}

fn stages(report: &Report, text: &mut String) {
    let _ =
        writeln!(text, "{:<20}{:>11}{:>11}{:>11}{:>11}", "where the time went", "p50", "p90", "p99", "max");
    for stage in &report.measured.stages {
        let _ = writeln!(
            text,
            "  {:<18}{:>11}{:>11}{:>11}{:>11}   {}",
            stage.name,
            duration(stage.p50_us),
            duration(stage.p90_us),
            duration(stage.p99_us),
            duration(stage.max_us),
            stage.meaning
        );
    }
    text.push('\n');
}

fn cpu(report: &Report, text: &mut String) {
    let analysis = &report.analysis;
    if analysis.components.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "{:<36}{:>10}{:>12}{:>8}{:>12}",
        "CPU from T0 to the end", "seconds", "µs/order", "share", "memory"
    );
    for usage in &analysis.components {
        let name = format!("{} × {}", usage.replicas, usage.component);
        let _ = writeln!(
            text,
            "  {name:<34}{:>10.2}{:>12}{:>6.0} %{:>12}",
            usage.cpu_seconds,
            rate(usage.us_per_order),
            usage.share * 100.0,
            mebibytes(usage.rss_most_bytes)
        );
    }
    let all: f64 = analysis.components.iter().map(|usage| usage.cpu_seconds).sum();
    let memory = analysis.components.iter().map(|usage| usage.rss_most_bytes).sum();
    let _ = writeln!(
        text,
        "  {:<34}{all:>10.2}{:>12}{:>8}{:>12}",
        "together",
        rate(analysis.us_per_order),
        "",
        mebibytes(memory)
    );
    if let Some(elsewhere) = analysis.elsewhere_cpu_seconds {
        let _ = writeln!(text, "  {:<34}{elsewhere:>10.2}", "elsewhere on this machine");
    }
    text.push('\n');
}

fn replicas(report: &Report, text: &mut String) {
    let rows = replicas::lines(&report.measured);
    if rows.is_empty() {
        return;
    }
    text.push_str("ready replicas over time\n");
    for (name, words) in rows {
        let _ = writeln!(text, "  {name:<24} {words}");
    }
    for step in replicas::steps(report) {
        let _ = writeln!(text, "scaled        {}", step.order);
        for replica in step.replicas {
            let replicas::ReplicaWords { name, nth, ready_after, cold_start, cpu } = replica;
            let _ = writeln!(
                text,
                "  {nth:>2}. {name:<24} ready {ready_after} after the order, {cold_start} after its start; {cpu}"
            );
        }
    }
    text.push('\n');
}

fn conditions(report: &Report, text: &mut String) {
    let (measured, environment) = (&report.measured, &report.environment);
    let scheduling = &measured.scheduling;
    let load = environment.load_before.map_or_else(|| "unknown".to_owned(), |load| format!("{:.2}", load[0]));
    let _ = write!(
        text,
        "\nconditions\n  {} cores, {}, kernel {}, load before {load}, commit {}\n  \
         seed {}, {} orders of warm-up, T0 {} ms after the first send, all sent after {} ms ({}/s)\n  \
         blob instants from {}",
        environment.cores,
        environment.cpu_model.as_deref().unwrap_or("unknown processor"),
        environment.kernel.as_deref().unwrap_or("unknown"),
        environment.git_commit.as_deref().map_or("unknown", |commit| commit.get(..12).unwrap_or(commit)),
        measured.setup.seed,
        measured.setup.warm_up_orders,
        scheduling.lead_ms,
        scheduling.sending_ms,
        rate(scheduling.sends_per_second),
        blob_instants(measured.blob_instants),
    );
    for clock in &measured.clocks {
        let _ = write!(text, "; {} clock {:+} ± {} µs", clock.of, clock.offset_us, clock.error_us);
    }
    let _ = writeln!(text, "\n  again: {}", report.command);
}

pub(crate) const fn blob_instants(instants: BlobInstants) -> &'static str {
    match instants {
        BlobInstants::BlobRecorder => "the blob store's recorder",
        BlobInstants::Settlement => "the settlement of the receiver's message",
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_clean_run_in_words() {
        let text = text(&sample::report());
        for words in [
            "1,000 orders in 2.00 s: 500 orders/s",
            "spin-rust, shared, 1 app and 3 Dapr per role, blobs in native, back end local",
            "every order, 1,000; duplicated 0",
            "ingress queue        900.0 ms     1.80 s     2.70 s     3.60 s",
            "2 × distributor                         1.50       1,500    67 %      91 MiB",
            "bound by      CPU: 90 % of 2 cores busy",
            "3 × daprd",
            "broker clock +12 ± 60 µs",
            "again: cargo lab bench --orders 1000 --seed 42",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
    }

    #[test]
    fn sizes_of_images_stand_side_by_side_where_there_are_images() {
        let words = text(&sample::on_a_cluster());
        for line in [
            "1 × spin (containerd-shim-spin)    0.3 MB  real\n",
            "2 × warp-rust-static               1.2 MB  real\n",
            "1 × servicebus-emulator            2.4 MB  stand-in: in memory",
        ] {
            assert!(words.contains(line), "{line:?} is not in\n{words}");
        }
        assert!(!text(&sample::report()).contains(" MB"));
    }

    #[test]
    fn a_run_that_went_wrong_has_no_throughput() {
        let text = text(&sample::failed());
        for words in [
            "no throughput",
            "996 of 1,000",
            "lost                   2 (orders 5, 9)",
            "altered                1 (orders 7)",
            "unexpected blobs       1 (express-outbox/<x>)",
            "q-order-express: MaxDeliveryCountExceeded, delivered 10 times",
        ] {
            assert!(text.contains(words), "{words:?} is not in\n{text}");
        }
        assert!(!text.contains("orders/s"));
    }

    #[test]
    fn a_steady_run_tells_how_long_an_order_took() {
        assert_eq!(
            verdict(&sample::steady()),
            "1,000 orders at 500/s: p50 950.0 ms, p99 2.85 s, at the most 3.80 s from due to stored; all stored 2.0 ms after the last \
             was due"
        );
        assert!(sample::steady().command.contains(" --profile steady --rate 500"));
    }

    #[test]
    fn a_run_that_was_interrupted_says_that_it_is_a_part() {
        let words = text(&sample::interrupted());
        assert!(
            words.starts_with("a part: interrupted with 400 of 1,000 orders stored; no throughput\n"),
            "{words}"
        );
        assert!(words.contains("not stored yet         600 (orders 401, 402, …)"), "{words}");
        assert!(!words.contains("lost"), "{words}");
    }

    #[test]
    fn replicas_that_came_and_went_are_told() {
        let words = text(&sample::scaled());
        for line in [
            "  distributor              1, 2 at +0.312 s, 3 at +0.315 s, 1 at +0.650 s\n",
            "scaled        distributor 1 → 3, ordered 0.300 s after T0",
            "   1. distributor-2            ready 12.0 ms after the order, 7.5 ms after its start; 0.700 s of CPU\n",
            " --scale distributor=1:3:1\n",
        ] {
            assert!(words.contains(line), "{line:?} is not in\n{words}");
        }
        assert!(
            text(&sample::report())
                .contains("  the same throughout      1 distributor, 3 distributor-dapr\n")
        );
    }

    #[test]
    fn figures_of_a_tuned_host_are_labelled_and_those_of_others_are_not() {
        let label = "spin-host tuned, not Spin";
        let tuned = text(&sample::tuned());
        assert!(tuned.starts_with(&format!("1,000 orders in 2.00 s: 500 orders/s ({label})\n")), "{tuned}");
        assert!(tuned.contains(&format!("note: {label}: no verdict on Spin")), "{tuned}");
        assert!(!text(&sample::report()).contains("tuned"));
    }

    #[test]
    fn a_shared_dapr_on_one_machine_shows_no_locality() {
        let shared = text(&sample::report());
        assert!(
            shared.contains("as a daemonset it would be the same deployment with one replica a node"),
            "{shared}"
        );
    }

    #[test]
    fn real_programs_are_named_with_their_versions() {
        assert!(text(&sample::report()).contains("3 × daprd 1.18.3"));
    }

    /// A recorder that was full hides when the last blob was written, not that all are there.
    #[test]
    fn a_clean_run_that_was_not_recorded_whole_is_not_called_a_bad_one() {
        let mut report = sample::report();
        report.measured.throughput_per_second = None;
        assert_eq!(
            verdict(&report),
            "1,000 orders, all as they should be, but not each was recorded: no throughput"
        );
    }

    #[test]
    fn durations_have_three_figures_or_so() {
        assert_eq!(
            [0, 999, 1_000, 999_900, 1_500_000].map(duration),
            ["0 µs", "999 µs", "1.0 ms", "999.9 ms", "1.50 s"]
        );
    }
}
