//! Where policies keep what they share.

use percent_encoding::percent_decode_str;

use super::{Complaint, Form, ServerAddress};
use crate::{Address, Credentials, Password, Redis, RedisTls, StateBackend};

/// `memory` or the URL of a Redis, which says nothing of authorities yet.
#[derive(Debug)]
pub(crate) struct Backend(pub StateBackend);

impl Form for Backend {
    const FORMAT: &'static str = "state-backend";
    const EXAMPLE: &'static str = "redis://10.0.0.2:6379/0";
    const NAME: &'static str = "backend";
    const RULE: &'static str = "`memory`, or the URL of a Redis or Valkey: `redis://[user:password@]host[:port][/database]`, or \
         `rediss://…` for TLS. The port is 6379 and the database 0 if they are not written. `redis://:password@host` has no \
         user. What is special in a URL (`/`, `?`, `#`, `@`, `:`, `%`) is percent-encoded in user and password";

    /// No complaint repeats anything of a URL: wherever a wrong one is cut, the piece may be of a password.
    fn parse(text: &str) -> Result<Self, Complaint> {
        if text == "memory" {
            return Ok(Self(StateBackend::Memory));
        }
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (None, rest),
            (_, Some(rest)) => (Some(RedisTls { ca: None }), rest),
            (None, None) => {
                let complaint = Complaint::new("this is neither \"memory\" nor the URL of a Redis or Valkey");
                return Err(complaint.help(format!("write \"memory\", or a URL as in {:?}", Self::EXAMPLE)));
            }
        };
        if rest.contains(['?', '#']) {
            return Err(Complaint::new("the URL has a \"?\" or a \"#\", which says nothing to the proxy")
                .help("leave it out; in a password write %3F and %23"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, server) = match authority.rsplit_once('@') {
            Some((written, server)) => (Some(credentials(written)?), server),
            None => (None, authority),
        };
        let (host, port) = host_and_port(server).ok_or_else(|| {
            Complaint::new("the URL has no host, or not a right one, or a port that is none")
                .help("write it as in \"redis://10.0.0.2:6379\" or \"redis://[fd00::1]:6379\"")
        })?;
        let database = database(path).ok_or_else(|| {
            Complaint::new("what follows the host in the URL is not the number of a database")
                .help(format!("write it as in {:?}; in a password write %2F for \"/\"", Self::EXAMPLE))
        })?;
        Ok(Self(StateBackend::Redis(Redis { host, port, database, credentials, tls })))
    }

    /// Without user and password.
    fn print(&self) -> String {
        match &self.0 {
            StateBackend::Memory => "memory".to_owned(),
            StateBackend::Redis(redis) => redis.to_string(),
        }
    }
}

fn credentials(written: &str) -> Result<Credentials, Complaint> {
    let (user, password) = written.split_once(':').unwrap_or((written, ""));
    if password.is_empty() {
        return Err(Complaint::new("the URL has no password before the \"@\"").help(
            "write \"redis://user:password@host\", or \"redis://:password@host\" for a password without a user",
        ));
    }
    let user = decode(user)?;
    Ok(Credentials {
        user: Some(user).filter(|user| !user.is_empty()),
        password: Password::new(decode(password)?),
    })
}

fn decode(text: &str) -> Result<String, Complaint> {
    let is_octet =
        |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_octet) {
        return Err(Complaint::new("user or password in the URL has a \"%\" that begins no octet")
            .help("write %25 for \"%\""));
    }
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Complaint::new("user or password in the URL is not UTF-8")),
    }
}

fn host_and_port(server: &str) -> Option<(String, u16)> {
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let server = if has_port { server.to_owned() } else { format!("{server}:{}", Redis::PORT) };
    match ServerAddress::parse(&server).ok()?.0 {
        Address::Ip(address) => Some((address.ip().to_string(), address.port())),
        Address::Host { host, port } => Some((host, port)),
        Address::Unix(_) => None,
    }
}

/// 0 where none is named.
fn database(path: &str) -> Option<u32> {
    match path {
        "" => Some(0),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().ok(),
        _ => None,
    }
}
