//! What was tried for one request.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

/// The attempts at one request, in order. The caller of `send` keeps it, so that it is there also if the request is given up.
#[derive(Debug, Default)]
pub struct Attempts {
    /// The first is kept apart: most requests have no other, and cost no allocation.
    first: Option<Attempt>,
    others: Vec<Attempt>,
    /// Somebody wants to know when they began and ended: two looks at the clock each.
    is_timed: bool,
}

/// One attempt: a request, or a connection for one, to a server.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The server's name.
    pub server: Arc<str>,
    /// What came of it.
    pub end: AttemptEnd,
    /// When it began, and when it ended; only of [`Attempts::timed`].
    pub times: Option<(Instant, Option<Instant>)>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Nothing yet; it stays so when the request is given up meanwhile.
    UnderWay,
    /// The server answered with this status.
    Answered(StatusCode),
    /// There was no answer; the name is that of [`Error::as_str`](crate::Error::as_str).
    Failed(&'static str),
}

impl Attempts {
    /// None yet; those that come know their times.
    pub fn timed() -> Self {
        Self { is_timed: true, ..Self::default() }
    }

    pub(crate) fn begin(&mut self, server: Arc<str>) {
        let times = self.is_timed.then(|| (Instant::now(), None));
        let attempt = Attempt { server, end: AttemptEnd::UnderWay, times };
        match &self.first {
            None => self.first = Some(attempt),
            Some(_) => self.others.push(attempt),
        }
    }

    pub(crate) fn end(&mut self, end: AttemptEnd) {
        let last = self.others.last_mut().or(self.first.as_mut());
        if let Some(last) = last {
            last.end = end;
            if let Some((_, ended)) = &mut last.times {
                *ended = Some(Instant::now());
            }
        }
    }

    /// The last one: the log names its server.
    pub fn last(&self) -> Option<&Attempt> {
        self.others.last().or(self.first.as_ref())
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(&self.others)
    }
}
