//! `[listener.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{FilePath, Text};
use crate::{ClientAuth, TlsVersion};

/// An address the proxy accepts connections on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Listener {
    /// IP address and port; with port 0 the system chooses one.
    pub address: Text<SocketAddr>,
    /// HTTP versions spoken. On TLS the client chooses by ALPN; on clear text HTTP/2 works by
    /// prior knowledge.
    #[serde(default = "every_http_version")]
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub http: Vec<Http>,
    /// TLS; without it the listener speaks clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
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

fn every_http_version() -> Vec<Http> {
    vec![Http::V1, Http::V2]
}

fn no_client_auth() -> ClientAuth {
    ClientAuth::None
}

fn tls_1_2() -> TlsVersion {
    TlsVersion::V1_2
}
