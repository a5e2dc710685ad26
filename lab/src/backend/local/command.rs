//! How each resource is started: program, arguments, and the questions that show that it serves. The flags are those of
//! the originals, so that a real program takes a stand-in's place by its path alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::plan::Kind;
use crate::build::Artefact;
use crate::image::azurite_arguments;
use crate::limits;
use crate::paths::{LabFiles, Workspace};
use crate::process::{Announces, Dies, Probe, Program};
use crate::spec::{BlobStore, EngineProfile, LabSpec, Stack, Tracing};

/// Real programs that take the place of our stand-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RealPrograms {
    /// A `daprd`.
    pub daprd: Option<PathBuf>,
    /// A `spin`.
    pub spin: Option<PathBuf>,
}

impl RealPrograms {
    /// As named by `LAB_DAPRD_BIN` and `LAB_SPIN_BIN`.
    pub fn from_env() -> Self {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { daprd: named("LAB_DAPRD_BIN"), spin: named("LAB_SPIN_BIN") }
    }
}

/// Everything that a command line depends on.
#[derive(Debug)]
pub(super) struct Setting {
    pub workspace: Workspace,
    pub files: LabFiles,
    pub spec: LabSpec,
    pub real: RealPrograms,
}

/// The addresses of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The one that others use.
    pub main: SocketAddr,
    /// The broker's HTTP port and Dapr's gRPC port, which nobody here uses; of everything else the same as `main`.
    pub second: SocketAddr,
    /// Dapr's port for other Daprs; of everything else the same as `main`.
    pub third: SocketAddr,
}

/// What others are reached at.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Peers {
    /// Of an application: its Dapr. Of a Dapr: its application.
    pub other: Option<SocketAddr>,
}

/// A command, and how to know that it serves.
#[derive(Debug)]
pub(super) struct Command {
    pub program: Program,
    /// Passed in this order; after the first `serving` of them, others may call it.
    pub probes: Vec<Probe>,
    pub serving: usize,
    /// Whether it starts processes of its own, whose use of the machine counts as its.
    pub has_children: bool,
}

impl Setting {
    /// The program's name, as `lab status` shows it, and whether it is the real thing.
    pub fn program_of(&self, kind: Kind) -> (&'static str, bool) {
        match kind {
            Kind::Broker => ("servicebus-emulator", false),
            Kind::Blob => match self.spec.blob {
                BlobStore::Azurite => ("azurite", false),
                BlobStore::Native => ("blob-emulator", false),
            },
            Kind::App(role, _) => match self.spec.stacks.of(role) {
                Stack::WarpRust => (Artefact::of_warp(self.spec.packaging).name(), true),
                Stack::ExpressTs => ("express-ts", true),
                Stack::SpinRust | Stack::SpinTs if self.real.spin.is_some() => ("spin", true),
                Stack::SpinRust | Stack::SpinTs => ("spin-host", false),
            },
            Kind::Dapr(..) | Kind::LabDapr if self.real.daprd.is_some() => ("daprd", true),
            Kind::Dapr(..) | Kind::LabDapr => ("dapr-emulator", false),
            Kind::AppService(_) | Kind::DaprService(_) => ("lab service", false),
        }
    }

    /// The command of a resource.
    pub fn command(&self, kind: Kind, at: Addresses, peers: Peers) -> Command {
        let log = self.files.log(&kind.to_string());
        match kind {
            Kind::Broker => self.broker(log, at),
            Kind::Blob => match self.spec.blob {
                BlobStore::Azurite => self.azurite(log, at.main),
                BlobStore::Native => self.blob_emulator(log, at.main),
            },
            Kind::App(role, _) => {
                let dapr = peers.other.map(|dapr| format!("http://{dapr}")).unwrap_or_default();
                match self.spec.stacks.of(role) {
                    Stack::WarpRust => {
                        self.native(Artefact::of_warp(self.spec.packaging), log, at.main, dapr)
                    }
                    Stack::ExpressTs => self.native(Artefact::ExpressTs, log, at.main, dapr),
                    Stack::SpinRust => self.wasm("apps/spin/rust", log, at.main, &dapr),
                    Stack::SpinTs => self.wasm("apps/spin/typescript", log, at.main, &dapr),
                }
            }
            Kind::Dapr(role, _) => self.dapr(log, role.as_str(), at, peers.other),
            Kind::LabDapr => self.dapr(log, "lab", at, None),
            Kind::AppService(_) | Kind::DaprService(_) => self.service(kind, log, at.main),
        }
    }

    /// One of our own programs.
    fn ours(&self, name: &str, log: PathBuf, at: &[SocketAddr], args: &[&str]) -> Command {
        let args = args.iter().copied().chain(["--stop-on-stdin-eof"]).map(str::to_owned).collect();
        Command {
            program: Program {
                path: self.workspace.artefact(name),
                args,
                env: Vec::new(),
                cwd: self.workspace.root().to_owned(),
                dies: Dies::WithStdin,
                announces: Announces::Line,
                log,
            },
            probes: vec![Probe::Announced { addresses: at.to_vec() }],
            serving: usize::MAX,
            has_children: false,
        }
    }

    fn broker(&self, log: PathBuf, at: Addresses) -> Command {
        let (amqp, admin) = (at.main.to_string(), at.second.to_string());
        let config = self.files.broker_config().display().to_string();
        let args = ["--listen", &amqp, "--http-listen", &admin, "--config", &config];
        let mut command = self.ours("servicebus-emulator", log, &[at.main, at.second], &args);
        command.probes.extend([http(at.second, "/health", 200), Probe::Amqp { address: at.main }]);
        command
    }

    fn blob_emulator(&self, log: PathBuf, at: SocketAddr) -> Command {
        let mut command = self.ours("blob-emulator", log, &[at], &["--listen", &at.to_string()]);
        command.probes.push(http(at, "/_emulator/clock", 200));
        command
    }

    fn azurite(&self, log: PathBuf, at: SocketAddr) -> Command {
        let main = "emulators/azurite/node_modules/azurite/dist/src/blob/main.js";
        let mut args = vec![self.workspace.root().join(main).display().to_string()];
        args.extend(azurite_arguments(at));
        let mut command = self.foreign(PathBuf::from("node"), args, log);
        // There is no open page: an unsigned list is refused like this once it serves, and differently before.
        command.probes.push(Probe::Http {
            address: at,
            path: "/devstoreaccount1?comp=list",
            status: 403,
            header: Some(("x-ms-error-code", "AuthorizationFailure")),
        });
        command
    }

    /// A program that knows nothing of ours.
    fn foreign(&self, path: PathBuf, args: Vec<String>, log: PathBuf) -> Command {
        Command {
            program: Program {
                path,
                args,
                env: Vec::new(),
                cwd: self.files.folder().to_owned(),
                dies: Dies::BySignal,
                announces: Announces::Not,
                log,
            },
            probes: Vec::new(),
            serving: usize::MAX,
            has_children: false,
        }
    }

    /// An application that is a program. (`express-ts` is a file that says itself that Node runs it.)
    fn native(&self, artefact: Artefact, log: PathBuf, at: SocketAddr, dapr: String) -> Command {
        let mut command = self.ours(artefact.name(), log, &[at], &["--listen", &at.to_string()]);
        command.program.env.push(("DAPR_URL".to_owned(), dapr));
        command.probes.push(http(at, "/healthz", 200));
        command
    }

    /// An application that a Spin host runs.
    fn wasm(&self, folder: &str, log: PathBuf, at: SocketAddr, dapr: &str) -> Command {
        let manifest = self.workspace.root().join(folder).join("spin.toml").display().to_string();
        match &self.real.spin {
            None => self.spin_host(&manifest, log, at, dapr),
            Some(spin) => self.spin(&manifest, log, at, dapr, spin.clone()),
        }
    }

    fn spin_host(&self, manifest: &str, log: PathBuf, at: SocketAddr, dapr: &str) -> Command {
        let profile = match self.spec.engine_profile {
            EngineProfile::Spin => "spin",
            EngineProfile::Tuned => "tuned",
        };
        let (listen, variable) = (at.to_string(), format!("dapr_url={dapr}"));
        let longest = format!("{}s", limits::COMPONENT_RUN.as_secs());
        let mut args = vec!["--from", manifest, "--listen", &listen, "--variable", &variable];
        args.extend(["--engine-profile", profile, "--request-timeout", &longest]);
        let mut command = self.ours("spin-host", log, &[at], &args);
        command.probes.push(http(at, "/healthz", 200));
        command
    }

    fn spin(&self, manifest: &str, log: PathBuf, at: SocketAddr, dapr: &str, spin: PathBuf) -> Command {
        // Else it keeps its state beside the manifest, and the replicas of all labs share it.
        let state = log.with_extension("state").display().to_string();
        let args = ["up", "--from", manifest, "--listen", &at.to_string(), "--state-dir", &state, "--quiet"];
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend(["--variable".to_owned(), format!("dapr_url={dapr}")]);
        let mut command = self.foreign(spin, args, log);
        // `spin up` starts the trigger as a process of its own.
        command.has_children = true;
        command.program.dies = Dies::ByPassedSignal;
        command.probes.push(http(at, "/healthz", 200));
        command
    }

    fn dapr(&self, log: PathBuf, app_id: &str, at: Addresses, app: Option<SocketAddr>) -> Command {
        // daprd takes any free gRPC port for 0, but not where there is no application: "conflicts with app-port".
        let [port, grpc, internal] = [at.main, at.second, at.third].map(|at| at.port().to_string());
        let own = self.files.components().display().to_string();
        let shared = self.workspace.components().display().to_string();
        let app_port = app.map(|app| app.port().to_string());
        let mut args = vec!["--app-id", app_id, "--dapr-http-port", &port, "--dapr-grpc-port", &grpc];
        // Left alone, daprd draws this one itself, and now and then one that somebody else has.
        args.extend(["--dapr-internal-grpc-port", &internal]);
        args.extend([
            "--dapr-listen-addresses",
            "127.0.0.1",
            "--enable-metrics=false",
            "--log-level",
            "info",
        ]);
        args.extend(["--resources-path", &shared, "--resources-path", &own]);
        let configuration = self.files.dapr_configuration().display().to_string();
        if self.spec.tracing == Tracing::On {
            args.extend(["--config", &configuration]);
        }
        if let Some(app_port) = &app_port {
            args.extend(["--app-channel-address", "127.0.0.1", "--app-port", app_port]);
        }
        let mut command = match &self.real.daprd {
            Some(daprd) => self.foreign(daprd.clone(), args.into_iter().map(str::to_owned).collect(), log),
            None => {
                // Real daprds find each other by multicast DNS.
                let names = self.files.names().display().to_string();
                args.extend(["--name-resolution-path", &names]);
                self.ours("dapr-emulator", log, &[at.main], &args)
            }
        };
        // It takes calls as soon as its components are there, and makes some before it calls itself ready.
        command.probes.push(http(at.main, "/v1.0/healthz/outbound", 204));
        command.serving = command.probes.len();
        command.probes.push(http(at.main, "/v1.0/healthz", 204));
        command
    }

    fn service(&self, kind: Kind, log: PathBuf, at: SocketAddr) -> Command {
        let (listen, name) = (at.to_string(), kind.to_string());
        let mut command = self.ours("lab", log, &[at], &["service", "--listen", &listen, "--name", &name]);
        // It always ends with its stdin, over which it is told its targets.
        command.program.args.retain(|argument| argument != "--stop-on-stdin-eof");
        command.probes.push(Probe::Tcp { address: at });
        command
    }
}

fn http(address: SocketAddr, path: &'static str, status: u16) -> Probe {
    Probe::Http { address, path, status, header: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::settings;
    use crate::spec::{Packaging, Role, Stacks};

    fn setting(real: RealPrograms) -> Setting {
        let workspace = Workspace::at("/workspace");
        let spec = LabSpec {
            stacks: Stacks { distributor: Stack::SpinRust, ..Stacks::all(Stack::WarpRust) },
            ..LabSpec::default()
        };
        Setting { files: workspace.lab("main"), workspace, spec, real }
    }

    fn at(port: u16) -> Addresses {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Addresses { main: address, second: address, third: address }
    }

    fn line(command: &Command) -> String {
        format!("{} {}", command.program.path.display(), command.program.args.join(" "))
    }

    const PEER: Peers =
        Peers { other: Some(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9)) };

    #[test]
    fn each_role_runs_its_own_stack() {
        let setting = setting(RealPrograms::default());
        let spin = setting.command(Kind::App(Role::Distributor, 1), at(1), PEER);
        assert!(line(&spin).contains("dist/spin-host --from"), "{}", line(&spin));
        assert!(line(&spin).contains("--variable dapr_url=http://127.0.0.1:9"), "{}", line(&spin));
        let warp = setting.command(Kind::App(Role::ReceiverExpress, 1), at(1), PEER);
        assert_eq!(line(&warp), "/workspace/dist/warp-rust --listen 127.0.0.1:1 --stop-on-stdin-eof");
        assert_eq!(warp.program.env, [("DAPR_URL".to_owned(), "http://127.0.0.1:9".to_owned())]);
    }

    #[test]
    fn a_stack_is_told_its_dapr_and_a_packaging_changes_the_program() {
        for (stack, packaging, program, dapr) in [
            (Stack::SpinTs, Packaging::Full, "dist/spin-host", "--variable dapr_url=http://127.0.0.1:9"),
            (Stack::SpinTs, Packaging::Full, "dist/spin-host", "apps/spin/typescript/spin.toml"),
            (Stack::ExpressTs, Packaging::Full, "dist/express-ts.cjs", "--listen 127.0.0.1:1"),
            (Stack::WarpRust, Packaging::Static, "dist/warp-rust-static", "--listen 127.0.0.1:1"),
        ] {
            let mut setting = setting(RealPrograms::default());
            setting.spec = LabSpec { stacks: Stacks::all(stack), packaging, ..LabSpec::default() };
            let command = setting.command(Kind::App(Role::Distributor, 1), at(1), PEER);
            assert!(line(&command).contains(program), "{}", line(&command));
            assert!(line(&command).contains(dapr), "{}", line(&command));
        }
    }

    #[test]
    fn a_real_program_gets_no_flag_that_only_ours_has() {
        let real = RealPrograms { daprd: Some("/real/daprd".into()), spin: Some("/real/spin".into()) };
        let setting = setting(real);
        for kind in [Kind::App(Role::Distributor, 1), Kind::Dapr(Role::Distributor, 1), Kind::LabDapr] {
            let command = setting.command(kind, at(1), PEER);
            assert!(line(&command).starts_with("/real/"), "{}", line(&command));
            assert!(!line(&command).contains("stop-on-stdin-eof"), "{}", line(&command));
            assert!(!line(&command).contains("engine-profile"), "{}", line(&command));
            assert!(!line(&command).contains("name-resolution-path"), "{}", line(&command));
            assert_ne!(command.program.dies, Dies::WithStdin);
            assert!(setting.program_of(kind).1);
        }
    }

    #[test]
    fn dapr_serves_before_it_is_ready_and_knows_its_application_only_if_it_has_one() {
        let setting = setting(RealPrograms::default());
        let sidecar = setting.command(Kind::Dapr(Role::Distributor, 1), at(1), PEER);
        assert!(line(&sidecar).contains("--app-port 9"), "{}", line(&sidecar));
        assert_eq!(sidecar.serving, sidecar.probes.len() - 1);
        let own = setting.command(Kind::LabDapr, at(1), Peers::default());
        assert!(line(&own).contains("--app-id lab "), "{}", line(&own));
        assert!(!line(&own).contains("--app-port"), "{}", line(&own));
        assert!(!line(&own).contains("--dapr-grpc-port 0"), "daprd refuses it without an application");
        assert!(line(&own).contains("--name-resolution-path /workspace/.lab/main/names"), "{}", line(&own));
    }

    #[test]
    fn every_dapr_traces_in_a_lab_that_traces_and_none_else() {
        for (tracing, with) in [(Tracing::Off, false), (Tracing::On, true)] {
            for daprd in [None, Some("/real/daprd".into())] {
                let mut setting = setting(RealPrograms { daprd, ..RealPrograms::default() });
                setting.spec.tracing = tracing;
                for kind in [Kind::Dapr(Role::Distributor, 1), Kind::LabDapr] {
                    let words = line(&setting.command(kind, at(1), PEER));
                    let flag = " --config /workspace/.lab/main/dapr.yaml";
                    assert_eq!(words.contains(flag), with, "{words}");
                }
            }
        }
    }

    #[test]
    fn no_argument_is_a_secret() {
        let setting = setting(RealPrograms::default());
        for kind in super::super::plan::resources(&setting.spec) {
            let command = setting.command(kind, at(1), PEER);
            assert!(!line(&command).contains(settings::ACCOUNT_KEY), "{}", line(&command));
            assert!(!line(&command).contains("SharedAccessKey"), "{}", line(&command));
        }
    }
}
