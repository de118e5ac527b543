//! Which rule of a list applies to a request: the conditions the stock policies share.
//!
//! All conditions of a rule must hold; a condition lists alternatives, and one that is left out always
//! holds. Rules are asked in order. However many there are, the paths of all of them cost one call to the
//! proxy, and so do their user agents; other conditions are asked only of rules whose path fits.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use crate::http::is_token;
use crate::matching::Patterns;
use crate::{Error, Request, activation};

/// When a rule applies. [`Default`]: always.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// `example.org`, or `*.example.org` for every name below it but not itself. Case, a trailing dot and the
    /// port of the request do not count. IPv6 addresses stand in brackets.
    pub hosts: Vec<String>,
    /// Globs ([`matching`](crate::matching)) over the normalised path.
    pub paths: Vec<String>,
    /// With regard to case (RFC 9110 §9.1).
    pub methods: Vec<String>,
    /// By field name: a pattern that the whole of any value matches, with regard to case. `*` is any
    /// characters, here `/` too, and `?` any one; `*` alone holds if the field is present.
    pub headers: BTreeMap<String, String>,
    /// Parts of the `user-agent` field, without regard to case.
    pub user_agents: Vec<String>,
}

/// The rules of a policy, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    paths: Shared,
    user_agents: Shared,
}

impl Rules {
    /// Builds the matchers, so it works only in [`configure`](crate::Policy::configure).
    ///
    /// # Errors
    ///
    /// Names the key at fault as `rules[2].hosts[0]`: the list is taken to be called `rules`, and its keys
    /// like the fields of [`Conditions`] with `-` for `_`.
    pub fn new(rules: &[Conditions]) -> Result<Self, Error> {
        Self::named("rules", rules)
    }

    /// The same for a list of another name.
    ///
    /// # Errors
    ///
    /// As [`Rules::new`], with this name.
    pub fn named(list: &str, rules: &[Conditions]) -> Result<Self, Error> {
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
            .iter()
            .enumerate()
            .map(|(index, rule)| Rule::new(rule).map_err(|error| error.within(format!("{list}[{index}]"))));
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, paths, user_agents })
    }

    /// Has the policy called only for requests to which one of the rules may apply, judged by path, host
    /// and method. Only for a policy that does nothing else; only in
    /// [`configure`](crate::Policy::configure).
    ///
    /// # Errors
    ///
    /// As [`Rules::new`], which names the key at fault: call that first.
    pub fn narrow(rules: &[Conditions]) -> Result<(), Error> {
        narrow(rules, |rule| &rule.paths, activation::only_paths)?;
        narrow(rules, |rule| &rule.hosts, activation::only_hosts)?;
        narrow(rules, |rule| &rule.methods, activation::only_methods)
    }

    /// Index of the first rule that applies.
    pub fn first(&self, request: &Request) -> Option<usize> {
        self.matching(request).next()
    }

    /// Indices of the rules that apply, in order. Asks only as far as it is read.
    pub fn matching<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = usize> + use<'a> {
        let facts = Facts::new(request);
        (0..self.rules.len()).filter(move |&index| self.holds(index, &facts))
    }

    /// Cheapest first: the first two cost one call for all rules together.
    fn holds(&self, index: usize, facts: &Facts<'_>) -> bool {
        let rule = &self.rules[index];
        self.paths.holds(index, &facts.path, |globs| globs.matches_path(facts.request))
            && self
                .user_agents
                .holds(index, &facts.user_agent, |parts| parts.matches_header(facts.request, "user-agent"))
            && (rule.methods.is_empty() || rule.methods.iter().any(|method| method == facts.method()))
            && (rule.hosts.is_empty() || rule.hosts.iter().any(|host| host.matches(facts.host())))
            && rule.headers.iter().all(|header| header.matches(facts.request))
    }
}

fn narrow(
    rules: &[Conditions],
    condition: impl Fn(&Conditions) -> &Vec<String>,
    only: impl Fn(Vec<String>) -> Result<(), Error>,
) -> Result<(), Error> {
    if rules.iter().any(|rule| condition(rule).is_empty()) {
        return Ok(()); // this rule may apply to any
    }
    only(rules.iter().flat_map(condition).cloned().collect())
}

/// The conditions that are asked rule by rule; empty = left out.
#[derive(Debug)]
struct Rule {
    hosts: Vec<Host>,
    methods: Vec<String>,
    headers: Vec<Header>,
}

impl Rule {
    fn new(conditions: &Conditions) -> Result<Self, Error> {
        let hosts = conditions.hosts.iter().enumerate().map(|(position, host)| {
            Host::parse(host).map_err(|reason| Error::at(format!("hosts[{position}]"), reason))
        });
        for (position, glob) in conditions.paths.iter().enumerate() {
            if !glob.starts_with(['/', '*']) {
                let reason = format!("`{glob}` matches nothing: paths begin with `/`");
                return Err(Error::at(format!("paths[{position}]"), reason));
            }
        }
        for (position, method) in conditions.methods.iter().enumerate() {
            if !is_token(method) {
                let reason = format!("`{method}` is not a method");
                return Err(Error::at(format!("methods[{position}]"), reason));
            }
        }
        let headers = conditions.headers.iter().map(|(name, pattern)| {
            let key = format!("headers.{name}");
            Header::new(name, pattern).map_err(|error| Error::at(key, error))
        });
        Ok(Self {
            hosts: hosts.collect::<Result<_, _>>()?,
            methods: conditions.methods.clone(),
            headers: headers.collect::<Result<_, _>>()?,
        })
    }
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
        self.host.get_or_init(|| {
            let authority = self.request.authority();
            let host = without_port(&authority);
            host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
        })
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

    fn holds(&self, index: usize, hit: &Cell<Hit>, ask: impl Fn(&Patterns) -> Option<usize>) -> bool {
        let condition = &self.rules[index];
        let Some(all) = self.all.as_ref().filter(|_| !matches!(condition, Condition::LeftOut)) else {
            return true;
        };
        if matches!(hit.get(), Hit::Unknown) {
            hit.set(ask(all).map_or(Hit::None, |pattern| Hit::Rule(self.owners[pattern])));
        }
        match (hit.get(), condition) {
            (Hit::Rule(rule), Condition::Own(patterns)) if rule < index => ask(patterns).is_some(),
            (Hit::Rule(rule), _) => rule == index,
            (Hit::None | Hit::Unknown, _) => false,
        }
    }
}

/// One entry of `hosts`, lower case.
#[derive(Debug)]
enum Host {
    Exact(String),
    /// `.example.org`
    Below(String),
}

impl Host {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if without_port(&name) != name {
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

/// `host`, `host:port`, `[v6]`, `[v6]:port` (RFC 3986 §3.2.2)
fn without_port(authority: &str) -> &str {
    match (authority.starts_with('['), authority.find(']')) {
        (true, Some(end)) => &authority[..=end],
        _ => authority.split(':').next().unwrap_or(authority),
    }
}

/// One entry of `headers`.
#[derive(Debug)]
struct Header {
    name: String,
    /// `None` = present.
    pattern: Option<Patterns>,
}

impl Header {
    fn new(name: &str, pattern: &str) -> Result<Self, Error> {
        if !is_token(name) {
            return Err(format!("`{name}` is not a field name").into());
        }
        let pattern = if pattern == "*" { None } else { Some(Patterns::regex([value_regex(pattern)])?) };
        Ok(Self { name: name.to_owned(), pattern })
    }

    fn matches(&self, request: &Request) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.matches_header(request, &self.name).is_some(),
            None => request.header_count(&self.name) > 0,
        }
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
mod tests;
