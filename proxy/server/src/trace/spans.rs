//! The spans of one exchange: one for what the proxy did, and one for each try at a server; those of what its policies ask
//! are below the first as well.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use tidegate_telemetry::{Event, Span, SpanKind, TraceContext, Value};
use tidegate_upstream::{AttemptEnd, Attempts};

use super::Trace;
use crate::policy::Step;

/// What is known of an exchange at its end.
pub(crate) struct Exchange<'a> {
    pub(crate) trace: Trace,
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    pub(crate) id: String,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) listener: &'a str,
    pub(crate) client: IpAddr,
    pub(crate) version: &'static str,
    pub(crate) method: &'a str,
    pub(crate) scheme: &'static str,
    pub(crate) host: Option<&'a str>,
    /// Without the query, which may have secrets.
    pub(crate) path: &'a str,
    pub(crate) status: Option<StatusCode>,
    pub(crate) route: Option<&'a str>,
    pub(crate) failure: Option<&'static str>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// From `begun` to the head of the response of a server.
    pub(crate) upstream: Option<Duration>,
    pub(crate) attempts: &'a Attempts,
    pub(crate) policies: &'a [Step],
}

impl Exchange<'_> {
    pub(super) fn spans(&self) -> Vec<Span> {
        // The clock that does not jump says how long; the other one when.
        let began = SystemTime::now() - self.took;
        let mut spans = vec![self.server(began)];
        spans.extend(self.tries().spans(began, self.begun, self.took, &[]));
        spans
    }

    fn tries(&self) -> Tries<'_> {
        Tries { context: self.trace.context, method: self.method, attempts: self.attempts }
    }

    fn server(&self, began: SystemTime) -> Span {
        let mut attributes = vec![
            ("http.request.method", Value::from(self.method)),
            ("url.scheme", Value::from(self.scheme)),
            ("url.path", Value::from(self.path)),
            ("network.protocol.version", Value::from(self.version.trim_start_matches("HTTP/"))),
            ("client.address", Value::from(self.client.to_string())),
            ("http.request.body.size", Value::from(self.bytes_in)),
            ("http.response.body.size", Value::from(self.bytes_out)),
            ("tidegate.listener", Value::from(self.listener)),
            ("tidegate.id", Value::from(self.id.as_str())),
        ];
        let texts = [
            ("server.address", self.host),
            ("tidegate.destination", self.route),
            ("tidegate.request_id", self.request_id),
            ("error.type", self.failure),
        ];
        attributes.extend(texts.into_iter().filter_map(|(key, text)| Some((key, Value::from(text?)))));
        if let Some(status) = self.status {
            attributes.push(("http.response.status_code", Value::from(status.as_u16())));
        }
        let is_error = self.status.is_none_or(|status| status.is_server_error());
        Span {
            trace: self.trace.context.trace,
            id: self.trace.context.span,
            parent: self.trace.parent,
            flags: self.trace.context.flags,
            name: self
                .route
                .map_or_else(|| self.method.to_owned(), |route| format!("{} {route}", self.method)),
            kind: SpanKind::Server,
            begun: began,
            took: self.took,
            attributes,
            events: self.events(began),
            error: is_error.then(|| self.failure.unwrap_or_default().to_owned()),
        }
    }

    /// A call of a policy each, at its end: calls follow each other, from the head of the request on, and again from
    /// that of the response.
    fn events(&self, began: SystemTime) -> Vec<Event> {
        let mut at = began;
        let mut answered = false;
        let event = |step: &Step| {
            if !answered && !step.phase.starts_with("request") {
                answered = true;
                at = at.max(began + self.upstream.unwrap_or_default());
            }
            at += Duration::from_micros(step.us);
            let mut attributes = vec![
                ("tidegate.policy", Value::from(&*step.policy)),
                ("tidegate.phase", Value::from(step.phase)),
                ("tidegate.verdict", Value::from(step.verdict)),
                ("tidegate.duration_us", Value::from(step.us)),
            ];
            if let Some(error) = step.error {
                attributes.push(("error.type", Value::from(error)));
            }
            Event { at, name: "policy", attributes }
        };
        self.policies.iter().map(event).collect()
    }
}

/// A request of a policy's own.
pub(crate) struct Called {
    /// That of the exchange it is made for.
    pub(crate) context: TraceContext,
    pub(crate) begun: Instant,
    pub(crate) policy: Arc<str>,
    pub(crate) upstream: String,
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
}

impl Called {
    /// When it is over.
    pub(super) fn spans(&self, attempts: &Attempts) -> Vec<Span> {
        let took = self.begun.elapsed();
        let tries = Tries { context: self.context, method: &self.method, attempts };
        let about = [
            ("tidegate.policy", &*self.policy),
            ("tidegate.destination", &*self.upstream),
            ("url.path", &*self.path),
        ];
        tries.spans(SystemTime::now() - took, self.begun, took, &about).collect()
    }
}

/// What was tried for one request.
struct Tries<'a> {
    context: TraceContext,
    method: &'a str,
    attempts: &'a Attempts,
}

impl<'a> Tries<'a> {
    /// A span for each; `about` is told of all. The request was under way from `begun`, which the other clock calls `began`,
    /// for as long as it `took`.
    fn spans(
        self,
        began: SystemTime,
        begun: Instant,
        took: Duration,
        about: &'a [(&'static str, &'a str)],
    ) -> impl Iterator<Item = Span> + 'a {
        self.attempts.iter().enumerate().map(move |(index, attempt)| {
            let (from, to) = attempt.times.unwrap_or((begun, None));
            let offset = from.saturating_duration_since(begun);
            let end = to.map_or(took, |to| to.saturating_duration_since(begun));
            let mut error = None;
            let mut attributes = vec![("http.request.method", Value::from(self.method))];
            attributes.extend(address(&attempt.server));
            attributes.extend(about.iter().map(|(key, text)| (*key, Value::from(*text))));
            if index > 0 {
                attributes.push(("http.request.resend_count", Value::from(index as u64)));
            }
            match attempt.end {
                AttemptEnd::Answered(status) => {
                    attributes.push(("http.response.status_code", Value::from(status.as_u16())));
                    error = (status.as_u16() >= 400).then(String::new);
                }
                AttemptEnd::Failed(failure) => {
                    attributes.push(("error.type", Value::from(failure)));
                    error = Some(failure.to_owned());
                }
                AttemptEnd::UnderWay => {}
            }
            Span {
                trace: self.context.trace,
                id: attempt.span,
                parent: self.context.span,
                flags: self.context.flags,
                name: self.method.to_owned(),
                kind: SpanKind::Client,
                begun: began + offset,
                took: end.saturating_sub(offset),
                attributes,
                events: Vec::new(),
                error,
            }
        })
    }
}

/// `IP:port`, or the path of a socket.
fn address(server: &str) -> Vec<(&'static str, Value)> {
    match server.rsplit_once(':') {
        Some((host, port)) if !server.starts_with("unix:") => {
            let port = port.parse().unwrap_or(0_u16);
            vec![("server.address", Value::from(host)), ("server.port", Value::from(port))]
        }
        _ => vec![("server.address", Value::from(server))],
    }
}
