//! `lab down`: the end of a lab, in order. A second one has nothing to do, and that is success.

use clap::Args;
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::{self, Ended, LabError, running_labs};
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Stop a lab in order; what is in flight is settled. One that hangs is killed. Nothing to stop is success.
#[derive(Debug, Clone, Args)]
pub(super) struct DownArgs {
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
    /// Every lab of this workspace.
    #[arg(long, conflicts_with = "lab")]
    all: bool,
}

#[derive(Debug, Serialize)]
struct Stopped {
    stopped: Vec<String>,
}

pub(super) async fn run(args: &DownArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    let names = match args.all {
        true => running_labs(&workspace),
        false => vec![args.lab.clone()],
    };
    let mut stopped = Vec::new();
    for name in names {
        LabSpec { name: name.clone(), ..LabSpec::default() }.validate().map_err(LabError::from)?;
        match backend::down(&name, &workspace.lab(&name)).await? {
            Ended::Before => continue,
            Ended::InOrder => {}
            Ended::Killed => output.note(&format!(
                "the supervisor of lab '{name}' did not answer and was killed; what was in flight is not settled"
            )),
        }
        stopped.push(name);
    }
    let stopped = Stopped { stopped };
    output.result(&stopped, || match stopped.stopped.as_slice() {
        [] => "nothing was running\n".to_owned(),
        names => format!("stopped: {}\n", names.join(", ")),
    });
    Ok(Exit::Ok)
}
