//! What an operator is shown.

use serde::Serialize;

use crate::At;

/// How it stands with certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// In the order in which they are asked.
    pub authorities: Vec<AuthorityStatus>,
    /// In alphabetical order.
    pub names: Vec<NameStatus>,
}

/// How it stands with an authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuthorityStatus {
    /// The URL of its directory.
    pub directory: String,
    /// Until when it is left alone.
    pub paused_until: Option<At>,
    /// Why.
    pub error: Option<String>,
}

/// How it stands with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NameStatus {
    /// The name.
    pub name: String,
    /// No listener has it: a client asked for it.
    pub on_demand: bool,
    /// What clients get.
    pub state: NameState,
    /// Whether this proxy is obtaining a certificate, or asking about it.
    pub busy: bool,
    /// When the certificate ends to be valid.
    pub not_after: Option<At>,
    /// The directory of the authority that signed it, if it is one that was asked.
    pub issued_by: Option<String>,
    /// When it is renewed.
    pub renew_at: Option<At>,
    /// Why then, as the authority says: a URL.
    pub explanation: Option<String>,
    /// When something is done for it the next time.
    pub next: Option<At>,
    /// A failure of the proxy's own, such as of its storage.
    pub error: Option<String>,
    /// The failures since the last certificate.
    pub failures: Vec<FailureStatus>,
}

/// What clients of a name get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameState {
    /// A certificate that is valid.
    Valid,
    /// One that was.
    Expired,
    /// None but one that the proxy signed itself.
    Missing,
}

/// How often in a row an authority gave no certificate for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailureStatus {
    /// The URL of its directory.
    pub directory: String,
    /// How often.
    pub count: u32,
    /// The last time.
    pub at: At,
    /// When it is asked again.
    pub again_at: At,
    /// What was wrong the last time.
    pub error: String,
}
