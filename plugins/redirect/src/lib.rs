//! The `redirect` policy: sends clients to HTTPS, to one name of the host, to one form of the path, and where rules say.

mod host;
mod template;

use std::collections::BTreeMap;

use regex_lite::Regex;
use tidegate_plugin_sdk::matching::path_regex;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::host::{Aliases, Authority, Hosts, Www};
use crate::template::{Template, encoded, glob_regex};

/// Where clients are sent. What several keys ask for is done in one redirect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// The names of this site: `example.com`, `*.example.com` for every name below it, `*` for whatever a client
    /// says. `https` and `www` send clients to these alone.
    #[serde(default)]
    hosts: Vec<String>,
    /// `true`, or a table with `status`, `port`, `exempt` and `same-host`: requests in clear text go to HTTPS.
    https: Option<Https>,
    /// `"remove"` sends `www.example.com` to `example.com`, `"add"` the other way.
    www: Option<Www>,
    /// Other names of the site and where their clients are sent: `"example.net" = "example.com"`. `*.example.net`
    /// is every name below it.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// `"add"` sends `/docs` to `/docs/`, `"remove"` the other way.
    trailing_slash: Option<Slash>,
    /// Whether `trailing-slash = "add"` also concerns a last segment with an extension, as `/logo.png`.
    #[serde(default)]
    trailing_slash_after_extension: bool,
    /// Of the redirects of `www`, `aliases` and `trailing-slash`: 301, 302, 307 or 308.
    #[serde(default = "permanent")]
    status: u16,
    /// Asked in order; the first that applies counts.
    #[serde(default)]
    rules: Vec<Rule<Redirection>>,
}

/// Requests in clear text go to HTTPS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true` or a table with `status`, `port`, `exempt` and `same-host`")]
enum Https {
    /// With the defaults; `false` is as if the key were not there.
    Plain(bool),
    /// As these keys say.
    Table(HttpsTable),
}

/// How requests in clear text go to HTTPS.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HttpsTable {
    /// Of the redirect: 301, 302, 307 or 308.
    #[serde(default = "permanent")]
    status: u16,
    /// Where HTTPS is served.
    #[serde(default = "https_port")]
    #[schemars(range(min = 1))]
    port: u16,
    /// Globs over the normalised path: what is served in clear text as well, such as health checks.
    #[serde(default)]
    exempt: Vec<String>,
    /// Goes to HTTPS on the host the client asked for first, and to another name only from there, as the lists of
    /// HSTS hosts that browsers ship ask for.
    #[serde(default)]
    same_host: bool,
}

/// Exactly one of `from` and `path` must match as well.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Redirection {
    /// A glob over the whole normalised path; what `*` and `**` stand for is `$1`, `$2` … in `to`.
    from: Option<String>,
    /// A regular expression found in the normalised path. Not anchored: write `^` and `$` where they are meant.
    path: Option<String>,
    /// `/path` or `https://host/path`. `$1` and `${name}` are what was captured, except in the host; `$$` is `$`.
    to: String,
    /// Of the redirect: 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    status: u16,
    /// Whether the query of the request is added. Without it, it is unless `to` has one.
    keep_query: Option<bool>,
}

/// The one form of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Slash {
    /// With a slash at its end.
    Add,
    /// Without one, `/` itself excepted.
    Remove,
}

fn permanent() -> u16 {
    308
}

fn https_port() -> u16 {
    443
}

/// RFC 8555 §8.3: what asks for it comes in clear text, and another host or path has no answer.
const ACME: &str = "/.well-known/acme-challenge/**";

struct Redirect {
    hosts: Hosts,
    https: Option<HttpsTable>,
    www: Option<Www>,
    aliases: Aliases,
    slash: Option<Slash>,
    slash_after_extension: bool,
    status: u16,
    /// [`ACME`], then what is exempt from HTTPS.
    exempt: Patterns,
    /// What `from` and `path` match, of all rules: a request that none is about costs one call.
    paths: Patterns,
    rules: Rules<Target>,
}

struct Target {
    /// The same as in `paths`; the proxy does not tell what groups captured.
    path: Regex,
    to: Template,
    status: u16,
}

#[policy]
impl Policy for Redirect {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let https = match config.https {
            Some(Https::Table(table)) => Some(table),
            Some(Https::Plain(true)) => {
                let exempt = Vec::new();
                Some(HttpsTable { status: permanent(), port: https_port(), exempt, same_host: false })
            }
            Some(Https::Plain(false)) | None => None,
        };
        if config.hosts.is_empty() && (https.is_some() || config.www.is_some()) {
            let reason = "names no host: list those that `https` and `www` may send clients to, or write \
                          `[\"*\"]` to trust whatever host a client names";
            return Err(Error::at("hosts", reason));
        }
        check_status("status", config.status, &[301, 302, 307, 308])?;
        if config.trailing_slash_after_extension && config.trailing_slash != Some(Slash::Add) {
            let reason = "says how `trailing-slash = \"add\"` is meant, which is not there";
            return Err(Error::at("trailing-slash-after-extension", reason));
        }
        let mut exempt = vec![ACME.to_owned()];
        if let Some(https) = &https {
            check_status("https.status", https.status, &[301, 302, 307, 308])?;
            if https.port == 0 {
                return Err(Error::at("https.port", "0 is no port a client can go to"));
            }
            Patterns::for_paths().glob(https.exempt.clone()).map_err(|error| error.within("https.exempt"))?;
            exempt.extend_from_slice(&https.exempt);
        }
        let regexes = config.rules.iter().map(|rule| rule.action.regex().unwrap_or_default());
        let regexes: Vec<String> = regexes.collect();
        let rules = Rules::build("rules", config.rules, Target::new)?;
        let policy = Self {
            hosts: Hosts::new(&config.hosts).map_err(|error| error.within("hosts"))?,
            https,
            www: config.www,
            aliases: Aliases::new(&config.aliases)?,
            slash: config.trailing_slash,
            slash_after_extension: config.trailing_slash_after_extension,
            status: config.status,
            exempt: Patterns::for_paths().glob(exempt)?,
            paths: Patterns::regex(regexes)?,
            rules,
        };
        if !policy.knows_places() && policy.slash.is_none() {
            policy.rules.narrow()?;
        }
        activation::pure();
        Ok(policy)
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let exempt = self.exempt.matches_path(request);
        if exempt == Some(0) {
            return Verdict::Next;
        }
        let asked = self.knows_places().then(|| Place::of(request));
        let upgrade = match (&self.https, &asked) {
            (Some(https), Some(asked)) if exempt.is_none() && !asked.is_https => Some(https),
            _ => None,
        };
        if let (Some(https), Some(asked)) = (upgrade, &asked) {
            if !self.is_known(&asked.authority.host) {
                log::debug!("{:?} is not among `hosts`", asked.authority.host);
                return request.respond(Reply::new(421).text("no such host here\n"));
            }
            if https.same_host {
                let origin = Place::secure(asked.authority.host.clone(), https.port).origin();
                return redirect(request, https.status, origin + &own_target(request));
            }
        }

        let (target, status) = match self.by_rule(request) {
            Some((_, None)) => return request.respond(Reply::new(400).text("bad request\n")),
            Some((to, Some(location))) if to.to.is_absolute() => {
                return redirect(request, to.status, location);
            }
            Some((to, Some(target))) => (Some(target), Some(to.status)),
            None => (self.by_slash(request), None),
        };
        let place = asked.as_ref().and_then(|asked| self.place(asked, upgrade));
        let status = status.or(upgrade.map(|https| https.status)).unwrap_or(self.status);
        match (place, target) {
            (None, None) => Verdict::Next,
            // A rule that leads where the client is would send it round in a circle.
            (None, Some(target)) if target == own_target(request) => Verdict::Next,
            (None, Some(target)) => redirect(request, status, target),
            (Some(place), target) => {
                let target = target.unwrap_or_else(|| own_target(request));
                redirect(request, status, place.origin() + &target)
            }
        }
    }
}

fn redirect(request: &Request, status: u16, location: String) -> Verdict {
    request.respond(Reply::redirect(status, location))
}

/// What the client asked for. Behind a policy that changed it, that is not what the request has now.
fn own_target(request: &Request) -> String {
    let target = request.original_target();
    // `OPTIONS *` is about the host.
    if target.starts_with('/') { encoded(&target) } else { "/".to_owned() }
}

impl Redirect {
    /// Whether it matters how and by what name the client asked.
    fn knows_places(&self) -> bool {
        self.https.is_some() || self.www.is_some() || !self.aliases.is_empty()
    }

    /// The first rule that applies and what its template becomes; `None` inside = it cannot be filled safely.
    fn by_rule(&self, request: &Request) -> Option<(&Target, Option<String>)> {
        let first = self.paths.matches_path(request)?;
        let path = request.normalized_path();
        let mut rules = self.rules.matching(request).skip_while(|&(rule, _)| rule < first);
        let (target, captures) =
            rules.find_map(|(_, target)| Some((target, target.path.captures(&path)?)))?;
        Some((target, target.to.fill(&captures, || request.query())))
    }

    /// The target with the slash as it should be; `None` if it is so already.
    fn by_slash(&self, request: &Request) -> Option<String> {
        let slash = self.slash?;
        // Not the path as it came: `//host/` would lead elsewhere without its last slash.
        let path = request.normalized_path();
        let last = path.rsplit('/').next().unwrap_or_default();
        let mut target = match slash {
            Slash::Add if last.is_empty() || (last.contains('.') && !self.slash_after_extension) => {
                return None;
            }
            Slash::Add => format!("{path}/"),
            Slash::Remove if !last.is_empty() || path == "/" => return None,
            Slash::Remove => path.trim_end_matches('/').to_owned(),
        };
        if let Some(query) = request.query() {
            target.push('?');
            target.push_str(&encoded(&query));
        }
        Some(target)
    }

    /// Whether clients may be sent to a host of this name, or to what it stands for.
    fn is_known(&self, host: &str) -> bool {
        self.hosts.has(host)
            || self.aliases.of(host).is_some()
            || self.www.and_then(|www| www.applied(host)).is_some_and(|other| self.hosts.lists(&other))
    }

    /// Where the client should have asked; `None` if it did.
    fn place(&self, asked: &Place, upgrade: Option<&HttpsTable>) -> Option<Place> {
        let host = &asked.authority.host;
        let renamed = match self.aliases.of(host) {
            Some(alias) => Some(alias.clone()),
            None => self.renamed_by_www(host).map(|host| Authority { host, port: None }),
        };
        let renamed = renamed.filter(|renamed| renamed.host != *host);
        match (renamed, upgrade) {
            (None, None) => None,
            (None, Some(https)) => Some(Place::secure(host.clone(), https.port)),
            (Some(Authority { host, port: None }), Some(https)) => Some(Place::secure(host, https.port)),
            (Some(Authority { host, port: None }), None) => Some(Place {
                is_https: asked.is_https,
                authority: Authority { host, port: asked.authority.port },
            }),
            (Some(authority), upgrade) => {
                Some(Place { is_https: asked.is_https || upgrade.is_some(), authority })
            }
        }
    }

    fn renamed_by_www(&self, host: &str) -> Option<String> {
        let www = self.www?;
        let other = www.applied(host)?;
        let concerned = match www {
            Www::Remove => self.hosts.has(host) || self.hosts.lists(&other),
            // A name that `*.example.com` brings in may be `api.example.com`.
            Www::Add => self.hosts.lists(host) || self.hosts.lists(&other),
        };
        concerned.then_some(other)
    }
}

/// Scheme and authority.
#[derive(Debug)]
struct Place {
    is_https: bool,
    authority: Authority,
}

impl Place {
    /// What the client used: where a trusted proxy ended its TLS, that proxy says so.
    fn of(request: &Request) -> Self {
        Self { is_https: request.scheme() == "https", authority: Authority::of_client(&request.authority()) }
    }

    fn secure(host: String, port: u16) -> Self {
        Self { is_https: true, authority: Authority { host, port: Some(port) } }
    }

    fn origin(&self) -> String {
        let (scheme, default) = if self.is_https { ("https", 443) } else { ("http", 80) };
        let Authority { host, port } = &self.authority;
        match port.filter(|port| *port != default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }
}

impl Redirection {
    /// In the form of normalised paths.
    fn regex(&self) -> Result<String, Error> {
        match (&self.from, &self.path) {
            (Some(glob), None) if !glob.starts_with(['/', '*']) => {
                Err(Error::at("from", format!("`{glob}` matches nothing: paths begin with `/`")))
            }
            (Some(glob), None) => Ok(path_regex(&glob_regex(glob))),
            (None, Some(regex)) => Ok(path_regex(regex)),
            (Some(_), Some(_)) => Err("has both `from` and `path`; a glob and a regex say the same".into()),
            (None, None) => Err("has neither `from` nor `path`, one of which says what is sent away".into()),
        }
    }
}

impl Target {
    fn new(redirection: Redirection) -> Result<Self, Error> {
        let key = if redirection.from.is_some() { "from" } else { "path" };
        let regex = redirection.regex()?;
        let path = Regex::new(&regex).map_err(|error| Error::at(key, error))?;
        // The proxy's engine knows more than ours; what only one of them takes is refused here.
        Patterns::regex([regex]).map_err(|error| Error::at(key, error))?;
        check_status("status", redirection.status, &[301, 302, 303, 307, 308])?;
        let to = Template::new(&redirection.to, &path, redirection.keep_query)
            .map_err(|reason| Error::at("to", reason))?;
        Ok(Self { path, to, status: redirection.status })
    }
}

fn check_status(key: &str, status: u16, allowed: &[u16]) -> Result<(), Error> {
    if allowed.contains(&status) {
        return Ok(());
    }
    let allowed: Vec<String> = allowed.iter().map(u16::to_string).collect();
    Err(Error::at(key, format!("{status} is not one of {}", allowed.join(", "))))
}

#[cfg(test)]
mod tests;
