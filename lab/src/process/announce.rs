//! How a program says on stdout that it listens.

use std::net::SocketAddr;

use serde::Deserialize;

/// The way in which a program announces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announces {
    /// With the one JSON line of the lab's own programs.
    Line,
    /// Not at all; only probes tell.
    Not,
}

#[derive(Deserialize)]
struct Line {
    listen: std::collections::BTreeMap<String, SocketAddr>,
}

impl Announces {
    /// The addresses that a line of stdout announces; `None` where it announces nothing.
    pub(super) fn addresses(self, line: &str) -> Option<Vec<SocketAddr>> {
        match self {
            Self::Not => None,
            Self::Line => {
                let line: Line = serde_json::from_str(line).ok()?;
                Some(line.listen.into_values().collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_our_programs_is_understood_and_nothing_else() {
        let line =
            r#"{"program":"x","version":"0.1.0","listen":{"amqp":"127.0.0.1:1","http":"127.0.0.1:2"}}"#;
        assert_eq!(Announces::Line.addresses(line).map(|found| found.len()), Some(2));
        assert_eq!(Announces::Line.addresses("Serving http://127.0.0.1:3000"), None);
        assert_eq!(Announces::Line.addresses(r#"{"listen":{"http":"nowhere"}}"#), None);
        assert_eq!(Announces::Not.addresses(line), None);
    }
}
