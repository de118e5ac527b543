//! Requests of a policy's own, to upstreams it was granted.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use tidegate_message::{authority, fields};
use tidegate_telemetry::TraceContext;

use crate::capacity::Suspended;
use crate::edit::{MAX_COPY, valid_target};

/// A request of a policy's own. It is valid HTTP, without framing and hop-by-hop fields.
#[derive(Debug, Clone)]
pub struct Callout {
    /// Name of an upstream that was granted.
    pub upstream: String,
    /// Never `CONNECT`.
    pub method: Method,
    /// Path and query.
    pub target: PathAndQuery,
    /// In place of the server's own name.
    pub host: Option<String>,
    /// Fields in order.
    pub headers: HeaderMap,
    /// Sent with its length.
    pub body: Bytes,
    /// The client of the exchange that it is for; `None` in a timer phase.
    pub client: Option<IpAddr>,
    /// `None`: that exchange is in no trace, or it is for none.
    pub trace: Option<CalloutTrace>,
    /// For the whole of it.
    pub timeout: Duration,
    /// Bytes of the response's body.
    pub largest: usize,
}

/// What a callout belongs to in a trace.
#[derive(Debug, Clone)]
pub struct CalloutTrace {
    /// The place of the exchange.
    pub context: TraceContext,
    /// The policy that sends it.
    pub policy: Arc<str>,
}

/// The response to it, without framing and hop-by-hop fields.
pub struct Answered {
    /// 200 to 599.
    pub status: StatusCode,
    /// Fields in order.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
    /// Says that the body is held, as long as it is.
    pub held: Box<dyn Send + Sync>,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalloutError {
    /// The operator did not grant this upstream.
    NotGranted,
    /// Not valid HTTP, or a field the proxy owns.
    Invalid,
    /// No server took the connection, or what came is not HTTP.
    Failed,
    /// Over the time-out.
    Timeout,
    /// The response is over the limit.
    TooLarge,
    /// Over the number of callouts, or of calls that wait.
    TooMany,
}

/// Sends them, with what one worker has of upstreams. Dropping the future gives the request up.
pub trait Callouts: Send + Sync {
    /// Any status is a response.
    fn send(&self, callout: Callout) -> Sent;
}

/// What comes of a callout.
pub type Sent = Pin<Box<dyn Future<Output = Result<Answered, CalloutError>> + Send>>;

/// Callouts of one call on their way, and its place among those that wait.
pub(crate) struct Sending {
    pub(crate) answers: Vec<Result<Sent, CalloutError>>,
    pub(crate) place: Option<Suspended>,
}

/// Requests that one call may prepare, and fields of one of them.
const MAX_PREPARED: usize = 64;
const MAX_FIELDS: usize = 100;

/// What one call has prepared and got, by number.
#[derive(Default)]
pub(crate) struct Table {
    outgoing: Vec<Draft>,
    incoming: Vec<Answered>,
}

/// A request that is being prepared.
pub(crate) struct Draft {
    upstream: String,
    method: Option<Method>,
    target: Option<PathAndQuery>,
    host: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    timeout: Option<Duration>,
    is_invalid: bool,
}

impl Table {
    pub(crate) fn clear(&mut self) {
        self.outgoing.clear();
        self.incoming.clear();
    }

    pub(crate) fn begin(&mut self, upstream: String, method: &str, target: String) -> wasmtime::Result<u32> {
        check_count(self.outgoing.len() + 1)?;
        let method = Method::from_bytes(method.as_bytes()).ok().filter(|method| *method != Method::CONNECT);
        self.outgoing.push(Draft {
            upstream,
            method,
            target: valid_target(target).ok(),
            host: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: None,
            is_invalid: false,
        });
        Ok(u32::try_from(self.outgoing.len() - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn draft(&mut self, number: u32) -> wasmtime::Result<&mut Draft> {
        let found = usize::try_from(number).ok().and_then(|number| self.outgoing.get_mut(number));
        found.ok_or_else(|| wasmtime::Error::msg(format!("{number} is no callout of this call")))
    }

    pub(crate) fn received(&mut self, answered: Answered) -> u32 {
        self.incoming.push(answered);
        u32::try_from(self.incoming.len() - 1).unwrap_or(u32::MAX)
    }

    pub(crate) fn answered(&self, number: u32) -> wasmtime::Result<&Answered> {
        let found = usize::try_from(number).ok().and_then(|number| self.incoming.get(number));
        found.ok_or_else(|| wasmtime::Error::msg(format!("{number} is no response of this call")))
    }
}

impl Draft {
    pub(crate) fn set_host(&mut self, host: String) {
        self.is_invalid |= !authority::is_valid(&host);
        self.host = Some(host);
    }

    /// What is wrong with it is said when it is sent. What cannot be sent any more is not kept.
    pub(crate) fn set_header(&mut self, name: &str, value: Vec<u8>, replaces: bool) {
        if self.is_invalid {
            return;
        }
        let parsed =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(Bytes::from(value)));
        match parsed {
            (Ok(name), Ok(value)) if !fields::is_owned_by_proxy(&name) => {
                let put = if replaces {
                    self.headers.try_insert(name, value).is_ok()
                } else {
                    self.headers.try_append(name, value).is_ok()
                };
                if !put || self.headers.len() > MAX_FIELDS {
                    self.refuse();
                }
            }
            _ => self.refuse(),
        }
    }

    fn refuse(&mut self) {
        self.is_invalid = true;
        self.headers = HeaderMap::new();
        self.body = Bytes::new();
    }

    /// Fields of the exchange's own request, those it has. Framing and hop-by-hop fields stay where they are.
    pub(crate) fn copy(&mut self, names: &[String], from: &HeaderMap) {
        if names.len() > MAX_FIELDS {
            self.refuse();
        }
        for name in names {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            if fields::is_owned_by_proxy(&name) {
                continue;
            }
            for value in from.get_all(&name) {
                if self.is_invalid {
                    return;
                }
                if self.headers.try_append(name.clone(), value.clone()).is_err()
                    || self.headers.len() > MAX_FIELDS
                {
                    self.refuse();
                }
            }
        }
    }

    pub(crate) fn set_body(&mut self, body: Bytes) {
        match body.len() <= MAX_COPY && !self.is_invalid {
            true => self.body = body,
            false => self.refuse(),
        }
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(crate) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// The request as it is now. It may be sent again.
    pub(crate) fn request(
        &self,
        client: Option<IpAddr>,
        trace: Option<CalloutTrace>,
        longest: Duration,
        largest: usize,
    ) -> Result<Callout, CalloutError> {
        let (Some(method), Some(target), false) = (&self.method, &self.target, self.is_invalid) else {
            return Err(CalloutError::Invalid);
        };
        Ok(Callout {
            upstream: self.upstream.clone(),
            method: method.clone(),
            target: target.clone(),
            host: self.host.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            client,
            trace,
            timeout: self.timeout.map_or(longest, |timeout| timeout.min(longest)),
            largest,
        })
    }
}

pub(crate) fn check_count(callouts: usize) -> wasmtime::Result<()> {
    match callouts <= MAX_PREPARED {
        true => Ok(()),
        false => Err(wasmtime::Error::msg(format!("more than {MAX_PREPARED} callouts in one call"))),
    }
}

impl fmt::Debug for dyn Callouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callouts")
    }
}
