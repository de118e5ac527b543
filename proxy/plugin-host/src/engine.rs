//! The engine that all plugins share.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use wasmtime::component::Linker;
use wasmtime::{Cache, CacheConfig, Config, Engine};

use crate::clock::Clock;
use crate::contract::{self, Offered, Waits};
use crate::error::HostError;
use crate::services::Services;
use crate::settings::{Settings, Shared};
use crate::state::State;

/// Deepest recursion of a plugin, bytes of stack. Fits a thread of 2 MiB several times over.
const WASM_STACK: usize = 512 << 10;

/// Stack of a plugin that waits: its own recursion and the host's functions on top.
const ASYNC_STACK: usize = 1 << 20;

/// Frames named when a plugin crashes.
const BACKTRACE: NonZeroUsize = NonZeroUsize::new(8).expect("is not zero");

/// Bytes of compiled plugins that are kept; beyond, those go that were used longest ago.
const CACHE_SIZE: u64 = 512 << 20;

/// The sandbox: one per process, cheap to clone.
///
/// It owns a thread that ticks every millisecond while plugins run. The thread ends when the last clone is dropped;
/// [`Code`](crate::Code) and [`Plugin`](crate::Plugin) hold one.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    /// What the contract offers here.
    offered: Offered,
    services: Services,
    /// Links what never waits.
    plain: Linker<State>,
    /// Links everything; some of it may wait.
    waiting: Linker<State>,
    /// Origin of the plugins' monotonic clock.
    started: Instant,
    next_id: AtomicU64,
    /// Dropped last.
    clock: Clock,
}

impl Host {
    /// Sets up the engine and starts its clock. Every plugin is compiled.
    ///
    /// # Errors
    ///
    /// When this machine cannot run WebAssembly or cannot start another thread.
    pub fn new(services: Services) -> Result<Self, HostError> {
        Self::set_up(services, config())
    }

    /// The same with compiled plugins kept in this directory, an absolute path. What is found there is run as it is: nobody
    /// else may be able to write to it.
    ///
    /// # Errors
    ///
    /// As [`Host::new`], and when the directory cannot be used.
    pub fn with_cache(services: Services, directory: &Path) -> Result<Self, HostError> {
        let mut cache = CacheConfig::new();
        cache.with_directory(directory).with_files_total_size_soft_limit(CACHE_SIZE);
        let cache = Cache::new(cache).map_err(|error| HostError::Cache(format!("{error:#}")))?;
        let mut config = config();
        config.cache(Some(cache));
        Self::set_up(services, config)
    }

    fn set_up(services: Services, config: Config) -> Result<Self, HostError> {
        let set_up = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config).map_err(set_up)?;
        let mut plain = Linker::new(&engine);
        let mut offered = Offered::default();
        contract::link(&mut plain, &mut offered, None).map_err(set_up)?;
        let mut waiting = Linker::new(&engine);
        let waits = Waits { state: services.state.is_remote() };
        contract::link(&mut waiting, &mut offered, Some(waits)).map_err(set_up)?;
        let clock = Clock::start(engine.clone()).map_err(HostError::Clock)?;
        Ok(Self(Arc::new(Inner {
            engine,
            offered,
            services,
            plain,
            waiting,
            started: Instant::now(),
            next_id: AtomicU64::new(1),
            clock,
        })))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn offered(&self) -> &Offered {
        &self.0.offered
    }

    pub(crate) fn linker(&self, waits: bool) -> &Linker<State> {
        if waits { &self.0.waiting } else { &self.0.plain }
    }

    /// Whether limits and stores may wait.
    pub(crate) fn state_waits(&self) -> bool {
        self.0.services.state.is_remote()
    }

    /// What the instances of a new plugin refer to. `services`: others than those of this host.
    pub(crate) fn share(&self, services: Option<&Services>, settings: Settings) -> Arc<Shared> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let services = services.unwrap_or(&self.0.services);
        Shared::new(id, self.0.started, self.0.clock.pulse.clone(), services, settings)
    }
}

/// Instances are allocated on demand, not from a pool: they are kept warm anyway, and a pool would
/// put one size on all plugins and on the tables and core instances of every language's runtime.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Adds half a microsecond to every call. Said here too in case a dependency switches the
        // cargo feature on.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .wasm_backtrace_max_frames(Some(BACKTRACE))
        // Only offsets into the code would come of it.
        .generate_address_map(false)
        // A reload happens beside the traffic: compiling on all cores would be felt there, on one
        // it takes a fraction of a second longer, for which no request waits.
        .parallel_compilation(false);
    config
}
