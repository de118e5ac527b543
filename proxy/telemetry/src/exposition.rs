//! The text formats in which metrics are taken: families, samples, escapes, numbers.
//!
//! Prometheus text 0.0.4 (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics 1.0
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Whoever writes sees to it that a family comes once,
//! and with it all its samples.

use std::fmt::{self, Display, Formatter, Write};

/// What kind of family it is, in the format's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values were at most so large.
    Histogram,
}

/// The two formats, which differ in little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0: for those that ask for it.
    OpenMetrics,
}

impl Format {
    /// The one that `accept`, the value of the field, asks for; OpenMetrics only if it is preferred (RFC 9110 §12.5.1).
    pub fn wanted(accept: &str) -> Self {
        let (mut text, mut open) = (0, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut known) = (1000, true);
            for parameter in parts {
                match parameter.split_once('=') {
                    // In thousandths; what is no number is no wish.
                    Some(("q", value)) => quality = value.parse().map_or(0, thousandths),
                    Some(("version", value)) => known = ["1.0.0", "0.0.1"].contains(&value.trim_matches('"')),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") && known {
                open = open.max(quality);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|one| media.eq_ignore_ascii_case(one)) {
                text = text.max(quality);
            }
        }
        if open > text { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// For `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1")]
fn thousandths(quality: f64) -> u32 {
    (quality.clamp(0.0, 1.0) * 1000.0) as u32
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

/// Metrics as text, in the making.
#[derive(Debug)]
pub struct Exposition {
    text: String,
    format: Format,
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &str, help: &str, shown_type: Type) {
        // There a counter's family has the name without the ending of its samples.
        let (name, quotes) = match self.format {
            Format::Prometheus => (name, false),
            Format::OpenMetrics => {
                let counter = name.strip_suffix("_total").filter(|_| shown_type == Type::Counter);
                (counter.unwrap_or(name), true)
            }
        };
        self.line(format_args!("# HELP {name} {}", Escaped { text: help, quotes }));
        self.line(format_args!("# TYPE {name} {shown_type}"));
    }

    /// One sample of the family.
    pub fn sample(&mut self, name: &str, labels: &Labels, value: impl Into<Number>) {
        self.line(format_args!("{name}{labels} {}", value.into()));
    }

    /// All samples of one series of a histogram. `counts` are those of each bucket alone, one for each bound
    /// and one for the values above them all; they are added up here.
    pub fn histogram(
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
            let mut shown = Number::Real(bound).to_string();
            if self.format == Format::OpenMetrics && shown.bytes().all(|byte| byte.is_ascii_digit()) {
                // Its canonical form of a float.
                shown.push_str(".0");
            }
            let labels = labels.clone().and("le", &shown);
            self.line(format_args!("{name}_bucket{labels} {total}"));
        }
        self.line(format_args!("{name}_sum{labels} {}", Number::Real(sum)));
        self.line(format_args!("{name}_count{labels} {total}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a String takes all text");
    }
}

/// The labels of a sample, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Labels(String);

impl Labels {
    /// With another one, whose name nobody has escaped.
    pub fn and(mut self, name: &str, value: &str) -> Self {
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
#[expect(missing_docs, reason = "the names say it")]
pub enum Number {
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
