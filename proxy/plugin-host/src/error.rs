//! What goes wrong with plugins, and whose fault it is.

/// The sandbox itself could not be set up; the machine's fault.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// wasmtime refused the settings, usually because this processor is not supported.
    #[error("cannot set up WebAssembly: {0}")]
    Engine(String),
    /// The directory for compiled plugins is of no use.
    #[error("cannot keep compiled plugins: {0}")]
    Cache(String),
    /// The thread that drives the time budgets did not start.
    #[error("cannot start the plugin clock: {0}")]
    Clock(#[source] std::io::Error),
}

/// A plugin cannot be used as it is; the running version stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is something else.
    #[error("not WebAssembly: a plugin is a component or a core module, and begins with the bytes `\\0asm`")]
    NotWasm,
    /// A WebAssembly file that does not validate; a copy that is not complete looks like this.
    #[error("not a valid component (is the copy complete?): {0}")]
    Invalid(String),
    /// A core module that cannot be made into a component.
    #[error("a core module that is not a policy: {0}; build it with the plugin SDK")]
    Module(String),
    /// A core module built for WASI preview 1.
    #[error(
        "imports `wasi_snapshot_preview1`, which plugins cannot use; build for `wasm32-unknown-unknown` \
         (core module) or `wasm32-wasip2` (component), and in C leave out what prints or reads (stdio)"
    )]
    Preview1,
    /// Components whose functions are asynchronous themselves.
    #[error(
        "uses asynchronous functions of the component model, which the contract has none of; with \
         componentize-qjs build with `--sync`"
    )]
    Asynchronous,
    /// Something that a newer contract may have.
    #[error(
        "wants {what} of `tidegate:policy@{theirs}`, and this tidegate offers version {ours} without it: \
         use a newer tidegate, or build the plugin for {ours}"
    )]
    Newer {
        /// The interface or function.
        what: String,
        /// The version it is built for.
        theirs: String,
        /// The newest there is.
        ours: String,
    },
    /// Version 0.1 had the name and no more.
    #[error("imports `{0}` of contract 0.1, where it was never offered: build the plugin for 0.2")]
    OnlyInNewer(String),
    /// A plugin is written for one of them.
    #[error("exports interfaces of `tidegate:policy` {0} and {1}: build all of it for one version")]
    SeveralVersions(&'static str, &'static str),
    /// Imports that this version does not know.
    #[error("imports what tidegate does not know: {}; plugins may import `tidegate:policy` 0.1 and 0.2, and WASI 0.2", .0.join(", "))]
    UnknownImports(Vec<String>),
    /// A phase of the contract that this version does not run, or a newer contract's.
    #[error("exports `{0}`, which this version of tidegate does not run")]
    UnknownExport(String),
    /// Types or functions differ from the contract.
    #[error("does not fit the contract `tidegate:policy`: {0}")]
    Mismatch(String),
    /// The interface every plugin needs.
    #[error("does not export `tidegate:policy/lifecycle`; is this a tidegate policy?")]
    NoLifecycle,
    /// There would never be a reason to call it.
    #[error(
        "exports no phase: it needs at least one of `request-phase`, `response-phase`, `log-phase`, `timer-phase`"
    )]
    NoPhase,
    /// Only a head phase can ask for a body.
    #[error("exports `{body}` but not `{head}`, the phase in which it would ask for the body")]
    NeverAsks {
        /// The phase that would never be called.
        body: String,
        /// The phase that is missing.
        head: String,
    },
    /// The operator's `match` is wrong.
    #[error("{0}")]
    Match(String),
    /// The plugin's own text. It begins with the place in `[config]`, such as `rules[2].allow: …`.
    #[error("refuses its configuration: {0}")]
    Refused(String),
    /// The plugin crashed.
    #[error("failed in `{during}`: {trap}")]
    Trap {
        /// `instantiate`, `describe` or `configure`.
        during: &'static str,
        /// What wasmtime says; a panic's own message is in the log.
        trap: String,
    },
    /// The plugin did not come to an end.
    #[error("used more than {limit} in `{during}`")]
    Budget {
        /// `instantiate`, `describe` or `configure`.
        during: &'static str,
        /// The budget and its size.
        limit: String,
    },
}

/// A call gave no verdict. What the call had edited is undone; the operator's `on-error` decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Over `limits.cpu`.
    #[error("used more processor time than its limit")]
    Cpu,
    /// Over `limits.time`.
    #[error("took longer than its limit")]
    Time,
    /// Over `limits.time`, for want of an answer that it asked for: from a callout, a shared store, a password check.
    #[error("waited longer than its limit for what it had asked for")]
    Waiting,
    /// Over `limits.memory`.
    #[error("needed more memory than its limit")]
    Memory,
    /// The plugin crashed.
    #[error("trap: {0}")]
    Trap(String),
    /// All instances were busy for as long as the call may take.
    #[error("all of its instances were busy")]
    Instances,
    /// A fresh instance refused the configuration that the first one accepted, or crashed over it.
    #[error("a fresh instance failed to configure itself: {0}")]
    Configure(String),
    /// The verdict was `respond`, and there was no response.
    #[error("returned `respond` without storing a response")]
    NoReply,
    /// Its timer phase says so.
    #[error("could not do its periodic work: {0}")]
    Timer(String),
    /// It held back more of a body than `limits.policy-body`.
    #[error("held back more of a body than `limits.policy-body`")]
    TooLarge,
}

impl CallError {
    /// A short name for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Time => "time",
            Self::Waiting => "waiting",
            Self::Memory => "memory",
            Self::Trap(_) => "trap",
            Self::Instances => "instances",
            Self::Configure(_) => "configure",
            Self::NoReply => "no-reply",
            Self::Timer(_) => "timer",
            Self::TooLarge => "too-large",
        }
    }
}
