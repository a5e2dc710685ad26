//! `lab status`: what runs, where, since when, and what to do next.

use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::Output;
use super::error::CliError;
use crate::backend::{Endpoints, Lab, ReplicaStatus};
use crate::exit::Exit;
use crate::spec::LabSpec;

/// Show the parts of a lab and where they answer.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    /// Name of the lab.
    #[arg(long, value_name = "NAME", env = "LAB_NAME", default_value = "main")]
    lab: String,
}

/// A running lab, as JSON shows it.
#[derive(Debug, Serialize)]
struct View<'a> {
    spec: &'a LabSpec,
    endpoints: &'a Endpoints,
    resources: Vec<ReplicaStatus>,
}

pub(super) async fn run(args: &StatusArgs, output: Output) -> Result<Exit, CliError> {
    let lab = Lab::attach(&args.lab).await?;
    show(&lab, output).await?;
    Ok(Exit::Ok)
}

/// Prints a running lab.
pub(super) async fn show(lab: &Lab, output: Output) -> Result<(), CliError> {
    let view = View { spec: lab.spec(), endpoints: lab.endpoints(), resources: lab.status().await? };
    output.result(&view, || text(&view));
    Ok(())
}

fn text(view: &View<'_>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["NAME", "PROGRAM", "STATE", "ENDPOINT", "RESTARTS", "AGE"]);
    for row in &view.resources {
        let program = if row.real { row.program.clone() } else { format!("{} (stand-in)", row.program) };
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
    let Endpoints { servicebus_connection_string, servicebus_http, blob, lab_dapr, .. } = view.endpoints;
    let name = &view.spec.name;
    let named = if name == "main" { String::new() } else { format!(" --lab {name}") };
    format!(
        "{table}\n\n\
         Service Bus   {servicebus_connection_string}\n\
         queues        curl {servicebus_http}/_emulator/queues\n\
         blobs         {} (account {}, the emulators' well-known key)\n\
         send an order curl {lab_dapr}/v1.0/bindings/q-order-ingress-out -d \
         '{{\"operation\":\"create\",\"data\":{{\"orderId\":1,\"delivery\":\"Express\"}}}}'\n\
         measure       cargo lab bench{named}\n\
         logs          cargo lab logs{named}\n\
         stop          cargo lab down{named}\n",
        blob.url, blob.account,
    )
}
