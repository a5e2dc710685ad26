//! Which applications there are to play with: every stack, packaging, host and engine profile. The only place that starts
//! one.

use std::collections::BTreeSet;

use lab::backend::local::{LoneApp, RealPrograms};
use lab::build::{self, Artefact, Step};
use lab::paths::Workspace;
use lab::spec::{EngineProfile, LabSpec, Packaging, Stack, Stacks};

use crate::dapr::Dapr;
use crate::stage::{Stage, Verdict};

/// An application, as an artefact on a host.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its column in the table.
    pub name: &'static str,
    spec: LabSpec,
    /// Whether it needs a real Spin.
    on_spin: bool,
    except: &'static [Exception],
}

/// A case that is not played with an application, and why; both stand in the table.
pub type Exception = (&'static str, &'static str);

const SEEN_LATE: &str =
    "not played: node-fetch, on which Dapr's SDK stands, does not see it, and gives up after 60 s";

/// node-fetch 2 sees that an answer breaks off where it is in chunks, and not where it has a length.
const LENGTHS_OF_NODE_FETCH: [Exception; 2] =
    [("Dapr breaks off within a 500", SEEN_LATE), ("Dapr breaks off within a 200", SEEN_LATE)];

fn row(name: &'static str, stack: Stack) -> Row {
    let lab = format!("contract-{}", name.to_ascii_lowercase().replace(' ', "-"));
    let spec = LabSpec { name: lab, stacks: Stacks::all(stack), ..LabSpec::default() };
    Row { name, spec, on_spin: false, except: &[] }
}

impl Row {
    fn tuned(mut self) -> Self {
        self.spec.engine_profile = EngineProfile::Tuned;
        self
    }

    fn on_spin(mut self) -> Self {
        self.on_spin = true;
        self
    }

    fn packaged(mut self, packaging: Packaging) -> Self {
        self.spec.packaging = packaging;
        self
    }

    fn except(mut self, except: &'static [Exception]) -> Self {
        self.except = except;
        self
    }

    /// Every one, in the order of the table.
    pub fn all() -> Vec<Self> {
        vec![
            row("spin-rust", Stack::SpinRust),
            row("spin-rust tuned", Stack::SpinRust).tuned(),
            row("spin-rust on Spin", Stack::SpinRust).on_spin(),
            row("spin-ts", Stack::SpinTs),
            row("spin-ts tuned", Stack::SpinTs).tuned(),
            row("spin-ts on Spin", Stack::SpinTs).on_spin(),
            row("warp-rust", Stack::WarpRust),
            row("warp-rust static", Stack::WarpRust).packaged(Packaging::Static),
            row("express-ts", Stack::ExpressTs).except(&LENGTHS_OF_NODE_FETCH),
        ]
    }

    /// Whether it can be started here: a real Spin is one that somebody has to name.
    pub fn is_here(&self) -> bool {
        !self.on_spin || RealPrograms::from_env().spin.is_some()
    }

    /// Starts it and plays every case; what it logged is shown where one failed.
    pub async fn play(self) -> Vec<Verdict> {
        let dapr = Dapr::start().await;
        let workspace = Workspace::find().expect("the suite runs in the workspace");
        let real = if self.on_spin { RealPrograms::from_env() } else { RealPrograms::default() };
        let app = LoneApp::start(workspace, self.spec, real, dapr.address()).await;
        let app = app.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let verdicts = Stage { app: app.address(), dapr }.play(self.except).await;
        if verdicts.iter().any(|verdict| verdict.outcome.is_err()) {
            eprintln!("the end of the log of {}:\n  {}", self.name, app.log_tail().join("\n  "));
        } else {
            app.stop_and_forget().await.expect("its log can be removed");
        }
        verdicts
    }
}

/// Builds what is missing or stale of what is played with; the rest of a lab is for other suites to build.
pub fn build(rows: &[Row]) {
    const NOT_PLAYED_WITH: [Artefact; 5] = [
        Artefact::Lab,
        Artefact::ServicebusEmulator,
        Artefact::DaprEmulator,
        Artefact::BlobEmulator,
        Artefact::Azurite,
    ];
    let workspace = Workspace::find().expect("the suite runs in the workspace");
    let mut wanted: BTreeSet<_> = rows.iter().flat_map(|row| Artefact::of(&row.spec)).collect();
    wanted.retain(|artefact| !NOT_PLAYED_WITH.contains(artefact));
    let built = build::build(&workspace, &wanted, |step| {
        if let Step::Started { command, .. } = step {
            eprintln!("building: {command}");
        }
    });
    built.unwrap_or_else(|error| panic!("{error}; {}", error.hint().unwrap_or_default()));
}
