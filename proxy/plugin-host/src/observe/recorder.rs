//! Notes what one call asks and does, in order.

use std::cell::{Cell, RefCell};

use super::witness::{Hidden, tell};
use super::{Answer, Question, Seen};

/// Questions of one call; more are cheaper to ask than to remember.
const MAX_QUESTIONS: usize = 64;
/// Longest text that is kept as an answer, bytes: a host name has at most 253, and a path that is longer is
/// hardly one that many ask for.
const MAX_TEXT: usize = 260;

/// The questions of one call with their answers, unless there was something that cannot be remembered.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    recording: bool,
    /// The function that cannot be remembered, or what else stands against it. Cells, since reading does not change
    /// the store.
    unfit: Cell<Option<&'static str>>,
    noted: RefCell<Vec<(Question<'static>, Answer)>>,
    /// Somebody wants to know all of it in words, but for the values of these fields.
    witnessed: Option<Hidden>,
    seen: RefCell<Vec<Seen>>,
}

impl Recorder {
    pub(super) fn begin(&mut self, recording: bool, witnessed: Option<Hidden>) {
        self.recording = recording;
        self.witnessed = witnessed;
        self.seen.get_mut().clear();
        self.unfit.set(None);
        self.noted.get_mut().clear();
    }

    pub(super) fn give_up(&self, why: &'static str) {
        if self.unfit.get().is_none() {
            self.unfit.set(Some(why));
        }
    }

    /// A function is called of which only the name is known.
    pub(super) fn call(&self, function: &'static str) {
        if self.witnessed.is_some() {
            tell(&mut self.seen.borrow_mut(), || Seen::only(function));
        }
        self.give_up(function);
    }

    /// What was seen in words.
    pub(super) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(self.seen.get_mut())
    }

    pub(super) fn note(&self, question: impl FnOnce() -> Question<'static>, answer: impl FnOnce() -> Answer) {
        let remembers = self.recording && self.unfit.get().is_none();
        if !remembers && self.witnessed.is_none() {
            return;
        }
        let (question, answer) = (question(), answer());
        if let Some(hidden) = &self.witnessed {
            tell(&mut self.seen.borrow_mut(), || Seen::of(&question, &answer, hidden));
        }
        if remembers {
            self.remember(question, answer);
        }
    }

    fn remember(&self, question: Question<'static>, answer: Answer) {
        let mut noted = self.noted.borrow_mut();
        if noted.len() == MAX_QUESTIONS {
            return self.give_up("too many questions");
        }
        if matches!(&answer, Answer::Text(text) if text.len() > MAX_TEXT) {
            return self.give_up("a long text");
        }
        noted.push((question, answer));
    }

    /// What was noted, in order.
    ///
    /// # Errors
    ///
    /// Why the call cannot be remembered.
    pub(crate) fn take(&mut self) -> Result<Vec<(Question<'static>, Answer)>, &'static str> {
        match self.unfit.get() {
            None if self.recording => Ok(std::mem::take(self.noted.get_mut())),
            None => Err("nobody asked for it"),
            Some(why) => Err(why),
        }
    }
}
