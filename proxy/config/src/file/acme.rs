//! `[acme]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;
use super::config::seconds;
use super::text::{DirectoryUrl, Email, FilePath, HookUrl, Text};
use crate::{AcmeShare, ChallengeKind, KeyType};

/// How the proxy obtains the certificates of the names in `tls.acme` of listeners (ACME, RFC 8555).
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Acme {
    /// Where the authority writes to when something is wrong with a certificate.
    pub email: Option<Text<Email>>,
    /// The authority: the URL of its directory. With the first certificate the proxy agrees to its terms of service.
    pub directory: Text<DirectoryUrl>,
    /// A directory of the proxy's own for accounts, keys and certificates, which it makes if it is not there. Proxies that
    /// share it share them: one of them asks for a certificate, all serve it, and all answer the authority.
    #[schemars(extend("examples" = ["/var/lib/tidegate/acme"]))]
    pub storage: Text<FilePath>,
    /// PEM file of the authorities that sign the certificate of `directory` itself; without it those of the system.
    #[schemars(extend("examples" = ["certs/internal.pem"]))]
    pub ca: Option<Text<FilePath>>,
    /// How proxies meet that are one to authorities and clients.
    pub share: AcmeShare,
    /// The kind of key in new certificates. One that is there stays until it is renewed.
    pub key_type: KeyType,
    /// Which of its profiles the authority is asked for; without it, its default.
    pub profile: Option<String>,
    /// The account that one has with the authority elsewhere (RFC 8555 §7.3.4), if it asks for one. Read when the proxy makes
    /// its account.
    pub external_account: Option<ExternalAccount>,
    /// How a name is shown to be this proxy's, in the order in which it is tried; the one that worked last goes first. Without
    /// this key all that can be answered: `http-01` if a listener speaks HTTP in clear text, then `tls-alpn-01`.
    #[schemars(length(min = 1), extend("uniqueItems" = true))]
    pub challenges: Option<Vec<ChallengeKind>>,
    /// Who sets the DNS records of `dns-01`, which wildcards need.
    pub dns: Option<DnsHook>,
    /// Certificates for names that no listener has, when a client asks for one (SNI): on listeners with `tls.on-demand`.
    pub on_demand: Option<OnDemand>,
    /// Whether proxies that share `storage` also share the keys of session tickets, so that a client that comes back to another
    /// one resumes its session. They are then in the storage, a new one every eight hours, and not only in memory: whoever
    /// reads them can read what was said in resumed sessions of TLS 1.2.
    pub share_tickets: bool,
    /// A second authority, which is asked when the first one gives none. It has the keys `email`, `key-type` and `challenges`
    /// of the first.
    pub fallback: Option<Fallback>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            email: None,
            directory: Text(DirectoryUrl("https://acme-v02.api.letsencrypt.org/directory".to_owned())),
            storage: Text(FilePath("acme".to_owned())),
            ca: None,
            share: AcmeShare::Storage,
            key_type: KeyType::EcdsaP256,
            profile: None,
            external_account: None,
            challenges: None,
            dns: None,
            on_demand: None,
            share_tickets: false,
            fallback: None,
        }
    }
}

/// Who decides which names get a certificate because a client asks for them. Either `ask` or `names` is needed, not both.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct OnDemand {
    /// A URL that is asked with `GET` and `domain=NAME` added to its query. A status of 200 to 299 allows the name, one of 400 to
    /// 499 does not. It has 5 seconds to answer.
    #[schemars(extend("examples" = ["http://127.0.0.1:9800/allowed"]))]
    pub ask: Option<Text<HookUrl>>,
    /// A file of names, one on each line; `*.example.com` allows every name one label below `example.com`, and lines that begin with `#` are
    /// comments. It is read again when it has changed.
    #[schemars(extend("examples" = ["names.txt"]))]
    pub names: Option<Text<FilePath>>,
    /// How many names have one at a time. Of more, the handshake fails.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    pub limit: u32,
}

fn thousand() -> u32 {
    1000
}

/// Who sets DNS records.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DnsHook {
    /// A program and its first arguments; `set NAME VALUE` or `remove NAME VALUE` follow. It adds a TXT record beside others
    /// of this name, or removes it, and ends with 0; what it says on stderr is in the log if it does not. Either this or
    /// `endpoint` is needed, not both.
    #[schemars(length(min = 1), extend("examples" = [["/usr/local/bin/dns-record"]]))]
    pub command: Option<Vec<String>>,
    /// A URL that gets the same as `POST` with the JSON `{"action": "set", "name": …, "value": …}`, and answers with a status below 300.
    pub endpoint: Option<Text<HookUrl>>,
    /// How long after that the authority is told to look: until all servers of the zone have the record.
    #[serde(default = "dns_wait")]
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub wait: Text<Duration>,
    /// How long setting or removing one record may take. Over it the program is killed, and the attempt has failed.
    #[serde(default = "dns_timeout")]
    #[schemars(extend("x-maximum" = "10m"))]
    pub timeout: Text<Duration>,
}

fn dns_wait() -> Text<Duration> {
    seconds(10)
}

fn dns_timeout() -> Text<Duration> {
    seconds(60)
}

/// A second authority.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Fallback {
    /// The URL of its directory.
    pub directory: Text<DirectoryUrl>,
    /// PEM file of the authorities that sign the certificate of `directory` itself; without it those of the system.
    #[schemars(extend("examples" = ["certs/internal.pem"]))]
    pub ca: Option<Text<FilePath>>,
    /// Which of its profiles it is asked for; without it, its default.
    pub profile: Option<String>,
    /// The account that one has with it elsewhere (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
}

/// An account elsewhere that the account with the authority is bound to.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct ExternalAccount {
    /// The identifier of its key, as the authority told it.
    pub id: String,
    /// Its key, as the authority told it: in Base64, for URLs or not.
    pub key: Secret,
}
