//! W3C trace context as daprd passes it on: each call to the API and each delivery gets a span, whose parent comes with
//! it or not at all. Nothing is exported.

use std::fmt::Write;

/// Name of the header, the message property and the blob metadata that carries a span.
pub const TRACEPARENT: &str = "traceparent";
/// Carries what vendors add to it.
pub const TRACESTATE: &str = "tracestate";

/// A span's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

/// Makes spans, or none when tracing is off.
#[derive(Debug, Clone, Copy)]
pub struct Tracer {
    sampling_rate: f64,
}

impl Tracer {
    /// A tracer that samples this share of the traces that begin here; 0 turns it off.
    #[must_use]
    pub fn new(sampling_rate: f64) -> Self {
        Self { sampling_rate }
    }

    /// Whether calls get spans at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.sampling_rate != 0.0
    }

    /// A new span under `parent`, a `traceparent`; without a valid parent a new trace begins. `None` when tracing is
    /// off.
    #[must_use]
    pub fn child_of(&self, parent: Option<&str>) -> Option<Span> {
        if !self.is_on() {
            return None;
        }
        let span_id = rand::random::<u64>() | 1;
        Some(match parent.and_then(Span::parse) {
            Some(parent) => Span { span_id, ..parent },
            None => {
                let trace_id = rand::random::<u128>() | 1;
                Span { trace_id, span_id, sampled: rand::random::<f64>() < self.sampling_rate }
            }
        })
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
        let sampled = hex(flags, 2)? & 1 == 1;
        Some(Self { trace_id, span_id, sampled })
    }

    /// The `traceparent` of this span.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(55);
        let flags = u8::from(self.sampled);
        let _ = write!(text, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_child_keeps_the_trace_and_the_decision() {
        let child = Tracer::new(1e-4).child_of(Some(PARENT)).expect("tracing is on").traceparent();
        assert_eq!(child[..36], PARENT[..36]);
        assert_ne!(child[36..52], PARENT[36..52]);
        assert!(child.ends_with("-01"));
    }

    #[test]
    fn without_a_valid_parent_a_trace_begins() {
        let tracer = Tracer::new(1e-4);
        for parent in [
            None,
            Some("junk"),
            Some("00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            Some("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        ] {
            let span = tracer.child_of(parent).expect("tracing is on").traceparent();
            assert!(Span::parse(&span).is_some(), "{span}");
            assert!(!span.contains("4bf92f35"), "{span}");
        }
    }

    #[test]
    fn a_rate_of_zero_makes_no_span() {
        assert_eq!(Tracer::new(0.0).child_of(Some(PARENT)), None);
    }

    #[test]
    fn a_rate_of_one_samples_all() {
        assert!(Tracer::new(1.0).child_of(None).expect("on").traceparent().ends_with("-01"));
    }
}
