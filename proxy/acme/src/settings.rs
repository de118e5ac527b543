//! How certificates are to be obtained, as the operator says.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Storage, Transport};

/// How certificates are obtained.
#[derive(Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub storage: Storage,
    /// Where an authority writes to.
    pub email: Option<String>,
    /// Of new certificates.
    pub key_type: KeyType,
    /// In the order in which they are tried.
    pub challenges: Vec<ChallengeKind>,
    /// In the order in which they are asked; never empty.
    pub authorities: Vec<Authority>,
    /// How records are set for `dns-01`.
    pub dns: Option<Dns>,
    /// Whether clients can have certificates for names that no listener has.
    pub demanded: Option<Demanded>,
    /// Whether proxies that share the storage share what session tickets are sealed with.
    pub shares_tickets: bool,
}

/// Who decides which names clients can have certificates for, and for how many.
#[derive(Clone)]
pub struct Demanded {
    /// Who decides.
    pub permit: Arc<dyn Permit>,
    /// So many at a time.
    pub limit: usize,
}

/// Decides which names get a certificate because a client asks for them.
pub trait Permit: Send + Sync {
    /// Whether this one does.
    fn allows(&self, name: &str) -> PermitFuture;
}

/// The answer, or why there is none.
pub type PermitFuture = Pin<Box<dyn Future<Output = Result<bool, String>> + Send>>;

/// How DNS records are set.
#[derive(Clone)]
pub struct Dns {
    /// Who sets them.
    pub records: Arc<dyn Records>,
    /// Until all servers of the zone are believed to have one.
    pub wait: Duration,
}

/// What became of a record; the error is for people.
pub type RecordFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Sets and removes TXT records, each beside others of the same name.
pub trait Records: Send + Sync + 'static {
    /// Adds one.
    fn set(&self, name: &str, value: &str) -> RecordFuture;
    /// Removes it.
    fn remove(&self, name: &str, value: &str) -> RecordFuture;
}

/// Who signs certificates.
#[derive(Clone)]
pub struct Authority {
    /// The URL of its directory.
    pub directory: String,
    /// Which of its profiles it is asked for.
    pub profile: Option<String>,
    /// Which account elsewhere the proxy's is bound to (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// How it is reached.
    pub transport: Arc<dyn Transport>,
}

/// An account elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The identifier of its key.
    pub id: String,
    /// Its key.
    pub key: Vec<u8>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The kind of key in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum KeyType {
    EcdsaP256,
    EcdsaP384,
    Rsa2048,
    Rsa4096,
}

/// How a name is shown to be the proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// RFC 8555 §8.3.
    #[serde(rename = "http-01")]
    Http01,
    /// RFC 8737.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// RFC 8555 §8.4.
    #[serde(rename = "dns-01")]
    Dns01,
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        })
    }
}
