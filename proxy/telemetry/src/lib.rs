//! Metrics, counted without a lock where a request waits, and shown as text that Prometheus reads; and spans, as OTLP has them.
//!
//! * `policies`: which metrics there are of which policy, and all of them as text. Start there.
//! * `definition`: what a policy may define.
//! * `metric`: one metric, and counting in it; `table` finds the series that is meant, `room` bounds how many
//!   there are.
//! * `counter`, `durations`: what one thread counts of the proxy's own work, without even a locked instruction; `names`
//!   finds the series by names of the configuration, and shows those of all threads to whoever adds them up.
//! * `trace`: which trace a request belongs to; `otlp`: spans, and their message.
//! * `exposition`: the text formats themselves, for metrics of any origin.

mod counter;
mod definition;
mod durations;
mod exposition;
mod metric;
mod names;
mod otlp;
mod policies;
mod room;
mod table;
#[cfg(test)]
mod tests;
mod trace;

pub use counter::{Counter, Words};
pub use definition::Kind;
pub use durations::{BOUNDS, Distribution, Durations};
pub use exposition::{Exposition, Format, Labels, Number, Type};
pub use metric::{Metric, NotCounted};
pub use names::{ByNames, Names, Shown};
pub use otlp::{Event, Span, SpanKind, Value, message};
pub use policies::{OnePolicy, PolicyMetrics};
pub use trace::TraceContext;
