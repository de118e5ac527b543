//! Numbers exposed with the proxy's own, with the plugin's name as the label `policy`. Granted with `grants.metrics`.
//!
//! Define in [`configure`](crate::Policy::configure), count anywhere. Labels are given when counting, one value for each in
//! their order; a plugin has at most 1000 series, and what is beyond is counted as not counted.

use crate::{Error, host};

/// A number that only grows; `_total` is added to the name if it is not there.
#[derive(Debug)]
pub struct Counter(host::metrics::Metric);

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge(host::metrics::Metric);

/// Observations counted by upper bounds.
#[derive(Debug)]
pub struct Histogram(host::metrics::Metric);

impl Counter {
    /// Defines it.
    ///
    /// # Errors
    ///
    /// `grants.metrics` is not `true`, or a name is not what it must be; also when called outside `configure`.
    pub fn new(name: &str, help: &str, labels: &[&str]) -> Result<Self, Error> {
        host::metrics::counter(name, help, &owned(labels)).map(Self).map_err(refused)
    }

    /// Adds to it. What cannot be counted is lost: the policy goes on.
    pub fn add(&self, labels: &[&str], delta: u64) {
        let _ = host::metrics::add(self.0, &owned(labels), delta);
    }
}

impl Gauge {
    /// Defines it.
    ///
    /// # Errors
    ///
    /// As [`Counter::new`].
    pub fn new(name: &str, help: &str, labels: &[&str]) -> Result<Self, Error> {
        host::metrics::gauge(name, help, &owned(labels)).map(Self).map_err(refused)
    }

    /// Sets it. What cannot be set is lost: the policy goes on.
    pub fn set(&self, labels: &[&str], value: f64) {
        let _ = host::metrics::set(self.0, &owned(labels), value);
    }
}

impl Histogram {
    /// Defines it; the bounds of `buckets` ascend.
    ///
    /// # Errors
    ///
    /// As [`Counter::new`].
    pub fn new(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<Self, Error> {
        host::metrics::histogram(name, help, &owned(labels), buckets).map(Self).map_err(refused)
    }

    /// Counts one observation. What cannot be counted is lost: the policy goes on.
    pub fn observe(&self, labels: &[&str], value: f64) {
        let _ = host::metrics::observe(self.0, &owned(labels), value);
    }
}

fn refused(error: host::metrics::DefineError) -> Error {
    match error {
        host::metrics::DefineError::NotGranted => {
            "the operator did not grant metrics: `grants = { metrics = true }`".into()
        }
        host::metrics::DefineError::Invalid(why) => why.into(),
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}
