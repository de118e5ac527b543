//! What a call asks of the host and does through it: the one way from the functions of a contract to the exchange.
//!
//! Every function of a contract is linked either as one that only puts [`Question`]s, which can be put again and are
//! noted with their answers, or, unless it says so, as one that makes the call unfit for remembering. The fields of
//! [`Call`] are private, so there is no third way to an exchange.

mod question;
mod recorder;
mod witness;

use std::borrow::Cow;
use std::net::IpAddr;

use tidegate_telemetry::TraceContext;

use crate::bodies::Side;
use crate::chunk::{Chunk, Draft};
use crate::edit::{Editor, Journal};
use crate::exchange::Exchange;
use crate::matching::{Matchers, Watch};
use crate::phase::Phase;
use crate::refusal::{EditError, RouteError};

pub(crate) use question::{Answer, Change, Fact, Number, Question, Route, Subject, Text};
pub(crate) use recorder::Recorder;
pub use witness::{Account, Seen, Witness};

/// Who calls, and what it may: what a question needs to know beside the exchange.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// Number of the plugin.
    pub(crate) plugin: u64,
    /// Routes it was granted; `None` = all.
    pub(crate) routes: Option<&'a [String]>,
    pub(crate) matchers: &'a Matchers,
    pub(crate) watch: &'a dyn Watch,
}

/// What the call in progress is about.
#[derive(Default)]
pub(crate) struct Call {
    /// `None` between calls, and in those about no exchange.
    about: Option<(Phase, Box<Exchange>)>,
    /// In a phase that sees a body.
    chunk: Option<Draft>,
    /// What the call has changed so far.
    journal: Journal,
    recorder: Recorder,
    /// Of a call about no exchange.
    callouts: u32,
}

/// Why a call is not remembered, where no function is to be named.
const UNASKED: &str = "something that is no question";

type Observed<T> = wasmtime::Result<T>;

impl Call {
    /// `remembers`: what is asked is noted.
    pub(crate) fn begin(
        &mut self,
        phase: Phase,
        exchange: Box<Exchange>,
        chunk: Option<Chunk>,
        remembers: bool,
    ) {
        self.chunk = chunk.map(|chunk| Draft::new(chunk, exchange.limits.body));
        let hidden = exchange.witness.as_ref().map(|witness| witness.hidden.clone());
        self.recorder.begin(remembers, hidden);
        self.about = Some((phase, exchange));
    }

    /// About no exchange.
    pub(crate) fn begin_alone(&mut self) {
        self.recorder.begin(false, None);
        self.callouts = 0;
    }

    /// What the call leaves behind; its changes are still to be kept or undone.
    pub(crate) fn end(&mut self) -> (Option<Box<Exchange>>, Option<Draft>) {
        let mut exchange = self.about.take().map(|(_, exchange)| exchange);
        if let Some(witness) = exchange.as_mut().and_then(|exchange| exchange.witness.as_mut()) {
            witness.seen.append(&mut self.recorder.take_seen());
        }
        (exchange, self.chunk.take())
    }

    pub(crate) fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    pub(crate) fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }

    pub(crate) fn text<'s>(&'s self, asker: Asker<'s>, question: Text<'_>) -> Observed<Option<Cow<'s, str>>> {
        let answer = question.ask(&self.subject(asker, question.needs_response())?);
        self.recorder.note(|| Question::Text(question.into_owned()), || Answer::text(answer.as_deref()));
        Ok(answer)
    }

    pub(crate) fn is(&self, asker: Asker<'_>, question: Fact<'_>) -> Observed<bool> {
        let answer = question.ask(&self.subject(asker, false)?)?;
        self.recorder.note(|| Question::Fact(question.into_owned()), || Answer::Is(answer));
        Ok(answer)
    }

    pub(crate) fn number(&self, asker: Asker<'_>, question: Number<'_>) -> Observed<Option<u64>> {
        let answer = question.ask(&self.subject(asker, question.needs_response())?)?;
        self.recorder.note(|| Question::Number(question.into_owned()), || Answer::Number(answer));
        Ok(answer)
    }

    /// Makes a change. An error refuses it, as what is asked for is none: that is not remembered.
    pub(crate) fn change(
        &mut self,
        asker: Asker<'_>,
        change: Result<Change<'_>, Refused>,
    ) -> Observed<Result<u32, EditError>> {
        match change {
            Ok(change) => {
                let changed = change.apply(&mut self.editor(asker)?);
                self.recorder.note(|| Question::Change(change.into_owned()), || Answer::Changed(changed));
                Ok(changed)
            }
            Err(Refused { side, error }) => {
                let editor = self.edit(asker)?;
                // That it is too late is the better reason.
                Ok(Err(editor.may_edit(side).err().unwrap_or(error)))
            }
        }
    }

    pub(crate) fn route_to(
        &mut self,
        asker: Asker<'_>,
        route: Route<'_>,
    ) -> Observed<Result<(), RouteError>> {
        let routed = self.editor(asker)?.route_to(&route.0);
        self.recorder.note(|| Question::Route(route.into_owned()), || Answer::Routed(routed));
        Ok(routed)
    }

    /// For what is not remembered.
    pub(crate) fn exchange(&self) -> Observed<&Exchange> {
        self.recorder.give_up(UNASKED);
        self.about.as_ref().map(|(_, exchange)| &**exchange).ok_or_else(no_exchange)
    }

    /// For changes that are not remembered.
    pub(crate) fn edit<'s>(&'s mut self, asker: Asker<'s>) -> Observed<Editor<'s>> {
        self.recorder.give_up(UNASKED);
        self.editor(asker)
    }

    /// A function is called that is not linked as one that only puts questions.
    pub(crate) fn observe(&self, function: &'static str) {
        self.recorder.call(function);
    }

    /// The client of the exchange, for whom something is asked of others.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.about.as_ref().map(|(_, exchange)| exchange.client)
    }

    /// Where the exchange is in a trace.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.about.as_ref().and_then(|(_, exchange)| exchange.trace)
    }

    /// Counts a callout, and answers how many there are of this plugin for this exchange, or in this call about none.
    pub(crate) fn count_callout(&mut self, plugin: u64) -> u32 {
        match &mut self.about {
            Some((_, exchange)) => exchange.count_callout(plugin),
            None => {
                self.callouts += 1;
                self.callouts
            }
        }
    }

    /// The body or chunk of the call.
    pub(crate) fn chunk(&self) -> Observed<&Draft> {
        self.recorder.give_up(UNASKED);
        self.chunk.as_ref().ok_or_else(no_body)
    }

    pub(crate) fn chunk_mut(&mut self) -> Observed<&mut Draft> {
        self.recorder.give_up(UNASKED);
        self.chunk.as_mut().ok_or_else(no_body)
    }

    fn subject<'s>(&'s self, asker: Asker<'s>, needs_response: bool) -> Observed<Subject<'s>> {
        let (_, exchange) = self.about.as_ref().ok_or_else(no_exchange)?;
        if needs_response && exchange.response.is_none() {
            return Err(no_response());
        }
        Ok(Subject { exchange, asker })
    }

    fn editor<'s>(&'s mut self, asker: Asker<'s>) -> Observed<Editor<'s>> {
        let (phase, exchange) = self.about.as_mut().ok_or_else(no_exchange)?;
        let Asker { plugin, routes, .. } = asker;
        Ok(Editor { exchange, journal: &mut self.journal, phase: *phase, plugin, routes })
    }
}

/// What is asked for is no change at all.
pub(crate) struct Refused {
    pub(crate) side: Side,
    pub(crate) error: EditError,
}

fn no_exchange() -> wasmtime::Error {
    wasmtime::Error::msg("there is no exchange outside of a phase")
}

pub(crate) fn no_response() -> wasmtime::Error {
    wasmtime::Error::msg("there is no response in this phase")
}

fn no_body() -> wasmtime::Error {
    wasmtime::Error::msg("there is no body in this phase")
}
