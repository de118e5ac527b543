//! The contract with plugins, in each of its versions: what `wit/` says, translated to the host's own types.
//!
//! A further version is a folder beside these, and a line in each `match` below. `common` is what their functions do
//! alike, `offered` links functions and knows which there are.

mod common;
mod offered;
mod v0_1;
mod v0_2;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, Linker, TypedFunc};

use self::offered::Offering;
use crate::phase::{Phase, Verdict};
use crate::state::State;

pub(crate) use offered::Offered;

/// The package of the contract.
pub(crate) const PACKAGE: &str = "tidegate:policy/";

/// A line of versions, within which functions are only added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V0_1,
    V0_2,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V0_1, Self::V0_2];

    /// `0.1`, say.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1",
            Self::V0_2 => "0.2",
        }
    }

    /// The newest of the line that there is here.
    pub(crate) fn newest(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }

    /// Of a version such as `0.2.7`.
    pub(crate) fn of(version: &str) -> Option<Self> {
        let (line, _) = version.rsplit_once('.')?;
        Self::ALL.into_iter().find(|known| known.line() == line)
    }

    /// Whether plugins of this line can have the phase.
    pub(crate) fn has(self, phase: Phase) -> bool {
        self != Self::V0_1 || phase != Phase::Timer
    }
}

/// Links all versions as far as nothing waits, and with `waits` also what may: limits and stores in a shared store,
/// passwords, callouts, WASI.
pub(crate) fn link(
    linker: &mut Linker<State>,
    offered: &mut Offered,
    waits: Option<Waits>,
) -> wasmtime::Result<()> {
    let mut offering = Offering { linker, offered };
    v0_1::imports::link(&mut offering)?;
    let state_waits = waits.is_some_and(|waits| waits.state);
    v0_2::imports::link(&mut offering, state_waits)?;
    if waits.is_some() {
        v0_2::imports::link_waiting(&mut offering)?;
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
    }
    Ok(())
}

/// What may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waits {
    /// Limits and stores too: they are in a shared store.
    pub(crate) state: bool,
}

/// Where the exports are in a plugin's code.
pub(crate) enum Indices {
    V0_1(v0_1::exports::Indices),
    V0_2(v0_2::exports::Indices),
}

impl Indices {
    /// Fails when a function's type differs from the contract.
    pub(crate) fn find(
        version: Version,
        pre: &InstancePre<State>,
        phases: &[Phase],
    ) -> wasmtime::Result<Self> {
        Ok(match version {
            Version::V0_1 => Self::V0_1(v0_1::exports::Indices::find(pre, phases)?),
            Version::V0_2 => Self::V0_2(v0_2::exports::Indices::find(pre, phases)?),
        })
    }

    pub(crate) fn load(&self, store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::V0_1(indices) => {
                let (lifecycle, functions) = indices.load(store, instance)?;
                Exports { lifecycle: Lifecycle::V0_1(lifecycle), functions: Functions::V0_1(functions) }
            }
            Self::V0_2(indices) => {
                let (lifecycle, functions) = indices.load(store, instance)?;
                Exports { lifecycle: Lifecycle::V0_2(lifecycle), functions: Functions::V0_2(functions) }
            }
        })
    }
}

/// The exported functions of one instance.
pub(crate) struct Exports {
    lifecycle: Lifecycle,
    functions: Functions,
}

/// What every plugin exports, alike in all versions.
enum Lifecycle {
    V0_1(v0_1::bindings::exports::tidegate::policy::lifecycle::Guest),
    V0_2(v0_2::bindings::exports::tidegate::policy::lifecycle::Guest),
}

pub(crate) type Describe = TypedFunc<(), (Vec<(String, String)>,)>;
pub(crate) type Configure<'a> = TypedFunc<(&'a str,), (Result<(), String>,)>;

enum Functions {
    V0_1(v0_1::exports::Functions),
    V0_2(v0_2::exports::Functions),
}

impl Exports {
    pub(crate) fn describe(&self) -> Describe {
        match &self.lifecycle {
            Lifecycle::V0_1(lifecycle) => lifecycle.func_describe(),
            Lifecycle::V0_2(lifecycle) => lifecycle.func_describe(),
        }
    }

    pub(crate) fn configure(&self) -> Configure<'_> {
        match &self.lifecycle {
            Lifecycle::V0_1(lifecycle) => lifecycle.func_configure(),
            Lifecycle::V0_2(lifecycle) => lifecycle.func_configure(),
        }
    }

    /// For a plugin that never waits. Without the phase the verdict is [`Verdict::Next`].
    pub(crate) fn call(&self, store: &mut Store<State>, phase: Phase) -> wasmtime::Result<Verdict> {
        match &self.functions {
            Functions::V0_1(functions) => functions.call(store, phase),
            Functions::V0_2(functions) => functions.call(store, phase),
        }
    }

    /// The same for one that may.
    pub(crate) async fn call_async(
        &self,
        store: &mut Store<State>,
        phase: Phase,
    ) -> wasmtime::Result<Verdict> {
        match &self.functions {
            Functions::V0_1(functions) => functions.call_async(store, phase).await,
            Functions::V0_2(functions) => functions.call_async(store, phase).await,
        }
    }
}
