//! The report as one page that needs nothing else: no script, no font, no network. Charts are drawn beforehand.

use askama::Template;

use super::chart::{self, Frame, Line};
use super::text;
use super::{Environment, PartKind, Report, replicas};
use crate::flow::observe::DepthPoint;

/// Why no page could be made; a defect of the template.
pub type PageError = askama::Error;

/// A row of figures, as text.
struct Row {
    name: String,
    meaning: String,
    values: Vec<String>,
}

struct Part<'a> {
    part: &'a PartKind,
    program: String,
    kind: &'static str,
    image: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    verdict: String,
    shape: String,
    findings: Vec<(String, String)>,
    stages: Vec<Row>,
    components: Vec<Row>,
    together: Vec<String>,
    parts: Vec<Part<'a>>,
    /// Whether any part is of an image.
    images: bool,
    environment: Vec<(&'static str, String)>,
    depth_chart: String,
    depth_peaks: Vec<(&'static str, &'static str, String)>,
    written_chart: String,
    written_interval_ms: u64,
    replica_lines: Vec<(String, String)>,
    replica_keys: Vec<(&'static str, String)>,
    replica_chart: String,
    scaling: Vec<replicas::StepWords>,
}

/// The page.
pub fn page(report: &Report) -> Result<String, PageError> {
    let measured = &report.measured;
    let (replica_keys, replica_chart) = replicas::chart(measured);
    let page = Page {
        report,
        verdict: text::verdict(report),
        shape: text::shape(report),
        findings: text::findings(report),
        stages: stages(report),
        components: components(report),
        together: together(report),
        parts: report
            .parts
            .iter()
            .map(|part| Part {
                part,
                program: text::program(part),
                kind: text::kind(part),
                image: text::image(part),
            })
            .collect(),
        images: text::has_images(&report.parts),
        environment: environment(report),
        depth_chart: depth_chart(&measured.depth),
        depth_peaks: depth_peaks(&measured.depth),
        written_chart: written_chart(report),
        written_interval_ms: measured.written_interval_ms,
        replica_lines: replicas::lines(measured),
        replica_keys,
        replica_chart,
        scaling: replicas::steps(report),
    };
    page.render()
}

fn stages(report: &Report) -> Vec<Row> {
    let row = |stage: &crate::flow::stages::Stage| Row {
        name: stage.name.clone(),
        meaning: stage.meaning.clone(),
        values: [stage.p50_us, stage.p90_us, stage.p99_us, stage.max_us].map(text::duration).to_vec(),
    };
    report.measured.stages.iter().map(row).collect()
}

fn components(report: &Report) -> Vec<Row> {
    let row = |usage: &super::ComponentUsage| Row {
        name: usage.component.clone(),
        meaning: usage.replicas.to_string(),
        values: vec![
            format!("{:.2}", usage.cpu_seconds),
            text::rate(usage.us_per_order),
            format!("{:.0} %", usage.share * 100.0),
            text::mebibytes(usage.rss_most_bytes),
        ],
    };
    report.analysis.components.iter().map(row).collect()
}

fn together(report: &Report) -> Vec<String> {
    let components = &report.analysis.components;
    let cpu: f64 = components.iter().map(|usage| usage.cpu_seconds).sum();
    let memory = components.iter().map(|usage| usage.rss_most_bytes).sum();
    vec![
        format!("{cpu:.2}"),
        text::rate(report.analysis.us_per_order),
        String::new(),
        text::mebibytes(memory),
    ]
}

/// The machine and the source.
pub(super) fn machine(environment: &Environment) -> Vec<(&'static str, String)> {
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    let load = |load: [f64; 3]| format!("{:.2}, {:.2}, {:.2}", load[0], load[1], load[2]);
    vec![
        ("processor", format!("{} × {}", environment.cores, known(&environment.cpu_model))),
        ("memory", environment.memory_bytes.map_or_else(|| "unknown".to_owned(), text::mebibytes)),
        ("system", format!("{}, kernel {}", environment.platform, known(&environment.kernel))),
        ("load before (1, 5, 15 min)", environment.load_before.map_or_else(|| "unknown".to_owned(), load)),
        ("commit", known(&environment.git_commit)),
        ("lab", environment.lab_version.clone()),
    ]
}

fn environment(report: &Report) -> Vec<(&'static str, String)> {
    let measured = &report.measured;
    let scheduling = &measured.scheduling;
    let mut rows = machine(&report.environment);
    rows.extend([
        ("seed", measured.setup.seed.to_string()),
        (
            "data set",
            format!(
                "{} bytes, SHA-256 {}",
                text::count(measured.setup.data_bytes),
                measured.setup.data_sha256
            ),
        ),
        ("warm-up", format!("{} orders", text::count(measured.setup.warm_up_orders))),
        (
            "scheduling",
            format!(
                "attempt {}, T0 {} ms after the first send, all sent after {} ms",
                scheduling.attempts, scheduling.lead_ms, scheduling.sending_ms
            ),
        ),
        ("blob instants from", text::blob_instants(measured.blob_instants).to_owned()),
        ("lock, deliveries", format!("{} s, {}", report.lab.lock_seconds, report.lab.max_delivery_count)),
        ("engine profile", report.lab.engine_profile.clone()),
    ]);
    for clock in &measured.clocks {
        let name = if clock.of == "broker" { "broker's clock" } else { "blob store's clock" };
        rows.push((name, format!("{:+} µs ± {} µs against the lab's", clock.offset_us, clock.error_us)));
    }
    rows
}

/// A queue: its CSS class, its name, how to read its depth.
type Queue = (&'static str, &'static str, fn(&DepthPoint) -> u64);

const QUEUES: [Queue; 3] = [
    ("a", "q-order-ingress", |point| point.ingress),
    ("b", "q-order-express", |point| point.express),
    ("c", "q-order-standard", |point| point.standard),
];

fn depth_chart(depth: &[DepthPoint]) -> String {
    let lines = QUEUES.map(|(class, _, value)| Line {
        class,
        points: depth.iter().map(|point| (point.since_t0_ms as f64 / 1e3, value(point) as f64)).collect(),
    });
    let frame =
        Frame { label: "Messages in each queue over time", x_unit: "seconds since T0", y_unit: "messages" };
    chart::lines(frame, &lines)
}

fn depth_peaks(depth: &[DepthPoint]) -> Vec<(&'static str, &'static str, String)> {
    let peak = |value: fn(&DepthPoint) -> u64| text::count(depth.iter().map(value).max().unwrap_or(0));
    QUEUES.map(|(class, name, value)| (class, name, peak(value))).to_vec()
}

fn written_chart(report: &Report) -> String {
    let measured = &report.measured;
    let seconds = measured.written_interval_ms as f64 / 1e3;
    if seconds <= 0.0 {
        return String::new();
    }
    let bar = |point: &crate::flow::stages::WrittenPoint| {
        (point.since_t0_ms as f64 / 1e3, point.blobs as f64 / seconds)
    };
    let bars: Vec<_> = measured.written.iter().map(bar).collect();
    let frame = Frame {
        label: "Blobs written in a second, over time",
        x_unit: "seconds since T0",
        y_unit: "blobs/s",
    };
    chart::bars(frame, seconds, &bars)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&sample::report()).unwrap();
        for banned in ["<script", "<link", "src=", "url(", "@import"] {
            assert!(!page.contains(banned), "{banned}");
        }
        let elsewhere = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(elsewhere, 0, "the only address is the name of SVG");
        assert_eq!(page.matches("<svg").count(), 2);
        for tag in ["table", "section", "svg", "figure", "tbody", "tr", "td", "th"] {
            let opened: usize =
                [">", " "].iter().map(|end| page.matches(&format!("<{tag}{end}")).count()).sum();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn figures_stand_in_the_page_as_text() {
        let page = page(&sample::report()).unwrap();
        for words in ["500 orders/s", "900.0 ms", "1,500", "servicebus-emulator", "stand-in", "Example CPU"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(page.contains("class=\"verdict good\""));
    }

    #[test]
    fn images_have_a_column_where_there_are_images() {
        let with = page(&sample::on_a_cluster()).unwrap();
        assert!(
            with.contains("<td class=\"n\">0.3 MB</td>") && with.contains("Dapr&#39;s injector adds"),
            "{with}"
        );
        assert!(!page(&sample::report()).unwrap().contains(">image<"));
    }

    #[test]
    fn what_went_wrong_is_seen_and_escaped() {
        let page = page(&sample::failed()).unwrap();
        assert!(page.contains("class=\"verdict bad\"") && page.contains("no throughput"));
        assert!(!page.contains("<x>") && !page.contains("<7>"), "names are text, never markup");
    }

    #[test]
    fn replicas_over_time_are_drawn_and_what_scaling_took_is_told() {
        let page = page(&sample::scaled()).unwrap();
        assert_eq!(page.matches("<svg").count(), 3);
        for words in ["Replicas over time", "distributor 1 → 3, ordered 0.300 s", "12.0 ms", "0.700 s of CPU"]
        {
            assert!(page.contains(words), "{words}");
        }
    }

    #[test]
    fn the_label_of_a_tuned_host_stands_in_the_title() {
        let tuned = page(&sample::tuned()).unwrap();
        assert!(tuned.contains("orders/s (spin-host tuned, not Spin) · Spin Lab</title>"));
        assert!(tuned.contains("no verdict on Spin can be drawn from any of these figures"));
        assert!(!page(&sample::report()).unwrap().contains("tuned"));
    }

    #[test]
    fn a_run_without_series_has_no_empty_charts() {
        let mut report = sample::report();
        report.measured.depth.clear();
        report.measured.written.clear();
        report.measured.written_interval_ms = 0;
        report.analysis.components.clear();
        assert!(!page(&report).unwrap().contains("<svg"));
    }
}
