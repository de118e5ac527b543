//! What was tried for one request.

use std::sync::Arc;

use http::StatusCode;

/// The attempts at one request, in order. The caller of `send` keeps it, so that it is there also if the request is given up.
#[derive(Debug, Default)]
pub struct Attempts {
    /// The first is kept apart: most requests have no other, and cost no allocation.
    first: Option<Attempt>,
    others: Vec<Attempt>,
}

/// One attempt: a request, or a connection for one, to a server.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The server's name.
    pub server: Arc<str>,
    /// What came of it.
    pub end: AttemptEnd,
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
    pub(crate) fn begin(&mut self, server: Arc<str>) {
        let attempt = Attempt { server, end: AttemptEnd::UnderWay };
        match &self.first {
            None => self.first = Some(attempt),
            Some(_) => self.others.push(attempt),
        }
    }

    pub(crate) fn end(&mut self, end: AttemptEnd) {
        let last = self.others.last_mut().or(self.first.as_mut());
        if let Some(last) = last {
            last.end = end;
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
