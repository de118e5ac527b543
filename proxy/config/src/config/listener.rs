//! The checked `[listener.NAME]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[listener.NAME]`: an address the proxy accepts connections on.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `IP:port`; port 0 lets the system choose (the log names the port). `[::]` is every IPv6
    /// address and no IPv4 one, so it may stand beside `0.0.0.0`; nothing else overlaps.
    pub address: SocketAddr,
    /// HTTP versions spoken, `http = ["1.1", "2"]` (the default). On TLS the client chooses by ALPN,
    /// on clear text HTTP/2 works by prior knowledge (RFC 9113 §3.3).
    pub http: HttpVersions,
    /// `None` = clear text.
    pub tls: Option<Tls>,
}

/// Which HTTP versions a listener speaks. At least one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpVersions {
    /// HTTP/1.1 (and 1.0).
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
}

/// `tls = { … }` of a listener. The files are read by the server, not here.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Chosen by the names in them (SNI); the first is used when nothing matches. Never empty.
    pub certificates: Vec<Certificate>,
    /// PEM file of the authorities that sign client certificates. Set exactly when `client_auth`
    /// is not [`ClientAuth::None`].
    pub client_ca: Option<PathBuf>,
    /// Default [`ClientAuth::None`].
    pub client_auth: ClientAuth,
    /// Default [`TlsVersion::V1_2`].
    pub min_version: TlsVersion,
}

/// One certificate of a listener; both files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and its intermediates, leaf first.
    pub chain: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// It is not asked for one.
    None,
    /// It is asked; one that is shown must verify.
    Optional,
    /// Without a verified certificate the handshake fails.
    Required,
}

/// A TLS protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}
