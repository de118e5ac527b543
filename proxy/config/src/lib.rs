//! What the operator wrote, made trustworthy: `tidegate.toml`, `NAME.toml` and `NAME.cases.toml` in, checked values out.
//!
//! Nothing here opens a socket, reads a certificate or compiles a plugin. Text goes in; either a
//! value comes out whose every field can be relied on, or *every* problem of the text, each with
//! the file, line and column it stands at.
//!
//! A text passes these modules in turn:
//!
//! * `document`: TOML → a tree of values that know where they stand, and [`Positions`];
//! * `schema` and `validate`: the tree against the JSON Schema that [`schema`] publishes;
//! * `file`: the structs that schema is generated from, filled with what was written or defaulted;
//! * `check`: what one key says about another; out comes a [`Config`] or a [`PluginFile`].
//!
//! `warnings` then tells what of a [`Config`] is right and will surprise all the same.
//!
//! A key is therefore declared once, as a field in `file`: its name, type, default, range and
//! description all come from there, and from the schema `reference` makes the tables of the guide.

use std::path::{Path, PathBuf};

mod cases;
mod check;
mod config;
mod document;
mod effective;
mod environment;
mod file;
mod layout;
mod plugin;
mod positions;
mod problem;
mod reference;
mod report;
mod schema;
mod suggest;
pub mod units;
mod validate;
mod warnings;

#[cfg(test)]
mod tests;

pub use cases::{
    Case, CaseAsked, CaseCallout, CaseCalloutError, CaseRequest, CaseResponse, CaseStep, CaseThen, Cases,
    Expect, Expected, Values,
};
pub use config::{
    AccessLog, Acme, AcmeAuthority, AcmeShare, Address, Admin, AllowedBy, Ambiguous, Balance, Buffer, Cache,
    CacheControl, CacheDisk, Certificate, ChallengeKind, CipherSuite, ClientAuth, Coding, CollectorUrl,
    CompileCache, Compression, Config, Credentials, DnsHook, Eject, Explain, ExternalAccount, Files, Group,
    Health, HookBy, HttpProbe, HttpVersions, KeyType, Levels, Limits, LineFormat, LinePiece, Listener, Log,
    LogField, LogFormat, LogLevel, LogOutput, LogSample, MediaRange, Metrics, MinRate, OnDemand, Passthrough,
    Password, Pool, Probe, Protocol, ProxyProtocol, Ready, Redis, RedisTls, Resolver, Retries, Server,
    Serves, State, StateBackend, Timeouts, Tls, TlsVersion, TraceParents, Tracing, Upstream,
    UpstreamTimeouts, UpstreamTls,
};
pub use plugin::{BodyOverflow, Grants, Isolation, Match, OnError, PluginFile, PluginLimits, Secret};
pub use positions::Positions;
pub use problem::{Position, Problem, Problems};
pub use reference::ReferenceError;

/// Reads the text of a `tidegate.toml`.
///
/// `file` names it in messages, and relative paths in it are joined with the directory of `file`;
/// it is not opened.
///
/// # Errors
///
/// Every problem, in the order of the text. They are found in three steps, and a step is only
/// taken when the one before found nothing: TOML syntax; keys, types and values one by one; what
/// one key says about another.
pub fn parse(text: &str, file: &Path) -> Result<Config, Problems> {
    parse_all(&[Source { text, file }])
}

/// The same of a text that includes others, which follow it; paths in them start in the directory of the first.
///
/// # Errors
///
/// As [`parse`], and a value that stands in two of them.
pub fn parse_all(sources: &[Source<'_>]) -> Result<Config, Problems> {
    let file = sources.first().map_or(Path::new(""), |first| first.file);
    check::config(document::read(sources, Some(&of_process))?, file)
}

/// The patterns of files that the text of a `tidegate.toml` includes, already joined with the directory of `file`. What is wrong with
/// the text, [`parse_all`] says.
pub fn includes(text: &str, file: &Path) -> Vec<PathBuf> {
    document::includes(&Source { text, file }, &of_process)
}

/// A text, and the file that it is from, which is not opened.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The text.
    pub text: &'t str,
    /// Names it in messages.
    pub file: &'t Path,
}

impl Source<'_> {
    /// Windows editors begin a file with a byte order mark; it is no column.
    fn without_mark(&self) -> Self {
        Self { text: self.text.strip_prefix('\u{feff}').unwrap_or(self.text), ..*self }
    }
}

fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the text of a plugin's `NAME.toml`. An empty text is [`PluginFile::default`].
///
/// `file` names it in messages, and relative paths in it are joined with the directory of `file`;
/// it is not opened.
///
/// # Errors
///
/// As [`parse`]. Whether the listeners, upstreams and plugins it names exist is not known here.
pub fn parse_plugin(text: &str, file: &Path) -> Result<PluginFile, Problems> {
    check::plugin(document::read(&[Source { text, file }], Some(&of_process))?, file)
}

/// Reads the text of a plugin's `NAME.cases.toml`; `file` names it in messages and is not opened.
///
/// # Errors
///
/// As [`parse`], but for the texts of the cases themselves.
pub fn parse_cases(text: &str, file: &Path) -> Result<Cases, Problems> {
    check::cases(document::read(&[Source { text, file }], None)?)
}

/// What the texts say of the admin interface, whatever else is wrong with them: it is the way to a proxy that runs, with files of before.
pub fn admin(sources: &[Source<'_>]) -> Option<Admin> {
    let directory = sources.first()?.file.parent().unwrap_or(Path::new(""));
    document::admin(sources, &of_process).map(|admin| check::admin(admin, directory))
}

/// The text of a file that says the same as these, with every key in effect; behind each stands where it is from.
/// What `${NAME}` stands for is left out.
///
/// # Errors
///
/// As [`parse_all`], without what one key says about another.
pub fn explain_defaults(sources: &[Source<'_>]) -> Result<String, Problems> {
    effective::write::<file::Config>(sources)
}

/// The same of a plugin's `NAME.toml`.
///
/// # Errors
///
/// As [`explain_defaults`].
pub fn explain_plugin_defaults(source: Source<'_>) -> Result<String, Problems> {
    effective::write::<file::Plugin>(&[source])
}

/// The text of any of these files in the one layout.
///
/// # Errors
///
/// It is not TOML.
pub fn lay_out(source: Source<'_>) -> Result<String, Problems> {
    let source = source.without_mark();
    document::written(&[source])?;
    let problem = |message| {
        Problems(vec![Problem { file: source.file.to_owned(), position: None, message, help: None }])
    };
    let laid_out = layout::lay_out(source.text).map_err(|error| problem(error.to_string()))?;
    // Nothing that is said may get lost, whatever is in the text. As text: a `nan` is not its like.
    let said = |text: &str| text.parse::<toml::Table>().map(|said| format!("{said:?}"));
    let says_the_same = said(&laid_out).is_ok_and(|anew| said(source.text).as_ref() == Ok(&anew));
    // Nor any comment: texts are as they were, so that each of these signs is a comment or was there.
    let comments = |text: &str| text.matches('#').count();
    if says_the_same && comments(&laid_out) == comments(source.text) {
        return Ok(laid_out);
    }
    Err(problem("it cannot be laid out without losing something of it; please report it".to_owned()))
}

/// The JSON Schema (2020-12) of `NAME.cases.toml`; see [`schema`].
pub fn cases_schema() -> serde_json::Value {
    schema::of::<Cases>()
}

/// The JSON Schema (2020-12) of `tidegate.toml`, with descriptions and defaults, for editors.
///
/// Bounds of values with a unit stand in `x-minimum` and `x-maximum`, as JSON Schema has no word
/// for them; `x-secret` stands where a text that is out of place may be a secret, which is not shown then.
pub fn schema() -> serde_json::Value {
    schema::of::<file::Config>()
}

/// The JSON Schema (2020-12) of `NAME.toml`; see [`schema`].
pub fn plugin_schema() -> serde_json::Value {
    schema::of::<file::Plugin>()
}

/// A page of the guide with its tables of keys made anew from the schemas; the rest stays as it is.
///
/// Such a table stands between `<!-- generated: tidegate.toml [limits] -->` and `<!-- end -->`.
///
/// # Errors
///
/// When a block has no end, names a table that does not exist, or when keys of a file that the page
/// documents would stand in no block.
pub fn reference(page: &str) -> Result<String, ReferenceError> {
    reference::renew(page)
}
