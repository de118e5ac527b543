//! Which requests a policy is called for.
//!
//! The operator's `match` and what the policy narrowed while it was configured; both must hold. The
//! host asks without entering the plugin.

use std::time::Duration;

use http::header::HeaderName;
use http::{HeaderMap, Method};
use tidegate_message::authority;

use crate::exchange::Exchange;
use crate::limits::Allowance;
use crate::matching::{Kind, Patterns};

/// Processor time that the globs of one side may take about one request. They take microseconds.
const PATIENCE: Duration = Duration::from_millis(10);

/// The operator's `match` of a plugin; an empty list leaves its kind open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Hosts, exact or `*.example.org` (which matches every name below, not `example.org` itself).
    /// Case, port and a trailing dot are ignored.
    pub hosts: Vec<String>,
    /// Globs over the normalised path: `*` within a segment, `**` across segments.
    pub paths: Vec<String>,
    /// Methods, compared with regard to case (RFC 9110 §9.1).
    pub methods: Vec<String>,
    /// Names of listeners.
    pub listeners: Vec<String>,
}

/// Which requests a policy is called for.
#[derive(Debug, Clone, Default)]
pub struct Activation {
    operator: Narrowing,
    listeners: Option<Vec<String>>,
    policy: Narrowing,
}

impl Activation {
    /// What the operator asked for, with nothing narrowed by a policy.
    ///
    /// # Errors
    ///
    /// A text for the operator that begins with the place in `match`, such as
    /// `match.paths[1]: …`.
    pub fn new(operator: &Match) -> Result<Self, String> {
        let mut narrowing = Narrowing::default();
        let given = |list: &Vec<String>| !list.is_empty();
        if given(&operator.hosts) {
            narrowing.only_hosts(&operator.hosts).map_err(|error| format!("match.hosts{error}"))?;
        }
        if given(&operator.paths) {
            narrowing.only_paths(&operator.paths).map_err(|error| format!("match.paths{error}"))?;
        }
        if given(&operator.methods) {
            narrowing.only_methods(&operator.methods).map_err(|error| format!("match.methods{error}"))?;
        }
        let listeners = Some(operator.listeners.clone()).filter(given);
        Ok(Self { operator: narrowing, listeners, policy: Narrowing::default() })
    }

    /// True if the policy is to be called for this request.
    pub fn applies(&self, exchange: &Exchange) -> bool {
        let listener = &exchange.connection.listener;
        let on_listener = match &self.listeners {
            Some(names) => names.iter().any(|name| name.as_str() == &**listener),
            None => true,
        };
        on_listener && self.operator.holds(exchange) && self.policy.holds(exchange)
    }

    /// True if the policy promised that its verdict and edits depend on nothing but what it reads
    /// from the request.
    pub fn is_pure(&self) -> bool {
        self.policy.pure
    }

    /// Destinations that the policy says it names, whether or not there are any of these names.
    pub fn routes(&self) -> &[String] {
        &self.policy.routes
    }

    pub(crate) fn narrowed(self, policy: Narrowing) -> Self {
        Self { policy, ..self }
    }
}

/// Methods that are sent (RFC 9110 §9.3, RFC 5789).
const KNOWN_METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Conditions of one side; `None` leaves a kind open.
///
/// Errors begin with the index of the entry in brackets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Narrowing {
    hosts: Option<Vec<Host>>,
    paths: Option<Patterns>,
    methods: Option<Vec<Method>>,
    headers: Option<Vec<HeaderName>>,
    pure: bool,
    /// Destinations the policy names.
    routes: Vec<String>,
}

#[derive(Debug, Clone)]
enum Host {
    Exact(String),
    /// With the dot: `.example.org`.
    Below(String),
}

impl Narrowing {
    pub(crate) fn only_hosts(&mut self, patterns: &[String]) -> Result<(), String> {
        let parse = |(index, pattern): (usize, &String)| {
            let (below, name) = match pattern.strip_prefix('*') {
                Some(rest) => (true, rest.strip_prefix('.')),
                None => (false, Some(pattern.as_str())),
            };
            let name = name.map(|name| name.strip_suffix('.').unwrap_or(name));
            match name.filter(|name| !name.is_empty() && !name.contains(['*', '/', ' '])) {
                Some(name) if below => Ok(Host::Below(format!(".{name}"))),
                Some(name) => Ok(Host::Exact(authority::host(name).to_owned())),
                None => Err(format!("[{index}]: `{pattern}` is neither a host nor `*.` and a domain")),
            }
        };
        self.hosts = Some(patterns.iter().enumerate().map(parse).collect::<Result<_, _>>()?);
        Ok(())
    }

    pub(crate) fn only_paths(&mut self, patterns: &[String]) -> Result<(), String> {
        for (index, pattern) in patterns.iter().enumerate() {
            if !pattern.starts_with(['/', '*']) {
                return Err(format!("[{index}]: `{pattern}` matches nothing, paths begin with `/`"));
            }
        }
        self.paths = Some(Patterns::new(Kind::Glob, &Kind::Glob.spell_all(patterns)?, false)?);
        Ok(())
    }

    pub(crate) fn only_methods(&mut self, methods: &[String]) -> Result<(), String> {
        let parse = |(index, method): (usize, &String)| {
            let upper = method.to_ascii_uppercase();
            if upper != *method && KNOWN_METHODS.contains(&upper.as_str()) {
                return Err(format!(
                    "[{index}]: `{method}` is not a method, as their case matters; did you mean `{upper}`?"
                ));
            }
            Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("[{index}]: `{method}` is not a method"))
        };
        self.methods = Some(methods.iter().enumerate().map(parse).collect::<Result<_, _>>()?);
        Ok(())
    }

    pub(crate) fn only_with_headers(&mut self, names: &[String]) -> Result<(), String> {
        let parse = |(index, name): (usize, &String)| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("[{index}]: `{name}` is not a field name"))
        };
        self.headers = Some(names.iter().enumerate().map(parse).collect::<Result<_, _>>()?);
        Ok(())
    }

    pub(crate) fn pure(&mut self) {
        self.pure = true;
    }

    pub(crate) fn routes(&mut self, destinations: Vec<String>) {
        self.routes = destinations;
    }

    fn holds(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        self.methods.as_ref().is_none_or(|methods| methods.contains(&request.method))
            && self.headers.as_ref().is_none_or(|names| carries_one(&request.headers, names))
            && self.hosts.as_ref().is_none_or(|hosts| {
                let host = request.host();
                hosts.iter().any(|pattern| pattern.matches(host))
            })
            && self.paths.as_ref().is_none_or(|paths| {
                let found = paths.first_match(request.normalized_path(), &Allowance::new(PATIENCE));
                // What takes so long is for the policy itself to find out.
                found.map_or(true, |found| found.is_some())
            })
    }
}

/// Every request has a host, whether or not the server keeps the field.
fn carries_one(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    names.iter().any(|name| *name == http::header::HOST || headers.contains_key(name))
}

impl Host {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name),
            Self::Below(domain) => {
                let (host, domain) = (host.as_bytes(), domain.as_bytes());
                host.len() > domain.len() && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::exchange;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn nothing_narrowed_applies_to_everything() {
        let activation = Activation::new(&Match::default()).expect("an empty match is valid");
        assert!(activation.applies(&exchange("PATCH", "anything:1", "/x")));
        assert!(!activation.is_pure());
    }

    #[test]
    fn hosts_ignore_case_port_and_the_final_dot() {
        let hosts = texts(&["example.com", "*.Example.org", "[::1]"]);
        let activation = Activation::new(&Match { hosts, ..Match::default() }).expect("valid");
        for host in [
            "example.com",
            "EXAMPLE.com:8080",
            "example.com.",
            "a.example.org",
            "a.b.example.ORG:1",
            "[::1]:80",
        ] {
            assert!(activation.applies(&exchange("GET", host, "/")), "{host}");
        }
        for host in ["example.org", "badexample.org", "www.example.com", "[::2]", ""] {
            assert!(!activation.applies(&exchange("GET", host, "/")), "{host}");
        }
    }

    #[test]
    fn paths_are_compared_in_normal_form() {
        let paths = texts(&["/admin/**"]);
        let activation = Activation::new(&Match { paths, ..Match::default() }).expect("valid");
        for path in ["/admin", "/admin/x", "/x/../admin/", "//%61dmin/y?z"] {
            assert!(activation.applies(&exchange("GET", "a", path)), "{path}");
        }
        assert!(!activation.applies(&exchange("GET", "a", "/administrator")));
    }

    #[test]
    fn all_kinds_of_both_sides_must_hold() {
        let operator =
            Match { methods: texts(&["GET", "POST"]), listeners: texts(&["web"]), ..Match::default() };
        let mut policy = Narrowing::default();
        policy.only_methods(&texts(&["POST"])).expect("valid");
        policy.only_with_headers(&texts(&["X-Key", "authorization"])).expect("valid");
        let activation = Activation::new(&operator).expect("valid").narrowed(policy);
        let mut post = exchange("POST", "a", "/");
        assert!(!activation.applies(&post));
        post.request.headers.insert("x-key", http::HeaderValue::from_static("1"));
        assert!(activation.applies(&post));
        let mut get = exchange("GET", "a", "/");
        get.request.headers = post.request.headers.clone();
        assert!(!activation.applies(&get));

        let elsewhere = Match { listeners: texts(&["secure"]), ..Match::default() };
        assert!(!Activation::new(&elsewhere).expect("valid").applies(&post));
    }

    #[test]
    fn errors_say_where() {
        let error = |matching: Match| Activation::new(&matching).expect_err("invalid");
        let hosts = texts(&["a", "*b"]);
        assert!(error(Match { hosts, ..Match::default() }).starts_with("match.hosts[1]: `*b`"));
        let paths = texts(&["api/**"]);
        assert!(error(Match { paths, ..Match::default() }).starts_with("match.paths[0]: `api/**`"));
        let methods = texts(&["GET", "G T"]);
        assert!(error(Match { methods, ..Match::default() }).starts_with("match.methods[1]: `G T`"));
    }
}
