//! Names of hosts: which are ours, and what each is called instead.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::prelude::*;

/// The one form of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Www {
    /// With `www.` in front.
    Add,
    /// Without it.
    Remove,
}

impl Www {
    /// The other name; `None` if it has the form already, or is an address.
    pub(crate) fn applied(self, host: &str) -> Option<String> {
        let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
        match (self, host.strip_prefix("www.")) {
            (Self::Remove, Some(bare)) if bare.contains('.') => Some(bare.to_owned()),
            (Self::Add, None) if !is_address && !host.is_empty() => Some(format!("www.{host}")),
            _ => None,
        }
    }
}

/// A host in lower case without trailing dot, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Of a request: the proxy has checked its form. Empty for HTTP/1.0 without `Host`.
    pub(crate) fn of_client(text: &str) -> Self {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (text, None),
        };
        Self { host: host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(), port }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let authority = Self::of_client(text);
        let has_colon = text.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        if has_colon && authority.port.is_none_or(|port| port == 0) {
            return Err(format!("`{text}` has a port that is none"));
        }
        check_host(&authority.host).map_err(|()| format!("`{text}` is not a host, nor a host and a port"))?;
        Ok(authority)
    }
}

/// A list of hosts, lower case.
#[derive(Debug)]
pub(crate) struct Hosts {
    any: bool,
    exact: Vec<String>,
    /// `.example.com`
    below: Vec<String>,
}

impl Hosts {
    pub(crate) fn new(entries: &[String]) -> Result<Self, Error> {
        let mut hosts = Self { any: false, exact: Vec::new(), below: Vec::new() };
        for (index, entry) in entries.iter().enumerate() {
            match pattern(entry).map_err(|reason| Error::at(format!("[{index}]"), reason))? {
                Pattern::Any => hosts.any = true,
                Pattern::Exact(name) => hosts.exact.push(name),
                Pattern::Below(suffix) => hosts.below.push(suffix),
            }
        }
        Ok(hosts)
    }

    /// By name or by a wildcard. No host at all is no host.
    pub(crate) fn has(&self, host: &str) -> bool {
        !host.is_empty()
            && (self.any || self.lists(host) || self.below.iter().any(|suffix| is_below(host, suffix)))
    }

    /// By name.
    pub(crate) fn lists(&self, host: &str) -> bool {
        self.exact.iter().any(|name| name == host)
    }
}

/// Other names of hosts. The longest that fits counts.
#[derive(Debug)]
pub(crate) struct Aliases {
    exact: BTreeMap<String, Authority>,
    /// Longest first.
    below: Vec<(String, Authority)>,
}

impl Aliases {
    pub(crate) fn new(table: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut aliases = Self { exact: BTreeMap::new(), below: Vec::new() };
        for (from, to) in table {
            let at = |reason| Error::at(format!("aliases.{from}"), reason);
            let to = Authority::parse(to).map_err(at)?;
            match pattern(from).map_err(at)? {
                Pattern::Any => {
                    return Err(
                        at("`*` would rename every host; write `*.example.net` or a name".to_owned()),
                    );
                }
                Pattern::Exact(name) if name == to.host => {
                    return Err(at("renames a host to itself".to_owned()));
                }
                Pattern::Exact(name) => drop(aliases.exact.insert(name, to)),
                Pattern::Below(suffix) => aliases.below.push((suffix, to)),
            }
        }
        aliases.below.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Ok(aliases)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    pub(crate) fn of(&self, host: &str) -> Option<&Authority> {
        self.exact.get(host).or_else(|| {
            let (_, to) = self.below.iter().find(|(suffix, _)| is_below(host, suffix))?;
            Some(to)
        })
    }
}

enum Pattern {
    Any,
    Exact(String),
    Below(String),
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if text == "*" {
        return Ok(Pattern::Any);
    }
    let (name, is_below) = match text.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    check_host(&name).map_err(|()| format!("`{text}` is neither a host without port nor `*.` and a host"))?;
    Ok(if is_below { Pattern::Below(format!(".{name}")) } else { Pattern::Exact(name) })
}

fn is_below(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

/// A registered name of letters, digits, `-`, `_` and dots, or an address; what stands in a URL as it is.
fn check_host(host: &str) -> Result<(), ()> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && host.bytes().all(is_name) && !host.starts_with('.') && !host.contains("..")
        }
    };
    if is_valid { Ok(()) } else { Err(()) }
}
