//! What belongs to one instance: the data of its store.

use std::borrow::Cow;
use std::sync::Arc;

use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::activation::Narrowing;
use crate::bodies::Side;
use crate::callout::{self, CalloutError, CalloutTrace, Callouts, Sending, Sent};
use crate::capacity::{Capacity, Suspended};
use crate::chunk::Draft;
use crate::edit::Editor;
use crate::exchange::Exchange;
use crate::limits::{Budget, MemoryLimiter};
use crate::matching::Found;
use crate::observe::{self, Asker, Call, Change, Fact, Number, Refused, Route, Text};
use crate::refusal::{EditError, RouteError};
use crate::services::Defined;
use crate::settings::Shared;
use crate::wasi::Wasi;
use tidegate_message::ResponseHead;

/// The data of one instance's store.
pub(crate) struct State {
    pub(crate) plugin: Arc<Shared>,
    pub(crate) stage: Stage,
    /// Empty in a plugin's first instance until it defines something; frozen in all others.
    pub(crate) defined: Arc<Defined>,
    /// What the instance is called about.
    pub(crate) call: Call,
    /// What it has asked others meanwhile.
    pub(crate) callouts: callout::Table,
    /// Where callouts go; `None` while it is configured.
    pub(crate) door: Option<Arc<dyn Callouts>>,
    /// `None` for the first instance of a plugin, which no worker counts.
    pub(crate) capacity: Option<Arc<Capacity>>,
    pub(crate) budget: Budget,
    pub(crate) memory: MemoryLimiter,
    /// The last error the call logged: a panic says why there, before it traps.
    pub(crate) last_words: Option<String>,
    /// Only for components that import it.
    wasi: Option<Box<Wasi>>,
}

/// What the instance is asked to do.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Instantiate or describe itself.
    Starting,
    /// Configure itself as the first instance of its plugin: what it defines is kept.
    Defining(Box<Narrowing>),
    /// Configure itself like the first instance did.
    Configuring,
    /// Look at an exchange.
    Serving,
}

/// What the functions of a contract do about the exchange. They trap where there is none.
impl State {
    pub(crate) fn new(plugin: Arc<Shared>, defined: Arc<Defined>, wasi: bool) -> Self {
        Self {
            wasi: wasi.then(|| Box::new(Wasi::new(&plugin))),
            memory: MemoryLimiter::new(plugin.limits.memory),
            budget: Budget::new(plugin.pulse.clone()),
            plugin,
            stage: Stage::Starting,
            defined,
            call: Call::default(),
            callouts: callout::Table::default(),
            door: None,
            capacity: None,
            last_words: None,
        }
    }

    pub(crate) fn text(&self, question: Text<'_>) -> wasmtime::Result<Option<Cow<'_, str>>> {
        self.call.text(asker(&self.plugin, &self.defined, &self.budget), question)
    }

    /// A text that is always there.
    pub(crate) fn some_text(&self, question: Text<'_>) -> wasmtime::Result<String> {
        Ok(self.text(question)?.unwrap_or_default().into_owned())
    }

    pub(crate) fn is(&self, question: Fact<'_>) -> wasmtime::Result<bool> {
        self.call.is(asker(&self.plugin, &self.defined, &self.budget), question)
    }

    pub(crate) fn number(&self, question: Number<'_>) -> wasmtime::Result<Option<u64>> {
        self.call.number(asker(&self.plugin, &self.defined, &self.budget), question)
    }

    /// Index of a pattern.
    pub(crate) fn index(&self, question: Number<'_>) -> wasmtime::Result<Option<u32>> {
        // Lists are shorter than that.
        Ok(self.number(question)?.map(|index| u32::try_from(index).unwrap_or(u32::MAX)))
    }

    pub(crate) fn change(
        &mut self,
        change: Result<Change<'_>, Refused>,
    ) -> wasmtime::Result<Result<u32, EditError>> {
        self.call.change(asker(&self.plugin, &self.defined, &self.budget), change)
    }

    /// A change that is without effect where it cannot be made.
    pub(crate) fn change_at_will(&mut self, change: Change<'_>) -> wasmtime::Result<()> {
        self.change(Ok(change)).map(drop)
    }

    /// Whether a body is seen decoded.
    pub(crate) fn decode_body(&mut self, side: Side) -> wasmtime::Result<bool> {
        Ok(self.change(Ok(Change::DecodeBody(side)))?.is_ok_and(|decodes| decodes > 0))
    }

    /// Whether there is such a cache.
    pub(crate) fn use_cache(&mut self, name: &str) -> wasmtime::Result<bool> {
        Ok(self.change(Ok(Change::UseCache(name.into())))?.is_ok_and(|is_known| is_known > 0))
    }

    pub(crate) fn route_to(&mut self, name: &str) -> wasmtime::Result<Result<(), RouteError>> {
        self.call.route_to(asker(&self.plugin, &self.defined, &self.budget), Route(name.into()))
    }

    /// For what is not remembered.
    pub(crate) fn exchange(&self) -> wasmtime::Result<&Exchange> {
        self.call.exchange()
    }

    /// For what is not remembered.
    pub(crate) fn response(&self) -> wasmtime::Result<&ResponseHead> {
        self.exchange()?.response.as_ref().ok_or_else(observe::no_response)
    }

    /// For changes that are not remembered.
    pub(crate) fn edit(&mut self) -> wasmtime::Result<Editor<'_>> {
        self.call.edit(asker(&self.plugin, &self.defined, &self.budget))
    }

    /// The body or chunk of the call.
    pub(crate) fn chunk(&self) -> wasmtime::Result<&Draft> {
        self.call.chunk()
    }

    pub(crate) fn chunk_mut(&mut self) -> wasmtime::Result<&mut Draft> {
        self.call.chunk_mut()
    }

    /// Index of the first pattern that matches the body as it stands now.
    pub(crate) fn match_body(&mut self, patterns: u32) -> wasmtime::Result<Option<u32>> {
        let chunk = self.call.chunk_mut()?;
        // As in fields, bytes that are not UTF-8 must not hide the rest. Text is not copied.
        let text = String::from_utf8_lossy(chunk.contiguous());
        Ok(self.defined.matchers.patterns(patterns)?.first_match(&text, &self.budget)?)
    }

    /// Where one of the patterns next stands in the body as it stands now.
    pub(crate) fn find_pattern(&mut self, patterns: u32, offset: u64) -> wasmtime::Result<Option<Found>> {
        let bytes = self.call.chunk_mut()?.contiguous();
        let search = self.defined.matchers.search(patterns)?;
        let Some(offset) = usize::try_from(offset).ok().filter(|offset| *offset <= bytes.len()) else {
            return Ok(None);
        };
        Ok(search.find(bytes, offset, &self.budget)?)
    }
}

fn asker<'a>(plugin: &'a Shared, defined: &'a Defined, budget: &'a Budget) -> Asker<'a> {
    Asker { plugin: plugin.id, routes: plugin.routes.as_deref(), matchers: &defined.matchers, watch: budget }
}

/// What a call waits for.
impl State {
    /// A place among the calls of this plugin that may wait on this worker; `None` if there are as many as may be.
    pub(crate) fn wait(&self) -> Option<Suspended> {
        self.capacity.as_ref()?.suspend(self.call.client(), self.plugin.limits.waiting)
    }

    /// Nothing of them outlives the call.
    pub(crate) fn end_callouts(&mut self) {
        self.callouts.clear();
        self.door = None;
    }

    /// Sends requests that the call prepared.
    pub(crate) fn send(&mut self, requests: &[u32]) -> wasmtime::Result<Sending> {
        callout::check_count(requests.len())?;
        let place = self.wait();
        let answers = requests.iter().map(|request| self.send_one(*request, place.is_some()));
        Ok(Sending { answers: answers.collect::<wasmtime::Result<_>>()?, place })
    }

    fn send_one(&mut self, request: u32, may_wait: bool) -> wasmtime::Result<Result<Sent, CalloutError>> {
        let limits = self.plugin.limits;
        let client = self.call.client();
        let draft = self.callouts.draft(request)?;
        if !self.plugin.granted.grants.callout.iter().any(|granted| granted == draft.upstream()) {
            return Ok(Err(CalloutError::NotGranted));
        }
        let (Some(door), true) = (&self.door, may_wait) else { return Ok(Err(CalloutError::TooMany)) };
        if self.call.count_callout(self.plugin.id) > limits.callouts {
            return Ok(Err(CalloutError::TooMany));
        }
        let name = &self.plugin.name;
        let trace = self.call.trace().map(|context| CalloutTrace { context, policy: name.clone() });
        let callout = draft.request(client, trace, limits.callout_timeout, limits.callout_response);
        Ok(callout.map(|callout| door.send(callout)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.as_mut().expect("WASI is linked only for components that import it").view()
    }
}
