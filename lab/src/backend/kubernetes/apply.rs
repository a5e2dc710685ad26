//! Objects onto a cluster and off it again: server-side apply in order, each with a deadline, and the removal of everything that
//! carries a lab's label.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Error};

use super::client::{late, refused};
use super::names::{self, MANAGER};
use super::object::Object;
use crate::backend::LabError;
use crate::limits;

/// Applies objects, one after the other. What a webhook holds up is tried again for so long: one that has just been installed
/// takes a moment to answer.
///
/// # Errors
/// Names the object and what the API server said of it.
pub async fn apply(
    client: &Client,
    objects: impl IntoIterator<Item = &Object>,
    webhook: Duration,
) -> Result<(), LabError> {
    for object in objects {
        let started = Instant::now();
        loop {
            match once(client, object).await {
                Err(error) if is_passing(&error) && started.elapsed() < webhook => {
                    tokio::time::sleep(limits::CLUSTER_POLL).await;
                }
                Err(error) => return Err(explained(object, error, webhook)),
                Ok(()) => break,
            }
        }
    }
    Ok(())
}

/// How an object could not be applied.
enum NotApplied {
    Refused(Error),
    Late(Duration),
}

async fn once(client: &Client, object: &Object) -> Result<(), NotApplied> {
    let parameters = PatchParams::apply(MANAGER).force();
    let api = api_of(client, &object.resource, object.namespace.as_deref());
    let patch = Patch::Apply(&object.body);
    match tokio::time::timeout(limits::CLUSTER_ANSWER, api.patch(&object.name, &parameters, &patch)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(NotApplied::Refused(error)),
        Err(_) => Err(NotApplied::Late(limits::CLUSTER_ANSWER)),
    }
}

/// The API of a kind of objects.
pub fn api_of(client: &Client, resource: &ApiResource, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Whether the same request may be taken in a moment: a webhook that does not answer yet, a namespace of the same name that is
/// still going.
fn is_passing(error: &NotApplied) -> bool {
    match error {
        NotApplied::Refused(Error::Api(status)) => {
            names_webhook(&status.message)
                || status.message.contains("being terminated")
                || status.code == 429
        }
        _ => false,
    }
}

fn names_webhook(message: &str) -> bool {
    message.contains("failed calling webhook")
}

fn explained(object: &Object, error: NotApplied, within: Duration) -> LabError {
    let title = object.title();
    match error {
        NotApplied::Late(within) => late("apply", &title, within),
        NotApplied::Refused(error) => {
            let webhook = matches!(&error, Error::Api(status) if names_webhook(&status.message));
            match refused("apply", &title, error) {
                LabError::Api(mut error) if webhook => {
                    error.cause =
                        format!("a webhook did not answer for {} s: {}", within.as_secs(), error.cause);
                    error.hint = Some(
                        "kubectl get pods -A | grep -v Running   # is what serves the webhook ready?"
                            .to_owned(),
                    );
                    LabError::Api(error)
                }
                other => other,
            }
        }
    }
}

/// Whose namespace it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// There is none of that name.
    Nobody,
    /// A lab of this checkout's.
    Ours,
    /// A lab of another checkout's: the value of its annotation.
    AnotherWorkspace(String),
    /// It was not made by any lab.
    Foreign,
}

/// Looks whose namespace a lab's name would take.
///
/// # Errors
/// Fails where the cluster cannot be asked.
pub async fn owner(client: &Client, lab: &str, workspace: &str) -> Result<Owner, LabError> {
    let name = names::namespace(lab);
    let api: Api<Namespace> = Api::all(client.clone());
    let found = answered("read", &name, api.get_opt(&name)).await?;
    let Some(found) = found else { return Ok(Owner::Nobody) };
    let labels = found.metadata.labels.unwrap_or_default();
    if labels.get(names::LAB).map(String::as_str) != Some(lab) {
        return Ok(Owner::Foreign);
    }
    Ok(match found.metadata.annotations.unwrap_or_default().remove(names::WORKSPACE) {
        Some(other) if other != workspace => Owner::AnotherWorkspace(other),
        _ => Owner::Ours,
    })
}

/// Removes everything of a lab and waits until it is gone. Whether there was anything.
///
/// # Errors
/// Names what is still there at the deadline.
pub async fn remove(client: &Client, lab: &str) -> Result<bool, LabError> {
    let name = names::namespace(lab);
    let classes: Api<RuntimeClass> = Api::all(client.clone());
    let (at_once, ours) = (DeleteParams::default(), ListParams::default().labels(&names::selector(lab)));
    answered("remove", "RuntimeClasses", classes.delete_collection(&at_once, &ours)).await?;
    let api: Api<Namespace> = Api::all(client.clone());
    match answered("remove", &name, api.delete(&name, &at_once)).await {
        Ok(_) => {}
        Err(LabError::Api(error)) if error.cause.starts_with("404 ") => return Ok(false),
        Err(error) => return Err(error),
    }
    let started = Instant::now();
    while answered("read", &name, api.get_opt(&name)).await?.is_some() {
        if started.elapsed() > limits::NAMESPACE_GONE {
            return Err(late("remove", &format!("namespace {name}"), limits::NAMESPACE_GONE));
        }
        tokio::time::sleep(limits::CLUSTER_POLL).await;
    }
    Ok(true)
}

/// One call, with its deadline.
///
/// # Errors
/// Says what was refused, or that there was no answer.
pub async fn answered<T>(
    operation: &'static str,
    object: &str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, LabError> {
    match tokio::time::timeout(limits::CLUSTER_ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| refused(operation, object, error)),
        Err(_) => Err(late(operation, object, limits::CLUSTER_ANSWER)),
    }
}

/// Deletes what makes the pods of a part: a Deployment, a DaemonSet or a SpinApp of its name, whichever there is.
///
/// # Errors
/// Fails where the cluster refuses.
pub async fn delete_controller(client: &Client, namespace: &str, name: &str) -> Result<(), LabError> {
    let spin_app =
        serde_json::json!({ "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": {} });
    let kinds = [
        Object::custom("spinapps", spin_app).resource,
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<DaemonSet>(&()),
    ];
    for kind in kinds {
        let api = api_of(client, &kind, Some(namespace));
        match answered("delete", name, api.delete(name, &DeleteParams::background())).await {
            Ok(_) => {}
            // Of this kind there is none.
            Err(LabError::Api(error)) if error.cause.starts_with("404 ") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
