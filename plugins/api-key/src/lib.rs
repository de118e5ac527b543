//! The `api-key` policy: a key says who a client is, first matching rule says whether that will do.

mod keys;
mod source;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::keys::Keys;
use crate::source::Source;

/// Who may pass with which key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Asked in order; the first that applies counts. If none does, the request passes.
    rules: Vec<Rule<Area>>,
    /// Where keys stand: `header:NAME`, `bearer` (`authorization: Bearer KEY`), `query:NAME`, `cookie:NAME`.
    #[serde(default = "x_api_key")]
    from: Vec<String>,
    /// The request field in which servers are told the name of the key. What clients send under this name is removed.
    #[serde(default = "x_api_key_name")]
    name_header: String,
    /// Whether the key itself goes on to servers where one was asked for.
    #[serde(default)]
    forward_key: bool,
    /// What clients are told that they need a key for.
    #[serde(default = "api")]
    realm: String,
}

fn x_api_key() -> Vec<String> {
    vec!["header:x-api-key".to_owned()]
}

fn x_api_key_name() -> String {
    "x-api-key-name".to_owned()
}

fn api() -> String {
    "api".to_owned()
}

/// Either `keys`, or `open = true`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Area {
    /// The name of the secret with the keys: one a line, `name:key` or `name:sha256:HEX`.
    keys: Option<String>,
    /// Only the keys of these names; others get 403.
    allow: Option<Vec<String>>,
    /// Nobody is asked for a key.
    #[serde(default)]
    open: bool,
}

struct ApiKey {
    rules: Rules<Access>,
    sources: Vec<Source>,
    name_header: OwnHeader,
    forward_key: bool,
    challenge: Challenge,
}

enum Access {
    Open,
    Key {
        /// Rules may share them.
        keys: Rc<Keys>,
        /// `None` = all.
        allowed: Option<BTreeSet<String>>,
    },
}

#[policy]
impl Policy for ApiKey {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.rules.is_empty() {
            return Err(Error::at("rules", "an empty list asks nobody for a key"));
        }
        if config.from.is_empty() {
            return Err(Error::at("from", "an empty list has no place for a key"));
        }
        let sources = config.from.iter().enumerate().map(|(index, source)| {
            Source::parse(source).map_err(|reason| Error::at(format!("from[{index}]"), reason))
        });
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let name_header =
            OwnHeader::new(&config.name_header).map_err(|error| Error::at("name-header", error))?;
        let is_taken = |source: &Source| match source {
            Source::Header(name) => name.eq_ignore_ascii_case(name_header.name()),
            Source::Bearer => name_header.name() == "authorization",
            Source::Query(_) | Source::Cookie(_) => name_header.name() == "cookie",
        };
        if sources.iter().any(is_taken) {
            return Err(Error::at("name-header", format!("`{}` is where keys stand", name_header.name())));
        }
        let challenge = Challenge::new(&config.realm, sources.contains(&Source::Bearer))?;
        let read = RefCell::new(BTreeMap::new());
        let rules = Rules::build("rules", config.rules, |area| Access::new(area, &read))?;
        activation::pure();
        Ok(Self { rules, sources, name_header, forward_key: config.forward_key, challenge })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Err(error) = self.name_header.clear(request) {
            log::error!("`{}` was not removed: {error}", self.name_header.name());
            return Verdict::Fail;
        }
        match self.rules.first(request) {
            Some((rule, Access::Key { keys, allowed })) => self.ask(request, rule, keys, allowed.as_ref()),
            Some((_, Access::Open)) | None => Verdict::Next,
        }
    }
}

impl ApiKey {
    fn ask(
        &self,
        request: &Request,
        rule: usize,
        keys: &Keys,
        allowed: Option<&BTreeSet<String>>,
    ) -> Verdict {
        let shown = self.sources.iter().map(|source| (source, source.keys(request)));
        let shown = shown.filter(|(_, keys)| !keys.is_empty()).collect::<Vec<_>>();
        let owner = match shown.as_slice() {
            [] => return self.challenge.none(request),
            // Of several, it is the server's own affair which it takes.
            [(_, values)] if values.len() == 1 => keys.owner(&values[0]),
            _ => None,
        };
        let Some(owner) = owner else {
            log::debug!("rules[{rule}]: {} has no such key", request.client_ip_text());
            return self.challenge.wrong(request);
        };
        if allowed.is_some_and(|allowed| !allowed.contains(owner)) {
            log::debug!("rules[{rule}]: the key of {owner} is not allowed");
            return request.respond(Reply::new(403).text("this key is not for here\n"));
        }
        let mut told = self.name_header.set(request, owner);
        if !self.forward_key {
            told = told.and_then(|()| shown.iter().try_for_each(|(source, _)| source.remove(request)));
        }
        match told.and_then(|()| request.set_attribute("api-key", owner)) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("servers cannot be told of the key: {error}");
                Verdict::Fail
            }
        }
    }
}

impl Access {
    fn new(area: Area, read: &RefCell<BTreeMap<String, Rc<Keys>>>) -> Result<Self, Error> {
        let secret = match (area.keys, area.open) {
            (None, true) if area.allow.is_some() => {
                return Err(Error::at("allow", "nobody is asked for a key"));
            }
            (None, true) => return Ok(Self::Open),
            (Some(_), true) => {
                return Err(Error::at("open", "nobody is asked for a key, so `keys` has no effect"));
            }
            (None, false) => return Err("has neither `keys` nor `open = true`".into()),
            (Some(secret), false) => secret,
        };
        let known = read.borrow().get(&secret).cloned();
        let keys = match known {
            Some(keys) => keys,
            None => Rc::new(Keys::read(&secret).map_err(|reason| Error::at("keys", reason))?),
        };
        if let Some(allow) = &area.allow {
            if allow.is_empty() {
                return Err(Error::at("allow", "an empty list lets nobody pass; deny with `access-control`"));
            }
            let names = keys.names();
            if let Some(index) = allow.iter().position(|name| !names.contains(name.as_str())) {
                let reason = format!("`{}` has no key in the secret `{secret}`", allow[index]);
                return Err(Error::at(format!("allow[{index}]"), reason));
            }
        }
        read.borrow_mut().insert(secret, Rc::clone(&keys));
        Ok(Self::Key { keys, allowed: area.allow.map(|names| names.into_iter().collect()) })
    }
}

/// What a client without the right key is told.
struct Challenge {
    /// The value of `www-authenticate`, without the reason.
    value: String,
    /// RFC 6750 §3 has reasons.
    is_bearer: bool,
}

impl Challenge {
    /// A 401 has a challenge (RFC 9110 §15.5.2). For keys elsewhere than in `authorization` there is no scheme; one of
    /// that name says what is wanted, and no client takes it for its own.
    fn new(realm: &str, is_bearer: bool) -> Result<Self, Error> {
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Error::at("realm", format!("{realm:?} is not plain ASCII")));
        }
        let quoted = realm.replace('\\', r"\\").replace('"', "\\\"");
        let scheme = if is_bearer { "Bearer" } else { "ApiKey" };
        Ok(Self { value: format!("{scheme} realm=\"{quoted}\""), is_bearer })
    }

    fn none(&self, request: &Request) -> Verdict {
        let reply = Reply::new(401).header("www-authenticate", &self.value);
        request.respond(reply.text("a key is needed\n"))
    }

    fn wrong(&self, request: &Request) -> Verdict {
        let reason = if self.is_bearer { ", error=\"invalid_token\"" } else { "" };
        let reply = Reply::new(401).header("www-authenticate", format!("{}{reason}", self.value));
        request.respond(reply.text("this is not a key\n"))
    }
}

#[cfg(test)]
mod tests;
