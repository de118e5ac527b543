//! The phases a plugin exports: found in its code, loaded with an instance, called.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre, TypedFunc};

use super::bindings::exports::tidegate::policy::{
    lifecycle, log_phase, request_body_phase, request_chunk_phase, request_phase, response_body_phase,
    response_chunk_phase, response_phase, timer_phase,
};
use super::bindings::tidegate::policy::types;
use crate::phase::{Phase, Verdict};
use crate::state::State;

/// Where the exports are in a plugin's code.
pub(crate) struct Indices {
    lifecycle: lifecycle::GuestIndices,
    request: Option<request_phase::GuestIndices>,
    request_body: Option<request_body_phase::GuestIndices>,
    request_chunk: Option<request_chunk_phase::GuestIndices>,
    response: Option<response_phase::GuestIndices>,
    response_body: Option<response_body_phase::GuestIndices>,
    response_chunk: Option<response_chunk_phase::GuestIndices>,
    log: Option<log_phase::GuestIndices>,
    timer: Option<timer_phase::GuestIndices>,
}

impl Indices {
    /// Fails when a function's type differs from the contract.
    pub(crate) fn find(pre: &InstancePre<State>, phases: &[Phase]) -> wasmtime::Result<Self> {
        macro_rules! find {
            ($phase:ident, $interface:ident) => {
                match phases.contains(&Phase::$phase) {
                    true => Some($interface::GuestIndices::new(pre)?),
                    false => None,
                }
            };
        }
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(pre)?,
            request: find!(Request, request_phase),
            request_body: find!(RequestBody, request_body_phase),
            request_chunk: find!(RequestChunk, request_chunk_phase),
            response: find!(Response, response_phase),
            response_body: find!(ResponseBody, response_body_phase),
            response_chunk: find!(ResponseChunk, response_chunk_phase),
            log: find!(Log, log_phase),
            timer: find!(Timer, timer_phase),
        })
    }

    pub(crate) fn load(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
    ) -> wasmtime::Result<(lifecycle::Guest, Functions)> {
        macro_rules! load {
            ($phase:ident, $function:ident) => {
                match &self.$phase {
                    Some(indices) => Some(indices.load(&mut *store, instance)?.$function()),
                    None => None,
                }
            };
        }
        let lifecycle = self.lifecycle.load(&mut *store, instance)?;
        let functions = Functions {
            request: load!(request, func_on_request),
            request_body: load!(request_body, func_on_request_body),
            request_chunk: load!(request_chunk, func_on_request_chunk),
            response: load!(response, func_on_response),
            response_body: load!(response_body, func_on_response_body),
            response_chunk: load!(response_chunk, func_on_response_chunk),
            log: load!(log, func_on_log),
            timer: load!(timer, func_on_timer),
        };
        Ok((lifecycle, functions))
    }
}

/// A phase that decides.
type Decides = Option<TypedFunc<(), (types::Verdict,)>>;

/// The exported functions of one instance.
pub(crate) struct Functions {
    request: Decides,
    request_body: Decides,
    request_chunk: Decides,
    response: Decides,
    response_body: Decides,
    response_chunk: Decides,
    log: Option<TypedFunc<(), ()>>,
    timer: Option<TypedFunc<(), (Result<(), String>,)>>,
}

impl Functions {
    /// For a plugin that never waits. Without the phase the verdict is [`Verdict::Next`].
    pub(crate) fn call(&self, store: &mut Store<State>, phase: Phase) -> wasmtime::Result<Verdict> {
        let decides = match phase {
            Phase::Log => {
                self.log.as_ref().map_or(Ok(()), |function| function.call(store, ()))?;
                return Ok(Verdict::Next);
            }
            Phase::Timer => {
                let Some(function) = &self.timer else { return Ok(Verdict::Next) };
                let (result,) = function.call(&mut *store, ())?;
                return Ok(ticked(store, result));
            }
            decides => self.decides(decides),
        };
        match decides {
            Some(function) => function.call(store, ()).map(|(verdict,)| verdict.into()),
            None => Ok(Verdict::Next),
        }
    }

    /// The same for one that may.
    pub(crate) async fn call_async(
        &self,
        store: &mut Store<State>,
        phase: Phase,
    ) -> wasmtime::Result<Verdict> {
        let decides = match phase {
            Phase::Log => {
                if let Some(function) = &self.log {
                    function.call_async(store, ()).await?;
                }
                return Ok(Verdict::Next);
            }
            Phase::Timer => {
                let Some(function) = &self.timer else { return Ok(Verdict::Next) };
                let (result,) = function.call_async(&mut *store, ()).await?;
                return Ok(ticked(store, result));
            }
            decides => self.decides(decides),
        };
        match decides {
            Some(function) => function.call_async(store, ()).await.map(|(verdict,)| verdict.into()),
            None => Ok(Verdict::Next),
        }
    }

    fn decides(&self, phase: Phase) -> &Decides {
        match phase {
            Phase::Request => &self.request,
            Phase::RequestBody => &self.request_body,
            Phase::RequestChunk => &self.request_chunk,
            Phase::Response => &self.response,
            Phase::ResponseBody => &self.response_body,
            Phase::ResponseChunk => &self.response_chunk,
            Phase::Log | Phase::Timer => &None,
        }
    }
}

/// What a timer phase could not do is a failure with a reason, which goes where a crash's last words go.
fn ticked(store: &mut Store<State>, result: Result<(), String>) -> Verdict {
    match result {
        Ok(()) => Verdict::Next,
        Err(why) => {
            store.data_mut().last_words = Some(crate::log::clean(&why, 512));
            Verdict::Fail
        }
    }
}

impl From<types::Verdict> for Verdict {
    fn from(verdict: types::Verdict) -> Self {
        match verdict {
            types::Verdict::Next => Self::Next,
            types::Verdict::Finish => Self::Finish,
            types::Verdict::Respond => Self::Respond,
            types::Verdict::Fail => Self::Fail,
        }
    }
}
