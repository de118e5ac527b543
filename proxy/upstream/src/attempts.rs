//! What was tried for one request.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The attempts at one request, in order. The caller of `send` keeps it, so that it is there also if the request is given up.
#[derive(Debug, Default)]
pub struct Attempts {
    /// The first is kept apart: most requests have no other, and cost no allocation.
    first: Option<Attempt>,
    others: Vec<Attempt>,
    /// Somebody wants to know when they began and ended: two looks at the clock each.
    is_timed: bool,
    /// The span that the request tells servers of; 0: none.
    told: u64,
}

/// W3C Trace Context, version 00: `00-`, 32 digits of the trace, `-`, 16 of the span, `-`, 2 of flags.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const BEFORE_SPAN: usize = 36;
const AFTER_SPAN: usize = 52;

/// A span in place of the one that a request tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherSpan {
    told: u64,
    own: u64,
}

impl OtherSpan {
    /// Has the fields tell of this span. What a policy wrote in place of the one that was told stays.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let Some(value) = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()) else { return };
        let parts = (value.get(..BEFORE_SPAN), value.get(BEFORE_SPAN..AFTER_SPAN), value.get(AFTER_SPAN..));
        if let (Some(before), Some(span), Some(after)) = parts
            && u64::from_str_radix(span, 16) == Ok(self.told)
            && let Ok(other) = HeaderValue::try_from(format!("{before}{:016x}{after}", self.own))
        {
            headers.insert(TRACEPARENT, other);
        }
    }
}

/// One attempt: a request, or a connection for one, to a server.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The server's name.
    pub server: Arc<str>,
    /// What came of it.
    pub end: AttemptEnd,
    /// When it began, and when it ended; only where somebody wants to know.
    pub times: Option<(Instant, Option<Instant>)>,
    /// The span that its server was told of; 0: none.
    pub span: u64,
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
    /// None yet. The first will be the span that the request tells servers of (`traceparent`), and all others one of their
    /// own each; with `is_timed` they know their times.
    pub fn traced(told: u64, is_timed: bool) -> Self {
        Self { told, is_timed, ..Self::default() }
    }

    /// Notes one, and says what its server is told.
    pub(crate) fn begin(&mut self, server: Arc<str>) -> Option<OtherSpan> {
        let times = self.is_timed.then(|| (Instant::now(), None));
        let told = self.told;
        let span = if told == 0 || self.first.is_none() { told } else { rand::random::<u64>().max(1) };
        let attempt = Attempt { server, end: AttemptEnd::UnderWay, times, span };
        match &self.first {
            None => self.first = Some(attempt),
            Some(_) => self.others.push(attempt),
        }
        (span != told).then_some(OtherSpan { told, own: span })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_is_told_of_as_a_span_of_its_own() {
        let mut attempts = Attempts::traced(0xb7ad_6b71_6920_3331, false);
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(given))]);
        assert_eq!(attempts.begin("a".into()), None, "it is told of already");
        let other = attempts.begin("b".into()).expect("another span");
        other.tell(&mut headers);
        let span = attempts.last().expect("two").span;
        let told = format!("00-0af7651916cd43dd8448eb211c80319c-{span:016x}-01");
        assert_eq!(headers[TRACEPARENT], told.as_str());
        for written in ["00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01", "é", "short"] {
            headers.insert(TRACEPARENT, HeaderValue::from_str(written).expect("a value"));
            other.tell(&mut headers);
            assert_eq!(headers[TRACEPARENT].as_bytes(), written.as_bytes(), "a policy wrote it");
        }
        assert_eq!(Attempts::default().begin("a".into()), None);
    }
}
