//! The command line.

mod check;
mod demo;
mod explain;
mod init;
mod inspect;
mod layout;
mod names;
mod new;
mod pages;
mod remote;
mod replay;
mod steer;
mod stock;
mod test;
mod top;
mod words;

use std::fs::Permissions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{Parser, Subcommand};
use tidegate_config::{Config, Problems};
use tidegate_plugin_host::Destinations;
use tidegate_scaffold::Language;

use crate::upgrade::Program;
use crate::{server, sources};

/// A programmable edge proxy: policies are WebAssembly plugins in a directory.
#[derive(Parser)]
#[command(name = "tidegate", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM (drain, then exit 0); SIGHUP reloads.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Report every problem of the files, the certificates and the plugins; exit 1 if there is any.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Print tidegate.toml and the NAME.toml of every policy with all keys in effect instead, and where each is from.
        #[arg(long)]
        explain_defaults: bool,
    },
    /// Lay out TOML files in the one way, in place; comments and order stay.
    Fmt {
        /// The files; without any tidegate.toml and what it includes. `-`: from stdin to stdout.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write nothing: list those that are not laid out, and exit 1 if there are any.
        #[arg(long)]
        check: bool,
    },
    /// Tell what each policy asks about a request, what it changes and where the request goes. Nothing is sent.
    Explain {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
        config: PathBuf,
        #[command(flatten)]
        asked: explain::Asked,
    },
    /// Tell what another plugin directory would make of recorded requests; exit 1 if it differs. Nothing is sent.
    Replay {
        #[command(flatten)]
        asked: replay::Asked,
    },
    /// Write the first files of a proxy, commented, for one of five situations.
    Init {
        /// What the proxy is to do.
        situation: init::Situation,
        /// Where the files go.
        #[arg(long, value_name = "DIRECTORY", default_value = ".")]
        directory: PathBuf,
        /// Where the stock policies are, as `cargo xtask build` leaves them; without it, those that the binary carries.
        #[arg(long, value_name = "DIRECTORY")]
        plugins: Option<PathBuf>,
    },
    /// Run a self-contained edge: own certificate, three small origins, the stock policies.
    Demo {
        /// Where the stock policies are, as `cargo xtask build` leaves them; without it, those that the binary carries.
        #[arg(long, value_name = "DIRECTORY")]
        plugins: Option<PathBuf>,
        /// The HTTPS port; 0 lets the system choose.
        #[arg(long, default_value_t = 8443)]
        port: u16,
        /// Have the certificate signed by pebble, an authority for tests, which has to be installed.
        #[arg(long)]
        acme: bool,
    },
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Show how the proxy that runs fares; exit 1 while it is not ready.
    Status {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(flatten)]
        form: steer::Form,
    },
    /// Follow the proxy that runs in a terminal: its traffic, listeners, servers, policies, failures and reloads.
    Top {
        #[command(flatten)]
        remote: remote::Remote,
    },
    /// Have the program, as its file is now, take the place of the process that runs, without losing a connection.
    Upgrade {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(flatten)]
        form: steer::Form,
    },
    /// Show the servers of the proxy that runs, and order something of them.
    Upstream {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(flatten)]
        form: steer::Form,
        #[command(subcommand)]
        command: steer::UpstreamCommand,
    },
    /// Show what the caches of the proxy that runs have, and make some of it stale.
    Cache {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(flatten)]
        form: steer::Form,
        #[command(subcommand)]
        command: steer::CacheCommand,
    },
    /// Print the JSON Schemas of tidegate.toml, NAME.toml and NAME.cases.toml.
    Schema,
    /// Print what a shell completes these commands by.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a page for `man` of each command.
    Manual {
        /// Where they go.
        directory: PathBuf,
    },
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
    /// The same, without the word.
    #[arg(value_name = "FILE", conflicts_with = "config", hide = true)]
    file: Option<PathBuf>,
}

impl ConfigFile {
    fn path(self) -> PathBuf {
        self.file.unwrap_or(self.config)
    }
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Show the policies of the proxy that runs.
    List {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(flatten)]
        form: steer::Form,
    },
    /// Show what a plugin exports, wants and says of itself.
    Inspect {
        /// The plugin.
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
    },
    /// Write stock policies, which this binary carries, to the plugin directory.
    Install {
        #[command(flatten)]
        wanted: stock::Wanted,
    },
    /// Write a project for a plugin that builds, with its cases and a README, to the folder NAME.
    New {
        /// Lower-case letters, digits and hyphens.
        #[arg(value_name = "NAME")]
        name: String,
        /// What it is written in.
        #[arg(long, value_name = "LANGUAGE", value_parser = languages())]
        language: Language,
    },
    /// Try a plugin against its cases; exit 1 if anything differs from what they expect.
    Test {
        /// The plugin.
        #[arg(value_name = "FILE.wasm")]
        file: PathBuf,
        /// The cases; without it those of FILE.cases.toml.
        #[arg(value_name = "CASES.toml")]
        cases: Option<PathBuf>,
        /// How the plugin is to be run; without it FILE.toml if there is one.
        #[arg(long, value_name = "NAME.toml")]
        settings: Option<PathBuf>,
        /// Write a report as JUnit does.
        #[arg(long, value_name = "FILE.xml")]
        junit: Option<PathBuf>,
    },
}

/// One of the words for them.
fn languages() -> impl clap::builder::TypedValueParser<Value = Language> {
    let word = |language: Language| {
        let short = match language {
            Language::JavaScript => Some("js"),
            Language::TypeScript => Some("ts"),
            _ => None,
        };
        PossibleValue::new(language.word()).aliases(short)
    };
    PossibleValuesParser::new(Language::ALL.map(word)).map(move |written| {
        let named = |language: &Language| word(*language).matches(&written, false);
        Language::ALL.into_iter().find(named).expect("the parser takes no other words")
    })
}

#[expect(clippy::print_stderr, reason = "an error of a command is for who called it, not for the log")]
pub(crate) fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => {
            // Before its file can have been replaced.
            let program = Program::of_this_process();
            server::run(config.path(), program).map_err(|error| error.to_string())
        }
        Command::Check { config, explain_defaults: false } => check::run(&config.path()),
        Command::Check { config, explain_defaults: true } => check::explain_defaults(&config.path()),
        Command::Fmt { files, check } => layout::run(files, check),
        Command::Explain { config, asked } => explain::run(&config, &asked),
        Command::Replay { asked } => replay::run(&asked),
        Command::Init { situation, directory, plugins } => init::run(situation, &directory, plugins),
        Command::Demo { plugins, port, acme } => demo::run(plugins, port, acme),
        Command::Plugin(PluginCommand::Inspect { file }) => inspect::run(&file),
        Command::Plugin(PluginCommand::Install { wanted }) => stock::install(&wanted),
        Command::Plugin(PluginCommand::New { name, language }) => new::run(&name, language),
        Command::Plugin(PluginCommand::Test { file, cases, settings, junit }) => {
            test::run(&test::Files { wasm: file, cases, settings, junit })
        }
        Command::Plugin(PluginCommand::List { remote, form }) => steer::plugins(&remote, &form),
        Command::Status { remote, form } => steer::status(&remote, &form),
        Command::Top { remote } => top::run(&remote),
        Command::Upgrade { remote, form } => steer::upgrade(&remote, &form),
        Command::Upstream { remote, form, command } => steer::upstream(&remote, &form, &command),
        Command::Cache { remote, form, command } => steer::cache(&remote, &form, &command),
        Command::Schema => schema(),
        Command::Completions { shell } => pages::completions(shell),
        Command::Manual { directory } => pages::manual(&directory),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// Reads a file that was named on the command line.
fn read<T>(path: &Path, read: impl Fn(&Path) -> io::Result<T>) -> Result<T, String> {
    read(path).map_err(|error| format!("{}: cannot read it: {error}", path.display()))
}

/// Writes a file at once: a proxy that watches it reads the old content or the new one.
fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    // What a link points at is replaced, and not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::Builder::new();
    let mut new = new.prefix(".").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?;
    new.write_all(content)?;
    if let Ok(old) = file.metadata() {
        // Who may not give files away keeps them, as with any editor.
        let _ = fchown(new.as_file(), Some(old.uid()), Some(old.gid()));
        new.as_file().set_permissions(old.permissions())?;
    }
    new.as_file().sync_all()?;
    new.persist(&file)?;
    Ok(())
}

/// The checked configuration; the error has every problem.
fn configuration(file: &Path) -> Result<Config, String> {
    sources::config(file).map_err(|problems| Problems(problems).to_string())
}

/// What policies may name, for requests that nobody sent.
fn destinations(config: &Config) -> Arc<Destinations> {
    let destinations: Destinations = config.destinations().map(String::as_str).collect();
    Arc::new(destinations.with_caches(config.caches.keys().map(String::as_str)))
}

/// Waits for policies that are asked outside of a server.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(work)).map_err(|error| error.to_string())
}

/// Prints the result of a command. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write: {error}")),
        _ => Ok(()),
    }
}

fn schema() -> Result<ExitCode, String> {
    let schemas = serde_json::json!({
        "tidegate.toml": tidegate_config::schema(),
        "NAME.toml": tidegate_config::plugin_schema(),
        "NAME.cases.toml": tidegate_config::cases_schema(),
    });
    print(&format!("{schemas:#}"))?;
    Ok(ExitCode::SUCCESS)
}
