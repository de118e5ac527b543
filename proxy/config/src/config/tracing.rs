//! `[tracing]`: where spans go, and of which exchanges there are some.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[tracing]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// The collector's URL; `None`: the environment says it, or it is on this machine.
    pub otlp: Option<CollectorUrl>,
    /// Per cent of the exchanges that nobody has decided on; `None`: the environment says it, or 1.
    pub share: Option<u8>,
    /// Whose decision counts.
    pub parents: TraceParents,
    /// `None`: the environment says it, or `tidegate`.
    pub service_name: Option<String>,
}

/// Where a collector takes spans over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl {
    /// `https`, not `http`.
    pub is_tls: bool,
    /// With its port.
    pub authority: String,
    /// Empty, or beginning with `/`.
    pub path: String,
}

/// Whose decision counts that an exchange is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TraceParents {
    /// That of `trusted-proxies`: whoever else asks may not fill the collector.
    Trusted,
    /// Everybody's.
    All,
    /// Nobody's.
    None,
}

impl CollectorUrl {
    /// From text; the error is a sentence.
    ///
    /// # Errors
    /// It is none, or has what such a URL cannot have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| format!("{text:?} is no URL"))?;
        let is_tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(format!("{text:?} begins with neither http:// nor https://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let is_plain = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_graphic() && !b"@?#\"<>\\^`{|}".contains(&byte))
        };
        if host.is_empty() || !is_plain(authority) || !is_plain(path) {
            return Err(format!("{text:?} is not a URL of a host and a path"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let port = if is_tls { 443 } else { 80 };
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        Ok(Self { is_tls, authority, path: path.trim_end_matches('/').to_owned() })
    }
}

impl std::fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority, self.path)
    }
}
