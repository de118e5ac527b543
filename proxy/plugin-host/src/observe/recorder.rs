//! Notes what one call asks and does, in order.

use std::cell::{Cell, RefCell};

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
    /// Whether somebody wants to know all of it, in words.
    is_witnessed: bool,
    seen: RefCell<Vec<Seen>>,
}

impl Recorder {
    pub(super) fn begin(&mut self, recording: bool, is_witnessed: bool) {
        self.recording = recording;
        self.is_witnessed = is_witnessed;
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
        if self.is_witnessed {
            self.seen.borrow_mut().push(Seen { what: function.to_owned(), answer: None });
        }
        self.give_up(function);
    }

    /// What was seen in words.
    pub(super) fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(self.seen.get_mut())
    }

    pub(super) fn note(&self, question: impl FnOnce() -> Question<'static>, answer: impl FnOnce() -> Answer) {
        if self.is_witnessed {
            let (what, answer) = (question().to_string(), Some(answer().to_string()));
            return self.seen.borrow_mut().push(Seen { what, answer });
        }
        if !self.recording || self.unfit.get().is_some() {
            return;
        }
        let mut noted = self.noted.borrow_mut();
        if noted.len() == MAX_QUESTIONS {
            return self.give_up("too many questions");
        }
        let answer = answer();
        if matches!(&answer, Answer::Text(text) if text.len() > MAX_TEXT) {
            return self.give_up("a long text");
        }
        noted.push((question(), answer));
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
