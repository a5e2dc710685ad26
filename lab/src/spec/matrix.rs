//! Which combinations of settings are measured one after the other: axes with their values, and what they make together. Plain
//! data; a new axis is a new word and a new kind of value.

use std::fmt;
use std::str::FromStr;

use super::{Stack, Topology, UnknownWord};

/// A setting that differs from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// The stack of all roles.
    Stack,
    /// How Dapr stands to the applications.
    Topology,
}

words!(Axis { Stack = "stack", Topology = "topology" });

/// One value of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Of [`Axis::Stack`].
    Stack(Stack),
    /// Of [`Axis::Topology`].
    Topology(Topology),
}

impl Axis {
    /// Every value that it can have.
    fn all(self) -> Vec<Value> {
        match self {
            Self::Stack => Stack::ALL.iter().copied().map(Value::Stack).collect(),
            Self::Topology => Topology::ALL.iter().copied().map(Value::Topology).collect(),
        }
    }

    fn value(self, word: &str) -> Result<Value, UnknownWord> {
        match self {
            Self::Stack => word.parse().map(Value::Stack),
            Self::Topology => word.parse().map(Value::Topology),
        }
    }
}

impl Value {
    /// The axis that it is on.
    pub const fn axis(self) -> Axis {
        match self {
            Self::Stack(_) => Axis::Stack,
            Self::Topology(_) => Axis::Topology,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack(stack) => stack.fmt(formatter),
            Self::Topology(topology) => topology.fmt(formatter),
        }
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
        let words: Vec<_> = self.values.iter().map(Value::to_string).collect();
        formatter.pad(&words.join(", "))
    }
}

impl Default for Matrix {
    /// Every stack in every topology.
    fn default() -> Self {
        Self { axes: [Axis::Stack, Axis::Topology].map(|axis| (axis, axis.all())).into() }
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
    fn what_is_no_matrix_is_named() {
        for (text, said) in [
            ("warp-rust", "'warp-rust' is of no axis; expected AXIS=VALUE"),
            ("color=red", "unknown value 'color', expected one of: stack, topology"),
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
