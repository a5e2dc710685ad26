//! Which combinations of settings are measured one after the other: axes with their values, and what they make together. Plain
//! data; a new axis is a new word and a new kind of value.

use std::fmt;
use std::str::FromStr;

use super::{BlobStore, Packaging, Stack, Topology, Tracing, UnknownWord};
use crate::limits;

/// A setting that differs from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// The stack of all roles.
    Stack,
    /// How Dapr stands to the applications.
    Topology,
    /// Replicas of the application for each role.
    Replicas,
    /// Replicas of Dapr for each role.
    DaprReplicas,
    /// How `warp-rust` is packaged.
    Packaging,
    /// Which program stores the blobs.
    Blob,
    /// Whether Dapr traces.
    Tracing,
    /// Nothing: the same lab is measured as if it were several. What the values differ by is chance.
    Series,
}

words!(Axis {
    Stack = "stack",
    Topology = "topology",
    Replicas = "replicas",
    DaprReplicas = "dapr-replicas",
    Packaging = "packaging",
    Blob = "blob",
    Tracing = "tracing",
    Series = "series",
});

/// One of several series of the same lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// The first.
    A,
    /// The second.
    B,
}

words!(Series { A = "a", B = "b" });

/// One value of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Of [`Axis::Stack`].
    Stack(Stack),
    /// Of [`Axis::Topology`].
    Topology(Topology),
    /// Of [`Axis::Replicas`], 1 to [`limits::REPLICAS`].
    Replicas(u32),
    /// Of [`Axis::DaprReplicas`], 1 to [`limits::REPLICAS`].
    DaprReplicas(u32),
    /// Of [`Axis::Packaging`].
    Packaging(Packaging),
    /// Of [`Axis::Blob`].
    Blob(BlobStore),
    /// Of [`Axis::Tracing`].
    Tracing(Tracing),
    /// Of [`Axis::Series`].
    Series(Series),
}

impl Axis {
    fn value(self, word: &str) -> Result<Value, MatrixError> {
        Ok(match self {
            Self::Stack => Value::Stack(word.parse()?),
            Self::Topology => Value::Topology(word.parse()?),
            Self::Replicas => Value::Replicas(self.number(word)?),
            Self::DaprReplicas => Value::DaprReplicas(self.number(word)?),
            Self::Packaging => Value::Packaging(word.parse()?),
            Self::Blob => Value::Blob(word.parse()?),
            Self::Tracing => Value::Tracing(word.parse()?),
            Self::Series => Value::Series(word.parse()?),
        })
    }

    fn number(self, word: &str) -> Result<u32, MatrixError> {
        let number = word.parse().ok().filter(|number| (1..=limits::REPLICAS).contains(number));
        number.ok_or_else(|| MatrixError::Number { axis: self, given: word.to_owned() })
    }
}

impl Value {
    /// The axis that it is on.
    pub const fn axis(self) -> Axis {
        match self {
            Self::Stack(_) => Axis::Stack,
            Self::Topology(_) => Axis::Topology,
            Self::Replicas(_) => Axis::Replicas,
            Self::DaprReplicas(_) => Axis::DaprReplicas,
            Self::Packaging(_) => Axis::Packaging,
            Self::Blob(_) => Axis::Blob,
            Self::Tracing(_) => Axis::Tracing,
            Self::Series(_) => Axis::Series,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack(stack) => stack.fmt(formatter),
            Self::Topology(topology) => topology.fmt(formatter),
            Self::Replicas(number) | Self::DaprReplicas(number) => number.fmt(formatter),
            Self::Packaging(packaging) => packaging.fmt(formatter),
            Self::Blob(store) => store.fmt(formatter),
            Self::Tracing(tracing) => tracing.fmt(formatter),
            Self::Series(series) => series.fmt(formatter),
        }
    }
}

/// A value as people read it. Stacks speak for themselves; a number, `on` and a letter are named by their axis.
pub fn words(axis: &str, value: &str) -> String {
    match axis.parse() {
        Ok(Axis::Stack | Axis::Topology | Axis::Packaging) => value.to_owned(),
        _ => format!("{axis} {value}"),
    }
}

/// The axes, in the order in which people see them, each with at least one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrix {
    axes: Vec<(Axis, Vec<Value>)>,
}

/// One value of each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combination {
    /// In the order of the axes.
    pub values: Vec<Value>,
}

impl fmt::Display for Combination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Value| words(value.axis().as_str(), &value.to_string());
        formatter.pad(&self.values.iter().map(word).collect::<Vec<_>>().join(", "))
    }
}

impl Default for Matrix {
    /// Every stack in every topology.
    fn default() -> Self {
        let stacks = Stack::ALL.iter().copied().map(Value::Stack).collect();
        let topologies = Topology::ALL.iter().copied().map(Value::Topology).collect();
        Self { axes: vec![(Axis::Stack, stacks), (Axis::Topology, topologies)] }
    }
}

impl Matrix {
    /// The axes and their values.
    pub fn axes(&self) -> &[(Axis, Vec<Value>)] {
        &self.axes
    }

    /// Every combination; the last axis changes first.
    pub fn combinations(&self) -> Vec<Combination> {
        let mut combinations = vec![Combination { values: Vec::new() }];
        for (_, values) in &self.axes {
            let longer = |begun: &Combination| {
                let begun = begun.values.clone();
                values
                    .iter()
                    .map(move |value| Combination { values: [&begun[..], &[*value]].concat() })
                    .collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(longer).collect();
        }
        combinations
    }
}

impl fmt::Display for Matrix {
    /// As it is read: `stack=spin-rust,warp-rust,topology=sidecar,shared`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axis = |(axis, values): &(Axis, Vec<Value>)| {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            format!("{axis}={}", values.join(","))
        };
        formatter.pad(&self.axes.iter().map(axis).collect::<Vec<_>>().join(","))
    }
}

/// Why a text names no [`Matrix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// An axis or a value that does not exist.
    #[error(transparent)]
    Unknown(#[from] UnknownWord),
    /// A value before any axis.
    #[error(
        "'{0}' is of no axis; expected AXIS=VALUE,VALUE,AXIS=VALUE, such as stack=spin-rust,warp-rust,topology=shared"
    )]
    NoAxis(String),
    /// A number of replicas that no lab has.
    #[error("{axis} takes numbers from 1 to {most}, not '{given}'", most = limits::REPLICAS)]
    Number {
        /// The axis.
        axis: Axis,
        /// What was given.
        given: String,
    },
    /// An axis that is named twice.
    #[error("axis {0} is named twice")]
    AxisTwice(Axis),
    /// A value that is named twice.
    #[error("{0} is named twice")]
    ValueTwice(Value),
}

impl FromStr for Matrix {
    type Err = MatrixError;

    /// Reads `stack=spin-rust,warp-rust,topology=sidecar,shared`; nothing is every stack in every topology.
    fn from_str(text: &str) -> Result<Self, MatrixError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut axes: Vec<(Axis, Vec<Value>)> = Vec::new();
        for part in text.split(',') {
            let word = match part.split_once('=') {
                None => part,
                Some((axis, word)) => {
                    let axis: Axis = axis.trim().parse()?;
                    if axes.iter().any(|(other, _)| *other == axis) {
                        return Err(MatrixError::AxisTwice(axis));
                    }
                    axes.push((axis, Vec::new()));
                    word
                }
            };
            let (axis, values) = axes.last_mut().ok_or_else(|| MatrixError::NoAxis(part.to_owned()))?;
            let value = axis.value(word.trim())?;
            if values.contains(&value) {
                return Err(MatrixError::ValueTwice(value));
            }
            values.push(value);
        }
        Ok(Self { axes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_words_it_is_every_stack_in_every_topology() {
        let matrix: Matrix = "".parse().expect("a matrix");
        assert_eq!(matrix, Matrix::default());
        assert_eq!(matrix.combinations().len(), Stack::ALL.len() * Topology::ALL.len());
        assert_eq!(matrix.to_string().parse(), Ok(matrix));
    }

    #[test]
    fn the_last_axis_changes_first() {
        let matrix: Matrix = "stack=warp-rust,spin-rust, topology=shared,sidecar".parse().expect("a matrix");
        let words: Vec<_> = matrix.combinations().iter().map(Combination::to_string).collect();
        assert_eq!(
            words,
            ["warp-rust, shared", "warp-rust, sidecar", "spin-rust, shared", "spin-rust, sidecar"]
        );
        let one: Matrix = "topology=shared".parse().expect("a matrix");
        assert_eq!(one.combinations(), [Combination { values: vec![Value::Topology(Topology::Shared)] }]);
    }

    #[test]
    fn every_axis_is_read_as_it_is_written() {
        let text = "stack=warp-rust,topology=shared,replicas=1,10,dapr-replicas=2,packaging=full,static,blob=native,azurite,\
                    tracing=on,off,series=a,b";
        let matrix: Matrix = text.parse().expect("a matrix");
        assert_eq!(matrix.to_string(), text);
        assert_eq!(matrix.axes().len(), Axis::ALL.len());
        let combinations = matrix.combinations();
        assert_eq!(combinations.len(), 32);
        assert_eq!(
            combinations[0].to_string(),
            "warp-rust, shared, replicas 1, dapr-replicas 2, full, blob native, tracing on, series a"
        );
    }

    #[test]
    fn what_is_no_matrix_is_named() {
        for (text, said) in [
            ("warp-rust", "'warp-rust' is of no axis; expected AXIS=VALUE"),
            (
                "color=red",
                "unknown value 'color', expected one of: stack, topology, replicas, dapr-replicas, packaging, blob, tracing, series",
            ),
            ("replicas=0", "replicas takes numbers from 1 to 32, not '0'"),
            ("dapr-replicas=1,many", "dapr-replicas takes numbers from 1 to 32, not 'many'"),
            ("replicas=1,01", "1 is named twice"),
            ("packaging=tiny", "unknown value 'tiny', expected one of: full, static"),
            ("blob=s3", "unknown value 's3', expected one of: azurite, native"),
            ("tracing=yes", "unknown value 'yes', expected one of: off, on"),
            ("series=c", "unknown value 'c', expected one of: a, b"),
            ("stack=warp", "unknown value 'warp', expected one of: spin-rust, "),
            ("stack=", "unknown value '', expected one of: spin-rust, "),
            ("topology=shared,shared", "shared is named twice"),
            ("stack=warp-rust,stack=spin-rust", "axis stack is named twice"),
            ("topology=shared,warp-rust", "unknown value 'warp-rust', expected one of: sidecar, shared"),
        ] {
            let error = text.parse::<Matrix>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
