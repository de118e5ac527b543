//! Metrics, counted without a lock where a request waits, and shown as text that Prometheus reads.
//!
//! * `policies`: which metrics there are of which policy, and all of them as text. Start there.
//! * `definition`: what a policy may define.
//! * `metric`: one metric, and counting in it; `table` finds the series that is meant, `room` bounds how many
//!   there are.
//! * `exposition`: the text format itself, for metrics of any origin.

mod definition;
mod exposition;
mod metric;
mod policies;
mod room;
mod table;
#[cfg(test)]
mod tests;

pub use definition::Kind;
pub use metric::{Metric, NotCounted};
pub use policies::{OnePolicy, PolicyMetrics};
