//! What one key says about another, once each is right by itself.

mod acme;
mod admin;
mod cache;
mod compression;
mod config;
mod explain;
mod files;
mod listener;
mod plugin;
mod secret;
mod state;
mod upstream;

pub(crate) use admin::convert as admin;
pub(crate) use config::check as config;
pub(crate) use plugin::{cases, check as plugin, without_file as plugin_without_file};
pub(crate) use upstream::servers_of as servers;

use std::path::{Path, PathBuf};

use crate::file::text;
use crate::{Certificate, Positions, Problem, Problems, file};

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
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Problems(self.problems).sorted(self.positions.files()))
        }
    }
}

/// A path of the file, which starts in its directory.
fn path(directory: &Path, file: text::Text<text::FilePath>) -> PathBuf {
    directory.join(file.0.0)
}

fn certificate(directory: &Path, pair: file::Certificate) -> Certificate {
    Certificate { chain: path(directory, pair.chain), key: path(directory, pair.key) }
}
