//! What requests are counted by: whatever a client sends, its count has a name of bounded length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::http::{host_of, is_token};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::{Decision, Limiter};

/// One text or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(crate) enum Written {
    /// By this alone.
    One(String),
    /// By all of these together.
    Several(Vec<String>),
}

impl Default for Written {
    fn default() -> Self {
        Self::One("address".to_owned())
    }
}

/// How a client counts that does not have what requests are counted by.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WithoutKey {
    /// By its address.
    #[default]
    Address,
    /// Together with all others that do not have it.
    Together,
}

/// How many bits of an address tell clients apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefixes {
    pub(crate) ipv4: u8,
    pub(crate) ipv6: u8,
}

/// What requests are counted by. Without parts, all count together.
#[derive(Debug)]
pub(crate) struct Key {
    parts: Vec<Part>,
    without: WithoutKey,
    prefixes: Prefixes,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Address,
    Host,
    Path,
    Header(String),
    Cookie(String),
    Query(String),
    Attribute(String),
}

/// Whom a request counts for.
#[derive(Debug)]
pub(crate) enum Subject {
    /// As the proxy tells clients apart by itself, which copies nothing.
    Client,
    Named(String),
}

impl Subject {
    pub(crate) fn take(&self, limiter: &Limiter, request: &Request, cost: u64) -> Decision {
        match self {
            Self::Client => limiter.take_for_client(request, cost),
            Self::Named(name) => limiter.take(name, cost),
        }
    }
}

/// Longer hosts and paths go by their digest.
const MAX_PLAIN: usize = 128;

impl Key {
    pub(crate) fn new(written: Written, without: WithoutKey, prefixes: Prefixes) -> Result<Self, Error> {
        if prefixes.ipv4 > 32 {
            return Err(Error::at("ipv4-prefix", format!("{} is not 0 to 32", prefixes.ipv4)));
        }
        if prefixes.ipv6 > 128 {
            return Err(Error::at("ipv6-prefix", format!("{} is not 0 to 128", prefixes.ipv6)));
        }
        let parts = match &written {
            Written::One(all) if all == "everyone" => Vec::new(),
            Written::One(part) => vec![Part::parse(part).map_err(|reason| Error::at("key", reason))?],
            Written::Several(parts) if parts.is_empty() => {
                return Err(Error::at("key", "an empty list; write \"everyone\" to count all together"));
            }
            Written::Several(parts) => {
                let parts = parts.iter().enumerate().map(|(index, part)| {
                    Part::parse(part).map_err(|reason| Error::at(format!("key[{index}]"), reason))
                });
                parts.collect::<Result<_, _>>()?
            }
        };
        Ok(Self { parts, without, prefixes })
    }

    /// Whom the request counts for. What follows `=` was hashed, so a client can neither make it long nor write what
    /// stands for another; and what it keeps secret does not stand in the shared store.
    pub(crate) fn of(&self, request: &Request) -> Subject {
        if self.parts == [Part::Address] && self.prefixes == (Prefixes { ipv4: 32, ipv6: 64 }) {
            return Subject::Client;
        }
        let names = self.parts.iter().map(|part| match part {
            Part::Address => self.address(request),
            Part::Host => bounded(host_of(&request.authority()).to_ascii_lowercase()),
            Part::Path => bounded(request.normalized_path()),
            other => match other.value(request) {
                Some(value) => digest(&value),
                None if self.without == WithoutKey::Together => "-".to_owned(),
                None => self.address(request),
            },
        });
        Subject::Named(names.collect::<Vec<_>>().join("|"))
    }

    fn address(&self, request: &Request) -> String {
        let Prefixes { ipv4, ipv6 } = self.prefixes;
        match request.client_ip() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(ipv4)).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).to_string()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(ipv6)).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).to_string()
            }
        }
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        let named = |name: &str| match name {
            "" => Err(format!("`{text}` lacks a name, as in `{text}NAME`")),
            name => Ok(name.to_owned()),
        };
        let token = |name: &str| match is_token(name) {
            true => Ok(name.to_owned()),
            false => Err(format!("`{name}` is not a name")),
        };
        match text.split_once(':') {
            None if text == "address" => Ok(Self::Address),
            None if text == "host" => Ok(Self::Host),
            None if text == "path" => Ok(Self::Path),
            None if text == "everyone" => Err("`everyone` stands alone".to_owned()),
            Some(("header", name)) => token(name).map(Self::Header),
            Some(("cookie", name)) => token(name).map(Self::Cookie),
            Some(("query", name)) => named(name).map(Self::Query),
            Some(("attribute", name)) => named(name).map(Self::Attribute),
            _ => Err(format!(
                "`{text}` is not `address`, `host`, `path`, `header:NAME`, `cookie:NAME`, `query:NAME`, \
                 `attribute:NAME` or, alone, `everyone`"
            )),
        }
    }

    /// `None` as well if it is empty or there are several: which of them a server takes is its own affair, so a client
    /// could have each of its requests counted by another value.
    fn value(&self, request: &Request) -> Option<Vec<u8>> {
        let values = match self {
            Self::Address | Self::Host | Self::Path => return None,
            Self::Header(name) => request.header_values(name),
            Self::Cookie(name) => cookies(request, name),
            Self::Query(name) => request.query_params(name).into_iter().map(String::into_bytes).collect(),
            Self::Attribute(name) => request.attribute(name).map(String::into_bytes).into_iter().collect(),
        };
        <[Vec<u8>; 1]>::try_from(values).ok().map(|[value]| value).filter(|value| !value.is_empty())
    }
}

/// The values of all cookies of this name, in whatever field they stand.
fn cookies(request: &Request, name: &str) -> Vec<Vec<u8>> {
    let fields = request.header_values("cookie");
    let pairs = fields.iter().flat_map(|field| field.split(|byte| *byte == b';'));
    let values = pairs.filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii().to_vec())
    });
    values.collect()
}

/// No host and no normalised path has a `|`.
fn bounded(text: String) -> String {
    if text.len() <= MAX_PLAIN { text } else { digest(text.as_bytes()) }
}

/// The first half of a SHA-256: 128 bits, of which nobody finds two alike.
fn digest(value: &[u8]) -> String {
    let digest = crypto::digest(Hash::Sha256, value);
    digest.iter().take(16).fold("=".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
