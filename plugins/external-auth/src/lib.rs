//! The `external-auth` policy: asks a service who may pass, and tells the server what it says.

mod cache;
mod grant;
mod service;

use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};
use tidegate_plugin_sdk::units;

use crate::cache::Cache;
use crate::grant::Grant;
use crate::service::{Answer, Method, Service};

/// The service, and what is made of its answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The upstream that is asked, also in `grants.callout`.
    upstream: String,
    /// Path and query of the question.
    path: String,
    /// The host to ask for. Without it, the server's own name.
    host: Option<String>,
    /// Of the question. The body of the request is never sent.
    #[serde(default)]
    method: Method,
    /// Request fields that the service sees, beside `x-forwarded-method`, `-proto`, `-host`, `-uri` and `-for`. Without it,
    /// all but hop-by-hop fields, those about a body, conditions and ranges.
    request_headers: Option<Vec<String>>,
    /// Whether it is told `x-original-method`, `x-original-uri` and `x-original-url` as well.
    #[serde(default)]
    original_headers: bool,
    /// Fields of a positive answer that the server gets. They replace the client's; one that the answer does not have is
    /// removed.
    #[serde(default)]
    server_headers: Vec<String>,
    /// Fields of a positive answer that the client gets with the response: `set-cookie` beside the server's, others in place
    /// of its own.
    #[serde(default)]
    client_headers: Vec<String>,
    /// How long to wait for the answer; `limits.callout-timeout` caps it.
    #[serde(default = "one_second")]
    timeout: units::Duration,
    /// What becomes of requests while the service is dead, slow, or answers with 5xx.
    #[serde(default)]
    on_unavailable: OnUnavailable,
    /// Positive answers that are remembered. Without it, none is.
    cache: Option<cache::Config>,
    /// About which requests the service is asked; the first that applies counts. It is asked about those that none is about.
    #[serde(default)]
    rules: Vec<Rule<Question>>,
}

fn one_second() -> units::Duration {
    units::Duration::from_secs(1)
}

/// Whether the service is asked.
#[derive(Debug, Deserialize, JsonSchema)]
struct Question {
    /// `false`: these requests pass, and nobody says who they are from.
    ask: bool,
}

/// What becomes of a request that the service says nothing of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnUnavailable {
    /// It is answered with 503.
    #[default]
    Deny,
    /// It passes, with `x-auth-unavailable: true` and without the fields of `server-headers`.
    Allow,
}

/// Tells the server that nobody was asked; removed from what clients send.
const UNAVAILABLE: &str = "x-auth-unavailable";

/// What the client gets, from the request to the response.
const NOTE: &str = "client";

struct ExternalAuth {
    service: Service,
    server_headers: Vec<OwnHeader>,
    /// Says that there was no answer.
    unavailable: OwnHeader,
    client_headers: Vec<String>,
    on_unavailable: OnUnavailable,
    cache: Option<Cache>,
    rules: Rules<Question>,
}

#[policy]
impl Policy for ExternalAuth {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !config.path.starts_with('/') {
            return Err(Error::at("path", format!("`{}` does not begin with `/`", config.path)));
        }
        if config.timeout.get().is_zero() {
            return Err(Error::at("timeout", "has to be longer than nothing"));
        }
        let server_headers = field_names("server-headers", config.server_headers)?;
        let server_headers: Result<Vec<_>, _> =
            server_headers.iter().map(|name| OwnHeader::new(name)).collect();
        let server_headers = server_headers.map_err(|error| error.within("server-headers"))?;
        let client_headers = field_names("client-headers", config.client_headers)?;
        let fields = config.request_headers.map(|names| field_names("request-headers", names)).transpose()?;
        let service = Service {
            upstream: config.upstream,
            path: config.path,
            host: config.host,
            method: config.method,
            timeout: config.timeout.get(),
            fields,
            forged: server_headers.iter().map(|header| header.name().to_owned()).collect(),
            tells_original: config.original_headers,
        };
        service.check_grant()?;
        let seed = format!("{service:?} {server_headers:?} {client_headers:?}");
        let cache = config.cache.map(|cache| Cache::new(cache, seed)).transpose();
        Ok(Self {
            service,
            server_headers,
            unavailable: OwnHeader::new(UNAVAILABLE)?,
            client_headers,
            on_unavailable: config.on_unavailable,
            cache: cache.map_err(|error| error.within("cache"))?,
            rules: Rules::new(config.rules)?,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Err(error) = self.unavailable.clear(request) {
            return refused(UNAVAILABLE, error);
        }
        if self.rules.first(request).is_some_and(|(_, question)| !question.ask) {
            return self.pass(request, None);
        }
        let key = self.cache.as_ref().and_then(|cache| Some((cache, cache.key(request)?)));
        if let Some(grant) = key.as_ref().and_then(|(cache, key)| cache.get(key)) {
            return self.pass(request, Some(&grant));
        }
        match self.service.ask(request) {
            Answer::Yes(answer) => {
                let grant = Grant::of(&answer, &self.server_headers, &self.client_headers);
                if let Some((cache, key)) = key {
                    cache.keep(&key, &answer, &grant);
                }
                self.pass(request, Some(&grant))
            }
            Answer::No(answer) => {
                log::debug!(
                    "`{}` refused {}: {}",
                    self.service.upstream,
                    request.client_ip_text(),
                    answer.status()
                );
                request.respond(service::passed_on(&answer))
            }
            Answer::Down(reason) => {
                log::warn!("no answer from `{}`: {reason}", self.service.upstream);
                self.unanswered(request)
            }
            // Else whoever asks for a lot at once, or with many fields, would get past the service.
            Answer::NotAsked(error) => {
                log::warn!("`{}` was not asked: {error}", self.service.upstream);
                unavailable(request)
            }
        }
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        if self.client_headers.is_empty() {
            return Verdict::Next;
        }
        let Some(fields) = request.note(NOTE).and_then(|note| grant::decode(&note)) else {
            return Verdict::Next;
        };
        match grant::tell_client(response, &fields) {
            Ok(()) => Verdict::Next,
            Err(error) => refused("client-headers", error),
        }
    }
}

impl ExternalAuth {
    /// `None`: nobody says who it is from.
    fn pass(&self, request: &Request, grant: Option<&Grant>) -> Verdict {
        let nothing = Vec::new();
        let for_server = grant.map_or(&nothing, |grant| &grant.for_server);
        if let Err(error) = grant::tell_server(request, &self.server_headers, for_server) {
            return refused("server-headers", error);
        }
        if let Some(grant) = grant.filter(|grant| !grant.for_client.is_empty())
            && let Err(error) = request.set_note(NOTE, grant::encode(&grant.for_client))
        {
            return refused("client-headers", error);
        }
        Verdict::Next
    }

    fn unanswered(&self, request: &Request) -> Verdict {
        match self.on_unavailable {
            OnUnavailable::Deny => unavailable(request),
            OnUnavailable::Allow => match self.unavailable.set(request, "true") {
                Ok(()) => self.pass(request, None),
                Err(error) => refused(UNAVAILABLE, error),
            },
        }
    }
}

fn unavailable(request: &Request) -> Verdict {
    request.respond(Reply::new(503).header("retry-after", "1").text("nobody can say now who may pass\n"))
}

fn refused(what: &str, error: EditError) -> Verdict {
    log::error!("the edit of `{what}` was refused: {error}");
    Verdict::Fail
}

/// In lower case, each once.
fn field_names(key: &str, names: Vec<String>) -> Result<Vec<String>, Error> {
    let mut checked: Vec<String> = Vec::with_capacity(names.len());
    for (index, name) in names.into_iter().enumerate() {
        let at = |reason: &str| Error::at(format!("{key}[{index}]"), format!("`{name}` {reason}"));
        if !is_token(&name) {
            return Err(at("is not a field name"));
        }
        if is_owned_by_proxy(&name) {
            return Err(at("belongs to the proxy"));
        }
        // In every spelling that servers may take for it.
        if name.replace('_', "-").eq_ignore_ascii_case(UNAVAILABLE) {
            return Err(at("is said by this policy"));
        }
        let name = name.to_ascii_lowercase();
        if !checked.contains(&name) {
            checked.push(name);
        }
    }
    Ok(checked)
}

#[cfg(test)]
mod tests;
