//! W3C trace context as daprd passes it on: each call to the API and each delivery gets a span, whose parent comes with
//! it or not at all. What is sampled goes to the exporter, if there is one.

mod zipkin;

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;

use crate::configuration::Tracing;
pub use zipkin::{EndpointError, Exporter};

/// Name of the header, the message property and the blob metadata that carries a span.
pub const TRACEPARENT: &str = "traceparent";
/// Carries what vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// Share of traces that are sampled when the rate is no number, or missing beside an exporter (dapr,
/// `trace_utils.go`).
const SAMPLING_RATE_DEFAULT: f64 = 1e-4;

/// The bit of a span's flags that says that it is sampled.
const SAMPLED: u8 = 1;

/// A span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    parent_id: u64,
    /// Set when it is to be exported.
    began: Option<(SystemTime, Instant)>,
}

/// What becomes of a call's span.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Calls have no spans.
    Off,
    /// The parent goes on as it came, and where there is none, a span of zeros: what OpenTelemetry does as long as no
    /// provider is registered, which daprd does only for an exporter or a sampling rate (`runtime.go`, `setupTracing`).
    PassOn,
    /// Each call is a span of its own; this share of the traces that begin here is sampled.
    On(f64),
}

/// Makes spans, or none when tracing is off.
#[derive(Debug, Clone)]
pub struct Tracer {
    mode: Mode,
    exporter: Option<Exporter>,
}

impl Tracer {
    /// A tracer for what the Configuration says. Spans of `app_id` go to `exporter`.
    #[must_use]
    pub fn new(tracing: &Tracing, exporter: Option<Exporter>) -> Self {
        let rate = tracing.sampling_rate.as_deref();
        let parsed = rate.and_then(|rate| rate.parse().ok()).unwrap_or(SAMPLING_RATE_DEFAULT);
        let mode = if parsed == 0.0 {
            Mode::Off
        } else if rate.is_none() && exporter.is_none() && !tracing.stdout {
            Mode::PassOn
        } else {
            Mode::On(parsed)
        };
        Self { mode, exporter }
    }

    /// Whether calls get spans at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    /// A new span under `parent`, a `traceparent`; without a valid parent a new trace begins. `None` when tracing is
    /// off.
    #[must_use]
    pub fn child_of(&self, parent: Option<&str>) -> Option<Span> {
        let parent = parent.and_then(Span::parse);
        let rate = match self.mode {
            Mode::Off => return None,
            Mode::PassOn => return Some(parent.unwrap_or_default()),
            Mode::On(rate) => rate,
        };
        let span_id = rand::random::<u64>() | 1;
        let mut span = match parent {
            Some(parent) => Span { span_id, parent_id: parent.span_id, ..parent },
            None => {
                let flags = if rand::random::<f64>() < rate { SAMPLED } else { 0 };
                Span { trace_id: rand::random::<u128>() | 1, span_id, flags, ..Span::default() }
            }
        };
        if span.is_sampled() && self.exporter.is_some() {
            span.began = Some((SystemTime::now(), Instant::now()));
        }
        Some(span)
    }

    /// Ends a span: one that is exported gets the name and the tags that `describe` makes.
    pub fn end(&self, span: Option<&Span>, describe: impl FnOnce() -> Description) {
        let (Some(span), Some(exporter)) = (span, &self.exporter) else { return };
        let Some((began, instant)) = span.began else { return };
        exporter.export(span, began, instant.elapsed(), describe());
    }

    /// Sends what is waiting to the exporter's endpoint, within `grace`.
    pub async fn flush(&self, grace: Duration) {
        if let Some(exporter) = &self.exporter {
            exporter.flush(grace).await;
        }
    }
}

/// What an exported span tells beside its ids and its time.
#[derive(Debug, Default)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Who was called.
    pub remote: String,
    /// Names and values of its tags.
    pub tags: Vec<(String, String)>,
}

impl Description {
    /// Adds a tag, unless it is empty.
    pub fn tag(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.tags.push((name.to_owned(), value));
        }
    }

    /// Marks it as failed from status 400 on.
    pub fn fail_from(&mut self, status: StatusCode) {
        if status.as_u16() >= 400 {
            let reason = status.canonical_reason().unwrap_or("Unknown");
            self.tag("error", format!("Code({}): {reason}", status.as_u16()));
            self.tag("otel.status_code", "ERROR");
        }
    }
}

impl Span {
    /// Reads a `traceparent`; `None` when it is not valid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, digits: usize| {
            let is_hex = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            (text.len() == digits && is_hex).then(|| u128::from_str_radix(text, 16).ok())?
        };
        let version = hex(version, 2)?;
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let trace_id = hex(trace_id, 32).filter(|&id| id != 0)?;
        let span_id = hex(span_id, 16).and_then(|id| u64::try_from(id).ok()).filter(|&id| id != 0)?;
        let flags = hex(flags, 2).and_then(|flags| u8::try_from(flags).ok())?;
        Some(Self { trace_id, span_id, flags, ..Self::default() })
    }

    /// Whether it belongs to a trace, and is not the span of zeros.
    #[must_use]
    pub fn has_trace(&self) -> bool {
        self.trace_id != 0
    }

    /// Whether it goes to an exporter when it ends.
    #[must_use]
    pub fn is_exported(&self) -> bool {
        self.began.is_some()
    }

    /// Whether it is sampled.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }

    /// The `traceparent` of this span.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        let _ = write!(text, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const ZEROS: &str = "00-00000000000000000000000000000000-0000000000000000-00";
    const NO_PARENTS: [Option<&str>; 5] = [
        None,
        Some("junk"),
        Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
        Some("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
    ];

    fn tracer(rate: Option<&str>) -> Tracer {
        let tracing = Tracing { sampling_rate: rate.map(str::to_owned), ..Tracing::default() };
        Tracer::new(&tracing, None)
    }

    #[test]
    fn a_child_keeps_the_trace_and_the_decision() {
        let child = tracer(Some("0.0001")).child_of(Some(PARENT)).expect("tracing is on").traceparent();
        assert_eq!(child[..36], PARENT[..36]);
        assert_ne!(child[36..52], PARENT[36..52]);
        assert!(child.ends_with("-01"));
    }

    #[test]
    fn without_a_valid_parent_a_trace_begins() {
        for parent in NO_PARENTS {
            let span = tracer(Some("half")).child_of(parent).expect("tracing is on").traceparent();
            assert!(Span::parse(&span).is_some(), "{span}");
            assert!(!span.contains("4bf92f35"), "{span}");
        }
    }

    #[test]
    fn without_a_rate_the_parent_goes_on_and_none_is_zeros() {
        let tracer = tracer(None);
        assert_eq!(tracer.child_of(Some(PARENT)).expect("on").traceparent(), PARENT);
        for parent in NO_PARENTS {
            let span = tracer.child_of(parent).expect("on");
            assert_eq!(span.traceparent(), ZEROS);
            assert!(!span.has_trace());
        }
    }

    #[test]
    fn a_rate_of_zero_makes_no_span() {
        assert_eq!(tracer(Some("0")).child_of(Some(PARENT)), None);
    }

    #[test]
    fn a_rate_of_one_samples_all() {
        assert!(tracer(Some("1")).child_of(None).expect("on").traceparent().ends_with("-01"));
    }
}
