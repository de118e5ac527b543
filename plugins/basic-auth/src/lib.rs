//! The `basic-auth` policy: a user name and a password, first matching rule says whose.

mod credentials;
mod users;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::password::PasswordError;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::{Limit, Limiter};
use tidegate_plugin_sdk::rules::{Rule, Rules};
use tidegate_plugin_sdk::units;

use crate::credentials::Credentials;
use crate::users::Users;

/// Who may pass with which password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Asked in order; the first that applies counts. If none does, the request passes.
    rules: Vec<Rule<Area>>,
    /// The request field in which servers are told the user. What clients send under this name is removed.
    #[serde(default = "x_remote_user")]
    user_header: String,
    /// Whether `authorization` goes on to servers where a password was asked for.
    #[serde(default)]
    forward_credentials: bool,
    /// How often a client may be wrong.
    #[serde(default)]
    failures: Failures,
}

fn x_remote_user() -> String {
    "x-remote-user".to_owned()
}

/// Either `users`, or `open = true`.
#[derive(Debug, Deserialize, JsonSchema)]
struct Area {
    /// The name of the secret with the users, as `htpasswd -B` writes it.
    users: Option<String>,
    /// What people are told that they need a password for; `restricted` by default.
    realm: Option<String>,
    /// Nobody is asked for a password.
    #[serde(default)]
    open: bool,
}

/// Wrong passwords of one client; beyond it, no further ones are looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Failures {
    /// In a period.
    limit: u64,
    /// Such as `"1m"`.
    period: units::Duration,
    /// How many more than one may come at once. Without it, all of `limit`.
    burst: Option<u64>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { limit: 10, period: units::Duration::from_secs(60), burst: None }
    }
}

struct BasicAuth {
    rules: Rules<Access>,
    user_header: OwnHeader,
    forward_credentials: bool,
    failures: Limiter,
}

enum Access {
    Open,
    Password(Realm),
}

struct Realm {
    /// The value of `www-authenticate`.
    challenge: String,
    /// Rules may share them.
    users: Rc<Users>,
}

#[policy]
impl Policy for BasicAuth {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.rules.is_empty() {
            return Err(Error::at("rules", "an empty list asks nobody for a password"));
        }
        let user_header =
            OwnHeader::new(&config.user_header).map_err(|error| Error::at("user-header", error))?;
        if user_header.name() == "authorization" {
            return Err(Error::at("user-header", "`authorization` is where clients show passwords"));
        }
        let read = RefCell::new(BTreeMap::new());
        let rules = Rules::build("rules", config.rules, |area| Access::new(area, &read))?;
        Ok(Self {
            rules,
            user_header,
            forward_credentials: config.forward_credentials,
            failures: config.failures.limiter().map_err(|error| error.within("failures"))?,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Err(error) = self.user_header.clear(request) {
            log::error!("`{}` was not removed: {error}", self.user_header.name());
            return Verdict::Fail;
        }
        match self.rules.first(request) {
            Some((_, Access::Password(realm))) => self.ask(request, realm),
            Some((_, Access::Open)) | None => Verdict::Next,
        }
    }
}

impl BasicAuth {
    fn ask(&self, request: &Request, realm: &Realm) -> Verdict {
        let Some(credentials) = Credentials::of(request) else {
            return realm.refuse(request);
        };
        // Before the hash, which is what costs. That only asks: who is right is not counted.
        if self.failures.take_for_client(request, 0).remaining == 0 {
            let wait = self.failures.take_for_client(request, 1).retry_after_seconds().max(1);
            note(request, "limited");
            let reply = Reply::new(429).header("retry-after", wait.to_string());
            return request.respond(reply.text("too many wrong passwords\n"));
        }
        match realm.users.know(&credentials) {
            Ok(true) => self.admit(request, &credentials.user),
            Ok(false) => {
                self.failures.take_for_client(request, 1);
                note(request, "wrong");
                log::debug!("{} has a wrong password", request.client_ip_text());
                realm.refuse(request)
            }
            Err(PasswordError::Busy) => {
                note(request, "busy");
                let reply = Reply::new(503).header("retry-after", "1");
                request.respond(reply.text("too many passwords are being checked\n"))
            }
            Err(error) => {
                log::error!("a password cannot be checked: {error}");
                Verdict::Fail
            }
        }
    }

    fn admit(&self, request: &Request, user: &str) -> Verdict {
        let mut told = self.user_header.set(request, user);
        if !self.forward_credentials {
            told = told.and_then(|()| request.remove_header("authorization").map(drop));
        }
        match told.and_then(|()| request.set_attribute("user", user)) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("servers cannot be told of the user: {error}");
                Verdict::Fail
            }
        }
    }
}

/// In the access log, a wrong password can be told from none at all.
fn note(request: &Request, what: &str) {
    if let Err(error) = request.set_attribute("basic-auth", what) {
        log::debug!("the attribute `basic-auth` was not set: {error}");
    }
}

impl Failures {
    fn limiter(self) -> Result<Limiter, Error> {
        if self.limit == 0 {
            return Err(Error::at("limit", "0 lets nobody be asked; write at least 1"));
        }
        let burst = self.burst.unwrap_or(self.limit - 1);
        Limiter::new("failures", &Limit { burst, ..Limit::new(self.limit, self.period.get()) })
    }
}

impl Access {
    fn new(area: Area, read: &RefCell<BTreeMap<String, Rc<Users>>>) -> Result<Self, Error> {
        let secret = match (area.users, area.open) {
            (None, true) if area.realm.is_some() => {
                return Err(Error::at("realm", "nobody is asked for a password"));
            }
            (None, true) => return Ok(Self::Open),
            (Some(_), true) => {
                return Err(Error::at("open", "nobody is asked for a password, so `users` has no effect"));
            }
            (None, false) => return Err("has neither `users` nor `open = true`".into()),
            (Some(secret), false) => secret,
        };
        let realm = area.realm.as_deref().unwrap_or("restricted");
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Error::at("realm", format!("{realm:?} is not plain ASCII")));
        }
        let quoted = realm.replace('\\', r"\\").replace('"', "\\\"");
        let challenge = format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"");
        let known = read.borrow().get(&secret).cloned();
        let users = match known {
            Some(users) => users,
            None => Rc::new(Users::read(&secret).map_err(|reason| Error::at("users", reason))?),
        };
        read.borrow_mut().insert(secret, Rc::clone(&users));
        Ok(Self::Password(Realm { challenge, users }))
    }
}

impl Realm {
    fn refuse(&self, request: &Request) -> Verdict {
        let reply = Reply::new(401).header("www-authenticate", &self.challenge);
        request.respond(reply.text("a user name and a password are needed\n"))
    }
}

#[cfg(test)]
mod tests;
