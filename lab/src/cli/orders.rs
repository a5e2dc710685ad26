//! `lab orders`: the data set of a running lab.

use clap::{Args, Subcommand, value_parser};

use super::bench::BenchError;
use crate::backend::Lab;
use crate::flow::dapr::Dapr;
use crate::flow::dataset::{self, Manifest, Stored};
use crate::flow::limits;

/// The orders that runs are made of.
#[derive(Debug, Clone, Args)]
pub struct OrdersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: OrdersCommand,
}

/// What can be done with orders.
#[derive(Debug, Clone, Subcommand)]
pub enum OrdersCommand {
    /// Make a data set and store it through Dapr; one that is stored already stays as it is.
    Generate(GenerateArgs),
}

/// A data set to be made.
#[derive(Debug, Clone, Args)]
pub struct GenerateArgs {
    /// How many orders; their ids go from 1.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=limits::ORDERS))]
    pub count: u64,
    /// Seed: the same seed and number give the same orders on every machine.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Write it even if it is stored already.
    #[arg(long)]
    pub force: bool,
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    pub lab: String,
}

/// What is stored now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The data set's manifest.
    pub manifest: Manifest,
    /// Whether it was there before.
    pub stored: Stored,
}

impl Generated {
    /// One line for people.
    pub fn text(&self) -> String {
        let Manifest { count, seed, bytes, chunks, .. } = &self.manifest;
        let what = match self.stored {
            Stored::Found => "already stored",
            Stored::Written => "stored",
        };
        let mebibytes = *bytes as f64 / f64::from(1 << 20);
        format!(
            "{}: {count} orders of seed {seed} {what}, {mebibytes:.1} MiB in {} chunks\n",
            dataset::name(*count, *seed),
            chunks.len()
        )
    }
}

/// Makes and stores a data set in a running lab.
pub async fn generate(args: &GenerateArgs) -> Result<Generated, BenchError> {
    let lab = Lab::attach(&args.lab).await?;
    let dapr = Dapr::new(&lab.endpoints().lab_dapr)?;
    let (manifest, stored) = dataset::ensure(&dapr, args.count, args.seed, args.force).await?;
    Ok(Generated { manifest, stored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_stored() {
        let manifest = dataset::DataSet::generate(5_000, 3).unwrap().manifest().clone();
        let text = Generated { manifest, stored: Stored::Found }.text();
        assert_eq!(text, "orders-5000-seed-3: 5000 orders of seed 3 already stored, 2.9 MiB in 4 chunks\n");
    }
}
