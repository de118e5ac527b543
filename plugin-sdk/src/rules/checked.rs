//! The conditions of all rules, ready to be asked.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use super::Conditions;
use super::index::{Host, Index, Known, Next};
use crate::http::{host_of, is_token};
use crate::matching::{IpSet, Patterns};
use crate::{Error, Message, Request};

/// The conditions of a list of rules. However many there are, the paths of all of them cost one call to the
/// proxy, and so do their user agents; other conditions are asked only of rules whose host and path may fit.
#[derive(Debug)]
pub(super) struct Checked {
    rules: Vec<Rule>,
    index: Index,
    paths: Shared,
    user_agents: Shared,
}

impl Checked {
    /// `list` is the key of the list, for errors.
    pub(super) fn new(list: &str, rules: Vec<Conditions>) -> Result<Self, Error> {
        let key = |index: usize, key: &str| format!("{list}[{index}].{key}");
        let paths = Shared::new(
            rules.iter().map(|rule| &rule.paths),
            |index| key(index, "paths"),
            |globs| Patterns::glob(globs),
        )?;
        let user_agents = Shared::new(
            rules.iter().map(|rule| &rule.user_agents),
            |index| key(index, "user-agents"),
            |parts| Patterns::ignore_case().contains(parts),
        )?;
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| Rule::new(rule).map_err(|error| error.within(format!("{list}[{index}]"))));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let index = Index::new(rules.iter().map(|rule| (&*rule.hosts, !rule.conditions.paths.is_empty())));
        Ok(Self { rules, index, paths, user_agents })
    }

    /// As they were given.
    pub(super) fn conditions(&self) -> impl Iterator<Item = &Conditions> + Clone {
        self.rules.iter().map(|rule| &rule.conditions)
    }

    /// Indices of the rules whose conditions hold, in order. Asks only as far as it is read.
    pub(super) fn matching(&self, request: &Request) -> impl Iterator<Item = usize> {
        let facts = Facts::new(request);
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let index = self.next(from, &facts)?;
                from = index + 1;
                if self.holds(index, &facts) {
                    return Some(index);
                }
            }
        })
    }

    /// The next rule whose host and path may fit.
    fn next(&self, from: usize, facts: &Facts<'_>) -> Option<usize> {
        loop {
            let path = match facts.path.get() {
                Hit::Unknown => None,
                Hit::None => Some(None),
                Hit::Rule(rule) => Some(Some(rule)),
            };
            let known = Known { path, host: facts.host.get().map(String::as_str) };
            match self.index.next(from, &known)? {
                (index, Next::Rule) => return Some(index),
                (_, Next::Path) => {
                    self.paths.look(&facts.path, |globs| globs.matches_path(facts.request));
                }
                (_, Next::Host) => {
                    facts.host();
                }
            }
        }
    }

    /// Cheapest first: the first two cost one call for all rules together.
    fn holds(&self, index: usize, facts: &Facts<'_>) -> bool {
        let rule = &self.rules[index];
        let methods = &rule.conditions.methods;
        self.paths.holds(index, &facts.path, |globs| globs.matches_path(facts.request))
            && self
                .user_agents
                .holds(index, &facts.user_agent, |parts| parts.matches_header(facts.request, "user-agent"))
            && (methods.is_empty() || methods.iter().any(|method| method == facts.method()))
            && (rule.hosts.is_empty() || rule.hosts.iter().any(|host| host.matches(facts.host())))
            && rule.is_https.is_none_or(|https| (facts.request.scheme() == "https") == https)
            && rule.headers.iter().all(|header| header.matches_field(facts.request))
            && rule.clients.as_ref().is_none_or(|clients| clients.has_client(facts.request))
            && rule.cookies.iter().all(|cookie| cookie.matches_cookie(facts.request))
            && rule.query.iter().all(|parameter| parameter.matches_query(facts.request))
    }
}

/// The conditions of one rule, and what is asked of it alone; empty = left out.
#[derive(Debug)]
struct Rule {
    conditions: Conditions,
    hosts: Vec<Host>,
    /// `None`: both schemes will do.
    is_https: Option<bool>,
    headers: Vec<Named>,
    clients: Option<IpSet>,
    cookies: Vec<Named>,
    query: Vec<Named>,
}

impl Rule {
    fn new(conditions: Conditions) -> Result<Self, Error> {
        let hosts = conditions.hosts.iter().enumerate().map(|(position, host)| {
            Host::parse(host).map_err(|reason| Error::at(format!("hosts[{position}]"), reason))
        });
        let hosts = hosts.collect::<Result<_, _>>()?;
        for (position, glob) in conditions.paths.iter().enumerate() {
            if !glob.starts_with(['/', '*']) {
                let reason = format!("`{glob}` matches nothing: paths begin with `/`");
                return Err(Error::at(format!("paths[{position}]"), reason));
            }
        }
        for (position, method) in conditions.methods.iter().enumerate() {
            let upper = method.to_ascii_uppercase();
            let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
            let reason = if !is_token(method) {
                format!("`{method}` is not a method")
            } else if upper != *method && known.contains(&upper.as_str()) {
                format!("`{method}` is not a method, as their case matters; did you mean `{upper}`?")
            } else {
                continue;
            };
            return Err(Error::at(format!("methods[{position}]"), reason));
        }
        let scheme = |(position, scheme): (usize, &String)| match scheme.as_str() {
            "http" => Ok(false),
            "https" => Ok(true),
            _ => Err(Error::at(
                format!("schemes[{position}]"),
                format!("`{scheme}` is neither `http` nor `https`"),
            )),
        };
        let schemes: Vec<bool> =
            conditions.schemes.iter().enumerate().map(scheme).collect::<Result<_, _>>()?;
        let both = schemes.contains(&true) && schemes.contains(&false);
        let clients = match conditions.clients.as_slice() {
            [] => None,
            clients => Some(IpSet::new(clients).map_err(|error| error.within("clients"))?),
        };
        Ok(Self {
            hosts,
            is_https: schemes.first().copied().filter(|_| !both),
            headers: named("headers", &conditions.headers, Some("field"))?,
            clients,
            cookies: named("cookies", &conditions.cookies, Some("cookie"))?,
            query: named("query", &conditions.query, None)?,
            conditions,
        })
    }
}

/// `token`: what a name has to be one of (RFC 9110 §5.1, RFC 6265 §4.1.1); `None` = any text is a name.
fn named(key: &str, patterns: &BTreeMap<String, String>, token: Option<&str>) -> Result<Vec<Named>, Error> {
    let named = patterns.iter().map(|(name, pattern)| {
        let named = match token {
            Some(what) if !is_token(name) => Err(format!("`{name}` is not a {what} name").into()),
            _ => Named::new(name, pattern),
        };
        named.map_err(|error| Error::at(format!("{key}.{name}"), error))
    });
    named.collect()
}

/// What was found out about a request so far.
struct Facts<'a> {
    request: &'a Request,
    path: Cell<Hit>,
    user_agent: Cell<Hit>,
    method: OnceCell<String>,
    host: OnceCell<String>,
}

impl<'a> Facts<'a> {
    const fn new(request: &'a Request) -> Self {
        let (path, user_agent) = (Cell::new(Hit::Unknown), Cell::new(Hit::Unknown));
        Self { request, path, user_agent, method: OnceCell::new(), host: OnceCell::new() }
    }

    fn method(&self) -> &str {
        self.method.get_or_init(|| self.request.method())
    }

    /// Lower case, without port and trailing dot.
    fn host(&self) -> &str {
        self.host.get_or_init(|| host_of(&self.request.authority()).to_ascii_lowercase())
    }
}

/// One kind of condition, of all rules together.
#[derive(Debug)]
struct Shared {
    /// The patterns of all rules in order; `None` if no rule has the condition.
    all: Option<Patterns>,
    /// For each pattern of `all` the rule it belongs to.
    owners: Vec<usize>,
    /// By rule. Needed only past the first rule that `all` hits, so the first rule with the
    /// condition is `Condition::First` and has no matcher of its own.
    rules: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    LeftOut,
    First,
    Own(Patterns),
}

/// The first rule that `Shared::all` hits for the request at hand.
#[derive(Debug, Clone, Copy)]
enum Hit {
    Unknown,
    None,
    Rule(usize),
}

impl Shared {
    fn new<'a>(
        rules: impl Iterator<Item = &'a Vec<String>>,
        key: impl Fn(usize) -> String,
        build: impl Fn(&[String]) -> Result<Patterns, Error>,
    ) -> Result<Self, Error> {
        let mut shared = Self { all: None, owners: Vec::new(), rules: Vec::new() };
        let mut all = Vec::new();
        for (index, patterns) in rules.enumerate() {
            let condition = match (patterns.is_empty(), shared.owners.first()) {
                (true, _) => Condition::LeftOut,
                (false, None) => Condition::First,
                (false, Some(_)) => {
                    Condition::Own(build(patterns).map_err(|error| error.within(key(index)))?)
                }
            };
            shared.rules.push(condition);
            shared.owners.extend(patterns.iter().map(|_| index));
            all.extend_from_slice(patterns);
        }
        if let Some(first) = shared.owners.first() {
            // The patterns of later rules were built already, so what fails now is the first one's, and
            // its patterns are the first of all.
            let built = build(&all).map_err(|error| error.within(key(*first)));
            shared.all = Some(built?);
        }
        Ok(shared)
    }

    /// Finds the first rule that has the condition and for which it holds, unless that was found before.
    fn look(&self, hit: &Cell<Hit>, ask: impl Fn(&Patterns) -> Option<usize>) {
        if matches!(hit.get(), Hit::Unknown) {
            let pattern = self.all.as_ref().and_then(ask);
            hit.set(pattern.map_or(Hit::None, |pattern| Hit::Rule(self.owners[pattern])));
        }
    }

    fn holds(&self, index: usize, hit: &Cell<Hit>, ask: impl Fn(&Patterns) -> Option<usize>) -> bool {
        let condition = &self.rules[index];
        if matches!(condition, Condition::LeftOut) {
            return true;
        }
        self.look(hit, &ask);
        match (hit.get(), condition) {
            (Hit::Rule(rule), Condition::Own(patterns)) if rule < index => ask(patterns).is_some(),
            (Hit::Rule(rule), _) => rule == index,
            (Hit::None | Hit::Unknown, _) => false,
        }
    }
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let has_port = match (name.starts_with('['), name.find(']')) {
            (true, Some(end)) => end + 1 != name.len(),
            _ => name.contains(':'),
        };
        if has_port {
            return Err(format!("`{text}`: a host stands without port"));
        }
        let valid = |byte: u8| byte.is_ascii_graphic() && !br#"*/\@?#,"#.contains(&byte);
        if name.is_empty() || !name.bytes().all(valid) {
            return Err(format!("`{text}` is neither a host nor `*.` and a host"));
        }
        Ok(if below { Self::Below(format!(".{name}")) } else { Self::Exact(name) })
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

/// One entry of `headers`, `cookies` or `query`.
#[derive(Debug)]
struct Named {
    name: String,
    /// `None` = present.
    pattern: Option<Patterns>,
}

impl Named {
    fn new(name: &str, pattern: &str) -> Result<Self, Error> {
        let pattern = if pattern == "*" { None } else { Some(Patterns::regex([value_regex(pattern)])?) };
        Ok(Self { name: name.to_owned(), pattern })
    }

    fn matches_field(&self, request: &Request) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.matches_header(request, &self.name).is_some(),
            None => request.header_count(&self.name) > 0,
        }
    }

    fn matches_cookie(&self, request: &Request) -> bool {
        request.cookie(&self.name).is_some_and(|value| self.matches(&value))
    }

    fn matches_query(&self, request: &Request) -> bool {
        request.query_params(&self.name).iter().any(|value| self.matches(value))
    }

    fn matches(&self, value: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.matches(value).is_some())
    }
}

/// Not a glob: in `text/html` or `Mozilla/5.0` a slash separates nothing that `*` should respect.
fn value_regex(pattern: &str) -> String {
    let mut regex = String::from("(?s)^");
    for character in pattern.chars() {
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            plain if r".+()|[]{}^$\".contains(plain) => regex.extend(['\\', plain]),
            plain => regex.push(plain),
        }
    }
    regex + "$"
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_header_pattern_holds_no_regex() {
        assert_eq!(super::value_regex("a.b*c?(d)"), r"(?s)^a\.b.*c.\(d\)$");
    }
}
