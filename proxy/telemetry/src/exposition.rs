//! The text format in which Prometheus takes metrics, version 0.0.4: families, samples, escapes, numbers.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. Whoever writes sees to it that a family
//! comes once, and with it all its samples.

use std::fmt::{self, Display, Formatter, Write};

/// What kind of family it is, in the format's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// Appends to a text.
pub(crate) struct Exposition<'a>(pub(crate) &'a mut String);

impl Exposition<'_> {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, help: &str, shown_type: Type) {
        self.line(format_args!("# HELP {name} {}", Escaped { text: help, quotes: false }));
        self.line(format_args!("# TYPE {name} {shown_type}"));
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &Labels, value: impl Into<Number>) {
        self.line(format_args!("{name}{labels} {}", value.into()));
    }

    /// All samples of one series of a histogram. `counts` are those of each bucket alone, one for each bound
    /// and one for the values above them all; they are added up here.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &Labels,
        bounds: &[f64],
        counts: impl IntoIterator<Item = u64>,
        sum: f64,
    ) {
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0_u64;
        for (bound, count) in bounds.zip(counts) {
            total = total.wrapping_add(count);
            let labels = labels.clone().and("le", &Number::Real(bound).to_string());
            self.line(format_args!("{name}_bucket{labels} {total}"));
        }
        self.line(format_args!("{name}_sum{labels} {}", Number::Real(sum)));
        self.line(format_args!("{name}_count{labels} {total}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String takes all text");
    }
}

/// The labels of a sample, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        let value = Escaped { text: value, quotes: true };
        write!(self.0, "{comma}{name}=\"{value}\"").expect("a String takes all text");
        self
    }
}

impl Display for Labels {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{{{}}}", self.0) }
    }
}

/// A text as the format wants it; quotation marks are escaped only where the text stands between them.
struct Escaped<'a> {
    text: &'a str,
    quotes: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.text;
        while let Some(at) = rest.find(|c| c == '\\' || c == '\n' || self.quotes && c == '"') {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes()[0] {
                b'\n' => r"\n",
                b'"' => r#"\""#,
                _ => r"\\",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

/// A sample's value. Prometheus makes a float of it in any case; whole numbers are shown to the last digit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(f64::INFINITY) => f.write_str("+Inf"),
            Self::Real(f64::NEG_INFINITY) => f.write_str("-Inf"),
            // Without an exponent the largest float has 309 digits.
            Self::Real(value) if value != 0.0 && !(1e-5..1e17).contains(&value.abs()) && !value.is_nan() => {
                write!(f, "{value:e}")
            }
            Self::Real(value) => write!(f, "{value}"),
        }
    }
}
