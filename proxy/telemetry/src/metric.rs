//! One metric that a policy defined, and counting in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thiserror::Error;

use crate::definition::{Definition, Kind};
use crate::exposition::{Exposition, Labels};
use crate::room::Room;
use crate::table::Table;

/// A metric of one policy. Cloning gives another handle to the same; any thread may count.
///
/// Counting never takes a lock. It allocates once for each combination of labels' values, when that is first
/// seen. Values are given in the order in which the labels were defined; of each, the first 128 bytes are kept
/// (less if they would end within a character), so two values that differ only later are one.
#[derive(Debug, Clone)]
pub struct Metric(pub(crate) Arc<Shared>);

/// Why something was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotCounted {
    /// The policy's mistake.
    #[error("the metric is of another kind")]
    WrongKind,
    /// The policy's mistake.
    #[error("as many values must be given as the metric has labels")]
    WrongLabels,
    /// The policy's mistake, or what a client sent was taken for a number. One such value and the sum would
    /// mean nothing until the next restart.
    #[error("a histogram takes finite numbers only")]
    NotFinite,
    /// The values are new, and the policy has 1,000 series already (all its metrics together; a series of a
    /// histogram with more than 7 buckets counts as several). `tidegate_policy_metrics_dropped_total` says
    /// how often.
    #[error("the policy has too many series to add another")]
    TooMany,
}

impl Metric {
    /// Adds to a counter. After 2⁶⁴ it begins again at 0, which is read as a restart.
    pub fn add(&self, labels: &[&str], delta: u64) -> Result<(), NotCounted> {
        let Kind::Counter = self.0.definition.kind else { return Err(NotCounted::WrongKind) };
        self.0.with(labels, |series| {
            series.value.fetch_add(delta, Relaxed);
        })
    }

    /// Sets a gauge. Any float will do: NaN is how Prometheus says "unknown".
    pub fn set(&self, labels: &[&str], value: f64) -> Result<(), NotCounted> {
        let Kind::Gauge = self.0.definition.kind else { return Err(NotCounted::WrongKind) };
        self.0.with(labels, |series| series.value.store(value.to_bits(), Relaxed))
    }

    /// Counts a value in a histogram.
    pub fn observe(&self, labels: &[&str], value: f64) -> Result<(), NotCounted> {
        let Kind::Histogram(bounds) = &self.0.definition.kind else { return Err(NotCounted::WrongKind) };
        if !value.is_finite() {
            return Err(NotCounted::NotFinite);
        }
        let bucket = bounds.partition_point(|bound| *bound < value);
        self.0.with(labels, |series| series.observe(bucket, value))
    }
}

/// What the handles of a metric have in common. The metric is gone when the last of them is.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) definition: Definition,
    pub(crate) room: Arc<Room>,
    series: AllSeries,
}

#[derive(Debug)]
enum AllSeries {
    /// Of a metric without labels: shown from the start, and found without a search.
    One(Series),
    ByLabels(Table<Series>),
}

impl Shared {
    pub(crate) fn new(definition: Definition, room: Arc<Room>) -> Self {
        let series = match definition.labels.is_empty() {
            true => AllSeries::One(Series::new(&definition.kind)),
            false => AllSeries::ByLabels(Table::new()),
        };
        Self { definition, room, series }
    }

    /// Counts in the series of these labels, which is added if there is none yet.
    fn with(&self, labels: &[&str], count: impl Fn(&Series)) -> Result<(), NotCounted> {
        if labels.len() != self.definition.labels.len() {
            return Err(NotCounted::WrongLabels);
        }
        let table = match &self.series {
            AllSeries::One(series) => {
                count(series);
                return Ok(());
            }
            AllSeries::ByLabels(table) => table,
        };
        if table.with(labels, &count).is_some() {
            return Ok(());
        }
        let kind = &self.definition.kind;
        if !self.room.take(kind) {
            return Err(NotCounted::TooMany);
        }
        if !table.add(labels, Series::new(kind)) {
            self.room.give_back(kind, 1);
        }
        table.with(labels, &count).expect("series are only added");
        Ok(())
    }

    /// All samples, with the policy's name as the first label.
    pub(crate) fn write(&self, out: &mut Exposition) {
        let policy = Labels::default().and("policy", &self.room.policy);
        match &self.series {
            AllSeries::One(series) => self.write_series(out, &policy, series),
            AllSeries::ByLabels(table) => {
                for entry in table.sorted() {
                    let names = self.definition.labels.iter();
                    let labels = names
                        .zip(&entry.values)
                        .fold(policy.clone(), |labels, (name, value)| labels.and(name, value));
                    self.write_series(out, &labels, &entry.series);
                }
            }
        }
    }

    fn write_series(&self, out: &mut Exposition, labels: &Labels, series: &Series) {
        let Definition { name, kind, .. } = &self.definition;
        let value = series.value.load(Relaxed);
        match kind {
            Kind::Counter => out.sample(name, labels, value),
            Kind::Gauge => out.sample(name, labels, f64::from_bits(value)),
            Kind::Histogram(bounds) => {
                let counts = series.buckets.iter().map(|bucket| bucket.load(Relaxed));
                out.histogram(name, labels, bounds, counts, f64::from_bits(value));
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let AllSeries::ByLabels(table) = &self.series {
            self.room.give_back(&self.definition.kind, table.len());
        }
    }
}

/// Atomics that are read one after the other: a histogram's buckets and sum may differ by what is being
/// counted at that moment.
#[derive(Debug)]
struct Series {
    /// A counter's count, the bits of a gauge's value, the bits of a histogram's sum.
    value: AtomicU64,
    /// A histogram's, one for each bound and one for values above; otherwise none.
    buckets: Box<[AtomicU64]>,
}

impl Series {
    fn new(kind: &Kind) -> Self {
        let buckets = match kind {
            Kind::Counter | Kind::Gauge => 0,
            Kind::Histogram(bounds) => bounds.len() + 1,
        };
        // The bits of 0.0 are 0.
        Self { value: AtomicU64::new(0), buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect() }
    }

    fn observe(&self, bucket: usize, value: f64) {
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.value.update(Relaxed, Relaxed, |sum| (f64::from_bits(sum) + value).to_bits());
    }
}
