//! The crate as its callers see it: text in, a value or problems out.

use std::path::Path;

use crate::{Config, PluginFile, Problems, parse, parse_plugin};

mod acme;
mod cache;
mod compression;
mod config;
mod files;
mod forwarding;
mod health;
mod hostile;
mod plugin;
mod positions;
mod reference;
mod schema;
mod secrets;
mod sources;
mod state;
mod syntax;
mod upstream;
mod warnings;

const FULL: &str = include_str!("full.toml");
/// What [`FULL`] says nothing about: everything around upstreams.
const UPSTREAMS: &str = include_str!("upstreams.toml");
const FULL_PLUGIN: &str = include_str!("full_plugin.toml");

fn read(text: &str) -> Result<Config, Problems> {
    parse(text, Path::new("etc/tidegate.toml"))
}

fn read_plugin(text: &str) -> Result<PluginFile, Problems> {
    parse_plugin(text, Path::new("plugins/a.toml"))
}

/// The problems of a `tidegate.toml`, one per line, without the file's name.
fn problems(text: &str) -> Vec<String> {
    lines(read(text).expect_err("the text has problems"), "etc/tidegate.toml:")
}

/// The problems of a `NAME.toml`.
fn plugin_problems(text: &str) -> Vec<String> {
    lines(read_plugin(text).expect_err("the text has problems"), "plugins/a.toml:")
}

/// A listener below the line that is tested.
fn with_listener(line: &str) -> String {
    format!("{line}\n[listener.web]\naddress = \"127.0.0.1:8080\"\n")
}

/// A valid file but for one line of the upstream, which is line 5.
fn with_upstream(line: &str) -> String {
    format!("[listener.web]\naddress = \"127.0.0.1:8080\"\n[upstream.app]\n\n{line}\n")
}

fn lines(problems: Problems, file: &str) -> Vec<String> {
    let strip =
        |line: &str| line.strip_prefix(file).expect("a problem names its file").trim_start().to_owned();
    problems.to_string().lines().map(strip).collect()
}
