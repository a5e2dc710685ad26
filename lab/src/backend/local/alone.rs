//! One application without the rest of a lab, in front of a Dapr that somebody else plays: for the contract of the
//! applications. It is started by the command line that a lab starts it with; it is not watched over or started again.

use std::fs;
use std::net::SocketAddr;

use super::command::{Addresses, Command, Peers, RealPrograms, Setting};
use super::plan::Kind;
use crate::backend::{Failure, LabError, Stage};
use crate::paths::Workspace;
use crate::process::{Child, NotReady, ReservedPort, Spawner};
use crate::spec::{LabSpec, Role};
use crate::{limits, logs};

/// An application that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct LoneApp {
    address: SocketAddr,
    setting: Setting,
    child: Child,
    // Some programs die with the thread that started them.
    _spawner: Spawner,
    _port: ReservedPort,
}

/// Every role runs the same artefact; the log is named after this one.
const KIND: Kind = Kind::App(Role::Distributor, 1);

impl LoneApp {
    /// Starts the distributor of `spec`, whose Dapr is at `dapr`, and waits until it is ready. Its log is in the folder
    /// of the lab of that name. Must be called within a runtime.
    ///
    /// # Errors
    /// Says why it did not get ready, with the end of its log.
    pub async fn start(
        workspace: Workspace,
        spec: LabSpec,
        real: RealPrograms,
        dapr: SocketAddr,
    ) -> Result<Self, LabError> {
        spec.validate()?;
        let setting = Setting { files: workspace.lab(&spec.name), workspace, spec, real };
        let logs = setting.files.logs();
        let file = |operation| {
            let path = logs.clone();
            move |source| LabError::File { operation, path, source }
        };
        fs::create_dir_all(&logs).map_err(file("create"))?;
        let mut port =
            ReservedPort::any().map_err(|taken| LabError::Refused(format!("no port is free: {taken}")))?;
        let address = port.address();
        let at = Addresses { main: address, second: address, third: address };
        let Command { program, probes, .. } = setting.command(KIND, at, Peers { other: Some(dapr) });
        port.hand_over();
        let spawner = Spawner::new().map_err(file("start a program that logs to"))?;
        let child = spawner.spawn(&program).await.map_err(|source| LabError::File {
            operation: "start",
            path: program.path.clone(),
            source,
        })?;
        let deadline = child.started() + limits::READY;
        for probe in &probes {
            if let Err(why) = probe.pass(&child, deadline).await {
                child.kill().await;
                return Err(LabError::Failed(Box::new(failure(&setting, why))));
            }
        }
        Ok(Self { address, setting, child, _spawner: spawner, _port: port })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> Vec<String> {
        logs::tail(&self.setting.files.log(&KIND.to_string()), limits::LOG_TAIL_LINES)
    }

    /// Stops it in order and removes its log.
    ///
    /// # Errors
    /// Fails where the log cannot be removed.
    pub async fn stop_and_forget(self) -> Result<(), LabError> {
        self.child.stop(limits::STOP_GRACE).await;
        let path = self.setting.files.folder().to_owned();
        fs::remove_dir_all(&path).map_err(|source| LabError::File { operation: "remove", path, source })
    }
}

fn failure(setting: &Setting, why: NotReady) -> Failure {
    let log = setting.files.log(&KIND.to_string());
    Failure {
        resource: setting.spec.name.clone(),
        stage: Stage::Start,
        what: format!("did not get ready: {:?}", why.why),
        probe: Some(why.probe.to_string()),
        last_status: why.last_status,
        elapsed_ms: u64::try_from(why.elapsed.as_millis()).unwrap_or(u64::MAX),
        log_tail: logs::tail(&log, limits::LOG_TAIL_LINES),
        log,
        hint: None,
    }
}
