//! What is remembered of a name beside its certificate, for all proxies that share the storage and for the next start.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{At, ChallengeKind};

/// What is remembered of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Record {
    /// Where the certificate comes from.
    pub(crate) issued: Option<Issued>,
    /// When it is renewed.
    pub(crate) plan: Option<Plan>,
    /// An order that named the certificate it replaces failed: the next ones do not (RFC 9773 §5).
    pub(crate) replaces_failed: bool,
    /// What worked last.
    pub(crate) challenge: Option<ChallengeKind>,
    /// Since the last certificate, by the directory of the authority.
    pub(crate) failures: BTreeMap<String, Failures>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Issued {
    /// Which one.
    pub(crate) certificate: String,
    /// The directory of the authority.
    pub(crate) directory: String,
    /// The account, as a URL.
    pub(crate) account: String,
    /// When.
    pub(crate) at: At,
}

/// When a certificate is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Plan {
    /// Which one.
    pub(crate) certificate: String,
    pub(crate) at: At,
    /// What the authority suggests.
    pub(crate) window: Option<Window>,
    /// Why it does, as a URL.
    pub(crate) explanation: Option<String>,
    /// When the authority is asked again whether it suggests something else.
    pub(crate) ask_at: At,
}

/// When an authority wants a certificate to be renewed (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) start: At,
    pub(crate) end: At,
}

/// Attempts with one authority that failed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Failures {
    pub(crate) count: u32,
    /// The last one.
    pub(crate) at: At,
    /// Not before.
    pub(crate) again_at: At,
    /// What was wrong with the last one.
    pub(crate) error: String,
}
