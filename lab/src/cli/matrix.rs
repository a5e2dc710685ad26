//! `lab bench --matrix`: one run after the other, each on a lab of its own, side by side in one table.

use std::path::PathBuf;
use std::sync::Arc;

use super::Interrupts;
use super::bench::{self, BenchArgs, BenchError, BenchOutcome, ProfileKind};
use super::progress::Display;
use crate::backend::{LabError, running_labs};
use crate::build::Artefact;
use crate::clock;
use crate::exit::Exit;
use crate::flow;
use crate::paths::Workspace;
use crate::report::{self, Environment, Gate, MatrixInputs, MatrixReport};
use crate::spec::matrix::{Combination, Matrix, Value};
use crate::spec::{RUNS, Stacks};

/// What a matrix left for people.
#[derive(Debug)]
pub struct MatrixOutcome {
    /// The report.
    pub report: MatrixReport,
    /// The folder that it was written to.
    pub folder: PathBuf,
    exit: Exit,
}

impl MatrixOutcome {
    /// 0 where every run was clean; else how the first one ended that was not, or that it was interrupted.
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// The result as text, with the path of the report.
    pub fn text(&self) -> String {
        let page = self.folder.join("matrix.html");
        format!("{}\nreport: {}\n", report::matrix_text(&self.report), page.display())
    }
}

/// The arguments of one combination's runs.
fn args_of(args: &BenchArgs, combination: &Combination) -> BenchArgs {
    let mut args = args.clone();
    for value in &combination.values {
        match *value {
            Value::Stack(stack) => args.stack = Some(Stacks::all(stack)),
            Value::Topology(topology) => args.topology = Some(topology),
            Value::Replicas(replicas) => args.replicas = Some(replicas),
            Value::DaprReplicas(replicas) => args.dapr_replicas = Some(replicas),
            Value::Packaging(packaging) => args.packaging = Some(packaging),
            Value::Blob(blob) => args.blob = Some(blob),
            Value::Tracing(tracing) => args.tracing = Some(tracing),
            Value::Series(_) => {}
        }
    }
    args
}

/// Everything that any combination needs.
///
/// # Errors
/// Fails where a combination describes no lab.
pub fn artefacts(
    args: &BenchArgs,
    matrix: &Matrix,
) -> Result<std::collections::BTreeSet<Artefact>, LabError> {
    let mut wanted = std::collections::BTreeSet::new();
    for combination in matrix.combinations() {
        let spec = args_of(args, &combination).spec();
        spec.validate()?;
        wanted.extend(Artefact::of(&spec));
    }
    Ok(wanted)
}

/// Measures every combination, in turns. A run that fails is told in its row, and the next one follows; an interruption ends it,
/// and what was measured is kept. `None` where nothing was run.
pub(super) async fn run(
    args: &BenchArgs,
    matrix: &Matrix,
    gate: Option<&Gate>,
    display: &Arc<Display>,
    interrupts: &mut Interrupts,
) -> Result<Option<MatrixOutcome>, BenchError> {
    let workspace = Workspace::find()?;
    if running_labs(&workspace).contains(&args.lab) {
        // Each run starts a lab of that name.
        return Err(LabError::AlreadyRunning { name: args.lab.clone() }.into());
    }
    let mut report = MatrixReport::new(MatrixInputs {
        matrix,
        repeat: args.repeat,
        orders: args.orders,
        profile: args.profile()?,
        seed: args.seed,
        command: command(args, matrix),
        started_us: clock::now_us(),
        environment: Environment::read(workspace.root()),
    });
    let combinations = matrix.combinations();
    let runs = combinations.len() * args.repeat as usize;
    let folder = workspace.labs().join(RUNS);
    let mut outcome = None;
    let mut exit = Exit::Ok;
    for (number, (row, combination)) in
        (0..args.repeat).flat_map(|_| combinations.iter().enumerate()).enumerate()
    {
        display.line(&format!("run {} of {runs}: {combination}", number + 1));
        let ran = bench::bench(&args_of(args, combination), None, Arc::clone(display), interrupts).await;
        let ended = match &ran {
            Ok(Some(outcome)) => outcome.exit(),
            Ok(None) => Exit::Interrupted,
            Err(error) => error.exit(),
        };
        if exit == Exit::Ok || ended == Exit::Interrupted {
            exit = ended;
        }
        match &ran {
            Ok(None) => break,
            Ok(Some(BenchOutcome { report: run, .. })) => report.add(row, Ok(run)),
            Err(error) => {
                let why = with_causes(error);
                display.line(&format!("failed: {combination}: {why}"));
                report.add(row, Err(why));
            }
        }
        // After each run: what was measured is there whatever comes.
        outcome = Some(report.write(&folder)?);
    }
    if outcome.is_some() {
        report.finish(&folder, gate);
        if exit == Exit::Ok && !report.passed() {
            exit = Exit::ChecksFailed;
        }
        outcome = Some(report.write(&folder)?);
    }
    Ok(outcome.map(|folder| MatrixOutcome { report, folder, exit }))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_causes(cause)),
        None => error.to_string(),
    }
}

fn words(value: Option<impl ToString>) -> Option<String> {
    value.map(|value| value.to_string())
}

/// Every setting that was given, besides the axes.
fn command(args: &BenchArgs, matrix: &Matrix) -> String {
    let mut command =
        format!("cargo lab bench --matrix {matrix} --orders {} --seed {}", args.orders, args.seed);
    // An axis takes the place of the option of its name.
    let is_axis = |name: &str| matrix.axes().iter().any(|(axis, _)| axis.as_str() == name);
    let mut add = |flag: &str, value: Option<String>| {
        if let Some(value) = value.filter(|_| !is_axis(flag)) {
            command.push_str(&format!(" --{flag} {value}"));
        }
    };
    add("repeat", (args.repeat > 1).then(|| args.repeat.to_string()));
    add("warm-up", (args.warm_up != flow::limits::WARM_UP).then(|| args.warm_up.to_string()));
    add("profile", (args.profile == ProfileKind::Steady).then(|| "steady".to_owned()));
    add("rate", words(args.rate));
    add("preset", args.preset.map(|_| "article".to_owned()));
    add("stack", words(args.stack));
    add("topology", words(args.topology));
    add("replicas", words(args.replicas));
    add("dapr-replicas", words(args.dapr_replicas));
    add("blob", words(args.blob));
    add("packaging", words(args.packaging));
    add("tracing", words(args.tracing));
    for (name, value) in args.cluster.flags() {
        add(name, value);
    }
    add("engine-profile", words(args.engine_profile));
    command
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::spec::{Stack, Topology};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(line: &str) -> BenchArgs {
        Line::parse_from(line.split_whitespace()).args
    }

    #[test]
    fn every_run_is_a_lab_of_its_own_and_all_is_built_before_the_first() {
        let args = args("bench --matrix stack=spin-rust,warp-rust,topology=sidecar,shared --preset article");
        let matrix = args.matrix.clone().expect("a matrix");
        let specs: Vec<_> =
            matrix.combinations().iter().map(|combination| args_of(&args, combination).spec()).collect();
        let shapes: Vec<_> =
            specs.iter().map(|spec| (spec.stacks, spec.topology, spec.dapr_replicas)).collect();
        let (spin, warp) = (Stacks::all(Stack::SpinRust), Stacks::all(Stack::WarpRust));
        assert_eq!(
            shapes,
            [
                (spin, Topology::Sidecar, 1),
                (spin, Topology::Shared, 10),
                (warp, Topology::Sidecar, 1),
                (warp, Topology::Shared, 10)
            ]
        );
        let wanted = artefacts(&args, &matrix).expect("labs");
        assert!(wanted.contains(&Artefact::SpinHost) && wanted.contains(&Artefact::WarpRust), "{wanted:?}");
    }

    #[test]
    fn a_combination_that_is_no_lab_is_refused_before_anything_is_built() {
        let args = args("bench --matrix topology=sidecar,shared --dapr-replicas 3");
        let matrix = args.matrix.clone().expect("a matrix");
        let error = artefacts(&args, &matrix).expect_err("a sidecar").to_string();
        assert!(error.contains("a sidecar stands beside each one"), "{error}");
    }

    #[test]
    fn the_command_is_one_that_measures_the_same() {
        let args = args(
            "bench --matrix topology=shared --stack warp-rust --topology sidecar --repeat 3 --orders 7 --replicas 2",
        );
        let matrix = args.matrix.clone().expect("a matrix");
        let expected = "cargo lab bench --matrix topology=shared --orders 7 --seed 42 --repeat 3 --stack warp-rust --replicas 2";
        assert_eq!(command(&args, &matrix), expected);

        let args = Line::parse_from(
            "bench --matrix topology=shared --backend k3d --dapr-strategy daemonset".split_whitespace(),
        )
        .args;
        let expected = "cargo lab bench --matrix topology=shared --orders 10000 --seed 42 --backend k3d --dapr-strategy daemonset";
        assert_eq!(command(&args, &matrix), expected);
    }
}
