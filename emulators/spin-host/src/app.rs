//! An application that is ready to answer: manifest, values and components brought together.
//!
//! It must not listen or answer. Everything that can be refused is refused here, before the first request.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::cache::Cache;
use crate::component::{self, ComponentError, Loader, Origin};
use crate::digest::Digest;
use crate::engine::{self, EngineError, Profile, Ticker};
use crate::files::{FileError, Mount};
use crate::guest::Guest;
use crate::hosts::{AllowedHost, AllowedHosts, HostError, Target as OutboundTarget};
use crate::manifest::{self, Manifest, ManifestError, StaticResponse};
use crate::oci::{self, OciError};
use crate::routes::{RouteError, Router};
use crate::stdio::{Kind, Output};
use crate::variables::{ComponentVariables, Providers, Values, VariableError};

/// How an application is loaded.
#[derive(Debug, Default)]
pub struct Options {
    /// Path of `spin.toml`, or of an OCI image layout.
    pub from: PathBuf,
    /// Where values of variables come from.
    pub providers: Providers,
    /// Added to the WASI environment of every component.
    pub guest_environment: Vec<(String, String)>,
    /// The host's environment, for `SPIN_WASMTIME_*`.
    pub environment: HashMap<String, String>,
    /// How memory is kept.
    pub profile: Profile,
    /// Take memory from the system for each instance.
    pub disable_pooling: bool,
    /// Where compiled components are kept, if they are.
    pub cache: Option<Cache>,
    /// Most memory of one instance, in bytes.
    pub memory_limit_bytes: Option<usize>,
    /// Longest time that a guest may run for one request.
    pub request_timeout: Option<Duration>,
    /// Load components that import what there is not; a call of it traps.
    pub trap_unknown_imports: bool,
    /// Guests may write into their files; nothing of it is kept.
    pub allow_transient_write: bool,
    /// Do not show what guests write.
    pub quiet: bool,
    /// Show only what these components write; all, where it is empty.
    pub follow: Vec<String>,
    /// Where guests' output is also written to.
    pub log_directory: Option<PathBuf>,
}

/// Why an application is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image.
    #[error(transparent)]
    Image(#[from] OciError),
    /// Required variables without a value.
    #[error("no provider resolved required variable(s): {}; set them with --variable NAME=VALUE", .0.join(", "))]
    MissingVariables(Vec<String>),
    /// A variable cannot be used in a component.
    #[error("variable `{name}` of component `{component}`: {reason}")]
    Variable {
        /// The component.
        component: String,
        /// The variable.
        name: String,
        /// What is wrong.
        reason: VariableError,
    },
    /// An allowed host is wrong once its variables are filled in.
    #[error("allowed_outbound_hosts of component `{component}`: {reason}")]
    Host {
        /// The component.
        component: String,
        /// What is wrong.
        reason: HostError,
    },
    /// A route.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A component.
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// Files of a component.
    #[error(transparent)]
    Files(#[from] FileError),
    /// `--follow` names no component.
    #[error("--follow {0}: the application has no such component")]
    Follow(String),
    /// The log directory.
    #[error("cannot write logs of guests to {}; correct --log-dir", path.display())]
    Log {
        /// The directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl LoadError {
    /// Whether the user's files or flags are wrong, rather than the machine.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Engine(EngineError::Engine(_) | EngineError::Ticker(_)) | Self::Log { .. })
    }
}

/// An application.
pub struct App {
    /// Its name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// The digest of the image that it is run from, if it is.
    pub image_digest: Option<Digest>,
    /// Its routes.
    pub router: Router<Target>,
    /// Its components by id, also those that no route leads to.
    pub components: BTreeMap<String, Arc<Component>>,
    /// How memory is kept.
    pub profile: Profile,
    /// Whether memory comes from a pool.
    pub pooling: bool,
    /// How many components the compiler had to compile at this start.
    pub compiled: usize,
    _ticker: Ticker,
}

/// Who answers a route.
pub enum Target {
    /// A component.
    Component(Arc<Component>),
    /// The host itself.
    Static(StaticAnswer),
}

/// An answer that needs no component.
pub struct StaticAnswer {
    /// Status and header fields.
    pub head: http::response::Parts,
    /// Body.
    pub body: Bytes,
    /// Id of the trigger, for the list of routes.
    pub id: String,
}

/// A component that can be instantiated.
pub struct Component {
    /// Its id.
    pub id: String,
    /// Shown under its routes.
    pub description: String,
    /// What it is instantiated from.
    pub handler: ProxyPre<Guest>,
    /// Its variables.
    pub variables: ComponentVariables,
    /// Its WASI environment.
    pub environment: Vec<(String, String)>,
    /// Its files, if it has any.
    pub files: Option<Mount>,
    /// Where its output goes.
    pub stdout: Output,
    /// Where its error output goes.
    pub stderr: Output,
    /// Most memory of one instance, in bytes.
    pub memory_limit_bytes: Option<usize>,
    /// Longest time that an instance may run.
    pub request_timeout: Option<Duration>,
    hosts: AllowedHosts,
}

impl Component {
    /// Whether it may connect there. A refusal is logged with what would allow it.
    pub fn may_reach(&self, target: &OutboundTarget) -> bool {
        let allowed = self.hosts.allows(target);
        if !allowed {
            self.refused(&target.to_string());
        }
        allowed
    }

    /// Whether it may call its own application. A refusal is logged with what would allow it.
    pub fn may_reach_itself(&self) -> bool {
        let allowed = self.hosts.allows_own();
        if !allowed {
            self.refused("http://self");
        }
        allowed
    }

    fn refused(&self, target: &str) {
        let component = &self.id;
        tracing::warn!(
            component,
            "a connection to {target} was refused; to allow it, add allowed_outbound_hosts = [\"{target}\"] to \
             [component.{component}]"
        );
    }
}

/// Reads, checks and compiles an application.
///
/// # Errors
/// [`LoadError`].
pub fn load(options: &Options) -> Result<App, LoadError> {
    let (manifest, image_digest) = described(&options.from)?;
    let values =
        Values::resolve(&manifest.variables, &options.providers).map_err(LoadError::MissingVariables)?;
    if let Some(unknown) = options.follow.iter().find(|id| !manifest.components.contains_key(*id)) {
        return Err(LoadError::Follow(unknown.clone()));
    }
    if let Some(path) = &options.log_directory {
        std::fs::create_dir_all(path).map_err(|source| LoadError::Log { path: path.clone(), source })?;
    }
    let host = engine::new(options.profile, &options.environment, options.disable_pooling)?;
    let linker = component::linker(&host.engine).map_err(EngineError::Engine)?;
    let loader = Loader {
        engine: &host.engine,
        linker: &linker,
        cache: options.cache.as_ref(),
        trap_unknown_imports: options.trap_unknown_imports,
    };

    let ids: Vec<&str> = manifest.components.keys().map(String::as_str).collect();
    let mut components = BTreeMap::new();
    let mut compiled = 0;
    for (id, described) in &manifest.components {
        let loaded = loader.load(id, described)?;
        compiled += usize::from(loaded.origin == Origin::Compiled);
        tracing::info!(component = id, digest = %loaded.digest, "component loaded");
        let component = assemble(id, described, loaded.handler, &manifest.directory, &ids, &values, options)?;
        components.insert(id.clone(), Arc::new(component));
    }
    Ok(App {
        router: router(&manifest, &components)?,
        name: manifest.name,
        version: Some(manifest.version).filter(|version| !version.is_empty()),
        image_digest,
        components,
        profile: options.profile,
        pooling: host.pooling,
        compiled,
        _ticker: Ticker::start(&host.engine)?,
    })
}

fn described(from: &Path) -> Result<(Manifest, Option<Digest>), LoadError> {
    if !oci::is_layout(from) {
        return Ok((manifest::load(from)?, None));
    }
    let image = oci::read(from)?;
    Ok((image.manifest, Some(image.digest)))
}

fn assemble(
    id: &str,
    described: &manifest::Component,
    handler: ProxyPre<Guest>,
    directory: &Path,
    ids: &[&str],
    values: &Values,
    options: &Options,
) -> Result<Component, LoadError> {
    let mut variables = HashMap::new();
    for (name, template) in &described.variables {
        let wrong = |reason| LoadError::Variable { component: id.to_owned(), name: name.clone(), reason };
        variables.insert(name.clone(), values.fill(template).map_err(wrong)?);
    }
    let mut hosts = Vec::new();
    let wrong_host = |reason| LoadError::Host { component: id.to_owned(), reason };
    for template in &described.allowed_outbound_hosts {
        let wrong = |reason| LoadError::Variable {
            component: id.to_owned(),
            name: "allowed_outbound_hosts".into(),
            reason,
        };
        let host = AllowedHost::parse(&values.fill(template).map_err(wrong)?).map_err(|reason| {
            wrong_host(if values.is_secret(template) { reason.of_secret() } else { reason })
        })?;
        hosts.push(host);
    }
    let hosts = AllowedHosts::new(hosts, ids);
    let mut environment: Vec<(String, String)> =
        described.environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    environment.extend(options.guest_environment.iter().cloned());
    Ok(Component {
        id: id.to_owned(),
        description: described.description.clone(),
        handler,
        variables: ComponentVariables::new(id, variables),
        environment,
        files: Mount::prepare(id, described, directory, options.allow_transient_write)?,
        stdout: output(id, Kind::Stdout, options)?,
        stderr: output(id, Kind::Stderr, options)?,
        memory_limit_bytes: options.memory_limit_bytes,
        request_timeout: options.request_timeout,
        hosts,
    })
}

fn output(id: &str, kind: Kind, options: &Options) -> Result<Output, LoadError> {
    let followed = options.follow.is_empty() || options.follow.iter().any(|followed| followed == id);
    let directory = options.log_directory.as_deref();
    Output::open(id, kind, followed && !options.quiet, directory)
        .map_err(|source| LoadError::Log { path: directory.unwrap_or(Path::new("")).to_owned(), source })
}

fn router(
    manifest: &Manifest,
    components: &BTreeMap<String, Arc<Component>>,
) -> Result<Router<Target>, RouteError> {
    let routes = manifest.triggers.iter().filter_map(|trigger| {
        let route = trigger.route.clone()?;
        let target = match &trigger.target {
            manifest::Target::Component(id) => Target::Component(Arc::clone(components.get(id)?)),
            manifest::Target::Static(answer) => Target::Static(static_answer(&trigger.id, answer)),
        };
        Some((route, target))
    });
    let router = Router::new(routes)?;
    for duplicate in &router.duplicates {
        tracing::error!(route = duplicate.route, "the route is given twice; only the later one is used");
    }
    if router.has_reserved() {
        tracing::error!("routes under /.well-known/spin/ are answered by the host and never reached");
    }
    Ok(router)
}

fn static_answer(id: &str, described: &StaticResponse) -> StaticAnswer {
    let (mut head, ()) = http::Response::new(()).into_parts();
    // The manifest was checked: every one of these is valid.
    head.status =
        described.status_code.and_then(|code| http::StatusCode::from_u16(code).ok()).unwrap_or_default();
    for (name, value) in &described.headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
        {
            head.headers.append(name, value);
        }
    }
    StaticAnswer { head, body: Bytes::from(described.body.clone().unwrap_or_default()), id: id.to_owned() }
}
