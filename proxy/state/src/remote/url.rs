//! Where the shared store is.

use std::fmt;
use std::str::FromStr;

use redis::{Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use thiserror::Error;

use super::StateError;

/// `redis://[[user]:password@]host[:port][/database]`; with `rediss`, over TLS. Port 6379 and database 0
/// unless it says otherwise; what is special in an URL is percent-encoded (RFC 3986 §2.1).
///
/// Shown, and in every error, without user and password.
#[derive(Clone)]
pub struct RedisUrl {
    info: ConnectionInfo,
    /// Without secrets.
    shown: String,
    /// As it was written, and decoded.
    secrets: Vec<String>,
    is_tls: bool,
    /// Those trusted in place of the system's, PEM.
    authorities: Option<Vec<u8>>,
}

/// Why an address is refused. The text is not repeated, as it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Neither of the two schemes.
    #[error("an address of a shared store begins with redis:// or rediss://")]
    Scheme,
    /// `?…` and `#…` mean nothing here, and not what they mean to other programs.
    #[error("an address of a shared store has no `?` and no `#`; in a password they are written %3F and %23")]
    Extra,
    /// What follows the slash is not a number from 0.
    #[error("what follows the host is the number of a database, as in /0")]
    Database,
    /// Anything else, such as no host.
    #[error("not of the form redis://[[user]:password@]host[:port][/database]")]
    Invalid,
}

impl FromStr for RedisUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        if !matches!(scheme, "redis" | "rediss") {
            return Err(UrlError::Scheme);
        }
        if rest.contains(['?', '#']) {
            return Err(UrlError::Extra);
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !database.bytes().all(|byte| byte.is_ascii_digit()) || database.len() > 9 {
            return Err(UrlError::Database);
        }
        let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let info = text.into_connection_info().map_err(|_| UrlError::Invalid)?;
        let written = user.split_once(':').map(|(_, password)| password.to_owned());
        let decoded = info.redis_settings().password().map(str::to_owned);
        let secrets = written.into_iter().chain(decoded).filter(|secret| !secret.is_empty()).collect();
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(Self {
            info: info.set_tcp_settings(tcp),
            shown: format!("{scheme}://{address}/{}", if database.is_empty() { "0" } else { database }),
            secrets,
            is_tls: scheme == "rediss",
            authorities: None,
        })
    }
}

impl RedisUrl {
    /// Trusts the authorities in this PEM file's content in place of the system's.
    #[must_use]
    pub fn with_authorities(self, pem: Vec<u8>) -> Self {
        Self { authorities: Some(pem), ..self }
    }

    pub(super) fn client(&self) -> Result<Client, StateError> {
        let Some(authorities) = &self.authorities else {
            return Client::open(self.info.clone()).map_err(|_| StateError::BadAddress);
        };
        if !self.is_tls {
            return Err(StateError::AuthoritiesWithoutTls);
        }
        // None at all would be no error, but nobody trusted.
        if !authorities.windows(BEGIN.len()).any(|part| part == BEGIN) {
            return Err(StateError::BadAuthorities);
        }
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities.clone()) };
        Client::build_with_tls(self.info.clone(), certificates).map_err(|_| StateError::BadAuthorities)
    }

    /// Without the password, wherever it stands: a server repeats arguments that it does not understand.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisUrl").field(&self.shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RedisUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost/0"),
            ("redis://10.0.0.1:7000/3", "redis://10.0.0.1:7000/3"),
            ("rediss://[::1]:7000/", "rediss://[::1]:7000/0"),
            ("redis://:s3cret@store", "redis://store/0"),
            ("redis://me:p%40ss%2Fw@store:1/2", "redis://store:1/2"),
        ] {
            let url = parse(text).expect(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("RedisUrl({shown:?})"));
        }
    }

    #[test]
    fn a_password_is_taken_out_of_what_a_server_says() {
        let url = parse("redis://me:p%40ss@store").expect("an address");
        assert_eq!(url.info.redis_settings().password(), Some("p@ss"));
        assert_eq!(url.without_secrets("args `p@ss` or `p%40ss`"), "args `***` or `***`");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("memory", UrlError::Scheme),
            ("http://store", UrlError::Scheme),
            ("unix:///run/redis.sock", UrlError::Scheme),
            ("redis://", UrlError::Invalid),
            ("redis://store:port", UrlError::Invalid),
            ("redis://store/-1", UrlError::Database),
            ("redis://store/0/1", UrlError::Database),
            ("redis://store/9999999999", UrlError::Database),
            ("redis://:pa#ss@store", UrlError::Extra),
            ("rediss://store#insecure", UrlError::Extra),
            ("redis://store?protocol=resp3", UrlError::Extra),
        ] {
            assert_eq!(parse(text).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn authorities_are_checked_before_anything_runs() {
        let client = |text, pem: &str| {
            parse(text).expect("an address").with_authorities(pem.into()).client().map(drop)
        };
        assert!(matches!(client("redis://store", ""), Err(StateError::AuthoritiesWithoutTls)));
        assert!(matches!(client("rediss://store", ""), Err(StateError::BadAuthorities)));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(client("rediss://store", broken), Err(StateError::BadAuthorities)));
    }
}
