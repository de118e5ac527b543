//! Traces: which exchanges are recorded, and the spans that become of them.
//!
//! `settings` is what the file and the environment say, `spans` makes spans of what is known of an exchange, `export`
//! brings them to a collector, on a thread of its own.

mod export;
mod settings;
mod spans;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};
use tidegate_config::TraceParents;
use tidegate_telemetry::{Span, TraceContext};
use tidegate_upstream::Attempts;

pub(crate) use self::settings::{Settings, settings};
pub(crate) use self::spans::{Called, Exchange};
use crate::metrics::TraceCounts;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Has a request of a policy's own tell of a span below the exchange's, unless the policy has it belong to another trace; the
/// attempts at it.
pub(crate) fn tell_callout(context: TraceContext, headers: &mut HeaderMap) -> Attempts {
    let span = rand::random::<u64>().max(1);
    let written = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
    if written.and_then(TraceContext::parse).is_some_and(|written| written.trace != context.trace) {
        return Attempts::traced(span, context.is_sampled());
    }
    let told = context.with(span, context.is_sampled()).header();
    if let Ok(told) = HeaderValue::try_from(told) {
        headers.insert(TRACEPARENT, told);
    }
    Attempts::traced(span, context.is_sampled())
}

/// Exchanges whose spans may wait to be sent; more are dropped, and counted.
const QUEUE: usize = 4096;

/// Where workers leave spans. Dropping the last handle lets its thread send what is left, and end.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

struct Shared {
    queue: SyncSender<Vec<Span>>,
    counts: Arc<TraceCounts>,
    per_million: u32,
    parents: TraceParents,
}

/// Starts the thread.
pub(crate) fn start(settings: Settings, counts: Arc<TraceCounts>) -> io::Result<(Handle, JoinHandle<()>)> {
    let (queue, spans) = sync_channel(QUEUE);
    let (per_million, parents) = (settings.per_million, settings.parents);
    let thread = export::start(settings, spans, counts.clone())?;
    Ok((Handle(Arc::new(Shared { queue, counts, per_million, parents })), thread))
}

/// The place of one exchange in a trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    /// Around what the proxy does.
    context: TraceContext,
    /// The span that this one is within; 0: none.
    parent: u64,
    /// The number of the first try at a server, which policies see, and that server.
    client: u64,
}

impl Trace {
    pub(crate) fn is_sampled(&self) -> bool {
        self.context.is_sampled()
    }

    /// Around what the proxy does.
    pub(crate) fn context(&self) -> TraceContext {
        self.context
    }

    /// Those of its exchange: each is a span.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::traced(self.client, self.is_sampled())
    }

    /// As logs have it.
    pub(crate) fn id(&self) -> String {
        self.context.trace_id()
    }
}

impl Handle {
    /// Finds the place of a request, and tells policies and servers of it (W3C Trace Context §4.3).
    pub(crate) fn begin(&self, headers: &mut HeaderMap, is_trusted: bool) -> Option<Trace> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let given = lines.next().and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
        // Several are none.
        let given = given.filter(|_| lines.next().is_none());
        let (span, client) = (rand::random(), rand::random());
        let trace = match given {
            Some(parent) => {
                let decides = match self.0.parents {
                    TraceParents::All => true,
                    TraceParents::Trusted => is_trusted,
                    TraceParents::None => false,
                };
                let is_sampled =
                    if decides { parent.is_sampled() } else { parent.is_chosen(self.0.per_million) };
                Trace { context: parent.with(span, is_sampled), parent: parent.span, client }
            }
            None => {
                headers.remove(TRACESTATE);
                let context = TraceContext::new(rand::random(), span, false)?;
                let context = context.with(span, context.is_chosen(self.0.per_million));
                Trace { context, parent: 0, client }
            }
        };
        let told = trace.context.with(client, trace.is_sampled()).header();
        headers.insert(TRACEPARENT, HeaderValue::try_from(told).ok()?);
        Some(trace)
    }

    /// Leaves the spans of an exchange that has ended.
    pub(crate) fn finish(&self, exchange: &Exchange<'_>) {
        self.leave(exchange.spans());
    }

    /// Leaves those of a callout that has ended.
    pub(crate) fn finish_callout(&self, called: &Called, attempts: &Attempts) {
        self.leave(called.spans(attempts));
    }

    fn leave(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if let Err(TrySendError::Full(_)) = self.0.queue.try_send(spans) {
            self.0.counts.dropped.fetch_add(count, Relaxed);
        }
    }
}
