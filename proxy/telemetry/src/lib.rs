//! Metrics, counted without a lock where a request waits, and shown as text that Prometheus reads.
//!
//! * `policies`: which metrics there are of which policy, and all of them as text. Start there.
//! * `definition`: what a policy may define.
//! * `metric`: one metric, and counting in it; `table` finds the series that is meant, `room` bounds how many
//!   there are.
//! * `counter`, `durations`: what one thread counts of the proxy's own work, without even a locked instruction; `names`
//!   finds the series by names of the configuration, and shows those of all threads to whoever adds them up.
//! * `exposition`: the text formats themselves, for metrics of any origin.

mod counter;
mod definition;
mod durations;
mod exposition;
mod metric;
mod names;
mod policies;
mod room;
mod table;
#[cfg(test)]
mod tests;

pub use counter::{Counter, Words};
pub use definition::Kind;
pub use durations::{BOUNDS, Distribution, Durations};
pub use exposition::{Exposition, Format, Labels, Number, Type};
pub use metric::{Metric, NotCounted};
pub use names::{ByNames, Names, Shown};
pub use policies::{OnePolicy, PolicyMetrics};
