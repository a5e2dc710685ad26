//! `lab status`: what runs, where, since when, and what to do next.

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::{self, Endpoints, ReplicaStatus, Scalable};
use crate::exit::Exit;
use crate::paths::Workspace;
use crate::spec::LabSpec;

/// Show the parts of a lab and where they answer; also of one that has failed, and why.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
}

/// A lab, as JSON shows it.
#[derive(Debug, Serialize)]
struct View<'a> {
    spec: &'a LabSpec,
    endpoints: &'a Endpoints,
    replicas: Vec<Replicas>,
    resources: &'a [ReplicaStatus],
}

/// How many replicas there are of one application, or of one Dapr.
#[derive(Debug, Serialize)]
struct Replicas {
    of: String,
    count: usize,
    ready: usize,
}

impl Replicas {
    fn all(resources: &[ReplicaStatus]) -> Vec<Self> {
        let count = |of: Scalable| {
            let of = of.to_string();
            let replicas: Vec<_> = resources.iter().filter(|row| row.component() == of).collect();
            let ready = replicas.iter().filter(|row| row.state == "ready").count();
            Self { of, count: replicas.len(), ready }
        };
        Scalable::all().map(count).collect()
    }
}

pub(super) async fn run(args: &StatusArgs, output: Output) -> Result<Exit, CliError> {
    show(&Workspace::find()?, &args.lab, output).await?;
    Ok(Exit::Ok)
}

/// Prints a lab. Fails with what has failed in it, after it has shown the parts.
pub(super) async fn show(workspace: &Workspace, name: &str, output: Output) -> Result<(), CliError> {
    let backend::View { state, resources, failure } = backend::View::of(workspace, name).await?;
    let replicas = Replicas::all(&resources);
    let view = View { spec: &state.spec, endpoints: &state.endpoints, replicas, resources: &resources };
    output.result(&view, || match failure {
        None => format!("{}\n\n{}{}", table(&view), replicas_line(&view), what_next(&view)),
        // Nothing of what could be done with a lab can be done with this one.
        Some(_) => format!("{}\n\n{}", table(&view), replicas_line(&view)),
    });
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

fn table(view: &View<'_>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["NAME", "PROGRAM", "STATE", "ENDPOINT", "RESTARTS", "AGE"]);
    for row in view.resources {
        let version = row.version.as_deref().filter(|_| row.real).map(|version| format!(" {version}"));
        let program = match row.real {
            true => format!("{}{}", row.program, version.unwrap_or_default()),
            false => format!("{} (stand-in)", row.program),
        };
        let age = format!("{:.0} s", row.age_seconds);
        let endpoint = row.endpoint.clone().unwrap_or_default();
        table.add_row([
            row.name.clone(),
            program,
            row.state.clone(),
            endpoint,
            row.restarts.to_string(),
            age,
        ]);
    }
    table
}

fn replicas_line(view: &View<'_>) -> String {
    let told = |row: &Replicas| match row.count - row.ready {
        0 => format!("{} {}", row.count, row.of),
        missing => format!("{} {} ({missing} not ready)", row.count, row.of),
    };
    let rows: Vec<_> = view.replicas.iter().map(told).collect();
    format!("replicas      {}\n", rows.join(", "))
}

fn what_next(view: &View<'_>) -> String {
    let Endpoints { servicebus_connection_string, servicebus_http, blob, lab_dapr, .. } = view.endpoints;
    let name = &view.spec.name;
    let named = if name == "main" { String::new() } else { format!(" --lab {name}") };
    format!(
        "Service Bus   {servicebus_connection_string}\n\
         queues        curl {servicebus_http}/_emulator/queues\n\
         blobs         {} (account {}, the emulators' well-known key)\n\
         send an order curl {lab_dapr}/v1.0/bindings/q-order-ingress-out -d \
         '{{\"operation\":\"create\",\"data\":{{\"orderId\":1,\"delivery\":\"Express\"}}}}'\n\
         measure       cargo lab bench{named}\n\
         scale         cargo lab scale distributor --replicas 2{named}\n\
         logs          cargo lab logs{named}\n\
         stop          cargo lab down{named}\n",
        blob.url, blob.account,
    )
}
