//! `tidegate status`, `upgrade`, `upstream …`, `plugin list`: what the admin interface of a running proxy says, for people and
//! scripts.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::print;
use super::remote::Remote;
use super::words::clean;

/// How an answer is shown.
#[derive(Args)]
pub(super) struct Form {
    /// Print what the interface answers.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
pub(super) enum UpstreamCommand {
    /// Show all upstreams with their servers.
    List,
    /// Send a server no new requests; it finishes those it has.
    Drain(OneServer),
    /// The same, shown as disabled.
    Disable(OneServer),
    /// Send a server requests again.
    Enable(OneServer),
    /// Give a server another share of the requests.
    Weight {
        #[command(flatten)]
        one: OneServer,
        /// From 1 to 1000.
        #[arg(value_name = "WEIGHT")]
        weight: u32,
    },
}

#[derive(Args)]
pub(super) struct OneServer {
    /// The upstream.
    #[arg(value_name = "NAME")]
    upstream: String,
    /// The server, as `upstream list` shows it.
    #[arg(value_name = "SERVER")]
    server: String,
}

#[derive(Subcommand)]
pub(super) enum CacheCommand {
    /// Show all caches.
    List,
    /// Have what is meant asked for anew before it is used again.
    Purge(Purge),
}

#[derive(Args)]
pub(super) struct Purge {
    #[command(flatten)]
    what: Meant,
    /// Of this cache alone.
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
    /// Remove it: it is not even served when no server answers.
    #[arg(long)]
    hard: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Meant {
    /// One URL; without its scheme that of either.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// All that begins so.
    #[arg(long, value_name = "URL")]
    prefix: Option<String>,
    /// All of a host, whatever the port.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// All whose Cache-Tag or Surrogate-Key has this.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Everything.
    #[arg(long)]
    all: bool,
}

pub(super) fn cache(remote: &Remote, form: &Form, command: &CacheCommand) -> Result<ExitCode, String> {
    match command {
        CacheCommand::List => {
            let caches = remote.ask(&Method::GET, "caches", None)?;
            if form.json {
                print(&format!("{caches:#}"))?;
                return Ok(ExitCode::SUCCESS);
            }
            let keys = ["name", "urls", "memory", "disk", "stored", "evicted", "purged"];
            let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let rows = list(&caches).iter().map(|cache| keys.map(|key| cell(&cache[key])));
            let head = keys.map(str::to_uppercase);
            print(table(std::iter::once(head).chain(rows)).trim_end())?;
        }
        CacheCommand::Purge(Purge { what, cache, hard }) => {
            let Meant { url, prefix, host, tag, all } = what;
            let mut wanted = json!({ "all": all, "hard": hard });
            for (key, value) in
                [("url", url), ("prefix", prefix), ("host", host), ("tag", tag), ("cache", cache)]
            {
                if let Some(value) = value {
                    wanted[key] = json!(value);
                }
            }
            let answer = remote.ask(&Method::POST, "cache/purge", Some(&wanted))?;
            let (others, is_told) = match answer["others"].as_str() {
                Some("told") => ("; other proxies do the same within a second".to_owned(), true),
                Some(others) => (format!("; other proxies: {others}"), false),
                None => (String::new(), true),
            };
            let text = if form.json {
                format!("{answer:#}")
            } else {
                format!("{} purged{others}", answer["purged"])
            };
            print(&text)?;
            if !is_told {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(remote: &Remote, form: &Form) -> Result<ExitCode, String> {
    let status = remote.ask(&Method::GET, "status", None)?;
    let ready = status["ready"] == true;
    if form.json {
        print(&format!("{status:#}"))?;
    } else {
        print(&in_words(&status))?;
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until another process serves, or the one that runs goes on.
pub(super) fn upgrade(remote: &Remote, form: &Form) -> Result<ExitCode, String> {
    let (status, bytes) = remote.upgrade()?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if form.json && answer.is_object() {
        print(&format!("{answer:#}"))?;
    } else if status.is_success() {
        print(&format!("upgraded: process {} serves", answer["pid"]))?;
    } else if answer.is_object() {
        let lines = list(&answer["log"]).iter().map(|line| format!("\n  {}", text(line)));
        let problems = list(&answer["problems"]).iter().map(text).collect::<Vec<_>>().join("; ");
        return Err(format!(
            "not upgraded, the process that ran goes on: {problems}{}",
            lines.collect::<String>()
        ));
    } else {
        let said = clean(String::from_utf8_lossy(&bytes).trim_end());
        return Err(format!("the admin interface answered {status}: {said}"));
    }
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_words(status: &Value) -> String {
    let word = if status["ready"] == true { "ready" } else { "not ready" };
    let (version, generation) = (text(&status["version"]), &status["generation"]);
    let up = status["uptime-s"].as_u64().unwrap_or_default();
    let process = &status["process"]["pid"];
    let mut lines =
        format!("tidegate {version}, process {process}, generation {generation}, up for {up} s: {word}\n");
    for reason in list(&status["reasons"]) {
        // A String takes all text.
        let _ = writeln!(lines, "  {}", text(reason));
    }
    let problems = list(&status["problems"]);
    if !problems.is_empty() {
        lines += "files that are not taken, in whose place older ones serve, or none:\n";
    }
    for problem in problems {
        let _ = writeln!(lines, "  {}", text(problem));
    }
    let rows = list(&status["listeners"]).iter().map(|listener| {
        let count = |key: &str| listener[key].to_string();
        [
            text(&listener["name"]),
            text(&listener["address"]),
            count("requests"),
            count("connections"),
            count("in-flight"),
        ]
    });
    let head = ["LISTENER", "ADDRESS", "REQUESTS", "CONNECTIONS", "IN FLIGHT"].map(str::to_owned);
    lines + &table(std::iter::once(head).chain(rows))
}

pub(super) fn plugins(remote: &Remote, form: &Form) -> Result<ExitCode, String> {
    let plugins = remote.ask(&Method::GET, "plugins", None)?;
    if form.json {
        print(&format!("{plugins:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list(&plugins).iter().map(|plugin| {
        let generation = plugin["generation"].as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
        let error = match plugin["last_good"] == true {
            true => format!("an older version serves: {}", text(&plugin["error"])),
            false => text(&plugin["error"]),
        };
        [text(&plugin["name"]), text(&plugin["state"]), generation, error]
    });
    let head = ["POLICY", "STATE", "GENERATION", "ERROR"].map(str::to_owned);
    print(table(std::iter::once(head).chain(rows)).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn upstream(remote: &Remote, form: &Form, command: &UpstreamCommand) -> Result<ExitCode, String> {
    let answer = match command {
        UpstreamCommand::List => remote.ask(&Method::GET, "upstreams", None)?,
        UpstreamCommand::Drain(one) => remote.ask(&Method::POST, &one.path("drain"), None)?,
        UpstreamCommand::Disable(one) => remote.ask(&Method::POST, &one.path("disable"), None)?,
        UpstreamCommand::Enable(one) => remote.ask(&Method::POST, &one.path("enable"), None)?,
        UpstreamCommand::Weight { one, weight } => {
            remote.ask(&Method::PUT, &one.path("weight"), Some(&json!({ "weight": weight })))?
        }
    };
    if form.json {
        print(&format!("{answer:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let one = [answer.clone()];
    let upstreams = answer.as_array().map_or(&one[..], Vec::as_slice);
    let rows = upstreams.iter().flat_map(|upstream| {
        list(&upstream["servers"]).iter().map(|server| {
            let number = |key: &str| server[key].to_string();
            [
                text(&upstream["name"]),
                text(&server["address"]),
                text(&server["state"]),
                number("weight"),
                number("in-flight"),
            ]
        })
    });
    let head = ["UPSTREAM", "SERVER", "STATE", "WEIGHT", "IN FLIGHT"].map(str::to_owned);
    print(table(std::iter::once(head).chain(rows)).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

impl OneServer {
    fn path(&self, order: &str) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!("upstreams/{}/servers/{}/{order}", encoded(&self.upstream), encoded(&self.server))
    }
}

/// Names and messages may be anybody's.
fn text(value: &Value) -> String {
    clean(value.as_str().unwrap_or("-"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Columns as wide as they have to be; the last one is not filled up.
fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // A String takes all text.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
