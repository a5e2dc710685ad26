//! `lab bench`: start a lab if none is running, measure a run, say what came out, leave everything as it was found.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use crate::backend::{Lab, LabError, Lifetime, Scalable, StartOptions};
use crate::exit::Exit;
use crate::flow::scaling::{ReplicaProbe, ScaleOrder, ScalePlan};
use crate::flow::usage::UsageProbe;
use crate::flow::{self, FlowError, Profile, Progress, RunOptions};
use crate::limits;
use crate::paths::{NoWorkspace, Workspace};
use crate::report::{self, Environment, Gate, GateError, Inputs, Report, ReportError};
use crate::spec::matrix::Matrix;
use crate::spec::{BlobStore, EngineProfile, LabSpec, Packaging, RUNS, Stacks, Topology, Tracing};

use super::Interrupts;
use super::progress::Display;
use super::scale::ScaleSteps;
use super::shape::ClusterArgs;

/// Measure a run: send orders through the flow, verify every blob, tell the throughput and where the time went.
///
/// Uses the lab that is running, or starts one and stops it afterwards. A run first empties the lab's outboxes: blobs of
/// earlier orders are deleted. Writes report.json and report.html to
/// .lab/runs/. Ends with 100 when the run is invalid or an order was lost or altered.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Orders of the run.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=flow::limits::ORDERS))]
    pub orders: u64,
    /// Seed of the orders: the same seed and number give the same orders.
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// Orders that pass the flow before anything is measured; with 0 the flow is cold.
    #[arg(long, value_name = "N", default_value_t = flow::limits::WARM_UP)]
    pub warm_up: u64,
    /// When the orders are due: burst, which is all of them at once, or steady, which is one after the other at a rate, whatever
    /// becomes of those before; its latencies count from the instant at which an order was due.
    #[arg(long, value_name = "PROFILE", value_enum, default_value_t = ProfileKind::Burst)]
    pub profile: ProfileKind,
    /// Orders that are due in a second, with --profile steady.
    #[arg(long, value_name = "N", required_if_eq("profile", "steady"),
        value_parser = clap::value_parser!(u32).range(1..=i64::from(flow::limits::RATE)))]
    pub rate: Option<u32>,
    /// Settings of an earlier measurement: `article` is Dapr Shared with 10 Dapr replicas for each role.
    #[arg(long, value_name = "NAME")]
    pub preset: Option<Preset>,
    /// The stack, one for all roles or one for each: spin-rust, spin-ts, warp-rust, express-ts, or
    /// distributor=spin-rust,receiver-express=warp-rust,receiver-standard=warp-rust.
    #[arg(long, value_name = "STACK", env = "LAB_STACK")]
    pub stack: Option<Stacks>,
    /// How warp-rust is packaged: full, or static, which is one stripped file that needs nothing of the system.
    #[arg(long, value_name = "PACKAGING")]
    pub packaging: Option<Packaging>,
    /// How Dapr stands to the applications: sidecar or shared.
    #[arg(long, value_name = "TOPOLOGY", env = "LAB_TOPOLOGY")]
    pub topology: Option<Topology>,
    /// Replicas of the application for each role.
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,
    /// Replicas of Dapr for each role; with sidecars there are as many as of the application.
    #[arg(long, value_name = "N")]
    pub dapr_replicas: Option<u32>,
    /// Which program stores the blobs: native, or azurite, which would be what is measured.
    #[arg(long, value_name = "STORE", env = "LAB_BLOB")]
    pub blob: Option<BlobStore>,
    /// The Spin host's engine settings: spin, or tuned, with which no verdict on Spin can be drawn.
    #[arg(long, value_name = "PROFILE")]
    pub engine_profile: Option<EngineProfile>,
    /// Whether Dapr makes a span of each of its calls: off or on.
    #[arg(long, value_name = "TRACING")]
    pub tracing: Option<Tracing>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Scale while the orders are under way: what, and to how many replicas one after the other, at equal shares of the orders.
    /// distributor=1:5:1 has one replica, five after a third of the orders and one after two thirds.
    #[arg(long, value_name = "RESOURCE=N:N")]
    pub scale: Option<ScaleSteps>,
    /// Measure combinations one after the other, each on a lab of its own, and show them in one table: AXIS=VALUE,VALUE,AXIS=VALUE,
    /// such as stack=spin-rust,warp-rust,topology=shared. Without axes it is every stack in every topology. An axis takes
    /// the place of the option of its name. Axes are stack, topology, replicas, dapr-replicas, packaging, blob, tracing and series,
    /// which is nothing (series=a,b measures one lab as if it were two: what they differ by is chance). Tells which combinations
    /// differ, from 3 runs of each on; 5 are enough for most comparisons: --repeat 5. Writes matrix.json and matrix.html.
    #[arg(long, value_name = "AXES", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["scale", "keep"])]
    pub matrix: Option<Matrix>,
    /// Runs of each combination, taken in turns: A B C, A B C. It takes 3 to say whether combinations differ; take 5 to compare.
    #[arg(long, value_name = "K", default_value_t = 1, requires = "matrix",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::MATRIX_REPEAT)))]
    pub repeat: u32,
    /// Thresholds that the run must meet, or each combination of a matrix; else it ends with 100. A file of TOML or JSON:
    /// [throughput_per_second] min = 1000.
    #[arg(long, value_name = "FILE")]
    pub gate: Option<PathBuf>,
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    pub lab: String,
    /// Leave the lab running that this command started.
    #[arg(long)]
    pub keep: bool,
}

/// When orders are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileKind {
    /// All of them at once.
    Burst,
    /// One after the other, at a rate.
    Steady,
}

/// Settings of an earlier measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// The article's: Dapr Shared, 10 replicas of Dapr for each role. (100 active messages and no bound on handlers are in the
    /// components of every lab.)
    Article,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The run.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The thresholds.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A rate for orders that are all due at once.
    #[error("--rate {0} is of --profile steady: in a burst all orders are due at once")]
    RateOfBurst(u32),
    /// Orders that would be under way for longer than anybody waits.
    #[error("{orders} orders at {rate} in a second take {seconds} s, and a run may take {most} s", most = flow::limits::SPAN.as_secs())]
    Span {
        /// Orders.
        orders: u64,
        /// Orders in a second.
        rate: u32,
        /// Seconds from the first to the last.
        seconds: u64,
    },
}

impl From<NoWorkspace> for BenchError {
    fn from(error: NoWorkspace) -> Self {
        Self::Lab(error.into())
    }
}

impl BenchError {
    /// The exit code with which the command ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Lab(error) => error.exit(),
            Self::Flow(error) => error.exit(),
            Self::Report(_) => Exit::ResourceFailed,
            Self::Gate(_) | Self::RateOfBurst(_) | Self::Span { .. } => Exit::Usage,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lab(error) => error.hint(),
            Self::Flow(error) => error.hint().map(str::to_owned),
            Self::RateOfBurst(_) => Some("add --profile steady, or leave --rate out".to_owned()),
            Self::Span { .. } => Some("fewer orders (--orders), or more in a second (--rate)".to_owned()),
            Self::Report(_) | Self::Gate(_) => None,
        }
    }
}

/// The article's replicas of Dapr for each role.
const ARTICLE_DAPR_REPLICAS: u32 = 10;

impl BenchArgs {
    /// The lab to start when none is running.
    pub fn spec(&self) -> LabSpec {
        self.over(LabSpec { name: self.lab.clone(), blob: BlobStore::Native, ..LabSpec::default() })
    }

    /// What was asked for, and of `spec` what was left open. So a running lab is used as it is unless it contradicts.
    fn over(&self, spec: LabSpec) -> LabSpec {
        let article = self.preset == Some(Preset::Article);
        let topology = self.topology.or(article.then_some(Topology::Shared)).unwrap_or(spec.topology);
        let replicas = self.replicas.unwrap_or(spec.replicas);
        let dapr_replicas = match topology {
            Topology::Sidecar => self.dapr_replicas.unwrap_or(replicas),
            Topology::Shared => {
                self.dapr_replicas.or(article.then_some(ARTICLE_DAPR_REPLICAS)).unwrap_or(spec.dapr_replicas)
            }
        };
        self.cluster.over(LabSpec {
            stacks: self.stack.unwrap_or(spec.stacks),
            packaging: self.packaging.unwrap_or(spec.packaging),
            topology,
            replicas,
            dapr_replicas,
            blob: self.blob.unwrap_or(spec.blob),
            engine_profile: self.engine_profile.unwrap_or(spec.engine_profile),
            tracing: self.tracing.unwrap_or(spec.tracing),
            ..spec
        })
    }

    /// When the orders are due.
    ///
    /// # Errors
    /// Fails for a rate without use, and for orders that would take too long.
    pub(super) fn profile(&self) -> Result<Profile, BenchError> {
        let profile = match (self.profile, self.rate) {
            (ProfileKind::Burst, Some(rate)) => return Err(BenchError::RateOfBurst(rate)),
            (ProfileKind::Steady, Some(rate_per_second)) => Profile::Steady { rate_per_second },
            // The command line asks for a rate where it is steady.
            (ProfileKind::Burst | ProfileKind::Steady, None) => Profile::Burst,
        };
        let span = profile.span(self.orders);
        match self.rate.filter(|_| span > flow::limits::SPAN) {
            Some(rate) => Err(BenchError::Span { orders: self.orders, rate, seconds: span.as_secs() }),
            None => Ok(profile),
        }
    }

    fn check_scale(&self, topology: Topology) -> Result<(), LabError> {
        let Some(steps) = &self.scale else { return Ok(()) };
        std::iter::once(&steps.first)
            .chain(&steps.then)
            .try_for_each(|count| steps.scalable.check(topology, *count))
    }

    fn options(&self, lab: &Lab, display: &Arc<Display>, stop: &Stop) -> Result<RunOptions, BenchError> {
        let (flowing, wanted) = (stop.clone(), stop.clone());
        let (probed, asked, display) = (lab.clone(), lab.clone(), display.clone());
        let usage: UsageProbe = Arc::new(move || {
            let lab = probed.clone();
            Box::pin(async move { lab.usage().await.map_err(|error| error.to_string()) })
        });
        let replicas: ReplicaProbe = Arc::new(move || {
            let lab = asked.clone();
            Box::pin(async move { lab.replica_events().await.map_err(|error| error.to_string()) })
        });
        Ok(RunOptions {
            profile: self.profile()?,
            warm_up: self.warm_up,
            usage: Some(usage),
            usage_curve: !lab.spec().backend.is_cluster(),
            replicas: Some(replicas),
            scaling: self.scale.as_ref().map(|steps| plan(steps, lab)),
            progress: Some(Arc::new(move |progress| {
                if matches!(progress, Progress::Flowing { .. }) {
                    flowing.flowing.store(true, Ordering::Relaxed);
                }
                display.show(&progress);
            })),
            stop: Some(Arc::new(move || wanted.wanted.load(Ordering::Relaxed))),
            ..RunOptions::new(self.orders, self.seed)
        })
    }
}

/// How far a run is as far as ending it early is concerned, and whether it shall.
#[derive(Debug, Clone, Default)]
struct Stop {
    /// Orders are due: from here on there is something to keep.
    flowing: Arc<AtomicBool>,
    /// It shall end with what it has.
    wanted: Arc<AtomicBool>,
}

/// Scaling as the flow carries it out, on a certain lab.
fn plan(steps: &ScaleSteps, lab: &Lab) -> ScalePlan {
    let (scalable, lab) = (steps.scalable, lab.clone());
    let order: ScaleOrder = Arc::new(move |count| {
        let lab = lab.clone();
        Box::pin(async move { lab.scale(scalable, count).await.map_err(|error| error.to_string()) })
    });
    ScalePlan { first: steps.first, then: steps.then.clone(), order }
}

/// What a run left for people.
#[derive(Debug)]
pub struct BenchOutcome {
    /// The report.
    pub report: Report,
    /// The folder that it was written to.
    pub folder: PathBuf,
}

impl BenchOutcome {
    /// 0 for a clean run that meets every threshold.
    pub fn exit(&self) -> Exit {
        match &self.report {
            report if report.measured.interrupted => Exit::Interrupted,
            report if report.clean && report.passed() => Exit::Ok,
            _ => Exit::ChecksFailed,
        }
    }

    /// The result as text, with the path of the report.
    pub fn text(&self) -> String {
        format!("{}\nreport: {}\n", report::text(&self.report), self.folder.join("report.html").display())
    }
}

/// Measures one run; `None` where it was interrupted before there was anything to keep, and where it is one of a matrix, whose rows are
/// of whole runs. What it started is stopped, whatever happened, unless it was asked to
/// keep it: before it returns, or, when interrupted, with this process.
pub(super) async fn bench(
    args: &BenchArgs,
    gate: Option<&Gate>,
    display: Arc<Display>,
    interrupts: &mut Interrupts,
) -> Result<Option<BenchOutcome>, BenchError> {
    let workspace = Workspace::find()?;
    // Before anything of ours runs: the load is that of others.
    let environment = Environment::read(workspace.root());
    let (lab, own) = tokio::select! {
        lab = lab(args, &workspace, &display) => lab?,
        () = interrupts.next() => return Ok(None),
    };
    let stays = match !own || args.keep {
        true => Some(AsFound::look(args, &lab).await?),
        false => None,
    };
    let stop = Stop::default();
    let measuring = measure(args, gate, &lab, environment, &workspace, &display, &stop);
    let outcome = until_interrupted(measuring, &stop, args.matrix.is_none(), &display, interrupts).await;
    display.finish();
    // A second Ctrl-C waits for nothing.
    tokio::select! {
        outcome = leave(&lab, stays, outcome) => outcome,
        () = interrupts.next() => Ok(None),
    }
}

/// Waits for a run. An interruption ends it with what it has where there is something to keep, else at once, and the second one does so
/// whatever there is.
async fn until_interrupted<T>(
    measuring: impl Future<Output = T>,
    stop: &Stop,
    keeps: bool,
    display: &Display,
    interrupts: &mut Interrupts,
) -> Option<T> {
    tokio::pin!(measuring);
    tokio::select! {
        outcome = &mut measuring => return Some(outcome),
        () = interrupts.next() => {}
    }
    if !keeps || !stop.flowing.load(Ordering::Relaxed) {
        return None;
    }
    stop.wanted.store(true, Ordering::Relaxed);
    display.line("interrupted: keeping what was measured; once more to end at once");
    tokio::select! {
        outcome = &mut measuring => Some(outcome),
        () = interrupts.next() => None,
    }
}

/// What a run changes in a lab that stays.
struct AsFound {
    replicas: Option<(Scalable, u32)>,
}

impl AsFound {
    async fn look(args: &BenchArgs, lab: &Lab) -> Result<Self, LabError> {
        let Some(steps) = &args.scale else { return Ok(Self { replicas: None }) };
        let name = steps.scalable.to_string();
        let count = lab.status().await?.iter().filter(|row| row.component() == name).count();
        Ok(Self { replicas: Some((steps.scalable, count as u32)) })
    }

    async fn restore(&self, lab: &Lab) -> Result<(), LabError> {
        match self.replicas {
            Some((scalable, count)) => lab.scale(scalable, count).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Leaves the lab as it was found: stopped, or as many replicas as before, without a recorder that goes on.
async fn leave(
    lab: &Lab,
    stays: Option<AsFound>,
    outcome: Option<Result<BenchOutcome, BenchError>>,
) -> Result<Option<BenchOutcome>, BenchError> {
    match (outcome, stays) {
        (Some(outcome), Some(found)) => {
            let restored = found.restore(lab).await;
            let outcome = outcome?;
            restored?;
            Ok(Some(outcome))
        }
        (Some(outcome), None) => {
            let stopped = lab.down().await;
            let outcome = outcome?;
            stopped?;
            Ok(Some(outcome))
        }
        (None, Some(found)) => {
            flow::stop_recorders(lab.endpoints()).await?;
            found.restore(lab).await?;
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// The running lab, or a new one; and whether it is new.
async fn lab(args: &BenchArgs, workspace: &Workspace, display: &Display) -> Result<(Lab, bool), BenchError> {
    match Lab::attach_in(workspace, &args.lab).await {
        Ok(lab) => {
            let differences = lab.spec().differences(&args.over(lab.spec().clone()));
            if differences.is_empty() {
                args.check_scale(lab.spec().topology)?;
                return Ok((lab, false));
            }
            let differences = differences.join(", ");
            return Err(LabError::OtherSettings { name: args.lab.clone(), differences }.into());
        }
        Err(LabError::NotRunning { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let spec = args.spec();
    spec.validate().map_err(LabError::from)?;
    args.check_scale(spec.topology)?;
    display.line(&format!(
        "starting lab '{}': {}, {}, blobs in {}",
        spec.name, spec.stacks, spec.topology, spec.blob
    ));
    let lifetime = if args.keep { Lifetime::Detached } else { Lifetime::WithThisProcess };
    let options = StartOptions { one_of_a_few: false, yes: args.cluster.yes, ..StartOptions::new(lifetime)? };
    Ok((Lab::start_with(&spec, options, |_| ()).await?, true))
}

async fn measure(
    args: &BenchArgs,
    gate: Option<&Gate>,
    lab: &Lab,
    environment: Environment,
    workspace: &Workspace,
    display: &Arc<Display>,
    stop: &Stop,
) -> Result<BenchOutcome, BenchError> {
    let measured = flow::run(lab.endpoints(), &args.options(lab, display, stop)?).await?;
    let status = lab.status().await?;
    let mut report = Report::new(Inputs { spec: lab.spec(), status: &status, environment, measured });
    let runs = workspace.labs().join(RUNS);
    report.judge(&runs, gate);
    let folder = report.write(&runs)?;
    Ok(BenchOutcome { report, folder })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(line: &str) -> BenchArgs {
        Line::parse_from(format!("bench {line}").split_whitespace()).args
    }

    #[test]
    fn what_is_left_open_is_the_default_or_what_runs() {
        let spec = args("").spec();
        assert_eq!(spec, LabSpec { blob: BlobStore::Native, ..LabSpec::default() });
        let running = LabSpec { blob: BlobStore::Azurite, topology: Topology::Shared, ..LabSpec::default() };
        assert_eq!(args("").over(running.clone()), running);
        assert_eq!(running.differences(&args("--blob native").over(running.clone())).len(), 1);
    }

    #[test]
    fn the_articles_settings() {
        let spec = args("--preset article --stack warp-rust").spec();
        assert_eq!((spec.topology, spec.dapr_replicas, spec.replicas), (Topology::Shared, 10, 1));
        assert_eq!(args("--preset article --dapr-replicas 3").spec().dapr_replicas, 3);
        assert_eq!(spec.validate(), Ok(()));
    }

    #[test]
    fn sidecars_follow_the_application() {
        let spec = args("--replicas 3").spec();
        assert_eq!((spec.replicas, spec.dapr_replicas), (3, 3));
        assert!(args("--dapr-replicas 2").spec().validate().is_err());
    }

    #[test]
    fn the_reports_command_is_one_that_this_command_takes() {
        let report = crate::report::sample::report();
        let words = report.command.strip_prefix("cargo lab ").expect("the alias");
        let args = Line::parse_from(words.split_whitespace()).args;
        assert_eq!((args.orders, args.seed), (1_000, 42));
        assert_eq!(args.spec(), LabSpec { name: "main".into(), ..crate::report::sample::spec() });
    }
}
