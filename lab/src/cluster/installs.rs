//! What has to be done before applications can be deployed, as a graph: each step names those that it needs, everything else
//! runs at the same time, and nothing waits for a fixed time. It knows steps; it does not know what they install.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::Call;

/// One thing that an `up` does, as its dry run prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// A file is written.
    File {
        /// Where.
        path: PathBuf,
        /// What.
        content: String,
    },
    /// A program is called.
    Call(Call),
    /// Something is done through an API, in words.
    Does(String),
}

impl fmt::Display for Planned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, content } => {
                write!(formatter, "cat > {} <<'END'\n{}\nEND", path.display(), content.trim_end())
            }
            Self::Call(call) => call.fmt(formatter),
            Self::Does(words) => write!(formatter, "# {words}"),
        }
    }
}

/// What went wrong in a step.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// How a step ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It changed something.
    Changed,
    /// Everything was as it should be.
    Unchanged,
}

type Running = Pin<Box<dyn Future<Output = Result<Done, StepError>> + Send>>;

/// One step. It is data but for what it does.
pub struct Step {
    name: String,
    needs: Vec<String>,
    within: Duration,
    planned: Vec<Planned>,
    action: Box<dyn FnOnce() -> Running + Send>,
}

impl Step {
    /// A step that does something; `planned` is what its dry run prints.
    pub fn new<F>(
        name: impl Into<String>,
        within: Duration,
        planned: Vec<Planned>,
        action: impl FnOnce() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Done, StepError>> + Send + 'static,
    {
        let action = Box::new(move || Box::pin(action()) as Running);
        Self { name: name.into(), needs: Vec::new(), within, planned, action }
    }

    /// A step that makes calls, one after the other. Its time is theirs together.
    pub fn calls(name: impl Into<String>, calls: Vec<Call>) -> Self {
        let within = calls.iter().map(|call| call.within).sum();
        let planned = calls.iter().cloned().map(Planned::Call).collect();
        Self::new(name, within, planned, move || async move {
            for call in calls {
                call.run().await?;
            }
            Ok(Done::Changed)
        })
    }

    /// The same step, to be started when those of these names are done.
    #[must_use]
    pub fn after<N: Into<String>>(mut self, needs: impl IntoIterator<Item = N>) -> Self {
        self.needs.extend(needs.into_iter().map(Into::into));
        self
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Step")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// Steps that can be done in an order that their needs allow.
#[derive(Debug)]
pub struct Graph {
    steps: Vec<Step>,
}

/// Why steps make no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two steps have one name.
    #[error("two steps are called '{0}'")]
    Twice(String),
    /// A step needs one that does not exist.
    #[error("step '{step}' needs '{needs}', which is no step")]
    Unknown {
        /// The step.
        step: String,
        /// What it needs.
        needs: String,
    },
    /// Steps need each other.
    #[error("steps wait for each other: {}", .0.join(", "))]
    Circle(Vec<String>),
}

/// Where a run of a graph is.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// A step was started.
    Started {
        /// Its name.
        step: &'a str,
    },
    /// A step is done.
    Done(&'a StepTiming),
}

/// When a step ran, in milliseconds after the start of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepTiming {
    /// Its name.
    pub step: String,
    /// What it waited for.
    pub needs: Vec<String>,
    /// When it was started.
    pub started_ms: f64,
    /// When it was done.
    pub done_ms: f64,
    /// Whether it changed anything.
    pub done: Done,
}

impl StepTiming {
    /// How long it took.
    pub fn took_ms(&self) -> f64 {
        self.done_ms - self.started_ms
    }
}

/// How long everything took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// Every step, in the order in which they were done.
    pub steps: Vec<StepTiming>,
}

impl Timings {
    /// From the start until the last step was done.
    pub fn total_ms(&self) -> f64 {
        self.steps.iter().map(|step| step.done_ms).fold(0.0, f64::max)
    }

    /// The steps that decided how long it took: the one that was done last, what it waited for last, and so on; the first first.
    pub fn critical_path(&self) -> Vec<&StepTiming> {
        let last_of = |names: Option<&[String]>| {
            let wanted = |step: &&StepTiming| names.is_none_or(|names| names.contains(&step.step));
            self.steps.iter().filter(wanted).max_by(|one, other| one.done_ms.total_cmp(&other.done_ms))
        };
        let mut path = Vec::new();
        let mut next = last_of(None);
        while let Some(step) = next {
            path.push(step);
            next = last_of(Some(&step.needs));
        }
        path.reverse();
        path
    }

    /// The critical path, and what was as it should be, a line each; none where there was no step.
    pub fn lines(&self) -> Vec<String> {
        let told = |step: &&StepTiming| format!("{} {:.1} s", step.step, step.took_ms() / 1e3);
        let path: Vec<_> = self.critical_path().iter().map(told).collect();
        let kept = self.steps.iter().filter(|step| step.done == Done::Unchanged);
        let mut kept: Vec<_> = kept.map(|step| step.step.as_str()).collect();
        // Steps that run at the same time end in any order.
        kept.sort_unstable();
        let line = |words: &str, list: String| (!list.is_empty()).then(|| format!("{words}: {list}"));
        let lines = [line("critical path", path.join(" → ")), line("kept", kept.join(", "))];
        lines.into_iter().flatten().collect()
    }
}

/// A step that failed; what else was running then was stopped.
#[derive(Debug, thiserror::Error)]
#[error("step '{step}' failed after {:.1} s{}", took.as_secs_f64(), while_running(stopped))]
pub struct StepFailed {
    /// Its name.
    pub step: String,
    /// How long it took to fail.
    pub took: Duration,
    /// The steps that were stopped because of it.
    pub stopped: Vec<String>,
    /// Why it failed.
    #[source]
    pub source: StepError,
}

fn while_running(stopped: &[String]) -> String {
    match stopped {
        [] => String::new(),
        _ => format!("; stopped with it: {}", stopped.join(", ")),
    }
}

/// A step that did not end in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it was not done within {} s", within.as_secs_f64())]
pub struct TooLate {
    /// How long it was given.
    pub within: Duration,
}

struct Finished {
    name: String,
    started: Instant,
    outcome: Result<Done, StepError>,
}

impl Graph {
    /// Makes a graph of steps.
    ///
    /// # Errors
    /// Fails where a name is taken twice, a need is no step, or steps wait for each other.
    pub fn new(steps: Vec<Step>) -> Result<Self, GraphError> {
        let mut names = std::collections::BTreeSet::new();
        if let Some(twice) = steps.iter().find(|step| !names.insert(step.name.clone())) {
            return Err(GraphError::Twice(twice.name.clone()));
        }
        for step in &steps {
            if let Some(needs) = step.needs.iter().find(|name| !names.contains(*name)) {
                return Err(GraphError::Unknown { step: step.name.clone(), needs: needs.clone() });
            }
        }
        let steps = in_order(steps)?;
        Ok(Self { steps })
    }

    /// What would be done, in an order that the needs allow: each step's name and what it does.
    pub fn plan(&self) -> impl Iterator<Item = (&str, &[String], &[Planned])> {
        self.steps.iter().map(|step| (step.name.as_str(), step.needs.as_slice(), step.planned.as_slice()))
    }

    /// Does every step as soon as those that it needs are done. Dropped before, it stops what runs.
    ///
    /// # Errors
    /// Fails with the first step that fails or takes too long; the others are stopped.
    pub async fn run(self, mut tell: impl FnMut(Event<'_>)) -> Result<Timings, StepFailed> {
        let start = Instant::now();
        let mut waiting = self.steps;
        let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut timings = Timings::default();
        let mut tasks = JoinSet::new();
        loop {
            let done = |name: &String| timings.steps.iter().any(|timing| timing.step == *name);
            let (ready, later): (Vec<Step>, Vec<Step>) =
                waiting.into_iter().partition(|step| step.needs.iter().all(done));
            waiting = later;
            for step in ready {
                tell(Event::Started { step: &step.name });
                running.insert(step.name.clone(), step.needs.clone());
                tasks.spawn(finish(step));
            }
            // A step that panicked is a bug of ours; the panic goes on where it can be seen.
            let Some(ended) = tasks.join_next().await else { return Ok(timings) };
            let Finished { name, started, outcome } =
                ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let needs = running.remove(&name).unwrap_or_default();
            match outcome {
                Ok(done) => {
                    let since = |instant: Instant| instant.duration_since(start).as_secs_f64() * 1000.0;
                    let (started_ms, done_ms) = (since(started), since(Instant::now()));
                    timings.steps.push(StepTiming { step: name, needs, started_ms, done_ms, done });
                    if let Some(timing) = timings.steps.last() {
                        tell(Event::Done(timing));
                    }
                }
                Err(source) => {
                    tasks.shutdown().await;
                    let stopped = running.into_keys().collect();
                    return Err(StepFailed { step: name, took: started.elapsed(), stopped, source });
                }
            }
        }
    }
}

async fn finish(step: Step) -> Finished {
    let started = Instant::now();
    let outcome = match tokio::time::timeout(step.within, (step.action)()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(TooLate { within: step.within }.into()),
    };
    Finished { name: step.name, started, outcome }
}

/// The steps in an order in which each comes after those that it needs; among equals as they were given.
fn in_order(mut steps: Vec<Step>) -> Result<Vec<Step>, GraphError> {
    let mut ordered: Vec<Step> = Vec::with_capacity(steps.len());
    while !steps.is_empty() {
        let has = |name: &String| ordered.iter().any(|step| step.name == *name);
        match steps.iter().position(|step| step.needs.iter().all(has)) {
            Some(place) => {
                let step = steps.remove(place);
                ordered.push(step);
            }
            None => return Err(GraphError::Circle(steps.into_iter().map(|step| step.name).collect())),
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Barrier;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn step(name: &str, needs: &[&str]) -> Step {
        Step::new(name, LONG, Vec::new(), || async { Ok(Done::Changed) }).after(needs.iter().copied())
    }

    #[tokio::test]
    async fn steps_that_need_nothing_of_each_other_run_at_the_same_time() {
        // Each waits for the other: one after the other they would never end.
        let both = Arc::new(Barrier::new(2));
        let meets = |name: &str| {
            let both = Arc::clone(&both);
            Step::new(name, LONG, Vec::new(), move || async move {
                both.wait().await;
                Ok(Done::Unchanged)
            })
        };
        let graph = Graph::new(vec![step("last", &["a", "b"]), meets("a"), meets("b")]).expect("a graph");
        let mut started = Vec::new();
        let timings = graph
            .run(|event| {
                if let Event::Started { step } = event {
                    started.push(step.to_owned());
                }
            })
            .await
            .expect("it runs");
        assert_eq!(started, ["a", "b", "last"]);
        assert_eq!(timings.steps.last().map(|timing| timing.done), Some(Done::Changed));
        assert!(timings.steps.iter().all(|timing| timing.took_ms() >= 0.0));
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_rest_and_nothing_that_needs_it_is_started() {
        struct Dropped(Arc<std::sync::atomic::AtomicBool>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let stopped = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Dropped(Arc::clone(&stopped));
        let hangs = Step::new("hangs", LONG, Vec::new(), move || async move {
            let _seen = seen;
            std::future::pending().await
        });
        let fails = Step::new("fails", LONG, Vec::new(), || async { Err("no webhook".into()) });
        let never =
            Step::new("never", LONG, Vec::new(), || async { panic!("it was started") }).after(["fails"]);
        let graph = Graph::new(vec![hangs, fails, never]).expect("a graph");
        let error = graph.run(|_| {}).await.expect_err("a step fails");
        assert_eq!(
            (error.step.as_str(), error.stopped.as_slice()),
            ("fails", ["hangs".to_owned()].as_slice())
        );
        assert_eq!(error.source.to_string(), "no webhook");
        assert!(
            stopped.load(std::sync::atomic::Ordering::SeqCst),
            "what ran was dropped before the error came back"
        );
    }

    #[tokio::test]
    async fn a_step_that_takes_too_long_fails() {
        let slow = Step::new("slow", Duration::from_millis(50), Vec::new(), std::future::pending);
        let error = Graph::new(vec![slow]).expect("a graph").run(|_| {}).await.expect_err("it is late");
        assert_eq!(error.source.to_string(), "it was not done within 0.05 s");
    }

    #[test]
    fn steps_that_make_no_graph_are_refused() {
        let of = |steps| Graph::new(steps).expect_err("no graph").to_string();
        assert_eq!(of(vec![step("a", &[]), step("a", &[])]), "two steps are called 'a'");
        assert_eq!(of(vec![step("a", &["b"])]), "step 'a' needs 'b', which is no step");
        let circle = vec![step("a", &["b"]), step("b", &["a"]), step("c", &[])];
        assert_eq!(of(circle), "steps wait for each other: a, b");
    }

    #[test]
    fn the_critical_path_and_what_was_kept_are_a_line_each() {
        let timing = |step: &str, needs: &[&str], started_ms, done_ms, done| StepTiming {
            step: step.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            started_ms,
            done_ms,
            done,
        };
        let timings = Timings {
            steps: vec![
                timing("cluster", &[], 0.0, 60.0, Done::Unchanged),
                timing("images", &["cluster"], 60.0, 90.0, Done::Unchanged),
                timing("dapr", &["cluster"], 60.0, 14_060.0, Done::Changed),
                timing("applications", &["dapr", "images"], 14_060.0, 20_260.0, Done::Changed),
            ],
        };
        assert_eq!(
            timings.lines(),
            ["critical path: cluster 0.1 s → dapr 14.0 s → applications 6.2 s", "kept: cluster, images"]
        );
        assert_eq!(Timings::default().lines(), Vec::<String>::new());
    }

    #[test]
    fn the_plan_is_in_an_order_that_works() {
        let graph = Graph::new(vec![step("c", &["b"]), step("a", &[]), step("b", &["a"])]).expect("a graph");
        assert_eq!(graph.plan().map(|(name, ..)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn the_critical_path_follows_what_was_waited_for_last() {
        let timing = |step: &str, needs: &[&str], started_ms: f64, done_ms: f64| StepTiming {
            step: step.to_owned(),
            needs: needs.iter().map(|name| (*name).to_owned()).collect(),
            started_ms,
            done_ms,
            done: Done::Changed,
        };
        let timings = Timings {
            steps: vec![
                timing("images", &[], 0.0, 10.0),
                timing("cluster", &[], 0.0, 30.0),
                timing("dapr", &["cluster"], 30.0, 50.0),
                timing("push", &["images", "cluster"], 30.0, 45.0),
                timing("apps", &["dapr", "push"], 50.0, 60.0),
            ],
        };
        let path: Vec<&str> = timings.critical_path().iter().map(|timing| timing.step.as_str()).collect();
        assert_eq!(path, ["cluster", "dapr", "apps"]);
        assert_eq!(timings.total_ms(), 60.0);
        assert!(Timings::default().critical_path().is_empty());
    }
}
