//! What was measured, for readers and for programs.

mod json;
mod plot;
mod table;

use crate::arguments::Arguments;
use crate::files;
use crate::terminal::{Result, print};

/// One proxy in one case.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) proxy: String,
    /// The others are compared with it, by their first figure.
    pub(crate) is_baseline: bool,
    pub(crate) figures: Vec<Figure>,
}

#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Figure {
    /// Of what the rounds measured, at least one value.
    pub(crate) fn of(what: &'static str, unit: &'static str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Self { what, unit, median, lowest: values[0], highest: values[values.len() - 1] }
    }

    /// To three digits or so.
    fn shown(value: f64) -> String {
        let digits = match value.abs() {
            small if small < 10.0 => 2,
            middle if middle < 1000.0 => 1,
            _ => 0,
        };
        format!("{value:.digits$}")
    }
}

/// How a row compares with the baseline of its case.
fn ratio(row: &Row, rows: &[Row]) -> Option<f64> {
    let baseline = rows.iter().find(|other| other.is_baseline && other.case == row.case)?;
    Some(row.figures.first()?.median / baseline.figures.first()?.median)
}

/// Rows by their case, in order.
fn by_case(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|one, other| one.case == other.case)
}

/// The table on stdout, the others where the command line says.
pub(crate) fn write(rows: &[Row], arguments: &Arguments) -> Result<()> {
    let write = |file: &std::path::Path, text: String| {
        std::fs::write(file, text).map_err(|error| files::of(file, &error))
    };
    if let Some(file) = &arguments.json {
        write(file, json::of(rows, &arguments.profile))?;
    }
    if let Some(file) = &arguments.plot {
        write(file, plot::of(rows, &arguments.profile))?;
    }
    print(&table::of(rows))
}
