//! `tidegate explain`: what the policies of a configuration make of a request, without sending it anywhere.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::{Config, Problem};
use tidegate_message::{ResponseHead, fields};
use tidegate_plugin_host::{EditLimits, Exchange, Instances, Phase, Plugin, Seen, Slot, Verdict};

use super::{check, print};
use crate::imagined::Imagined;
use crate::policy::{Link, Policy};
use crate::regular;
use crate::response;

/// The request, as the command line has it.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The method.
    #[arg(value_name = "METHOD")]
    method: String,
    /// `https://host/path?query`, or `/path?query` at http://example.com.
    #[arg(value_name = "URL")]
    url: String,
    /// A field, `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The client's address.
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    client: String,
    /// The listener; without it the first that fits the scheme.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Have the response phases look at a response of this status.
    #[arg(long, value_name = "STATUS")]
    response: Option<u16>,
}

pub(crate) fn run(file: &Path, asked: &Asked) -> Result<ExitCode, String> {
    let text = regular::read_to_string(file)
        .map_err(|error| format!("{}: cannot read it: {error}", file.display()))?;
    let config = tidegate_config::parse(&text, file).map_err(|problems| problems.to_string())?;
    let scan =
        check::plugins(&config).map_err(|error| error.to_string())?.map_err(|problem| problem.to_string())?;
    let slot = slot(&config, asked)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let explained = runtime.block_on(explain(&config, &scan.links, slot, asked.response))?;
    let problems: String =
        scan.problems.iter().map(|problem: &Problem| format!("problem: {problem}\n")).collect();
    print(format!("{problems}{explained}").trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn slot(config: &Config, asked: &Asked) -> Result<Slot, String> {
    let mut headers = HeaderMap::new();
    for field in &asked.headers {
        let wrong = |why: &str| format!("--header {field:?}: {why}");
        let (name, value) = field.split_once(':').ok_or_else(|| wrong("write it as `name: value`"))?;
        let name =
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong("this is no field name"))?;
        if fields::is_owned_by_proxy(&name) {
            return Err(wrong("this field belongs to the proxy; a host stands in the URL"));
        }
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong("this is no field value"))?;
        headers.append(name, value);
    }
    let is_tls = asked.url.starts_with("https:");
    let fitting = config.listeners.iter().find(|(_, listener)| listener.tls.is_some() == is_tls);
    let listener = match &asked.listener {
        Some(name) if !config.listeners.contains_key(name) => {
            return Err(format!("--listener: there is no listener {name:?}"));
        }
        Some(name) => name.as_str(),
        None => fitting.or(config.listeners.iter().next()).map_or("", |(name, _)| name.as_str()),
    };
    let imagined = Imagined {
        method: &asked.method,
        url: &asked.url,
        headers,
        body_length: None,
        certificate: None,
        client: &asked.client,
        listener,
    };
    let destinations = Arc::new(config.destinations().map(|name| Arc::from(name.as_str())).collect());
    let mut exchange = imagined.exchange(destinations, EditLimits::default())?;
    exchange.witness = Some(Vec::new());
    Ok(Slot::new(exchange))
}

async fn explain(
    config: &Config,
    links: &[Link],
    mut slot: Slot,
    status: Option<u16>,
) -> Result<String, String> {
    let mut text = String::new();
    let _ = writeln!(text, "{}", line(&slot));
    let mut seen = Vec::new();
    let mut reply = None;
    for link in links {
        let Policy::Serving(plugin) = &link.policy else {
            let _ = writeln!(text, "\n{}  no version of it could be loaded: on-error decides", link.name);
            continue;
        };
        if !plugin.activation().applies(&slot) {
            let _ = writeln!(text, "\n{}  not called: it is not about such requests", link.name);
            continue;
        }
        let instances = Instances::new(plugin.clone());
        let verdict = match plugin.has(Phase::Request) {
            true => call(&instances, Phase::Request, &mut slot, &mut text).await,
            false => Some(Verdict::Next),
        };
        seen.push(instances);
        match verdict {
            Some(Verdict::Respond) => {
                reply = slot.reply.take();
                break;
            }
            Some(Verdict::Finish) => break,
            Some(Verdict::Next | Verdict::Fail) | None => {}
        }
    }
    let response = match (reply, status) {
        (Some(reply), _) => Some(response::of_reply(reply).0),
        (None, Some(status)) => {
            let status = StatusCode::from_u16(status).map_err(|error| format!("--response: {error}"))?;
            Some(ResponseHead::new(status, HeaderMap::new()))
        }
        (None, None) => None,
    };
    let is_reply = response.is_some() && status.is_none();
    if !is_reply {
        let _ = writeln!(text, "\n=> {}\n   to {}", line(&slot), destination(config, &slot));
        for (name, value) in &slot.request.headers {
            let _ = writeln!(text, "   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    let Some(response) = response else { return Ok(text) };
    slot.replace_response(response);
    for instances in seen.iter().rev().filter(|instances| instances.plugin().has(Phase::Response)) {
        match call(instances, Phase::Response, &mut slot, &mut text).await {
            Some(Verdict::Finish) => break,
            Some(Verdict::Respond) => {
                if let Some(reply) = slot.reply.take() {
                    slot.replace_response(response::of_reply(reply).0);
                }
            }
            Some(Verdict::Next | Verdict::Fail) | None => {}
        }
    }
    if let Some(response) = &slot.response {
        let _ = writeln!(text, "\n<= {}", response.status);
        for (name, value) in &response.headers {
            let _ = writeln!(text, "   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    Ok(text)
}

/// Calls a policy and tells what it asked and did. `None`: there is no verdict.
async fn call(instances: &Instances, phase: Phase, slot: &mut Slot, text: &mut String) -> Option<Verdict> {
    let began = Instant::now();
    let called = instances.call(phase, slot, None, None).await;
    let micros = began.elapsed().as_micros();
    let plugin: &Plugin = instances.plugin();
    let verdict = match &called {
        Ok(verdict) => verdict.as_str().to_owned(),
        Err(error) => format!("no verdict ({}): {error}", error.as_str()),
    };
    let pure = if plugin.activation().is_pure() { ", pure" } else { "" };
    let _ = writeln!(text, "\n{}  {}: {verdict}  ({micros} µs{pure})", plugin.name(), phase.as_str());
    for Seen { what, answer } in slot.witness.as_mut().map(std::mem::take).unwrap_or_default() {
        let _ = match answer {
            Some(answer) => writeln!(text, "    {what} -> {answer}"),
            None => writeln!(text, "    {what}"),
        };
    }
    called.ok()
}

fn line(exchange: &Exchange) -> String {
    let request = &exchange.request;
    format!("{} {}://{}{}", request.method, request.scheme, request.authority, request.target())
}

fn destination(config: &Config, exchange: &Exchange) -> String {
    match (&exchange.route, &config.default_upstream) {
        (Some(route), _) => format!("{route}, as a policy says"),
        (None, Some(default)) => format!("{default}, the default-upstream"),
        (None, None) => "nowhere: there is no default-upstream, so it gets 404".to_owned(),
    }
}
