//! The checked `[acme]`.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// `[acme]`: how the certificates of the names in [`Tls::acme`](crate::Tls) are obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Where the authority writes to.
    pub email: Option<String>,
    /// Accounts, keys and certificates; already joined with the directory of the file.
    pub storage: PathBuf,
    /// Of new certificates.
    pub key_type: KeyType,
    /// In the order in which they are tried; each can be answered by a listener. Empty only if no listener has a name.
    pub challenges: Vec<ChallengeKind>,
    /// The authority that is asked, and maybe another one for when it gives none.
    pub authorities: Vec<AcmeAuthority>,
    /// Who sets DNS records. Set if `challenges` has [`ChallengeKind::Dns01`], or a name is a wildcard.
    pub dns: Option<DnsHook>,
    /// How proxies meet.
    pub share: AcmeShare,
    /// Who decides which names get a certificate because a client asks for them. Set where a listener has `on_demand`.
    pub on_demand: Option<OnDemand>,
    /// Whether the keys of session tickets are in the storage.
    pub share_tickets: bool,
}

/// How proxies meet that obtain certificates together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AcmeShare {
    /// In `storage`, a directory that they have in common; or there is but one.
    Storage,
    /// In the Redis of [state](#state); `storage` is then each proxy's own: copies, which serve while Redis is away. Keys of
    /// certificates and of the account are then in Redis.
    State,
}

/// Certificates for names that clients ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemand {
    /// Who decides.
    pub by: AllowedBy,
    /// How many names have one at a time; at least one.
    pub limit: usize,
}

/// Who decides which names get a certificate because a client asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedBy {
    /// A URL with `http` or `https`.
    Url(String),
    /// A file of names; already joined with the directory of the file.
    Names(PathBuf),
}

/// Who sets and removes DNS records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsHook {
    /// How they are told.
    pub by: HookBy,
    /// Until the authority may look.
    pub wait: Duration,
    /// For one record to be set or removed.
    pub timeout: Duration,
}

/// How somebody outside is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookBy {
    /// A program and its first arguments; a path is already joined with the directory of the file.
    Command(Vec<String>),
    /// A URL with `http` or `https`.
    Url(String),
}

/// Who signs certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeAuthority {
    /// Where it stands in the file: `acme` or `acme.fallback`.
    pub place: &'static str,
    /// The URL of its directory, which begins with `https://`.
    pub directory: String,
    /// PEM file of those who sign the certificate of `directory`; `None` = those of the system.
    pub ca: Option<PathBuf>,
    /// Which of its profiles it is asked for.
    pub profile: Option<String>,
    /// Which account elsewhere the proxy's is bound to.
    pub external_account: Option<ExternalAccount>,
}

/// An account elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The identifier of its key.
    pub id: String,
    /// Its key in Base64.
    pub key: Secret,
}

/// The kind of key in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum KeyType {
    /// What every client of today knows, and the cheapest to sign with.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// Several times the work of `ecdsa-p256`.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// For clients that know no ECDSA.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// Some six times the work of `rsa-2048`.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

/// How a name is shown to be this proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ChallengeKind {
    /// The authority asks for a path below `/.well-known/acme-challenge/` on port 80 (RFC 8555 §8.3). Every listener for HTTP
    /// answers.
    #[serde(rename = "http-01")]
    Http01,
    /// The authority shakes hands on port 443 (RFC 8737). Every listener with `tls` that the names lead to answers.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// The authority looks for a TXT record (RFC 8555 §8.4), which `dns` sets. The only one for wildcards.
    #[serde(rename = "dns-01")]
    Dns01,
}
