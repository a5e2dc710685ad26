//! `lab up`: a running lab, in the foreground or left behind.

use clap::Args;

use super::error::CliError;
use super::shape::ShapeArgs;
use super::{Interrupts, Output, build, status, write_out};
use crate::backend::{Lab, LabError, Lifetime, Progress, StartOptions, kubernetes};
use crate::build::Artefact;
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Start a lab and show where it answers. Ctrl-C ends it, unless it is detached; a second one at once.
#[derive(Debug, Clone, Args)]
pub(super) struct UpArgs {
    #[command(flatten)]
    shape: ShapeArgs,
    /// Name of the lab; several run on one machine.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
    /// Leave it running and return.
    #[arg(long, short)]
    detach: bool,
    /// On a cluster: print the cluster's file, every command and every manifest in order, and do nothing.
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
}

pub(super) async fn run(args: &UpArgs, output: Output) -> Result<Exit, CliError> {
    let workspace = Workspace::find()?;
    let spec = args.shape.spec(&args.lab);
    spec.validate().map_err(LabError::from)?;
    if args.dry_run {
        return dry_run(&workspace, &spec);
    }
    if let Some(lab) = running(&workspace, &args.lab).await? {
        let differences = lab.spec().differences(&spec);
        if !differences.is_empty() {
            let differences = differences.join(", ");
            return Err(LabError::OtherSettings { name: args.lab.clone(), differences }.into());
        }
        output
            .note(&format!("lab '{}' is running already, as it was asked for: all of it was kept", args.lab));
        status::show(&workspace, &args.lab, output).await?;
        return Ok(Exit::Ok);
    }
    // Before anything is built: a build is minutes.
    args.shape.cluster.agree(&spec)?;
    build::ensure(&workspace, &Artefact::of(&spec), output)?;
    let lifetime = if args.detach { Lifetime::Detached } else { Lifetime::WithThisProcess };
    let options = StartOptions { one_of_a_few: false, yes: true, ..StartOptions::new(lifetime)? };
    let mut slowest_ms = 0;
    let ready = |step: Progress| {
        slowest_ms = slowest_ms.max(step.lab_ms);
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let Progress { resource, program, ready_ms, lab_ms } = step;
        let (own, lab) = (seconds(ready_ms), seconds(lab_ms));
        output.note(&format!("✓ {resource:<31} {own:>6.2} s  {program}, {lab:.2} s after the start"));
    };
    // From the start on: between "is ready" and the wait below a signal would end this process and say nothing.
    let mut interrupts = (!args.detach).then(Interrupts::watch);
    let lab = tokio::select! {
        lab = Lab::start_with(&spec, options, ready) => lab?,
        () = next(&mut interrupts) => {
            output.note("stopping");
            return Ok(Exit::Interrupted);
        }
    };
    output.note(&format!("lab '{}' is ready after {:.2} s", lab.name(), slowest_ms as f64 / 1000.0));
    for line in lab.timings().lines() {
        output.note(&line);
    }
    status::show(&workspace, &args.lab, output).await?;
    if args.detach {
        return Ok(Exit::Ok);
    }
    tokio::select! {
        error = lab.ended() => return Err(error.into()),
        () = next(&mut interrupts) => output.note("stopping"),
    }
    tokio::select! {
        stopped = lab.down() => stopped?,
        () = next(&mut interrupts) => {
            output.note("killing");
            lab.down_now().await?;
        }
    }
    Ok(Exit::Interrupted)
}

fn dry_run(workspace: &Workspace, spec: &LabSpec) -> Result<Exit, CliError> {
    if !spec.backend.is_cluster() {
        let words = "a dry run is of a cluster; name one with --backend k3d, kind or kubernetes";
        return Err(LabError::Refused(words.to_owned()).into());
    }
    write_out(&kubernetes::dry_run(workspace, spec)?).map_err(CliError::Stdout)?;
    Ok(Exit::Ok)
}

/// The next signal; of a lab that is left behind none is waited for.
async fn next(interrupts: &mut Option<Interrupts>) {
    match interrupts {
        Some(interrupts) => interrupts.next().await,
        None => std::future::pending().await,
    }
}

async fn running(workspace: &Workspace, name: &str) -> Result<Option<Lab>, CliError> {
    match Lab::attach_in(workspace, name).await {
        Ok(lab) => Ok(Some(lab)),
        Err(LabError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
