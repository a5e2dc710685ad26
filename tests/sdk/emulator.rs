//! The programs that the SDKs talk to: built if need be, started on free ports, ended with the test, their logs looked
//! through.
//!
//! It must not know the SDKs.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::build::{self, Artefact, Step};
use lab::paths::Workspace;
use lab::process::{Announces, Child, Dies, Probe, Program, ReservedPort, Spawner};
use serde_json::json;

/// The account that every tool for the storage emulators knows; it opens nothing but emulators.
pub const ACCOUNT: &str = "devstoreaccount1";

/// That account's key, as published with the storage emulators.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The longest that a program may take until it serves.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How long a program that is told to end may take.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// A running emulator; it ends when this is dropped.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    /// What was started by it may end with it.
    _spawner: Spawner,
    address: SocketAddr,
    log: PathBuf,
}

impl Emulator {
    /// The broker, with these queues; every queue locks a message for 5 s, delivers it 3 times, and dead-letters what
    /// expires: what the cases rely on.
    pub async fn servicebus(name: &str, queues: &[&str]) -> Self {
        let queue = |name: &&str| {
            let properties = json!({
                "DeadLetteringOnMessageExpiration": true,
                "LockDuration": "PT5S",
                "MaxDeliveryCount": 3,
            });
            json!({ "Name": name, "Properties": properties })
        };
        let queues: Vec<_> = queues.iter().map(queue).collect();
        let namespace = json!({ "Name": "sbemulatorns", "Queues": queues });
        let config = json!({ "UserConfig": { "Namespaces": [namespace] } });
        let path = folder().join(format!("{name}.Config.json"));
        fs::write(&path, config.to_string()).expect("the folder can be written");
        let path = path.display().to_string();
        let args = ["--http-listen", "127.0.0.1:0", "--config", &path];
        Self::ours(Artefact::ServicebusEmulator, name, &args).await
    }

    /// Our blob store.
    pub async fn blob(name: &str) -> Self {
        Self::ours(Artefact::BlobEmulator, name, &[]).await
    }

    /// The reference blob store.
    pub async fn azurite(name: &str) -> Self {
        let workspace = build(Artefact::Azurite).await;
        let main = workspace.root().join("emulators/azurite/node_modules/azurite/dist/src/blob/main.js");
        let mut port = ReservedPort::any().expect("a free port");
        let address = port.address();
        let (main, number) = (main.display().to_string(), address.port().to_string());
        let mut args = vec![main.as_str(), "--blobHost", "127.0.0.1", "--blobPort", &number];
        args.extend(["--inMemoryPersistence", "--extentMemoryLimit", "256", "--skipApiVersionCheck"]);
        args.extend(["--disableTelemetry", "--silent"]);
        let log = log(&format!("{name}-azurite"));
        let program = program("node".into(), &args, Dies::BySignal, Announces::Not, log.clone());
        port.hand_over();
        let (child, spawner) = spawn(&program).await;
        // There is no open page: an unsigned list is refused like this once it serves.
        let probe = Probe::Http {
            address,
            path: "/devstoreaccount1?comp=list",
            status: 403,
            header: Some(("x-ms-error-code", "AuthorizationFailure")),
        };
        let ready = probe.pass(&child, Instant::now() + READY_DEADLINE).await;
        ready.unwrap_or_else(|why| panic!("Azurite is not ready: {why:?}; its log is {}", log.display()));
        Self { child, _spawner: spawner, address, log }
    }

    async fn ours(artefact: Artefact, name: &str, args: &[&str]) -> Self {
        let workspace = build(artefact).await;
        let log = log(name);
        let args = [&["--listen", "127.0.0.1:0", "--stop-on-stdin-eof"], args].concat();
        let path = workspace.artefact(artefact.name());
        let program = program(path, &args, Dies::WithStdin, Announces::Line, log.clone());
        let (child, spawner) = spawn(&program).await;
        let word = async {
            tokio::select! {
                addresses = child.announces() => Ok(addresses),
                status = child.ended() => Err(format!("it ended with {status}")),
            }
        };
        let announced = tokio::time::timeout(READY_DEADLINE, word).await;
        let announced = announced.unwrap_or_else(|_| Err(format!("no word after {READY_DEADLINE:?}")));
        let failed = |why| panic!("{} is not ready: {why}; its log is {}", artefact.name(), log.display());
        // In order of their names: of the broker, AMQP comes first.
        let address = *announced.unwrap_or_else(failed).first().expect("it listens somewhere");
        Self { child, _spawner: spawner, address, log }
    }

    /// The broker's connection string, as the official emulator's documents write it.
    pub fn connection_string(&self) -> String {
        format!(
            "Endpoint=sb://{};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE;\
             UseDevelopmentEmulator=true;",
            self.address
        )
    }

    /// The URL of the account at a blob store.
    pub fn account_url(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    /// The file of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Ends it, and asserts that it did so in order and that nothing went wrong within.
    pub async fn stop(self) {
        let status = self.child.stop(STOP_GRACE).await;
        assert!(status.success(), "it ended with {status}; its log is {}", self.log.display());
        let text = fs::read_to_string(&self.log).expect("it has a log");
        let bad = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        let bad: Vec<_> = text.lines().filter(bad).collect();
        assert!(bad.is_empty(), "{}:\n{}", self.log.display(), bad.join("\n"));
    }
}

/// Where configurations and logs are written.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk");
    fs::create_dir_all(&folder).expect("the folder can be created");
    folder
}

/// The log of this name, empty.
fn log(name: &str) -> PathBuf {
    let path = folder().join(format!("{name}.log"));
    fs::write(&path, "").expect("the folder can be written");
    path
}

fn program(path: PathBuf, args: &[&str], dies: Dies, announces: Announces, log: PathBuf) -> Program {
    let args = args.iter().map(|argument| (*argument).to_owned()).collect();
    Program { path, args, env: Vec::new(), cwd: folder(), dies, announces, log }
}

async fn spawn(program: &Program) -> (Child, Spawner) {
    let spawner = Spawner::new().expect("a thread");
    match spawner.spawn(program).await {
        Ok(child) => (child, spawner),
        Err(error) => panic!("{} cannot be started: {error}", program.path.display()),
    }
}

/// So that `cargo test --test sdk` needs nothing before it. Only one test builds; the others find everything fresh.
async fn build(artefact: Artefact) -> Workspace {
    let built = tokio::task::spawn_blocking(move || {
        let workspace = Workspace::find().expect("the suite runs in the workspace");
        build::build(&workspace, &BTreeSet::from([artefact]), |step| {
            if let Step::Started { command, .. } = step {
                eprintln!("building: {command}");
            }
        })
        .map(|()| workspace)
    });
    let built = built.await.expect("the build does not panic");
    built.unwrap_or_else(|error| panic!("{error}; {}", error.hint().unwrap_or_default()))
}
