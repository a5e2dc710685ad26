//! When inputs read and when they stop: the wait for the application, its questions, its health, and the end
//! (dapr, `pkg/runtime/runtime.go`, `pkg/apphealth`).

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::app::{AppChannel, RequestBody, json_headers};
use crate::go::text::clean_path;
use crate::limits::{APP_DIAL_INTERVAL, APP_DIAL_LOG_EVERY, STOP_SETTLE_GRACE};
use crate::runtime::{Input, Runtime};
use crate::servicebus::input::{RunningInput, Target};

/// Starts the inputs when the application is there, and returns those that read when the runtime is shut down.
pub(crate) async fn run(runtime: &Runtime) -> Vec<RunningInput> {
    let shutdown = runtime.shutdown.clone();
    let mut running = Vec::new();
    let lives = async {
        let Some(app) = &runtime.app else {
            if !runtime.inputs.is_empty() {
                tracing::warn!("failed to read from bindings: app channel not initialized");
            }
            runtime.set_ready();
            return std::future::pending().await;
        };
        wait_for_app(runtime, app).await;
        if runtime.options.enable_app_health_check {
            runtime.set_ready();
            follow_health(runtime, app, &mut running).await;
        } else {
            ask_for_config(runtime, app).await;
            start_inputs(runtime, app, &mut running).await;
            runtime.set_ready();
            std::future::pending().await
        }
    };
    tokio::select! {
        () = lives => {}
        () = shutdown.cancelled() => {}
    }
    running
}

/// Dials the application's port until something listens there.
async fn wait_for_app(runtime: &Runtime, app: &AppChannel) {
    let port = runtime.options.app_port;
    tracing::info!(port, "waiting for the application to listen");
    let mut tries = 0_u64;
    while !app.is_listening().await {
        tries += 1;
        if tries.is_multiple_of(APP_DIAL_LOG_EVERY) {
            tracing::info!(port, tries, "the application does not listen yet");
        }
        tokio::time::sleep(APP_DIAL_INTERVAL).await;
    }
    tracing::info!(port, "application discovered");
}

/// Asks the application for its configuration, which means nothing here. For its subscriptions daprd asks only where
/// there is a pub/sub component (`initProgrammaticSubscriptions`).
async fn ask_for_config(runtime: &Runtime, app: &AppChannel) {
    if runtime.options.disable_init_endpoints.iter().any(|off| off == "config") {
        return;
    }
    let mut headers = json_headers();
    if let Ok(id) = HeaderValue::from_str(&runtime.options.app_id) {
        headers.insert("dapr-app-id", id);
    }
    let path = PathAndQuery::from_static("/dapr/config");
    match app.call(Method::GET, path, headers, RequestBody::default()).await {
        Ok(response)
            if response.status == StatusCode::OK
                && serde_json::from_slice::<serde_json::Value>(&response.body).is_err() =>
        {
            tracing::warn!("failed to load application configuration: it is not JSON");
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "no application configuration"),
    }
}

/// Begins to read every binding that the application wants.
async fn start_inputs(runtime: &Runtime, app: &Arc<AppChannel>, running: &mut Vec<RunningInput>) {
    for input in &runtime.inputs {
        if input.is_explicit || wants(runtime, app, input).await {
            let target = Target {
                app: Arc::clone(app),
                tracer: runtime.tracer.clone(),
                policy: input.policy.clone(),
                metrics: runtime.metrics.clone(),
            };
            running.push(input.queue.start(target));
        }
    }
}

/// Whether the application answers OPTIONS on the binding's route with 2xx or 405.
///
/// daprd stops starting bindings altogether when the question itself fails; here only this one stays off.
async fn wants(runtime: &Runtime, app: &AppChannel, input: &Input) -> bool {
    let route = input.queue.route.clone();
    let question = app.call(Method::OPTIONS, route, json_headers(), RequestBody::default());
    let binding = &input.queue.name;
    let timeout = runtime.options.app_binding_options_timeout;
    let error = match tokio::time::timeout(timeout, question).await {
        Ok(Ok(response)) => {
            let wanted = response.status.is_success() || response.status == StatusCode::METHOD_NOT_ALLOWED;
            if !wanted {
                tracing::info!("app has not subscribed to binding {binding}.");
            }
            return wanted;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "context deadline exceeded".to_owned(),
    };
    tracing::warn!(
        binding,
        error,
        "failed to read from bindings: could not invoke OPTIONS method on input binding subscription endpoint {:?}",
        input.queue.route.as_str()
    );
    false
}

/// Probes the application for ever; reads while it is well. A good probe while it is well does not forgive earlier bad
/// ones, as in daprd.
async fn follow_health(runtime: &Runtime, app: &Arc<AppChannel>, running: &mut Vec<RunningInput>) {
    let options = &runtime.options;
    let path = clean_path(&options.app_health_check_path);
    let path: PathAndQuery = path.parse().unwrap_or_else(|_| PathAndQuery::from_static("/healthz"));
    let (timeout, threshold) = (options.health_timeout(), options.health_threshold());
    let mut failures = threshold;
    let mut was_well = false;
    app.set_healthy(false);
    let mut ticks = tokio::time::interval(options.health_interval());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let probe = tokio::time::timeout(timeout, app.probe(path.clone())).await;
        let is_well = matches!(probe, Ok(Ok(status)) if status.is_success());
        if is_well && failures >= threshold {
            failures = 0;
            tracing::info!("App entered healthy status");
            app.set_healthy(true);
            if !std::mem::replace(&mut was_well, true) {
                ask_for_config(runtime, app).await;
            }
            start_inputs(runtime, app, running).await;
        } else if !is_well && failures < threshold {
            failures += 1;
            if failures == threshold {
                tracing::warn!("App entered un-healthy status: reading from bindings stops");
                app.set_healthy(false);
                // They stay in `running` meanwhile: when the program is told to stop now, that stop goes on with them.
                stop_inputs(running, options.grace()).await;
            }
        }
    }
}

/// Stops them all at the same time: they take no new message, calls under way finish and are settled; after `grace` those
/// are cut off and their messages given back. An input is gone only when all of that is over, so what is left of a stop
/// that was itself broken off can be done by another. Tells whether none had to be cut off.
pub(crate) async fn stop_inputs(running: &mut Vec<RunningInput>, grace: Duration) -> bool {
    running.iter().for_each(RunningInput::stop);
    let in_time = tokio::time::timeout(grace, all_ended(running)).await.is_ok();
    if !in_time {
        running.iter().for_each(RunningInput::cut);
        let _ = tokio::time::timeout(STOP_SETTLE_GRACE, all_ended(running)).await;
    }
    running.clear();
    in_time
}

async fn all_ended(running: &mut [RunningInput]) {
    for input in running {
        input.ended().await;
    }
}
