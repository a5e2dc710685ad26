//! From measurements to text, JSON and HTML. It computes nothing that a measurement should have said.
//!
//! `report.json` is the report; text and page are views of it. Its shape is `schemas/report.schema.json`, whose version is
//! [`SCHEMA_VERSION`].

mod analysis;
mod chart;
mod compare;
mod environment;
mod gate;
mod html;
mod load;
mod matrix;
mod matrix_view;
mod metrics;
mod pairs;
mod replicas;
#[cfg(test)]
pub(crate) mod sample;
mod text;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use analysis::{Analysis, Bound, ComponentUsage};
pub use compare::{CompareError, Comparison, compare, compare_schema, previous};
pub use environment::Environment;
pub use gate::{Gate, GateCheck, GateError};
pub use html::{PageError, page};
pub use load::{Document, LoadError, load};
pub use matrix::{Figures, MatrixInputs, MatrixReport, MatrixRow, MatrixRun, matrix_schema};
pub use matrix_view::matrix_text;
pub use text::text;

use crate::backend::{ReplicaStatus, kubernetes};
use crate::flow::{self, Measured, Profile};
use crate::spec::{ClusterSpec, EngineProfile, LabSpec, Role, Topology};

/// Raised whenever a reader of the older shape would misread the new one.
pub const SCHEMA_VERSION: u32 = 2;

/// A run and everything that is needed to read its figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run's name, which is also its folder's: instant, stack, topology.
    pub name: String,
    /// When T0 was, RFC 3339.
    pub started: String,
    /// The command that measures the same again.
    pub command: String,
    /// Whether every order came out, unchanged, in its place, and none before T0.
    pub clean: bool,
    /// What was measured.
    pub lab: LabShape,
    /// What was real and what stood in.
    pub parts: Vec<PartKind>,
    /// What a reader must know before the figures are compared with others.
    pub notes: Vec<String>,
    /// Where it was measured.
    pub environment: Environment,
    /// What was measured.
    pub measured: Measured,
    /// Where the time went.
    pub analysis: Analysis,
    /// How it compares with the one before of the same command, in one line; nothing where there is none.
    pub previous: Option<String>,
    /// The thresholds that it was held against; none where none were given.
    pub gate: Vec<GateCheck>,
}

/// The lab's settings, in the words of its command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabShape {
    /// The back end.
    pub backend: String,
    /// The stack, one for all roles or one for each.
    pub stack: String,
    /// `sidecar` or `shared`.
    pub topology: String,
    /// Replicas of the application for each role.
    pub replicas: u32,
    /// Replicas of Dapr for each role.
    pub dapr_replicas: u32,
    /// `azurite` or `native`.
    pub blob: String,
    /// How `warp-rust` was packaged, `full` or `static`.
    pub packaging: String,
    /// Whether Dapr made spans, `off` or `on`.
    pub tracing: String,
    /// The engine settings of the Spin host.
    pub engine_profile: String,
    /// How long the broker locks a delivered message, seconds.
    pub lock_seconds: u32,
    /// Deliveries after which the broker dead-letters a message.
    pub max_delivery_count: u32,
}

/// One component: what ran, and whether it was the real thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartKind {
    /// What it is in the flow.
    pub component: String,
    /// The program that ran.
    pub program: String,
    /// Its version, where it tells one.
    pub version: Option<String>,
    /// How many of it.
    pub replicas: u32,
    /// Whether it is the real thing.
    pub real: bool,
    /// What a reader must know about it.
    pub note: String,
    /// Times that replicas of it were started again before or during the run.
    pub restarts: u32,
    /// What a node keeps of its image, bytes; `None` for what runs without one, and for images that are not the lab's.
    pub image_bytes: Option<u64>,
}

/// What [`Report::new`] puts together.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The lab's settings.
    pub spec: &'a LabSpec,
    /// The parts that ran.
    pub status: &'a [ReplicaStatus],
    /// The machine, read before the lab was started.
    pub environment: Environment,
    /// What was measured.
    pub measured: Measured,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder.
    #[error("failed to write {}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The JSON.
    #[error("failed to encode the report as JSON")]
    Json(#[source] serde_json::Error),
    /// The page.
    #[error("failed to make the report's page")]
    Page(#[source] PageError),
}

impl Report {
    /// Puts a report together.
    pub fn new(inputs: Inputs<'_>) -> Self {
        let Inputs { spec, status, environment, measured } = inputs;
        let started = crate::flow::schedule::rfc3339_ms(measured.scheduling.t0_us);
        let stamp: String = started.chars().filter(char::is_ascii_alphanumeric).collect();
        let stack = spec.stacks.to_string();
        let stack_word = if stack.contains('=') { "mixed" } else { stack.as_str() };
        let analysis = Analysis::of(&measured, environment.cores);
        let parts = kinds(spec, status);
        Self {
            schema_version: SCHEMA_VERSION,
            name: format!("{stamp}-{stack_word}-{}", spec.topology),
            started,
            command: command(spec, &measured),
            clean: measured.is_clean(),
            lab: shape(spec),
            notes: notes(spec, &parts, &measured),
            parts,
            environment,
            measured,
            analysis,
            previous: None,
            gate: Vec::new(),
        }
    }

    /// What must stand beside every figure of the run: that it is one of no Spin that anybody runs.
    pub fn label(&self) -> Option<&'static str> {
        label(&self.lab.engine_profile, &self.parts)
    }

    /// Compares it with the run before in `runs`, and holds it against a gate.
    pub fn judge(&mut self, runs: &Path, gate: Option<&Gate>) {
        self.previous = previous(runs, &Document::Run(Box::new(self.clone())));
        let figures = Figures::of(self);
        self.gate = gate.map(|gate| gate.check(None, figures.as_ref())).unwrap_or_default();
    }

    /// Whether every threshold was met.
    pub fn passed(&self) -> bool {
        self.gate.iter().all(|check| check.passed)
    }

    /// The report as `report.json` has it, with a newline at the end.
    pub fn to_json(&self) -> Result<String, ReportError> {
        let mut json = serde_json::to_string_pretty(self).map_err(ReportError::Json)?;
        json.push('\n');
        Ok(json)
    }

    /// Writes `report.json` and `report.html` into a folder of this run's name under `runs`, and gives the folder.
    pub fn write(&self, runs: &Path) -> Result<PathBuf, ReportError> {
        let page = page(self).map_err(ReportError::Page)?;
        write_files(&runs.join(&self.name), &[("report.json", self.to_json()?), ("report.html", page)])
    }
}

/// Writes files into a folder, which it makes, and gives the folder.
fn write_files(folder: &Path, files: &[(&str, String)]) -> Result<PathBuf, ReportError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| ReportError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(wrong(folder))?;
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(wrong(&path))?;
    }
    Ok(folder.to_owned())
}

/// The program that stands in for Spin.
const SPIN_HOST: &str = "spin-host";

/// What measuring both side by side has shown; `emulators/spin-host/README.md`, "Beside Spin 3.6.3".
const STAND_IN_FOR_SPIN: &str = "spin-host stands in for Spin: a small Rust application costs it about 0.4 of the CPU that Spin 3.6.3 takes, a \
     TypeScript one about 0.9; run with LAB_SPIN_BIN=/path/to/spin for Spin's own figures";

/// The label of figures that a host with settings of our own made.
const TUNED: &str = "spin-host tuned, not Spin";

fn label(engine_profile: &str, parts: &[PartKind]) -> Option<&'static str> {
    let tuned = engine_profile == EngineProfile::Tuned.as_str();
    (tuned && parts.iter().any(|part| part.program == SPIN_HOST)).then_some(TUNED)
}

fn notes(spec: &LabSpec, parts: &[PartKind], measured: &Measured) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(label) = label(spec.engine_profile.as_str(), parts) {
        notes.push(format!("{label}: no verdict on Spin can be drawn from any of these figures"));
    }
    if parts.iter().any(|part| part.program == SPIN_HOST) {
        notes.push(STAND_IN_FOR_SPIN.to_owned());
    }
    if spec.topology == Topology::Shared && !spec.backend.is_cluster() {
        notes.push(
            "Dapr Shared on one machine: as a daemonset it would be the same deployment with one replica a node, so what \
             Dapr on an application's own node saves is not shown"
                .to_owned(),
        );
    }
    let before = replicas::scaled_before(spec, measured);
    if !before.is_empty() {
        let before: Vec<_> = before.iter().map(|(name, count)| format!("{count} {name}")).collect();
        notes.push(format!("the lab had been scaled before the run: {}", before.join(", ")));
    }
    notes
}

/// Every setting that is not its default; whoever has a lab running must stop it first, or name another one.
fn command(spec: &LabSpec, measured: &Measured) -> String {
    let mut command = format!(
        "cargo lab bench --orders {} --seed {} --stack {} --topology {} --replicas {}",
        measured.setup.orders, measured.setup.seed, spec.stacks, spec.topology, spec.replicas
    );
    if let Profile::Steady { rate_per_second } = measured.setup.profile {
        command.push_str(&format!(" --profile steady --rate {rate_per_second}"));
    }
    let warm_up = measured.setup.warm_up_orders;
    if warm_up != flow::limits::WARM_UP.min(measured.setup.orders) {
        command.push_str(&format!(" --warm-up {warm_up}"));
    }
    if spec.dapr_replicas != spec.replicas {
        command.push_str(&format!(" --dapr-replicas {}", spec.dapr_replicas));
    }
    command.push_str(&format!(" --blob {}", spec.blob));
    if spec.packaging != LabSpec::default().packaging {
        command.push_str(&format!(" --packaging {}", spec.packaging));
    }
    if spec.tracing != LabSpec::default().tracing {
        command.push_str(&format!(" --tracing {}", spec.tracing));
    }
    if spec.engine_profile != LabSpec::default().engine_profile {
        command.push_str(&format!(" --engine-profile {}", spec.engine_profile));
    }
    if spec.backend.is_cluster() {
        command.push_str(&format!(" --backend {}", spec.backend));
        let usual = ClusterSpec::of(spec.backend).rows();
        for ((name, value), (_, usual)) in spec.cluster.rows().into_iter().zip(usual) {
            if value != usual {
                command.push_str(&format!(" --{name} {value}"));
            }
        }
    }
    if let Some(first) = measured.scaling.first() {
        let counts = measured.scaling.iter().map(|step| format!(":{}", step.scaled.to));
        let counts: String = counts.collect();
        command.push_str(&format!(" --scale {}={}{counts}", first.scaled.resource, first.scaled.from));
    }
    command
}

fn shape(spec: &LabSpec) -> LabShape {
    LabShape {
        backend: spec.backend.to_string(),
        stack: spec.stacks.to_string(),
        topology: spec.topology.to_string(),
        replicas: spec.replicas,
        dapr_replicas: spec.dapr_replicas,
        blob: spec.blob.to_string(),
        packaging: spec.packaging.to_string(),
        tracing: spec.tracing.to_string(),
        engine_profile: spec.engine_profile.to_string(),
        lock_seconds: spec.lock_seconds,
        max_delivery_count: spec.max_delivery_count,
    }
}

/// The parts by what they stand for and the program that ran: a mixed lab has two kinds of application, and on a cluster two kinds
/// of Dapr.
fn kinds(spec: &LabSpec, status: &[ReplicaStatus]) -> Vec<PartKind> {
    let mut kinds: Vec<PartKind> = Vec::new();
    for replica in status {
        let component = stands_for(replica);
        let note = note(spec, replica);
        let same = |kind: &&mut PartKind| {
            kind.component == component && kind.program == replica.program && kind.note == note
        };
        match kinds.iter_mut().find(same) {
            Some(kind) => {
                kind.replicas += 1;
                kind.restarts += replica.restarts;
            }
            None => kinds.push(PartKind {
                component: component.to_owned(),
                program: replica.program.clone(),
                version: replica.version.clone(),
                replicas: 1,
                real: replica.real,
                note: note.to_owned(),
                restarts: replica.restarts,
                image_bytes: replica.image_bytes,
            }),
        }
    }
    kinds
}

/// By the names that [`ReplicaStatus::name`] lists.
fn stands_for(replica: &ReplicaStatus) -> &'static str {
    let name = replica.name.as_str();
    let is_dapr = |word: &str| word == "dapr" || word == "daprd";
    if name == "servicebus" {
        "Azure Service Bus"
    } else if name == "blob" {
        "Azure Blob Storage"
    } else if name.starts_with("service-") {
        "Service with several replicas"
    } else if name.split('-').any(is_dapr) {
        "Dapr"
    } else if replica.program.starts_with("spin") {
        "application on Spin"
    } else {
        "application, native"
    }
}

fn note(spec: &LabSpec, replica: &ReplicaStatus) -> &'static str {
    match (replica.program.as_str(), replica.real, spec.engine_profile) {
        ("spin-host", _, EngineProfile::Tuned) => TUNED,
        ("spin-host", _, EngineProfile::Spin) => "Spin's pooling values",
        ("servicebus-emulator", ..) => "in memory, no network between, no quotas",
        ("blob-emulator", ..) => "in memory",
        ("azurite", ..) => "Microsoft's emulator, in memory; slower with each blob that it holds",
        ("dapr-emulator", ..) => "the two Azure bindings only, with more credit than daprd grants",
        ("daprd", ..) if spec.backend.is_cluster() => {
            let role = |role: &&Role| replica.component().strip_suffix("-dapr") == Some(role.as_str());
            kubernetes::dapr_words(spec, Role::ALL.iter().find(role).copied())
        }
        ("lab" | "lab service", ..) => "a random replica for each connection, as kube-proxy does it",
        _ => "",
    }
}

/// The JSON schema of the report, as `schemas/report.schema.json` has it.
pub fn schema() -> Result<String, ReportError> {
    schema_of::<Report>()
}

/// The JSON schema of a document, as its file has it.
fn schema_of<T: JsonSchema>() -> Result<String, ReportError> {
    let mut json = serde_json::to_string_pretty(&schemars::schema_for!(T)).map_err(ReportError::Json)?;
    json.push('\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{BackendKind, LabSpec, Topology};

    /// To change the shape on purpose: run the test, copy the file that it names, and think about [`SCHEMA_VERSION`].
    #[test]
    fn the_checked_in_schema_is_that_of_the_code() {
        let now = schema().unwrap();
        if now != include_str!("../../schemas/report.schema.json") {
            let path = std::env::temp_dir().join("report.schema.json");
            std::fs::write(&path, &now).unwrap();
            panic!("lab/schemas/report.schema.json is not that of the code, which is in {}", path.display());
        }
    }

    #[test]
    fn a_report_fits_its_schema_and_survives_the_way() {
        let schema: serde_json::Value = serde_json::from_str(&schema().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for report in [sample::report(), sample::failed()] {
            let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
            let wrong: Vec<_> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
            assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
        }
        assert!(!validator.is_valid(&serde_json::json!({ "schema_version": 1 })));
    }

    #[test]
    fn the_command_names_what_was_measured() {
        let spec = LabSpec { topology: Topology::Shared, dapr_replicas: 10, ..sample::spec() };
        assert_eq!(
            command(&spec, &sample::measured()),
            "cargo lab bench --orders 1000 --seed 42 --stack spin-rust --topology shared --replicas 1 \
             --dapr-replicas 10 --blob native"
        );
    }

    /// It said `local` of every run.
    #[test]
    fn a_run_on_a_cluster_names_its_back_end_and_which_dapr_stood_where() {
        let report = sample::on_a_cluster();
        assert_eq!(report.lab.backend, "k3d");
        assert!(
            report.command.ends_with("--packaging static --backend k3d --pools mixed"),
            "{}",
            report.command
        );
        let dapr: Vec<_> = report.parts.iter().filter(|part| part.component == "Dapr").collect();
        let told: Vec<_> = dapr.iter().map(|part| (part.replicas, part.note.as_str())).collect();
        let beside =
            "sidecar of arguments and files: the shim gives no environment to a container beside a Spin one";
        let expected = [
            (1, "the lab's own, in a pod of its own"),
            (1, beside),
            (2, "sidecar that Dapr's injector adds"),
        ];
        assert_eq!(told, expected);
        // What holds on one machine does not hold here.
        let shared =
            LabSpec { backend: BackendKind::Kubernetes, topology: Topology::Shared, ..sample::spec() };
        assert_eq!(notes(&shared, &report.parts, &sample::measured()), Vec::<String>::new());
    }

    #[test]
    fn what_the_stand_in_of_spin_is_worth_is_said_once() {
        let report = sample::report();
        let told = report.notes.iter().chain(report.parts.iter().map(|part| &part.note));
        assert_eq!(told.filter(|words| words.contains("0.4")).count(), 1, "{:?}", report.notes);
    }

    #[test]
    fn a_tuned_host_is_never_called_spin() {
        let spec = LabSpec { engine_profile: EngineProfile::Tuned, ..sample::spec() };
        let kinds = kinds(&spec, &sample::status());
        let host = kinds.iter().find(|kind| kind.program == "spin-host").unwrap();
        assert!(host.note.contains("spin-host tuned, not Spin") && !host.real);
        assert_eq!(host.replicas, 4);
    }

    #[test]
    fn files_are_written_under_the_runs_name() {
        let runs = tempfile::tempdir().unwrap();
        let report = sample::report();
        let folder = report.write(runs.path()).unwrap();
        assert_eq!(folder, runs.path().join("20260101T000000000Z-spin-rust-shared"));
        let json = std::fs::read_to_string(folder.join("report.json")).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        assert!(std::fs::read_to_string(folder.join("report.html")).unwrap().starts_with("<!doctype html>"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = report.write(file.path()).unwrap_err().to_string();
        assert!(error.contains("failed to write"), "{error}");
    }
}
