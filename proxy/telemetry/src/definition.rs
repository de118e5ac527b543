//! What a policy defines: checked, and named as it will be shown.

use std::collections::HashSet;

use crate::exposition::Type;

/// What is put before the name a policy gives.
const PREFIX: &str = "tidegate_policy_";

/// What is shown for every policy, and cannot be defined by one.
pub(crate) const DROPPED: &str = "tidegate_policy_metrics_dropped_total";

const MAX_NAME_BYTES: usize = 100;
/// A line to read, not a page; it is sent with every scrape.
const MAX_HELP_BYTES: usize = 1000;
/// More than one looks at, and each label multiplies the series.
const MAX_LABELS: usize = 10;
const MAX_BUCKETS: usize = 50;

/// What a metric counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Only grows. Shown with a name that ends in `_total`.
    Counter,
    /// Goes up and down, as it is set.
    Gauge,
    /// How many values were at most as large as each of these bounds: 1 to 50, finite and ascending. The
    /// bucket of all values need not be among them.
    Histogram(Vec<f64>),
}

/// Two metrics with equal definitions are one metric.
#[derive(Debug, PartialEq)]
pub(crate) struct Definition {
    /// As it is shown.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) labels: Vec<String>,
}

impl Definition {
    /// Checks what a policy asks for; the error is a sentence for its author.
    pub(crate) fn new(name: &str, help: &str, kind: Kind, labels: &[String]) -> Result<Self, String> {
        check_name("the name of a metric", name)?;
        let name = shown(name, &kind)?;
        if help.len() > MAX_HELP_BYTES {
            return Err(format!("the help of {name} is longer than {MAX_HELP_BYTES} bytes"));
        }
        if let Kind::Histogram(bounds) = &kind {
            check_bounds(&name, bounds)?;
        }
        check_labels(&name, labels)?;
        Ok(Self { name, kind, labels: labels.to_vec() })
    }

    pub(crate) fn shown_type(&self) -> Type {
        match self.kind {
            Kind::Counter => Type::Counter,
            Kind::Gauge => Type::Gauge,
            Kind::Histogram(_) => Type::Histogram,
        }
    }
}

/// The name in the exposition.
///
/// The endings that the format gives a meaning belong to the types they are for. So no name of a
/// histogram's samples can be that of another metric, and no counter's name that of anything else.
fn shown(name: &str, kind: &Kind) -> Result<String, String> {
    let shown = match kind {
        Kind::Counter => format!("{PREFIX}{}_total", name.strip_suffix("_total").unwrap_or(name)),
        Kind::Gauge | Kind::Histogram(_) => format!("{PREFIX}{name}"),
    };
    if shown == DROPPED {
        return Err(format!("{DROPPED} is what the proxy itself counts; choose another name than {name:?}"));
    }
    let reserved =
        [("_total", "counters"), ("_sum", "histograms"), ("_count", "histograms"), ("_bucket", "histograms")];
    match reserved.iter().find(|(ending, _)| *kind != Kind::Counter && shown.ends_with(ending)) {
        Some((ending, owner)) => Err(format!("{shown}: names that end in {ending} belong to {owner}")),
        None => Ok(shown),
    }
}

fn check_bounds(name: &str, bounds: &[f64]) -> Result<(), String> {
    if !(1..=MAX_BUCKETS).contains(&bounds.len()) {
        return Err(format!("{name} needs 1 to {MAX_BUCKETS} buckets, not {}", bounds.len()));
    }
    if !bounds.iter().all(|bound| bound.is_finite()) {
        return Err(format!(
            "{name}: a bucket's bound is a finite number; the bucket of all values is always there"
        ));
    }
    if !bounds.is_sorted_by(|lower, upper| lower < upper) {
        return Err(format!("{name}: each bucket's bound must be larger than the one before"));
    }
    Ok(())
}

fn check_labels(name: &str, labels: &[String]) -> Result<(), String> {
    if labels.len() > MAX_LABELS {
        return Err(format!("{name} has {} labels; at most {MAX_LABELS} are possible", labels.len()));
    }
    let mut seen = HashSet::new();
    for label in labels {
        check_name("the name of a label", label)?;
        if ["policy", "le"].contains(&label.as_str()) {
            return Err(format!("{name}: the label {label:?} is set by the proxy"));
        }
        if !seen.insert(label) {
            return Err(format!("{name} has the label {label:?} twice"));
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("{what} is longer than {MAX_NAME_BYTES} bytes"));
    }
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_plain || name.bytes().next().is_none_or(|first| first.is_ascii_digit()) {
        return Err(format!(
            "{what} consists of letters, digits and _, and begins with no digit; {name:?} does not"
        ));
    }
    if name.starts_with("__") {
        return Err(format!("{what} cannot begin with __, which Prometheus keeps for itself; {name:?} does"));
    }
    Ok(())
}
