//! The checked `[listener.NAME]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[listener.NAME]`: an address the proxy accepts connections on.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `IP:port`; port 0 lets the system choose (the log names the port). `[::]` is every IPv6
    /// address and no IPv4 one, so it may stand beside `0.0.0.0`; nothing else overlaps.
    pub address: SocketAddr,
    /// What is done with a connection.
    pub serves: Serves,
    /// TLS ends here; `None` = clear text. Always `None` with [`Serves::TlsPassthrough`].
    pub tls: Option<Tls>,
    /// Peers whose connections begin with a PROXY protocol header, version 1 or 2.
    pub proxy_protocol: Vec<IpNet>,
    /// Names of fields are written in title case in HTTP/1.1.
    pub title_case: bool,
    /// In lower case: the field in which trusted proxies say who the client is; `None` = `X-Forwarded-For`, else
    /// `Forwarded`.
    pub client_field: Option<String>,
}

/// What a listener does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// `http = ["1.1", "2"]`. On TLS the client chooses by ALPN, on clear text HTTP/2 works by prior
    /// knowledge (RFC 9113 §3.3).
    Http(HttpVersions),
    /// `tcp = "NAME"`: its bytes, after TLS if there is any, go to a server of this upstream.
    Tcp(String),
    /// `tls-passthrough = { … }`: its bytes go to a server of an upstream chosen by SNI. In the order
    /// in which they are tried, the first that matches wins: exact names, wildcards from the longest
    /// to the shortest, `*`. A connection that matches none is closed. Never empty.
    TlsPassthrough(Vec<Passthrough>),
}

/// One entry of `tls-passthrough`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    /// In lower case and unique in its listener: a host; `*.` and a host, for every name below that
    /// host but not the host itself; or `*`, for everything, clients without SNI too.
    pub name: String,
    /// Names an upstream.
    pub upstream: String,
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
    /// Chosen by the names in them (SNI); the first is used when nothing matches. Not empty where `acme` is, and nothing is obtained on demand.
    pub certificates: Vec<Certificate>,
    /// In lower case: names whose certificates the proxy obtains by itself.
    pub acme: Vec<String>,
    /// Whether certificates are obtained for other names when a client asks for them. Only with [`Acme::on_demand`](crate::Acme).
    pub on_demand: bool,
    /// PEM file of the authorities that sign client certificates. Set exactly when `client_auth`
    /// is not [`ClientAuth::None`].
    pub client_ca: Option<PathBuf>,
    /// PEM file of revocation lists. Only where there is a `client_ca`.
    pub client_crl: Option<PathBuf>,
    /// Whether a client has to show a certificate.
    pub client_auth: ClientAuth,
    /// Older versions fail in the handshake.
    pub min_version: TlsVersion,
    /// What a connection may be encrypted with; `None` = all there are. One at least is for `min_version` or newer.
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// How keys may be agreed on; `None` = all there are.
    pub groups: Option<Vec<Group>>,
}

/// A certificate, of a listener or towards servers; both files are PEM.
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
    /// The client is not asked for one.
    None,
    /// The client is asked. A certificate that it shows must verify.
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

/// What a TLS connection is encrypted with. All have forward secrecy and AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum CipherSuite {
    #[serde(rename = "TLS_AES_256_GCM_SHA384")]
    Aes256,
    #[serde(rename = "TLS_AES_128_GCM_SHA256")]
    Aes128,
    #[serde(rename = "TLS_CHACHA20_POLY1305_SHA256")]
    ChaCha20,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    EcdsaAes256,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    EcdsaAes128,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")]
    EcdsaChaCha20,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")]
    RsaAes256,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]
    RsaAes128,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")]
    RsaChaCha20,
}

impl CipherSuite {
    /// Its number in the registry of TLS.
    pub fn code(self) -> u16 {
        match self {
            Self::Aes128 => 0x1301,
            Self::Aes256 => 0x1302,
            Self::ChaCha20 => 0x1303,
            Self::EcdsaAes128 => 0xc02b,
            Self::EcdsaAes256 => 0xc02c,
            Self::RsaAes128 => 0xc02f,
            Self::RsaAes256 => 0xc030,
            Self::RsaChaCha20 => 0xcca8,
            Self::EcdsaChaCha20 => 0xcca9,
        }
    }

    /// The only version it is for.
    pub fn version(self) -> TlsVersion {
        match self {
            Self::Aes128 | Self::Aes256 | Self::ChaCha20 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        }
    }
}

/// How a TLS connection agrees on keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum Group {
    #[serde(rename = "X25519MLKEM768")]
    X25519MlKem768,
    #[serde(rename = "x25519")]
    X25519,
    #[serde(rename = "secp256r1")]
    Secp256r1,
    #[serde(rename = "secp384r1")]
    Secp384r1,
}

impl Group {
    /// Its number in the registry of TLS.
    pub fn code(self) -> u16 {
        match self {
            Self::Secp256r1 => 0x0017,
            Self::Secp384r1 => 0x0018,
            Self::X25519 => 0x001d,
            Self::X25519MlKem768 => 0x11ec,
        }
    }
}
