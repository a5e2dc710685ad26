//! Components to what serves: each type's own way to start. It must not know who calls them.

use std::collections::HashMap;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::bindings::OutputBinding;
use crate::blob::operations::BlobOutput;
use crate::blob::settings::BlobSettings;
use crate::go::text::clean_path;
use crate::metrics::Metrics;
use crate::resiliency::{self, Resiliency};
use crate::resources::{Component, Properties, PropertyError, SecretStore, SecretStores};
use crate::runtime::{Input, Loaded, Output, StartError};
use crate::servicebus::broker::Broker;
use crate::servicebus::input::QueueInput;
use crate::servicebus::output::QueueOutput;
use crate::servicebus::settings::{Endpoint, QueueSettings};

/// What has been started so far.
pub(crate) struct Loader<'a> {
    app_id: &'a str,
    resiliency: &'a Resiliency,
    metrics: Option<&'a Metrics>,
    stores: SecretStores,
    pub brokers: HashMap<Endpoint, Arc<Broker>>,
    pub outputs: HashMap<String, Output>,
    pub inputs: Vec<Input>,
    pub loaded: Vec<Loaded>,
}

impl<'a> Loader<'a> {
    /// Nothing yet.
    pub fn new(app_id: &'a str, resiliency: &'a Resiliency, metrics: Option<&'a Metrics>) -> Self {
        Self {
            app_id,
            resiliency,
            metrics,
            stores: SecretStores::new(),
            brokers: HashMap::new(),
            outputs: HashMap::new(),
            inputs: Vec::new(),
            loaded: Vec::new(),
        }
    }

    /// Starts them all, secret stores first.
    ///
    /// # Errors
    /// At the first component that cannot start, unless it says `ignoreErrors`.
    pub async fn load_all(&mut self, components: Vec<Component>) -> Result<(), StartError> {
        let (stores, others): (Vec<_>, Vec<_>) = components
            .into_iter()
            .partition(|component| component.component_type.starts_with("secretstores."));
        for component in stores.into_iter().chain(others) {
            if let Err(error) = self.load(&component).await {
                if !component.ignore_errors {
                    return Err(error);
                }
                if let Some(metrics) = self.metrics {
                    metrics.component_failed(&component.component_type, &component.name);
                }
                tracing::error!(%error, "Ignoring error processing component");
            }
        }
        Ok(())
    }

    async fn load(&mut self, component: &Component) -> Result<(), StartError> {
        let properties = Properties::resolve(component, &self.stores, self.app_id)
            .map_err(|error| refused(component, error))?;
        let properties = properties.map_err(|store| {
            let message = if store.is_empty() {
                "a secretKeyRef needs auth.secretStore: name the component that holds the secrets".to_owned()
            } else {
                format!("references a secret store that isn't loaded: {store}: add it to a --resources-path")
            };
            refused(component, PropertyError::plain(message))
        })?;
        let initial_version = matches!(component.version.to_lowercase().as_str(), "" | "v0" | "v1");
        let capabilities = match component.component_type.to_lowercase().as_str() {
            "secretstores.local.file" if initial_version => {
                let store =
                    SecretStore::local_file(&properties).map_err(|error| refused(component, error))?;
                self.stores.insert(component.name.clone(), store);
                if properties.boolean("multiValued", false).map_err(|error| refused(component, error))? {
                    vec!["MULTIPLE_KEY_VALUES_PER_SECRET"]
                } else {
                    Vec::new()
                }
            }
            "secretstores.local.env" if initial_version => {
                let store = SecretStore::local_env(&properties).map_err(|error| refused(component, error))?;
                self.stores.insert(component.name.clone(), store);
                Vec::new()
            }
            "bindings.azure.servicebusqueues" | "bindings.azure.servicebus.queues" if initial_version => {
                self.load_queue(component, &properties)?
            }
            "bindings.azure.blobstorage" if initial_version => self.load_blob(component, &properties).await?,
            other => return Err(unknown_type(component, other)),
        };
        tracing::info!(component = component.log_name(), "Component loaded");
        if let Some(metrics) = self.metrics {
            let instances = capabilities.iter().filter(|capability| capability.ends_with("_BINDING")).count();
            metrics.component_loaded(&component.component_type, instances.max(1));
        }
        self.loaded.push(Loaded {
            name: component.name.clone(),
            component_type: component.component_type.clone(),
            version: component.version.clone(),
            capabilities,
        });
        Ok(())
    }

    fn load_queue(
        &mut self,
        component: &Component,
        properties: &Properties,
    ) -> Result<Vec<&'static str>, StartError> {
        let settings = QueueSettings::parse(properties).map_err(|error| refused(component, error))?;
        let broker = self
            .brokers
            .entry(settings.endpoint.clone())
            .or_insert_with(|| Arc::new(Broker::new(settings.endpoint.clone(), self.app_id)));
        let direction = Direction::of(properties).map_err(|error| refused(component, error))?;
        let mut capabilities = Vec::new();
        if direction.input {
            let route = properties.text("route").unwrap_or(&component.name);
            let path = clean_path(route);
            let path: PathAndQuery = path.parse().map_err(|_| {
                refused(component, properties.error_at("route", format!("route {path:?} is no path")))
            })?;
            let queue = QueueInput::new(&component.name, path, settings.clone(), Arc::clone(broker));
            let policy = self.resiliency.component(&component.name, resiliency::Direction::Inbound);
            self.inputs.push(Input { queue: Arc::new(queue), is_explicit: direction.is_explicit, policy });
            capabilities.push("INPUT_BINDING");
        }
        if direction.output {
            let binding = OutputBinding::Queue(Box::new(QueueOutput::new(settings, Arc::clone(broker))));
            self.add_output(component, binding);
            capabilities.push("OUTPUT_BINDING");
        }
        Ok(capabilities)
    }

    async fn load_blob(
        &mut self,
        component: &Component,
        properties: &Properties,
    ) -> Result<Vec<&'static str>, StartError> {
        if !Direction::of(properties).map_err(|error| refused(component, error))?.output {
            return Ok(Vec::new());
        }
        let settings = BlobSettings::parse(properties).map_err(|error| refused(component, error))?;
        let output = BlobOutput::new(settings).ok_or_else(|| {
            refused(component, properties.error_at("accountKey", "invalid shared key credentials"))
        })?;
        match tokio::time::timeout(component.init_timeout, output.init()).await {
            Ok(Ok(())) => {}
            Ok(Err(message)) => return Err(failed(component, message)),
            Err(_) => {
                let message = format!(
                    "init timeout for component {}: the blob service did not answer within {} s",
                    component.log_name(),
                    component.init_timeout.as_secs_f64()
                );
                return Err(failed(component, message));
            }
        }
        self.add_output(component, OutputBinding::Blob(Box::new(output)));
        Ok(vec!["OUTPUT_BINDING"])
    }

    fn add_output(&mut self, component: &Component, binding: OutputBinding) {
        let policy = self.resiliency.component(&component.name, resiliency::Direction::Outbound);
        self.outputs.insert(component.name.clone(), Output { binding, policy });
    }
}

/// Which ways a binding works (dapr, `isBindingOfDirection`, which passes over words that it does not know).
struct Direction {
    input: bool,
    output: bool,
    /// `input` is written.
    is_explicit: bool,
}

impl Direction {
    fn of(properties: &Properties) -> Result<Self, PropertyError> {
        let Some(text) = properties.text("direction") else {
            return Ok(Self { input: true, output: true, is_explicit: false });
        };
        let (mut input, mut output) = (false, false);
        for way in text.split(',').map(|way| way.trim().to_ascii_lowercase()) {
            match way.as_str() {
                "input" => input = true,
                "output" => output = true,
                _ => {
                    let message =
                        format!("direction {text:?} is none: write input, output, or both with a comma");
                    return Err(properties.error_at("direction", message));
                }
            }
        }
        Ok(Self { input, output, is_explicit: input })
    }
}

fn refused(component: &Component, error: PropertyError) -> StartError {
    let mut place = component.place.clone();
    place.line = error.line.unwrap_or(place.line);
    start_error(component, place.to_string(), error.message, true)
}

fn failed(component: &Component, message: String) -> StartError {
    start_error(component, component.place.to_string(), message, false)
}

fn unknown_type(component: &Component, component_type: &str) -> StartError {
    let found = if component_type.starts_with("bindings.") {
        format!("couldn't find binding {}", component.log_name())
    } else if component_type.starts_with("secretstores.") {
        format!("couldn't find secret store {component_type}/{}", component.version)
    } else {
        format!("incorrect type {}", component.component_type)
    };
    let message = format!(
        "{found}: dapr-emulator has bindings.azure.servicebusqueues, bindings.azure.blobstorage, \
         secretstores.local.file and secretstores.local.env, version v1"
    );
    start_error(component, component.place.to_string(), message, true)
}

fn start_error(component: &Component, place: String, message: String, is_usage: bool) -> StartError {
    let (name, log_name) = (component.name.clone(), component.log_name());
    StartError::Component { place, name, log_name, message, is_usage }
}
