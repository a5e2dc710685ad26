//! The wasmtime engine and its memory pool, with Spin's values or with tuned ones. It must not load or run anything.
//!
//! Spin's values and the names of their environment variables: Spin 3.6.3, `crates/core/src/lib.rs`.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits;

/// How guests' memory is kept between requests, and how work is spread over threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// As Spin 3.6.3: its pooling values, which its `SPIN_WASMTIME_*` variables change, and one shared thread pool.
    #[default]
    Spin,
    /// What measuring shows to be fastest on this host. Figures taken with it say nothing about Spin.
    Tuned,
}

impl Profile {
    /// What reports and the start line call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Tuned => "spin-host tuned, not Spin",
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A variable of the environment is no number.
    #[error("environment variable {name}={value} is not a number that fits; correct or unset it")]
    Variable {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// wasmtime refuses the settings.
    #[error("cannot set up the WebAssembly engine: {0:#}")]
    Engine(wasmtime::Error),
    /// The thread that counts time for guests did not start.
    #[error("cannot start the thread that counts time for guests")]
    Ticker(#[source] std::io::Error),
}

/// An engine, and whether guests' memory comes from a pool.
pub struct Host {
    /// The engine.
    pub engine: Engine,
    /// `false` where the pool is switched off or the address space is too small for it.
    pub pooling: bool,
}

/// Makes the engine. `disable_pooling` is `spin up`'s flag of that name.
///
/// # Errors
/// [`EngineError`].
pub fn new(
    profile: Profile,
    environment: &HashMap<String, String>,
    disable_pooling: bool,
) -> Result<Host, EngineError> {
    let wanted =
        !disable_pooling && environment.get("SPIN_WASMTIME_POOLING").is_none_or(|value| value != "0");
    if wanted {
        let mut config = base();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(profile, environment)?));
        match Engine::new(&config) {
            Ok(engine) => return Ok(Host { engine, pooling: true }),
            // Some systems have an address space of 39 bits, into which the pool does not fit.
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no memory pool on this system"),
        }
    }
    Engine::new(&base()).map(|engine| Host { engine, pooling: false }).map_err(EngineError::Engine)
}

fn base() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config
}

fn pool(
    profile: Profile,
    environment: &HashMap<String, String>,
) -> Result<PoolingAllocationConfig, EngineError> {
    const MIB: usize = 1 << 20;
    let variables = Variables(environment);
    let instances: u32 = variables.get("SPIN_MAX_INSTANCE_COUNT", 1_000)?;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(variables.get("SPIN_WASMTIME_INSTANCE_COUNT", instances)?)
        .total_memories(variables.get("SPIN_WASMTIME_TOTAL_MEMORIES", instances)?)
        .total_tables(variables.get("SPIN_WASMTIME_TOTAL_TABLES", instances.saturating_mul(2))?)
        .total_stacks(variables.get("SPIN_WASMTIME_TOTAL_STACKS", instances)?)
        .total_core_instances(
            variables.get("SPIN_WASMTIME_TOTAL_CORE_INSTANCES", instances.saturating_mul(4))?,
        )
        .table_elements(variables.get("SPIN_WASMTIME_INSTANCE_TABLE_ELEMENTS", 100_000)?)
        .max_component_instance_size(variables.get("SPIN_WASMTIME_INSTANCE_SIZE", 10 * MIB)?)
        .max_core_instance_size(variables.get("SPIN_WASMTIME_CORE_INSTANCE_SIZE", 10 * MIB)?)
        .max_core_instances_per_component(variables.get("SPIN_WASMTIME_CORE_INSTANCE_COUNT", 200)?)
        .max_tables_per_component(variables.get("SPIN_WASMTIME_INSTANCE_TABLES", 64)?)
        .max_memories_per_component(variables.get("SPIN_WASMTIME_INSTANCE_MEMORIES", 32)?)
        .max_tables_per_module(variables.get("SPIN_WASMTIME_MAX_TABLES_PER_MODULE", 2)?)
        .max_memories_per_module(variables.get("SPIN_WASMTIME_MAX_MEMORIES_PER_MODULE", 2)?)
        .max_memory_size(4 << 30);
    let (memory_resident, table_resident) = match profile {
        Profile::Spin => (2 * MIB, MIB / 2),
        Profile::Tuned => (16 * MIB, MIB / 2),
    };
    pool.linear_memory_keep_resident(
        variables.get("SPIN_WASMTIME_LINEAR_MEMORY_KEEP_RESIDENT", memory_resident)?,
    )
    .table_keep_resident(variables.get("SPIN_WASMTIME_TABLE_KEEP_RESIDENT", table_resident)?);
    if profile == Profile::Tuned {
        pool.pagemap_scan(Enabled::Auto).max_unused_warm_slots(0);
    }
    Ok(pool)
}

struct Variables<'a>(&'a HashMap<String, String>);

impl Variables<'_> {
    fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, EngineError> {
        let Some(value) = self.0.get(name) else { return Ok(default) };
        value.parse().map_err(|_| EngineError::Variable { name: name.to_owned(), value: value.clone() })
    }
}

/// Counts time for guests, so that one that computes for long gives way. Ends when dropped.
pub struct Ticker {
    _stop: mpsc::Sender<()>,
}

impl Ticker {
    /// Starts counting for this engine.
    ///
    /// # Errors
    /// [`EngineError::Ticker`].
    pub fn start(engine: &Engine) -> Result<Self, EngineError> {
        let (stop, stopped) = mpsc::channel::<()>();
        let engine = engine.weak();
        let tick = move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(limits::EPOCH_TICK) {
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
            }
        };
        thread::Builder::new().name("epoch".to_owned()).spawn(tick).map_err(EngineError::Ticker)?;
        Ok(Self { _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_variables_set_the_pool_and_bad_ones_are_named() {
        let environment = |name: &str, value: &str| HashMap::from([(name.to_owned(), value.to_owned())]);
        let set = |environment: &HashMap<String, String>| pool(Profile::Spin, environment);
        let defaults = set(&HashMap::new()).expect("valid");
        assert_eq!(defaults.get_memory_keep_resident(), 2 << 20);
        assert_eq!((defaults.get_total_memories(), defaults.get_total_tables()), (1_000, 2_000));
        let fewer = set(&environment("SPIN_MAX_INSTANCE_COUNT", "10")).expect("valid");
        assert_eq!((fewer.get_total_memories(), fewer.get_total_core_instances()), (10, 40));
        let resident =
            set(&environment("SPIN_WASMTIME_LINEAR_MEMORY_KEEP_RESIDENT", "16777216")).expect("valid");
        assert_eq!(resident.get_memory_keep_resident(), 16 << 20);
        let error =
            set(&environment("SPIN_WASMTIME_TOTAL_STACKS", "many")).map(|_| ()).expect_err("not a number");
        assert!(error.to_string().contains("SPIN_WASMTIME_TOTAL_STACKS=many"), "{error}");
    }
}
