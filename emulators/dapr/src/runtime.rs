//! From component files to what serves: secret stores, then bindings, each with daprd's time to start; nothing runs when
//! one cannot (dapr, `pkg/runtime/processor`).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::header::HeaderValue;
use http::uri::PathAndQuery;
use tokio_util::sync::CancellationToken;

use crate::app::AppChannel;
use crate::bindings::OutputBinding;
use crate::blob::operations::BlobOutput;
use crate::blob::settings::BlobSettings;
use crate::go::text::clean_path;
use crate::limits::BROKER_CLOSE_TIMEOUT;
use crate::options::Options;
use crate::resources::{Component, Properties, PropertyError, ResourceError, SecretStore, SecretStores};
use crate::servicebus::broker::Broker;
use crate::servicebus::input::QueueInput;
use crate::servicebus::output::QueueOutput;
use crate::servicebus::settings::{Endpoint, QueueSettings};
use crate::trace::Tracer;

/// The version of daprd whose behaviour this is.
pub const RUNTIME_VERSION: &str = "1.18.3";

/// What daprd's environment says.
#[derive(Clone, Default)]
pub struct Tokens {
    /// `DAPR_API_TOKEN`: what callers of the API must show.
    pub api: Option<HeaderValue>,
    /// `APP_API_TOKEN`: what the application is shown.
    pub app: Option<HeaderValue>,
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file is not as it must be.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A component is not as it must be. Nothing was started.
    #[error(
        "{place}: process component {name} error: [{kind}]: initialization error occurred for {log_name}: {message}"
    )]
    Component {
        /// File and line.
        place: String,
        /// The component.
        name: String,
        /// daprd's name for the failure.
        kind: &'static str,
        /// Name, type and version.
        log_name: String,
        /// What is wrong.
        message: String,
        /// Whether the file is to blame, and not a service that did not answer.
        is_usage: bool,
    },
    /// The application's address is none.
    #[error("--app-channel-address {0:?} is no host")]
    AppAddress(String),
}

impl StartError {
    /// Whether the command line or a file is to blame.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Resource(_) | Self::AppAddress(_) => true,
            Self::Component { is_usage, .. } => *is_usage,
        }
    }
}

/// A component as `/v1.0/metadata` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// Its type.
    pub component_type: String,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub capabilities: Vec<&'static str>,
}

/// An input binding and how it begins.
#[derive(Debug)]
pub struct Input {
    /// The binding.
    pub queue: Arc<QueueInput>,
    /// Its direction is written: it reads without asking the application.
    pub is_explicit: bool,
}

/// Everything that serves.
pub struct Runtime {
    /// The command line.
    pub options: Options,
    /// Tokens.
    pub tokens: Tokens,
    /// Spans.
    pub tracer: Tracer,
    /// Output bindings by name.
    pub outputs: HashMap<String, OutputBinding>,
    /// Input bindings.
    pub inputs: Vec<Input>,
    /// The application; none without `--app-port`.
    pub app: Option<Arc<AppChannel>>,
    /// Components, as shown.
    pub loaded: Vec<Loaded>,
    /// What `PUT /v1.0/metadata/{key}` added.
    pub extended: Mutex<BTreeMap<String, String>>,
    /// Cancelled by `POST /v1.0/shutdown`, a signal, or whoever runs it.
    pub shutdown: CancellationToken,
    ready: AtomicBool,
    brokers: Vec<Arc<Broker>>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Starts the components.
    ///
    /// # Errors
    /// At the first component that cannot start, unless it says `ignoreErrors`.
    pub async fn start(
        options: Options,
        tokens: Tokens,
        sampling_rate: f64,
        components: Vec<Component>,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let app = match options.app_port {
            None => None,
            Some(port) => {
                let host = &options.app_channel_address;
                let channel = AppChannel::new(host, port, options.app_max_concurrency, tokens.app.clone());
                Some(Arc::new(channel.map_err(|_| StartError::AppAddress(host.clone()))?))
            }
        };
        let mut loader = Loader {
            app_id: options.app_id.clone(),
            stores: SecretStores::new(),
            brokers: HashMap::new(),
            outputs: HashMap::new(),
            inputs: Vec::new(),
            loaded: Vec::new(),
        };
        let (stores, others): (Vec<_>, Vec<_>) = components
            .into_iter()
            .partition(|component| component.component_type.starts_with("secretstores."));
        for component in stores.into_iter().chain(others) {
            if let Err(error) = loader.load(&component).await {
                if !component.ignore_errors {
                    return Err(error);
                }
                tracing::error!(%error, "Ignoring error processing component");
            }
        }
        let extended = BTreeMap::from([("daprRuntimeVersion".to_owned(), RUNTIME_VERSION.to_owned())]);
        Ok(Self {
            options,
            tokens,
            tracer: Tracer::new(sampling_rate),
            outputs: loader.outputs,
            inputs: loader.inputs,
            app,
            loaded: loader.loaded,
            extended: Mutex::new(extended),
            shutdown,
            ready: AtomicBool::new(false),
            brokers: loader.brokers.into_values().collect(),
        })
    }

    /// Whether the whole start is over, the wait for the application included.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// From now on `/v1.0/healthz` is well, and stays so.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Closes the connections to brokers.
    pub(crate) async fn close_brokers(&self) {
        let close = async {
            for broker in &self.brokers {
                broker.close().await;
            }
        };
        let _ = tokio::time::timeout(BROKER_CLOSE_TIMEOUT, close).await;
    }
}

struct Loader {
    app_id: String,
    stores: SecretStores,
    brokers: HashMap<Endpoint, Arc<Broker>>,
    outputs: HashMap<String, OutputBinding>,
    inputs: Vec<Input>,
    loaded: Vec<Loaded>,
}

impl Loader {
    async fn load(&mut self, component: &Component) -> Result<(), StartError> {
        let properties = Properties::resolve(component, &self.stores, &self.app_id)
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
            .or_insert_with(|| Arc::new(Broker::new(settings.endpoint.clone(), &self.app_id)));
        let direction = Direction::of(properties).map_err(|error| refused(component, error))?;
        let mut capabilities = Vec::new();
        if direction.input {
            let route = properties.text("route").unwrap_or(&component.name);
            let path = clean_path(route);
            let path: PathAndQuery = path.parse().map_err(|_| {
                refused(component, properties.error_at("route", format!("route {path:?} is no path")))
            })?;
            let queue = QueueInput::new(&component.name, path, settings.clone(), Arc::clone(broker));
            self.inputs.push(Input { queue: Arc::new(queue), is_explicit: direction.is_explicit });
            capabilities.push("INPUT_BINDING");
        }
        if direction.output {
            let output = OutputBinding::Queue(Box::new(QueueOutput::new(settings, Arc::clone(broker))));
            self.outputs.insert(component.name.clone(), output);
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
        self.outputs.insert(component.name.clone(), OutputBinding::Blob(Box::new(output)));
        Ok(vec!["OUTPUT_BINDING"])
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
    start_error(component, place.to_string(), "INIT_COMPONENT_FAILURE", error.message, true)
}

fn failed(component: &Component, message: String) -> StartError {
    start_error(component, component.place.to_string(), "INIT_COMPONENT_FAILURE", message, false)
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
    start_error(component, component.place.to_string(), "CREATE_COMPONENT_FAILURE", message, true)
}

fn start_error(
    component: &Component,
    place: String,
    kind: &'static str,
    message: String,
    is_usage: bool,
) -> StartError {
    let (name, log_name) = (component.name.clone(), component.log_name());
    StartError::Component { place, name, kind, log_name, message, is_usage }
}
