//! Capability `metrics`: what policies count.

use tidegate_telemetry::{Metric, NotCounted};
use wasmtime::component::{WasmList, WasmStr};

use super::Interface;
use crate::contract::common::{Store, define_metric};
use crate::contract::v0_2::bindings::tidegate::policy::metrics::{CountError, DefineError};
use crate::services::{MetricKind, MetricSpec};

type Labels = WasmList<WasmStr>;
type Counted = wasmtime::Result<(Result<(), CountError>,)>;

pub(super) fn link(metrics: &mut Interface<'_>) -> wasmtime::Result<()> {
    metrics.question(
        "counter",
        |store: Store<'_>, (name, help, labels): (String, String, Vec<String>)| {
            define(store, MetricSpec { name, help, kind: MetricKind::Counter, labels })
        },
    )?;
    metrics.question("gauge", |store: Store<'_>, (name, help, labels): (String, String, Vec<String>)| {
        define(store, MetricSpec { name, help, kind: MetricKind::Gauge, labels })
    })?;
    metrics.question(
        "histogram",
        |store: Store<'_>, (name, help, labels, buckets): (String, String, Vec<String>, Vec<f64>)| {
            let kind = MetricKind::Histogram(buckets.into_iter().map(f64::to_bits).collect());
            define(store, MetricSpec { name, help, kind, labels })
        },
    )?;
    metrics.function("add", |store: Store<'_>, (metric, labels, delta): (u32, Labels, u64)| {
        count(store, metric, &labels, |metric, labels| metric.add(labels, delta))
    })?;
    metrics.function("set", |store: Store<'_>, (metric, labels, value): (u32, Labels, f64)| {
        count(store, metric, &labels, |metric, labels| metric.set(labels, value))
    })?;
    metrics.function("observe", |store: Store<'_>, (metric, labels, value): (u32, Labels, f64)| {
        count(store, metric, &labels, |metric, labels| metric.observe(labels, value))
    })
}

fn define(store: Store<'_>, spec: MetricSpec) -> wasmtime::Result<(Result<u32, DefineError>,)> {
    if store.data().plugin.granted.metrics.is_none() {
        return Ok((Err(DefineError::NotGranted),));
    }
    Ok((define_metric(store, spec)?.map_err(DefineError::Invalid),))
}

/// Labels of one metric; more are refused where it is defined.
const MAX_LABELS: usize = 10;

fn count(
    mut store: Store<'_>,
    metric: u32,
    labels: &Labels,
    count: impl FnOnce(&Metric, &[&str]) -> Result<(), NotCounted>,
) -> Counted {
    if store.data().plugin.granted.metrics.is_none() {
        return Ok((Err(CountError::NotGranted),));
    }
    if labels.len() > MAX_LABELS {
        return Ok((Err(CountError::Invalid),));
    }
    let mut values = Vec::with_capacity(labels.len());
    for index in 0..labels.len() {
        let Some(value) = labels.get(&mut store, index) else { break };
        values.push(value?);
    }
    let texts = values.iter().map(|value| value.to_str(&store)).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
    let metric = store.data().defined.metrics.get(metric, "metric")?;
    Ok((count(metric, &texts).map_err(|error| match error {
        NotCounted::TooMany => CountError::TooMany,
        NotCounted::WrongKind | NotCounted::WrongLabels | NotCounted::NotFinite => CountError::Invalid,
    }),))
}
