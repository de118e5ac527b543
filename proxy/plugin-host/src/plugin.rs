//! Code with the operator's settings, configured and ready to serve.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::activation::Activation;
use crate::bodies::{BodyMode, Side};
use crate::code::Code;
use crate::engine::Host;
use crate::error::LoadError;
use crate::exchange::Exchange;
use crate::instance::Instance;
use crate::limits::{Limits, thread_cpu_time};
use crate::phase::Phase;
use crate::services::{Defined, Services};
use crate::settings::{Settings, Shared};
use crate::state::Stage;

/// A plugin that can serve. Cheap to clone; shared by all workers.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    code: Code,
    shared: Arc<Shared>,
    description: Vec<(String, String)>,
    activation: Activation,
    defined: Defined,
    is_slow_to_start: bool,
    memory: usize,
}

/// Processor time. An instance that takes longer to make holds up all connections of a worker for too long.
const SLOW_START: Duration = Duration::from_millis(1);

impl Host {
    /// Configures a first instance and keeps what it defined.
    ///
    /// Runs the plugin and blocks meanwhile: ordinarily for milliseconds, but to instantiate, to
    /// describe and to configure itself a plugin may use 1 s of processor time or 10 s of waiting
    /// each. Call it where no request waits.
    ///
    /// # Errors
    ///
    /// When the plugin refuses its configuration, crashes, or exceeds a budget.
    pub fn load(&self, code: &Code, settings: Settings) -> Result<Plugin, LoadError> {
        self.load_with(code, settings, None)
    }

    /// The same with services of its own, in memory: what it keeps and counts is not that of the process.
    ///
    /// # Errors
    ///
    /// As [`Host::load`].
    pub fn load_apart(
        &self,
        code: &Code,
        settings: Settings,
        services: &Services,
    ) -> Result<Plugin, LoadError> {
        self.load_with(code, settings, Some(services))
    }

    fn load_with(
        &self,
        code: &Code,
        settings: Settings,
        services: Option<&Services>,
    ) -> Result<Plugin, LoadError> {
        let activation = Activation::new(&settings.matching).map_err(LoadError::Match)?;
        let shared = self.share(services, settings);
        let probe = async {
            let began = thread_cpu_time();
            let mut probe = Instance::start(code, &shared, Arc::default()).await?;
            let description = probe.describe().await?;
            probe.configure(Stage::Defining(Box::default())).await?;
            let is_slow_to_start = Duration::from_nanos(thread_cpu_time() - began) > SLOW_START;
            let memory = probe.memory();
            let (defined, narrowing) = probe.into_definitions();
            let activation = activation.narrowed(narrowing);
            Ok(Inner {
                code: code.clone(),
                shared: shared.clone(),
                description,
                activation,
                defined,
                is_slow_to_start,
                memory,
            })
        };
        complete(code, probe).map(|inner| Plugin(Arc::new(inner)))
    }
}

impl Plugin {
    /// The file name without its ending.
    pub fn name(&self) -> &str {
        &self.0.shared.name
    }

    /// The phases it takes part in, in the order of an exchange.
    pub fn phases(&self) -> &[Phase] {
        self.0.code.phases()
    }

    /// Whether it takes part in a phase.
    pub fn has(&self, phase: Phase) -> bool {
        self.phases().contains(&phase)
    }

    /// What it asked for of this body with `set-body-mode`; [`BodyMode::Skip`] if it does not export the phase for
    /// that mode.
    pub fn body_mode(&self, exchange: &Exchange, side: Side) -> BodyMode {
        let mode = exchange.bodies.mode(side, self.shared().id);
        match Phase::of_body(side, mode) {
            Some(phase) if self.has(phase) => mode,
            _ => BodyMode::Skip,
        }
    }

    /// What it says about itself: `name`, `version`, `description` …
    pub fn description(&self) -> &[(String, String)] {
        &self.0.description
    }

    /// What one instance takes once it is configured, bytes: linear memory and tables.
    pub fn memory(&self) -> usize {
        self.0.memory
    }

    /// How long its code took to be compiled, or to be found in the cache.
    pub fn compile_time(&self) -> Duration {
        self.0.code.compile_time()
    }

    /// Which requests it is called for.
    pub fn activation(&self) -> &Activation {
        &self.0.activation
    }

    /// The operator's budgets.
    pub fn limits(&self) -> Limits {
        self.0.shared.limits
    }

    /// Whether it can send requests to this destination: it chooses any and was granted this one, or may call it itself.
    pub fn may_reach(&self, destination: &str) -> bool {
        if self.0.shared.granted.grants.callout.iter().any(|name| name == destination) {
            return true;
        }
        let granted = self.0.shared.routes.as_ref();
        self.0.code.chooses_routes()
            && granted.is_none_or(|granted| granted.iter().any(|name| name == destination))
    }

    /// Whether it may want a request to be sent once more.
    pub fn may_retry(&self) -> bool {
        self.0.code.retries()
    }

    /// True if a call may wait: it imports WASI, callouts, passwords, or limits or a store that are shared. Other calls end within the poll that begins them,
    /// unless all instances are busy.
    pub fn is_async(&self) -> bool {
        self.0.code.is_async()
    }

    /// True once it asked to see all of a body with one instance.
    pub(crate) fn keeps_state(&self) -> bool {
        self.0.shared.keeps_state.load(Ordering::Relaxed)
    }

    /// True for clones of one plugin. A reloaded plugin is another one.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn code(&self) -> &Code {
        &self.0.code
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Whether its instances are better made where no request waits.
    pub(crate) fn is_slow_to_start(&self) -> bool {
        self.0.is_slow_to_start
    }

    pub(crate) fn defined(&self) -> &Defined {
        &self.0.defined
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Code {
    /// What the plugin says about itself before it is configured, and the bytes of an instance then.
    ///
    /// # Errors
    ///
    /// When it crashes or does not come to an end.
    pub fn describe(&self) -> Result<(Vec<(String, String)>, usize), LoadError> {
        let settings = Settings { config: String::new(), ..Settings::new("inspect") };
        let shared = self.0.host.share(None, settings);
        complete(self, async {
            let mut instance = Instance::start(self, &shared, Arc::default()).await?;
            Ok((instance.describe().await?, instance.memory()))
        })
    }
}

/// Runs what a plugin does while it is loaded to its end.
///
/// WASI needs a runtime with timers under it. The caller may well stand in one already, and a
/// runtime cannot block inside another: a thread of its own is right everywhere.
fn complete<T: Send>(
    code: &Code,
    work: impl Future<Output = Result<T, LoadError>> + Send,
) -> Result<T, LoadError> {
    if !code.is_async() {
        return finish_now(work);
    }
    let failed = |error: std::io::Error| LoadError::Trap { during: "instantiate", trap: error.to_string() };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.map_err(failed)?.block_on(work)
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("plugin-load".to_owned());
        match thread.spawn_scoped(scope, run).map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(failed(error)),
        }
    })
}

/// For work of a plugin that cannot wait.
pub(crate) fn finish_now<T>(work: impl Future<Output = T>) -> T {
    match std::pin::pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("a component without asynchronous imports does not wait"),
    }
}
