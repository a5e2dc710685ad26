//! A lab on a cluster as people see it.

use super::names::{self, Replicated};
use super::pods::Replica;
use super::{House, locked};
use crate::backend::{Part, Progress, ReplicaStatus};
use crate::cluster::installs::{Done, StepTiming};
use crate::spec::{Packaging, Stack};

impl House {
    /// Every replica, and what is beside the cluster.
    pub(super) fn status(&self) -> Vec<ReplicaStatus> {
        let beside = self.containers.get().map(|containers| containers.status(&self.files));
        let mut rows = beside.unwrap_or_default();
        rows.extend(self.pods.replicas().iter().map(|replica| self.row(replica)));
        rows
    }

    fn row(&self, replica: &Replica) -> ReplicaStatus {
        let (program, real) = self.program_of(replica);
        let version = match program {
            "daprd" => self.dapr_version.get().cloned(),
            _ => None,
        };
        ReplicaStatus {
            name: replica.name.clone(),
            program: program.to_owned(),
            version,
            real,
            state: replica.state.to_owned(),
            endpoint: self.address_of(replica),
            restarts: replica.restarts,
            age_seconds: replica.seen.elapsed().as_secs_f64(),
            log: self.files.log(&replica.name).display().to_string(),
            image_bytes: self.image_bytes(replica, program),
        }
    }

    /// Images are called like what they hold; the shim runs those of Spin applications.
    fn image_bytes(&self, replica: &Replica, program: &str) -> Option<u64> {
        let image = match replica.of {
            Replicated::Many(Part::App(role)) if names::is_wasm(self.spec.stacks.of(role)) => {
                self.spec.stacks.of(role).as_str()
            }
            _ => program,
        };
        self.images.get()?.bytes.get(image).copied()
    }

    /// Where this machine reaches it; of several replicas each gets its turn.
    fn address_of(&self, replica: &Replica) -> Option<String> {
        let endpoints = self.endpoints.get()?;
        match replica.of {
            Replicated::One(Part::Broker) => Some(endpoints.servicebus_amqp.to_string()),
            Replicated::One(_) => Some(endpoints.blob.url.clone()),
            Replicated::LabDapr => Some(endpoints.lab_dapr.clone()),
            Replicated::Many(Part::App(role)) => endpoints.apps.get(&role).cloned(),
            Replicated::Many(Part::Dapr(role)) => endpoints.dapr.get(&role).cloned(),
            Replicated::Many(_) => None,
        }
    }

    /// The program's name, and whether it is the real thing.
    fn program_of(&self, replica: &Replica) -> (&'static str, bool) {
        match replica.of {
            Replicated::One(Part::Broker) => ("servicebus-emulator", false),
            Replicated::One(_) => (names::blob_program(self.spec.blob), false),
            Replicated::LabDapr | Replicated::Many(Part::Dapr(_)) => ("daprd", true),
            Replicated::Many(Part::App(role)) => match self.spec.stacks.of(role) {
                Stack::SpinRust | Stack::SpinTs => ("spin (containerd-shim-spin)", true),
                Stack::ExpressTs => ("express-ts", true),
                Stack::WarpRust if self.spec.packaging == Packaging::Static => ("warp-rust-static", true),
                Stack::WarpRust => ("warp-rust", true),
            },
            Replicated::Many(_) => ("", true),
        }
    }

    /// What is ready by now, in the order in which it became so.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let ready = |replica: Replica| {
            let ready_after = replica.ready_after.filter(|_| replica.ready)?;
            let program = self.program_of(&replica).0.to_owned();
            Some(Progress {
                resource: replica.name,
                program,
                ready_ms: millis(ready_after),
                lab_ms: millis((replica.seen + ready_after).saturating_duration_since(self.opened)),
            })
        };
        let step = |timing: &StepTiming| Progress {
            resource: timing.step.clone(),
            program: if timing.done == Done::Changed { "done" } else { "kept" }.to_owned(),
            ready_ms: timing.took_ms().round() as u64,
            lab_ms: timing.done_ms.round() as u64,
        };
        let mut steps: Vec<_> = locked(&self.timings).steps.iter().map(step).collect();
        steps.extend(self.pods.replicas().into_iter().filter_map(ready));
        steps.sort_by_key(|step| step.lab_ms);
        steps
    }
}
