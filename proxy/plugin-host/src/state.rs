//! What belongs to one instance: the data of its store.

use std::sync::Arc;

use tidegate_message::ResponseHead;
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::activation::Narrowing;
use crate::chunk::Draft;
use crate::edit::{Editor, Journal};
use crate::exchange::Exchange;
use crate::limits::{Budget, MemoryLimiter};
use crate::matching::Matchers;
use crate::memo::{Answer, Question, Recorder};
use crate::phase::Phase;
use crate::settings::Shared;
use crate::wasi::Wasi;

/// The data of one instance's store.
pub(crate) struct State {
    pub(crate) plugin: Arc<Shared>,
    pub(crate) stage: Stage,
    /// Empty in a plugin's first instance until it defines them; frozen in all others.
    pub(crate) matchers: Arc<Matchers>,
    /// For the length of a call.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// For the length of a call of a body phase.
    pub(crate) chunk: Option<Draft>,
    /// What the call has changed so far.
    pub(crate) journal: Journal,
    /// What the call asked, if it is to be remembered.
    pub(crate) recorder: Recorder,
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
    Serving(Phase),
}

impl State {
    pub(crate) fn new(plugin: Arc<Shared>, matchers: Arc<Matchers>, wasi: bool) -> Self {
        Self {
            wasi: wasi.then(|| Box::new(Wasi::new(&plugin))),
            memory: MemoryLimiter::new(plugin.limits.memory),
            budget: Budget::new(plugin.pulse.clone()),
            plugin,
            stage: Stage::Starting,
            matchers,
            exchange: None,
            chunk: None,
            journal: Journal::default(),
            recorder: Recorder::default(),
            last_words: None,
        }
    }

    /// The exchange of the call. No handle to it exists outside of one, so a failure here would be
    /// a flaw of the host; it becomes a trap of the guest rather than a panic.
    ///
    /// What is read of it here cannot be remembered; [`State::noted_exchange`] is for what can.
    pub(crate) fn exchange(&self) -> wasmtime::Result<&Exchange> {
        self.recorder.give_up();
        self.noted_exchange()
    }

    /// The same for those who note what they read in [`State::recorder`].
    pub(crate) fn noted_exchange(&self) -> wasmtime::Result<&Exchange> {
        self.exchange
            .as_deref()
            .ok_or_else(|| wasmtime::Error::msg("there is no exchange outside of a phase"))
    }

    pub(crate) fn response(&self) -> wasmtime::Result<&ResponseHead> {
        self.recorder.give_up();
        self.noted_response()
    }

    pub(crate) fn noted_response(&self) -> wasmtime::Result<&ResponseHead> {
        let response = self.noted_exchange()?.response.as_ref();
        response.ok_or_else(|| wasmtime::Error::msg("there is no response in this phase"))
    }

    /// The body or chunk of the call.
    pub(crate) fn chunk(&self) -> wasmtime::Result<&Draft> {
        self.chunk.as_ref().ok_or_else(no_body)
    }

    pub(crate) fn chunk_mut(&mut self) -> wasmtime::Result<&mut Draft> {
        self.chunk.as_mut().ok_or_else(no_body)
    }

    /// For changes to the exchange that cannot be remembered.
    pub(crate) fn editor(&mut self) -> wasmtime::Result<Editor<'_>> {
        self.recorder.give_up();
        match (&mut self.exchange, &self.stage) {
            (Some(exchange), Stage::Serving(phase)) => Ok(Editor {
                exchange,
                journal: &mut self.journal,
                phase: *phase,
                plugin: self.plugin.id,
                routes: self.plugin.routes.as_deref(),
            }),
            _ => Err(wasmtime::Error::msg("there is no exchange outside of a phase")),
        }
    }

    /// Makes an edit that can be remembered, and notes it. Answers `None` where nothing is remembered: the
    /// edit is still to be made then, with [`State::editor`].
    pub(crate) fn noted_edit(
        &mut self,
        question: impl FnOnce() -> Option<Question>,
    ) -> Option<Answer<'static>> {
        if !self.recorder.is_recording() {
            return None;
        }
        let (Some(exchange), Stage::Serving(phase), Some(question)) =
            (&mut self.exchange, &self.stage, question())
        else {
            return None;
        };
        let mut editor = Editor {
            exchange,
            journal: &mut self.journal,
            phase: *phase,
            plugin: self.plugin.id,
            routes: self.plugin.routes.as_deref(),
        };
        let answer = question.ask(&mut editor, &self.matchers, &self.budget).ok()?.into_owned();
        self.recorder.note(|| question, &answer);
        Some(answer)
    }
}

pub(crate) fn no_body() -> wasmtime::Error {
    wasmtime::Error::msg("there is no body in this phase")
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.as_mut().expect("WASI is linked only for components that import it").view()
    }
}
