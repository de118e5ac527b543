//! `[listener.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::key_schema;
use super::text::{CertificateHost, FieldName, FilePath, SniPattern, Text};
use super::{HeaderCase, Switch};
use crate::{CipherSuite, ClientAuth, Group, TlsVersion};

/// An address the proxy accepts connections on.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Listener {
    /// Where it accepts connections. Port 0: the system chooses one, and the log names it. `[::]` is IPv6
    /// only and may stand beside `0.0.0.0`; apart from that, no two listeners may overlap.
    pub address: Text<SocketAddr>,
    /// Versions of HTTP that it speaks. On TLS the client chooses by ALPN; on clear text HTTP/2 works by
    /// prior knowledge (RFC 9113 §3.3).
    #[schemars(length(min = 1), extend("uniqueItems" = true, "default" = ["1.1", "2"]))]
    pub http: Option<Vec<Http>>,
    /// The upstream that connections are forwarded to at layer 4, instead of HTTP; no policy sees them.
    /// With `tls`, TLS ends here and the clear text is forwarded. Not beside `http`. The upstream cannot
    /// have `protocol = "h2"`.
    pub tcp: Option<String>,
    /// TLS connections are forwarded as they are, instead of HTTP, each to the upstream that stands at its
    /// server name (SNI). An exact name goes before a wildcard, a longer wildcard before a shorter one. A
    /// connection that matches none is closed with the alert `unrecognized_name`; one that is not TLS is
    /// closed without an answer. Not beside `http`, `tcp` or `tls`. The upstreams can have neither `tls`,
    /// as what arrives there is TLS already, nor `protocol = "h2"`.
    #[schemars(extend("propertyNames" = key_schema::<SniPattern>()))]
    pub tls_passthrough: Option<BTreeMap<String, String>>,
    /// TLS ends here. Without it the listener speaks clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// A connection of a trusted peer must begin with a PROXY protocol header, version 1 or 2, or it is closed; the
    /// address in the header is the client's. Other peers are served without one. `true`: trusted are
    /// `trusted-proxies`, of which there must be some then.
    #[serde(default = "no_proxy_protocol")]
    pub proxy_protocol: Switch<ProxyHeaders>,
    /// How the names of fields of responses are written in HTTP/1.1. With `http` only.
    #[serde(default)]
    pub header_case: HeaderCase,
    /// Where a request of a peer in `trusted-proxies` says who its client is; without it in `X-Forwarded-For`, else in
    /// `Forwarded`. With `http` only.
    pub client_address: Option<ClientAddress>,
}

/// Whose PROXY protocol headers the proxy believes.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ProxyHeaders {
    /// Peers that begin their connections with a PROXY protocol header. Whether the fields of their requests are
    /// believed is another question: the address in the header has to be in `trusted-proxies`.
    #[schemars(length(min = 1))]
    pub trusted: Vec<Text<IpNet>>,
}

/// Where a trusted proxy says who the client is.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ClientAddress {
    /// The field whose value is the client's address. One with another value, or more than one, makes the client
    /// unknown: it is on no list of addresses. Without the field the client is the peer.
    pub field: Text<FieldName>,
}

fn no_proxy_protocol() -> Switch<ProxyHeaders> {
    Switch::Is(false)
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
    /// The proxy chooses by server name (SNI), and takes the first when none matches. This, `acme` or `on-demand` is needed.
    #[schemars(length(min = 1))]
    pub certificates: Option<Vec<Certificate>>,
    /// Names whose certificates the proxy obtains and renews by itself, one for each, as [acme](#acme) says. They come
    /// after `certificates`. Until one is there, the proxy shows one that it signed itself.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub acme: Option<Vec<Text<CertificateHost>>>,
    /// Whether a client that asks for a name that none of the certificates has can have one obtained for it, and waits for it in
    /// the handshake, as `acme.on-demand` says. It is then refused if there is none.
    #[serde(default)]
    pub on_demand: bool,
    /// PEM file of the authorities that sign client certificates. Required by a `client-auth` other than
    /// `"none"`, and not allowed without.
    #[schemars(extend("examples" = ["certs/clients.pem"]))]
    pub client_ca: Option<Text<FilePath>>,
    /// PEM file of the revocation lists (RFC 5280 §5) of these authorities. A client whose certificate is on its
    /// authority's list is refused, and one whose authority has no list in the file. Needs `client-ca`.
    #[schemars(extend("examples" = ["certs/clients.crl"]))]
    pub client_crl: Option<Text<FilePath>>,
    /// Whether a client has to show a certificate.
    #[serde(default = "no_client_auth")]
    pub client_auth: ClientAuth,
    /// The oldest version of TLS. With an older one the handshake fails.
    #[serde(default = "tls_1_2")]
    pub min_version: TlsVersion,
    /// What connections may be encrypted with; without this key, with all of these, which have forward secrecy and AEAD. The
    /// client chooses.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// How keys may be agreed on; without this key in all of these ways. The client chooses.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub groups: Option<Vec<Group>>,
}

/// A certificate with its key, both PEM files.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Certificate {
    /// PEM file of the certificate and its intermediates, leaf first.
    pub chain: Text<FilePath>,
    /// PEM file of the private key: PKCS#8, PKCS#1 or SEC1.
    #[schemars(extend("examples" = ["certs/a.key"]))]
    pub key: Text<FilePath>,
}

fn no_client_auth() -> ClientAuth {
    ClientAuth::None
}

fn tls_1_2() -> TlsVersion {
    TlsVersion::V1_2
}
