//! `tidegate explain`: what the policies of a configuration make of a request, without sending it anywhere.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::{Config, Problem};
use tidegate_message::{ResponseHead, fields};
use tidegate_plugin_host::{CacheChoice, EditLimits, Exchange, Slot, Witness};

use super::{block_on, check, configuration, print, read};
use crate::exchange::bypasses_cache;
use crate::explain;
use crate::explain::signature::Key;
use crate::imagined::Imagined;
use crate::policy::Link;
use crate::regular;
use crate::rehearsal::{self, End, Rehearsal};

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
    /// Print the field with which the running proxy explains such a request instead: the file is that of `explain.key-file`.
    #[arg(long, value_name = "KEY-FILE")]
    sign: Option<PathBuf>,
}

pub(crate) fn run(file: &Path, asked: &Asked) -> Result<ExitCode, String> {
    if let Some(key) = &asked.sign {
        return sign(key, asked);
    }
    let config = configuration(file)?;
    let scan = check::scan(&config)?;
    let slot = slot(&config, asked)?;
    let explained = block_on(tell(&config, &scan.links, slot, asked.response))??;
    let problems: String =
        scan.problems.iter().map(|problem: &Problem| format!("problem: {problem}\n")).collect();
    print(format!("{problems}{explained}").trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the field that asks for such a request to be explained.
fn sign(file: &Path, asked: &Asked) -> Result<ExitCode, String> {
    let key = Key::new(read(file, regular::read)?).map_err(|error| format!("{}: {error}", file.display()))?;
    let Asked { method, url, client, .. } = asked;
    let imagined = Imagined {
        method,
        url,
        headers: HeaderMap::new(),
        body_length: None,
        certificate: None,
        client,
        listener: "",
    };
    let exchange = imagined.exchange(Arc::default(), EditLimits::default())?;
    let request = &exchange.request;
    let signed = key.sign(method, request.authority.as_bytes(), request.target().as_str());
    print(&format!("{}: {signed}", explain::FIELD))?;
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
    let destinations = super::destinations(config);
    let mut exchange = imagined.exchange(destinations, EditLimits::default())?;
    exchange.witness = Some(Witness::new(Arc::default()));
    Ok(Slot::new(exchange))
}

async fn tell(
    config: &Config,
    links: &[Link],
    mut slot: Slot,
    status: Option<u16>,
) -> Result<String, String> {
    let mut text =
        format!("{}\n   client {}, listener {}\n", line(&slot), slot.client, slot.connection.listener);
    let rehearsal = Rehearsal::new(links);
    let (end, seen) = rehearsal.on_request(&mut slot).await;
    told(&mut slot, &mut text);
    let response = match (&end, status) {
        (End::Denied(policy), _) => {
            let _ = writeln!(text, "\n=> denied: {policy} decided nothing, and its on-error is \"deny\"");
            None
        }
        (End::Reply, _) => rehearsal::reply(&mut slot).map(|(head, _)| head),
        (End::Forward, Some(status)) => {
            let status = StatusCode::from_u16(status).map_err(|error| format!("--response: {error}"))?;
            Some(ResponseHead::new(status, HeaderMap::new()))
        }
        (End::Forward, None) => None,
    };
    if end == End::Forward {
        let _ = writeln!(text, "\n=> {}\n   to {}", line(&slot), destination(config, &slot));
        if let Some(cache) = cache(config, &slot) {
            let _ = writeln!(text, "   {cache}");
        }
        for (name, value) in &slot.request.headers {
            let _ = writeln!(text, "   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    let Some(response) = response else { return Ok(text) };
    slot.replace_response(response);
    rehearsal.on_response(&mut slot, &seen).await;
    told(&mut slot, &mut text);
    if let Some(response) = &slot.response {
        let _ = writeln!(text, "\n<= {}", response.status);
        for (name, value) in &response.headers {
            let _ = writeln!(text, "   {name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
    Ok(text)
}

/// Puts the calls since the last time into words.
fn told(slot: &mut Slot, text: &mut String) {
    let calls = slot.witness.as_mut().map(|witness| std::mem::take(&mut witness.calls));
    calls.iter().flatten().for_each(|account| explain::text::call(text, account));
}

fn line(exchange: &Exchange) -> String {
    let request = &exchange.request;
    format!("{} {}://{}{}", request.method, request.scheme, request.authority, request.target())
}

/// What a cache will make of the request, as far as that does not depend on what is stored; `None` where there is none.
fn cache(config: &Config, exchange: &Exchange) -> Option<String> {
    let route = exchange.route.as_deref().or(config.default_upstream.as_deref())?;
    let upstream = config.upstreams.get(route)?;
    let (name, by) = match exchange.caching.as_ref().map(|caching| &caching.cache) {
        Some(CacheChoice::Named(name)) => (&**name, ", as a policy says"),
        _ => (upstream.cache.as_deref()?, ""),
    };
    Some(match bypasses_cache(&exchange.request, exchange.caching.as_deref()) {
        Some(why) => format!("past cache {name}: {why}"),
        None => format!(
            "through cache {name}{by}: from there if it has it, else kept there if the response allows"
        ),
    })
}

fn destination(config: &Config, exchange: &Exchange) -> String {
    match (&exchange.route, &config.default_upstream) {
        (Some(route), _) => format!("{route}, as a policy says"),
        (None, Some(default)) => format!("{default}, the default-upstream"),
        (None, None) => "nowhere: there is no default-upstream, so it gets 404".to_owned(),
    }
}
