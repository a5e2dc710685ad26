//! How a cluster is reached: a kubeconfig and a context become a client; and what its refusals mean, in words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::backend::{ApiError, LabError};
use crate::limits;

/// A cluster that answers.
#[derive(Clone)]
pub struct Reached {
    /// The client.
    pub client: Client,
    /// The context that was used.
    pub context: String,
    /// The API server's address.
    pub server: String,
}

impl std::fmt::Debug for Reached {
    /// Without the client, which holds credentials.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reached")
            .field("context", &self.context)
            .field("server", &self.server)
            .finish()
    }
}

/// The kubeconfig of a context: of a file, or of `KUBECONFIG` and then `~/.kube/config`.
///
/// # Errors
/// Says that there is none, or that it has no such context.
pub fn kubeconfig(file: Option<&Path>, context: Option<&str>) -> Result<(Kubeconfig, String), LabError> {
    let read = match file {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let config = read.map_err(|error| no_cluster("read the kubeconfig", &error, KUBECONFIG))?;
    let context = context.map(str::to_owned).or_else(|| config.current_context.clone());
    let known: Vec<_> = config.contexts.iter().map(|context| context.name.clone()).collect();
    match context {
        Some(context) if known.contains(&context) => Ok((config, context)),
        Some(context) => Err(LabError::Refused(format!(
            "the kubeconfig has no context '{context}'; it has: {}",
            known.join(", ")
        ))),
        None => Err(LabError::Refused(format!(
            "the kubeconfig has no current context; name one with --context: {}",
            known.join(", ")
        ))),
    }
}

/// The API server of a context.
pub fn server_of(config: &Kubeconfig, context: &str) -> String {
    let named = config.contexts.iter().find(|named| named.name == context);
    let cluster = named.and_then(|named| named.context.as_ref()).map(|context| context.cluster.as_str());
    let found = config.clusters.iter().find(|named| Some(named.name.as_str()) == cluster);
    found.and_then(|named| named.cluster.as_ref()?.server.clone()).unwrap_or_default()
}

const KUBECONFIG: &str =
    "set KUBECONFIG or write ~/.kube/config; `kubectl config get-contexts` shows what there is";

/// A client for a context; asks the cluster for its version, to know that it answers and lets us in.
///
/// # Errors
/// Says why it is not reached.
pub async fn reach(file: Option<PathBuf>, context: Option<String>) -> Result<Reached, LabError> {
    let (kubeconfig, context) = kubeconfig(file.as_deref(), context.as_deref())?;
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.map_err(|error| no_cluster("read the kubeconfig", &error, KUBECONFIG))?;
    config.connect_timeout = Some(limits::CLUSTER_CONNECT);
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| refused("reach the cluster", &server, error))?;
    let version = tokio::time::timeout(limits::CLUSTER_ANSWER, client.apiserver_version()).await;
    match version {
        Ok(Ok(version)) => {
            tracing::info!(context, server, version = version.git_version, "cluster");
            Ok(Reached { client, context, server })
        }
        Ok(Err(error)) => Err(refused("reach the cluster", &format!("{context} at {server}"), error)),
        Err(_) => Err(late("reach the cluster", &format!("{context} at {server}"), limits::CLUSTER_ANSWER)),
    }
}

fn no_cluster(operation: &'static str, error: &dyn std::error::Error, hint: &str) -> LabError {
    ApiError {
        operation: operation.to_owned(),
        object: String::new(),
        cause: words(error),
        hint: Some(hint.to_owned()),
        unreachable: true,
    }
    .into()
}

/// The error of a call that took too long.
pub fn late(operation: &'static str, object: &str, within: Duration) -> LabError {
    ApiError {
        operation: operation.to_owned(),
        object: object.to_owned(),
        cause: format!("no answer within {} s", within.as_secs()),
        hint: Some(UNREACHABLE.to_owned()),
        unreachable: true,
    }
    .into()
}

const UNREACHABLE: &str = "kubectl cluster-info   # does the cluster answer, and is it the right context?";

const EXPIRED: &str = "the kubeconfig's credentials are not valid (any more): log in to the cluster again, then \
                       `kubectl auth whoami`";

/// The error of a call that the API server refused or that did not reach it.
pub fn refused(operation: &'static str, object: &str, error: kube::Error) -> LabError {
    let (cause, hint, unreachable) = match &error {
        kube::Error::Api(status) if status.code == 401 => {
            (format!("401 {}", status.message), Some(EXPIRED.to_owned()), true)
        }
        kube::Error::Api(status) if status.code == 403 => (
            format!("403 {}", status.message),
            Some(
                "kubectl auth can-i --list   # the lab needs the rights of a cluster's administrator"
                    .to_owned(),
            ),
            false,
        ),
        kube::Error::Api(status) if status.code == 404 && operation == "apply" => (
            format!("404 {}", status.message),
            Some("the cluster does not know this kind of object; what brings it is not installed".to_owned()),
            false,
        ),
        kube::Error::Api(status) => (format!("{} {}", status.code, status.message), None, false),
        error => (words(error), Some(UNREACHABLE.to_owned()), true),
    };
    let (operation, object) = (operation.to_owned(), object.to_owned());
    ApiError { operation, object, cause, hint, unreachable }.into()
}

/// An error and its causes in one line, each once.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
