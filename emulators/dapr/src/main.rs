//! The program `dapr-emulator`: reads daprd's command line, starts the library, says where it listens.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use dapr_emulator::Listeners;
use dapr_emulator::options::Options;
use dapr_emulator::resources;
use dapr_emulator::runtime::{Runtime, Start, StartError, Tokens};
use http::HeaderValue;

/// The command line or a file is wrong; nothing was started.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let (options, without_effect) = match Options::parse_daprd(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => error.exit(),
    };
    program::init_logging();
    if !without_effect.is_empty() {
        tracing::debug!(flags = without_effect.join(" "), "flags of daprd that make no difference here");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.context("start the asynchronous runtime").and_then(|runtime| runtime.block_on(run(options)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dapr-emulator: {error:#}");
            let is_usage = error.downcast_ref::<StartError>().is_some_and(StartError::is_usage)
                || error.downcast_ref::<resources::ResourceError>().is_some();
            ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let shutdown = program::shutdown_token(options.stop_on_stdin_eof).context("install signal handlers")?;
    let namespace = std::env::var("NAMESPACE").unwrap_or_default();
    let own = Some(namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let resources = resources::load(&options.resources_path, &options.app_id, own)?;
    let configuration = dapr_emulator::configuration::load(&options.config)?;
    let tokens = Tokens { api: token("DAPR_API_TOKEN")?, app: token("APP_API_TOKEN")? };
    let listeners = Listeners::bind(&options).await?;
    let start =
        Runtime::start(Start { options, tokens, namespace, configuration, resources }, shutdown.clone());
    let runtime = tokio::select! {
        runtime = start => Arc::new(runtime?),
        () = shutdown.cancelled() => return Ok(()),
    };
    let addresses = listeners.addresses().context("ask for the addresses")?;
    // Outbound healthy: components are loaded and the listeners answer as soon as they are polled.
    let serve = dapr_emulator::serve(listeners, runtime);
    program::announce("dapr-emulator", env!("CARGO_PKG_VERSION"), &addresses)
        .context("announce the address on stdout")?;
    Ok(serve.await?)
}

fn token(variable: &str) -> anyhow::Result<Option<HeaderValue>> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value
        .map(|value| HeaderValue::from_str(&value))
        .transpose()
        .with_context(|| format!("{variable} holds what no HTTP header can carry"))
}
