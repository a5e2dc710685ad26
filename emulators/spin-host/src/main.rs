//! The program `spin-host`: flags to options, then the library. It must not decide anything else.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use spin_host::app::{self, App, LoadError, Options, Target};
use spin_host::cache::Cache;
use spin_host::engine::Profile;
use spin_host::limits;
use spin_host::manifest;
use spin_host::oci::{self, OciError};
use spin_host::server;
use spin_host::variables::{self, Providers};

/// Runs a spin.toml application with the HTTP trigger, as `spin up` (Spin 3.6.3) does. Flags have the names of `spin up`.
#[derive(Parser)]
#[command(version = concat!(env!("CARGO_PKG_VERSION"), " (wasmtime 48, compared with Spin 3.6.3 on wasmtime 42)"))]
struct Flags {
    /// The application: a spin.toml, a directory that holds one, or an OCI image layout of an application
    #[arg(short = 'f', long = "from", alias = "file", default_value = "spin.toml")]
    from: PathBuf,
    /// Address to listen on, HOST:PORT; port 0 takes a free one
    #[arg(long, env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = address)]
    listen: SocketAddr,
    /// Environment variable for every component: NAME=VALUE (repeat for more)
    #[arg(short = 'e', long = "env", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Application variable: NAME=VALUE, NAME=@FILE, @FILE.json or @FILE.toml (repeat for more). Wins over the
    /// environment (SPIN_VARIABLE_<NAME>), then the file .env
    #[arg(long = "variable")]
    variables: Vec<String>,
    /// Also write what components print to files in this directory
    #[arg(short = 'L', long, env = "SPIN_LOG_DIR")]
    log_dir: Option<PathBuf>,
    /// Show only what this component prints (repeat for more)
    #[arg(long = "follow", conflicts_with = "quiet")]
    follow: Vec<String>,
    /// Do not show what components print
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Where compiled components are kept [default: $XDG_CACHE_HOME/spin-host or ~/.cache/spin-host]
    #[arg(long, conflicts_with = "disable_cache")]
    cache_dir: Option<PathBuf>,
    /// Compile at each start, keep nothing
    #[arg(long)]
    disable_cache: bool,
    /// Take memory for each instance from the system instead of a pool
    #[arg(long)]
    disable_pooling: bool,
    /// Most memory of one instance, in bytes
    #[arg(long, env = "SPIN_MAX_INSTANCE_MEMORY")]
    max_instance_memory: Option<usize>,
    /// Longest time that a component may run for one request, such as 30s or 500ms; none unless asked
    #[arg(long, value_parser = duration)]
    request_timeout: Option<Duration>,
    /// Start though a component imports interfaces that spin-host does not provide; a call of one traps
    #[arg(long)]
    trap_unknown_imports: bool,
    /// Also take the variable `name` from NAME in the environment, as the containerd shim does; it wins over
    /// SPIN_VARIABLE_NAME
    #[arg(long)]
    shim_compat: bool,
    /// Write the application as an OCI image layout into this directory, print its digests, and end
    #[arg(long, value_name = "DIR")]
    write_oci_layout: Option<PathBuf>,
    /// Let components write into their files; nothing of it is kept
    #[arg(long)]
    allow_transient_write: bool,
    /// `spin`: memory is kept as Spin 3.6.3 keeps it, and its SPIN_WASMTIME_* variables are obeyed. `tuned`: what is
    /// fastest here; its figures say nothing about Spin
    #[arg(long, value_enum, default_value_t)]
    engine_profile: Profile,
    /// Stop when stdin ends, so that the death of a supervisor ends this program
    #[arg(long)]
    stop_on_stdin_eof: bool,
}

/// A name is looked up; of its addresses, 127.0.0.1 goes first, as with `spin up`.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<_> =
        text.to_socket_addrs().map_err(|error| format!("write HOST:PORT ({error})"))?.collect();
    let loopback = found.iter().find(|address| address.ip() == Ipv4Addr::LOCALHOST);
    loopback.or(found.first()).copied().ok_or_else(|| "the name has no address".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// As Spin reads its durations: a number of seconds, or one with `s` or `ms` behind it.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis(1)),
        None => (text.strip_suffix('s').unwrap_or(text), Duration::from_secs(1)),
    };
    let number = number.parse::<u32>().ok().filter(|number| *number > 0);
    number.map(|number| unit * number).ok_or_else(|| "write seconds (30s) or milliseconds (500ms)".to_owned())
}

/// Exit codes: the user's files or flags are wrong; anything else.
const USAGE: u8 = 2;
const FAILURE: u8 = 1;

fn main() -> ExitCode {
    let flags = Flags::parse();
    program::init_logging();
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn new(code: u8, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            message.push_str(&format!("\n  caused by: {source}"));
            cause = source.source();
        }
        Self { message, code }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::new(if error.is_usage() { USAGE } else { FAILURE }, &error)
    }
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        Self::new(USAGE, &error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(FAILURE, &error)
    }
}

fn run(flags: &Flags) -> Result<(), Failure> {
    if let Some(directory) = &flags.write_oci_layout {
        return write_oci_layout(&manifest_path(flags), directory);
    }
    let app = Arc::new(app::load(&options(flags)?)?);
    let listener = server::listen(flags.listen).map_err(|error| Failure {
        message: format!(
            "cannot listen on {}: {error}; name another address with --listen (port 0 takes a free one)",
            flags.listen
        ),
        code: FAILURE,
    })?;
    let threads = match flags.engine_profile {
        Profile::Spin => 1,
        Profile::Tuned => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let mut runtime = match flags.engine_profile {
        Profile::Spin => tokio::runtime::Builder::new_multi_thread(),
        Profile::Tuned => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    let served = runtime.block_on(async {
        let shutdown = program::shutdown_token(flags.stop_on_stdin_eof)?;
        let address = listener.local_addr()?;
        tracing::info!(
            engine_profile = app.profile.label(),
            pooling = app.pooling,
            compiled = app.compiled,
            "wasmtime 48"
        );
        program::announce("spin-host", env!("CARGO_PKG_VERSION"), &[("http", address)])?;
        print_routes(&app, address);
        server::serve(app, listener, threads, shutdown).await
    });
    // A guest's look-up of a name may be stuck in the system; the end does not wait for it.
    runtime.shutdown_timeout(limits::RUNTIME_END);
    Ok(served?)
}

fn manifest_path(flags: &Flags) -> PathBuf {
    let holds_manifest = flags.from.is_dir() && !oci::is_layout(&flags.from);
    if holds_manifest { flags.from.join("spin.toml") } else { flags.from.clone() }
}

/// Writes an image, and one line of JSON: its digest and those of the modules in it.
fn write_oci_layout(from: &Path, directory: &Path) -> Result<(), Failure> {
    let manifest = manifest::load(from).map_err(|error| Failure::new(USAGE, &error))?;
    let written = oci::write(&manifest, directory)?;
    let components: serde_json::Map<_, _> =
        written.components.iter().map(|(id, digest)| (id.clone(), digest.to_string().into())).collect();
    println!("{}", serde_json::json!({ "image": written.image.to_string(), "components": components }));
    Ok(())
}

fn options(flags: &Flags) -> Result<Options, Failure> {
    // What is no text cannot be a value that this program asks for.
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let providers = Providers {
        flags: variables::read_flags(&flags.variables).map_err(|error| Failure::new(USAGE, &error))?,
        environment: environment.clone(),
        dotenv: variables::read_dotenv_file(Path::new(".env"))
            .map_err(|error| Failure::new(USAGE, &error))?,
        shim_names: flags.shim_compat,
    };
    let cache_directory = flags
        .cache_dir
        .clone()
        .or_else(|| Cache::default_directory(|name| environment.get(name).cloned()))
        .filter(|_| !flags.disable_cache);
    Ok(Options {
        from: manifest_path(flags),
        providers,
        guest_environment: flags.env.clone(),
        environment,
        profile: flags.engine_profile,
        disable_pooling: flags.disable_pooling,
        cache: cache_directory.map(Cache::new),
        memory_limit_bytes: flags.max_instance_memory,
        request_timeout: flags.request_timeout,
        trap_unknown_imports: flags.trap_unknown_imports,
        allow_transient_write: flags.allow_transient_write,
        quiet: flags.quiet,
        follow: flags.follow.clone(),
        log_directory: flags.log_dir.clone().filter(|directory| !directory.as_os_str().is_empty()),
    })
}

/// Prints what `spin up` prints; many tools wait for the first line of it. That nobody reads on is no error.
fn print_routes(app: &App, address: SocketAddr) {
    let mut text = format!("\nServing http://{address}\nAvailable Routes:\n");
    for route in app.router.routes() {
        let (name, description) = match &route.target {
            Target::Component(component) => (&component.id, component.description.as_str()),
            Target::Static(answer) => (&answer.id, ""),
        };
        text.push_str(&format!("  {name}: http://{address}{}\n", route.shown()));
        if !description.is_empty() {
            text.push_str(&format!("    {description}\n"));
        }
    }
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
