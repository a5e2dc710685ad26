//! `lab scale`: more or fewer replicas of an application, or of Dapr, while the lab runs.

use std::fmt::Write as _;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::{Lab, Scalable, Scaled};
use crate::exit::Exit;
use crate::limits;

/// Change how many replicas there are of an application, or of Dapr, in a running lab.
///
/// New ones start at once and get work when they are ready; those that go finish what is in flight. In the topology
/// `sidecar` Dapr follows its application.
#[derive(Debug, Clone, Args)]
pub(super) struct ScaleArgs {
    /// What: a role (distributor, receiver-express, receiver-standard), or its Dapr (distributor-dapr, …).
    #[arg(value_name = "RESOURCE")]
    resource: Scalable,
    /// How many there should be.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::REPLICAS)))]
    replicas: u32,
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
}

/// What a run scales while it is measured, and to how many replicas, one after the other: `distributor=1:5:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleSteps {
    /// What is scaled.
    pub scalable: Scalable,
    /// Replicas before the run.
    pub first: u32,
    /// Replicas afterwards, one or more.
    pub then: Vec<u32>,
}

impl FromStr for ScaleSteps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "expected RESOURCE=N:N, or more numbers, such as distributor=1:5:1".to_owned();
        let (name, counts) = text.split_once('=').ok_or_else(form)?;
        let scalable = name.parse::<Scalable>().map_err(|error| error.to_string())?;
        let count = |word: &str| {
            let number = word.parse().ok().filter(|number| (1..=limits::REPLICAS).contains(number));
            number.ok_or_else(|| format!("'{word}' is no number from 1 to {}; {}", limits::REPLICAS, form()))
        };
        let mut counts = counts.split(':').map(count).collect::<Result<Vec<u32>, _>>()?.into_iter();
        let (first, then) = (counts.next().ok_or_else(form)?, counts.collect::<Vec<_>>());
        match then.len() {
            0 => Err(form()),
            1..=limits::SCALE_STEPS => Ok(Self { scalable, first, then }),
            steps => Err(format!("{steps} steps are more than {}", limits::SCALE_STEPS)),
        }
    }
}

/// What was done, as JSON shows it.
#[derive(Debug, Serialize)]
struct Done<'a> {
    lab: &'a str,
    #[serde(flatten)]
    scaled: &'a Scaled,
}

pub(super) async fn run(args: &ScaleArgs, output: Output) -> Result<Exit, CliError> {
    let lab = Lab::attach(&args.lab).await?;
    let scaled = lab.scale(args.resource, args.replicas).await?;
    output.result(&Done { lab: lab.name(), scaled: &scaled }, || text(&scaled));
    Ok(Exit::Ok)
}

fn text(scaled: &Scaled) -> String {
    let Scaled { resource, from, to, took_ms, started, stopped, .. } = scaled;
    if from == to {
        return format!("{resource}: {to}, as before\n");
    }
    let mut text = format!("{resource}: {from} → {to} after {took_ms:.0} ms\n");
    for replica in started {
        let _ = writeln!(
            text,
            "  {:<24} ready {:.1} ms after the order, {:.1} ms after its start",
            replica.name, replica.ready_after_ms, replica.cold_start_ms
        );
    }
    for name in stopped {
        let _ = writeln!(text, "  {name:<24} stopped");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbers_one_after_the_other() {
        let steps: ScaleSteps = "distributor-dapr=1:10:2".parse().expect("steps");
        assert_eq!(steps.scalable.to_string(), "distributor-dapr");
        assert_eq!((steps.first, steps.then), (1, vec![10, 2]));
        for (text, said) in [
            ("1:5:1", "expected RESOURCE=N:N"),
            ("distributor=3", "expected RESOURCE=N:N"),
            ("distributor=1:0", "'0' is no number from 1 to 32"),
            ("distributor=1:33", "'33' is no number from 1 to 32"),
            ("distributor=1:x", "'x' is no number from 1 to 32"),
            ("blob=1:2", "'blob' cannot be scaled, only: distributor, "),
            (&format!("distributor=1{}", ":2".repeat(17)), "17 steps are more than 16"),
        ] {
            let error = text.parse::<ScaleSteps>().expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
