//! The phases a plugin exports: found in its code, loaded with an instance, called.

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance, InstancePre, Lower, Resource, TypedFunc};

use super::bindings::exports::tidegate::policy::{
    lifecycle, log_phase, request_body_phase, request_chunk_phase, request_phase, response_body_phase,
    response_chunk_phase, response_phase,
};
use super::bindings::tidegate::policy::http;
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
}

impl Indices {
    /// Fails when a function's type differs from the contract.
    pub(crate) fn find(pre: &InstancePre<State>, phases: &[Phase]) -> wasmtime::Result<Self> {
        fn find<I>(
            pre: &InstancePre<State>,
            exported: bool,
            new: impl FnOnce(&InstancePre<State>) -> wasmtime::Result<I>,
        ) -> wasmtime::Result<Option<I>> {
            exported.then(|| new(pre)).transpose()
        }
        let has = |phase| phases.contains(&phase);
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(pre)?,
            request: find(pre, has(Phase::Request), request_phase::GuestIndices::new)?,
            request_body: find(pre, has(Phase::RequestBody), request_body_phase::GuestIndices::new)?,
            request_chunk: find(pre, has(Phase::RequestChunk), request_chunk_phase::GuestIndices::new)?,
            response: find(pre, has(Phase::Response), response_phase::GuestIndices::new)?,
            response_body: find(pre, has(Phase::ResponseBody), response_body_phase::GuestIndices::new)?,
            response_chunk: find(pre, has(Phase::ResponseChunk), response_chunk_phase::GuestIndices::new)?,
            log: find(pre, has(Phase::Log), log_phase::GuestIndices::new)?,
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
        };
        Ok((lifecycle, functions))
    }
}

type Request = Resource<http::Request>;
type Response = Resource<http::Response>;
type Body = Resource<http::Body>;
/// A phase that decides.
type Decides<P> = Option<TypedFunc<P, (http::Verdict,)>>;

/// The exported functions of one instance.
pub(crate) struct Functions {
    request: Decides<(Request,)>,
    request_body: Decides<(Request, Body)>,
    request_chunk: Decides<(Request, Body)>,
    response: Decides<(Request, Response)>,
    response_body: Decides<(Request, Response, Body)>,
    response_chunk: Decides<(Request, Response, Body)>,
    log: Option<TypedFunc<(Request, Response), ()>>,
}

/// The handles carry nothing: what a call is about is in the store.
fn handle<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}

impl Functions {
    /// For a plugin that never waits. Without the phase the verdict is [`Verdict::Next`].
    pub(crate) fn call(&self, store: &mut Store<State>, phase: Phase) -> wasmtime::Result<Verdict> {
        match phase {
            Phase::Request => decide(store, &self.request, (handle(),)),
            Phase::RequestBody => decide(store, &self.request_body, (handle(), handle())),
            Phase::RequestChunk => decide(store, &self.request_chunk, (handle(), handle())),
            Phase::Response => decide(store, &self.response, (handle(), handle())),
            Phase::ResponseBody => decide(store, &self.response_body, (handle(), handle(), handle())),
            Phase::ResponseChunk => decide(store, &self.response_chunk, (handle(), handle(), handle())),
            Phase::Log => {
                if let Some(function) = &self.log {
                    function.call(store, (handle(), handle()))?;
                }
                Ok(Verdict::Next)
            }
            Phase::Timer => Ok(Verdict::Next),
        }
    }

    /// The same for one that may.
    pub(crate) async fn call_async(
        &self,
        store: &mut Store<State>,
        phase: Phase,
    ) -> wasmtime::Result<Verdict> {
        match phase {
            Phase::Request => decide_async(store, &self.request, (handle(),)).await,
            Phase::RequestBody => decide_async(store, &self.request_body, (handle(), handle())).await,
            Phase::RequestChunk => decide_async(store, &self.request_chunk, (handle(), handle())).await,
            Phase::Response => decide_async(store, &self.response, (handle(), handle())).await,
            Phase::ResponseBody => {
                decide_async(store, &self.response_body, (handle(), handle(), handle())).await
            }
            Phase::ResponseChunk => {
                decide_async(store, &self.response_chunk, (handle(), handle(), handle())).await
            }
            Phase::Log => {
                if let Some(function) = &self.log {
                    function.call_async(store, (handle(), handle())).await?;
                }
                Ok(Verdict::Next)
            }
            Phase::Timer => Ok(Verdict::Next),
        }
    }
}

fn decide<P: ComponentNamedList + Lower>(
    store: &mut Store<State>,
    function: &Decides<P>,
    handles: P,
) -> wasmtime::Result<Verdict> {
    match function {
        Some(function) => function.call(store, handles).map(|(verdict,)| verdict.into()),
        None => Ok(Verdict::Next),
    }
}

async fn decide_async<P: ComponentNamedList + Lower + Send + Sync>(
    store: &mut Store<State>,
    function: &Decides<P>,
    handles: P,
) -> wasmtime::Result<Verdict> {
    match function {
        Some(function) => function.call_async(store, handles).await.map(|(verdict,)| verdict.into()),
        None => Ok(Verdict::Next),
    }
}

impl From<http::Verdict> for Verdict {
    fn from(verdict: http::Verdict) -> Self {
        match verdict {
            http::Verdict::Next => Self::Next,
            http::Verdict::Finish => Self::Finish,
            http::Verdict::Respond => Self::Respond,
            http::Verdict::Fail => Self::Fail,
        }
    }
}
