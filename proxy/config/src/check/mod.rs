//! What one key says about another, once each is right by itself.

mod config;
mod plugin;

pub(crate) use config::check as config;
pub(crate) use plugin::{check as plugin, without_file as plugin_without_file};

use crate::{Positions, Problem, Problems};

/// Problems of one file as they are found.
struct Report<'p> {
    positions: &'p Positions,
    problems: Vec<Problem>,
}

impl<'p> Report<'p> {
    fn new(positions: &'p Positions) -> Self {
        Self { positions, problems: Vec::new() }
    }

    fn add(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(self.positions.problem(path, message).with_help(help));
    }

    fn finish(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems).sorted()) }
    }
}
