//! `[listener.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::key_schema;
use super::text::{FilePath, SniPattern, Text};
use crate::{ClientAuth, TlsVersion};

/// An address the proxy accepts connections on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port; with port 0 the system chooses one.
    pub address: Text<SocketAddr>,
    /// HTTP versions spoken. On TLS the client chooses by ALPN; on clear text HTTP/2 works by
    /// prior knowledge.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "default" = ["1.1", "2"]))]
    pub http: Option<Vec<Http>>,
    /// Forwards connections at layer 4 to this upstream, instead of HTTP. With tls it forwards
    /// the clear text.
    pub tcp: Option<String>,
    /// Forwards TLS connections as they are, instead of HTTP, to the upstream that stands at
    /// their server name (SNI): a host, "*.example.org" for the names below it, or "*" for
    /// everything else and clients without SNI.
    #[schemars(extend("propertyNames" = key_schema::<SniPattern>()))]
    pub tls_passthrough: Option<BTreeMap<String, String>>,
    /// TLS; without it the listener speaks clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Whether connections of peers in trusted-proxies begin with a PROXY protocol header, version
    /// 1 or 2; one that does not is closed.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// An HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Http {
    /// HTTP/1.1, and 1.0.
    #[serde(rename = "1.1")]
    V1,
    /// HTTP/2.
    #[serde(rename = "2")]
    V2,
}

/// TLS on a listener.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Tls {
    /// Chosen by the names in them (SNI); the first is used when none matches.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// PEM file of the authorities that sign client certificates.
    #[schemars(extend("examples" = ["certs/clients.pem"]))]
    pub client_ca: Option<Text<FilePath>>,
    /// Whether a client has to show a certificate.
    #[serde(default = "no_client_auth")]
    pub client_auth: ClientAuth,
    /// The oldest version that is accepted.
    #[serde(default = "tls_1_2")]
    pub min_version: TlsVersion,
}

/// A certificate with its key, both PEM files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Certificate {
    /// PEM file of the certificate and its intermediates, leaf first.
    pub chain: Text<FilePath>,
    /// PEM file of its private key: PKCS#8, PKCS#1 or SEC1.
    #[schemars(extend("examples" = ["certs/a.key"]))]
    pub key: Text<FilePath>,
}

fn no_client_auth() -> ClientAuth {
    ClientAuth::None
}

fn tls_1_2() -> TlsVersion {
    TlsVersion::V1_2
}
