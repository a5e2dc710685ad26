//! From component files to what serves: secret stores, then bindings, each with daprd's time to start; nothing runs when
//! one cannot (dapr, `pkg/runtime/processor`).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use http::header::HeaderValue;
use tokio_util::sync::CancellationToken;

use crate::app::AppChannel;
use crate::bindings::OutputBinding;
use crate::configuration::{Configuration, Tracing};
use crate::invocation::Peers;
use crate::invocation::names::Names;
use crate::limits::BROKER_CLOSE_TIMEOUT;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::resiliency::Resiliency;
use crate::resiliency::policy::Policy;
use crate::resources::{ResourceError, Resources};
use crate::servicebus::broker::Broker;
use crate::servicebus::input::QueueInput;
use crate::trace::{EndpointError, Exporter, Tracer};

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

/// They are never shown.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file is not as it must be.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// A component is not as it must be. Nothing was started.
    #[error(
        "{place}: process component {name} error: [INIT_COMPONENT_FAILURE]: initialization error occurred for {log_name}: \
         {message}"
    )]
    Component {
        /// File and line.
        place: String,
        /// The component.
        name: String,
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
    /// Flags that do not go together.
    #[error("{0}")]
    Flags(&'static str),
    /// The Configuration asks for what cannot be.
    #[error("error loading configuration: spec.tracing.zipkin.endpointAddress: {0}")]
    Exporter(#[from] EndpointError),
    /// See [`StartError::Exporter`].
    #[error("error loading configuration: spec.metric.latencyDistributionBuckets: {0}")]
    Metric(#[from] prometheus::Error),
}

impl StartError {
    /// Whether the command line or a file is to blame.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Component { is_usage, .. } => *is_usage,
            _ => true,
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
    /// What is put around its deliveries.
    pub policy: Option<Arc<Policy>>,
}

/// An output binding.
#[derive(Debug)]
pub struct Output {
    /// The binding.
    pub binding: OutputBinding,
    /// What is put around its operations.
    pub policy: Option<Arc<Policy>>,
}

/// What a runtime is made of.
#[derive(Debug)]
pub struct Start {
    /// The command line.
    pub options: Options,
    /// What must be shown.
    pub tokens: Tokens,
    /// `NAMESPACE`; empty for none.
    pub namespace: String,
    /// What the files of `--config` say.
    pub configuration: Configuration,
    /// What the files in the resource paths say.
    pub resources: Resources,
}

impl Start {
    /// Nothing but a command line.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            tokens: Tokens::default(),
            namespace: String::new(),
            configuration: Configuration::default(),
            resources: Resources::default(),
        }
    }
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
    pub outputs: HashMap<String, Output>,
    /// Input bindings.
    pub inputs: Vec<Input>,
    /// The application; none without `--app-port`.
    pub app: Option<Arc<AppChannel>>,
    /// Policies around calls.
    pub resiliency: Resiliency,
    /// The way to other applications; none without `--name-resolution-path`.
    pub peers: Option<Peers>,
    /// What is counted; none when nothing is.
    pub metrics: Option<Arc<Metrics>>,
    /// Components, as shown.
    pub loaded: Vec<Loaded>,
    /// What `PUT /v1.0/metadata/{key}` added.
    pub extended: Mutex<BTreeMap<String, String>>,
    /// Cancelled by `POST /v1.0/shutdown`, a signal, or whoever runs it.
    pub shutdown: CancellationToken,
    namespace: String,
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
    pub async fn start(start: Start, shutdown: CancellationToken) -> Result<Self, StartError> {
        let Start { options, tokens, namespace, configuration, resources } = start;
        options.check().map_err(StartError::Flags)?;
        let metrics = match options.enable_metrics && configuration.metric.enabled {
            true => Some(Arc::new(Metrics::new(&options.app_id, &namespace, &configuration.metric)?)),
            false => None,
        };
        let app = match options.app_port {
            None => None,
            Some(port) => {
                let (host, slots) = (&options.app_channel_address, options.app_max_concurrency);
                let channel = AppChannel::new(host, port, slots, tokens.app.clone(), metrics.clone());
                Some(Arc::new(channel.map_err(|_| StartError::AppAddress(host.clone()))?))
            }
        };
        let resiliency = Resiliency::new(resources.resiliencies, metrics.clone());
        let mut loader = Loader::new(&options.app_id, &resiliency, metrics.as_deref());
        loader.load_all(resources.components).await?;
        let Loader { outputs, inputs, loaded, brokers, .. } = loader;
        let extended = BTreeMap::from([("daprRuntimeVersion".to_owned(), RUNTIME_VERSION.to_owned())]);
        Ok(Self {
            tracer: tracer(&configuration.tracing, &options.app_id)?,
            peers: options.name_resolution_path.as_deref().map(|folder| Peers::new(Names::new(folder))),
            options,
            tokens,
            outputs,
            inputs,
            app,
            resiliency,
            metrics,
            loaded,
            extended: Mutex::new(extended),
            shutdown,
            namespace,
            ready: AtomicBool::new(false),
            brokers: brokers.into_values().collect(),
        })
    }

    /// The namespace of its application, as others are told it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }

    /// Host and port of the application; empty without one.
    #[must_use]
    pub fn app_address(&self) -> &str {
        self.app.as_deref().map_or("", AppChannel::authority)
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

fn tracer(tracing: &Tracing, app_id: &str) -> Result<Tracer, EndpointError> {
    if tracing.otel {
        tracing::warn!("spec.tracing.otel: spans are made, and not sent: dapr-emulator sends to zipkin only");
    }
    let endpoint = Some(&tracing.zipkin_endpoint).filter(|endpoint| !endpoint.is_empty());
    let exporter = endpoint.map(|endpoint| Exporter::start(endpoint, app_id)).transpose()?;
    Ok(Tracer::new(tracing, exporter))
}
