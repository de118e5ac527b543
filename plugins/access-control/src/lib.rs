//! The `access-control` policy: decides who may pass, first matching rule decides.

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

/// Who may pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Asked in order; the first that decides counts. If none does, the request passes.
    rules: Vec<Rule<Clients>>,
    /// Sent to those who may not pass.
    #[serde(default = "forbidden")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
}

fn forbidden() -> u16 {
    403
}

/// At least one of `allow` and `deny` says what then happens.
#[derive(Debug, Deserialize, JsonSchema)]
struct Clients {
    /// Networks and addresses that pass; everyone else is denied.
    allow: Option<Vec<String>>,
    /// `true` denies everyone; networks and addresses are denied, also within `allow`. Without `allow`, the
    /// rules that follow decide about everyone else.
    deny: Option<Deny>,
}

/// Whom a rule denies.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `true` or a list of networks and addresses")]
enum Deny {
    /// Everyone, or (`false`) nobody.
    Everyone(bool),
    /// These networks and addresses.
    Clients(Vec<String>),
}

struct AccessControl {
    rules: Rules<Decision>,
    status: u16,
}

/// What a rule says about the client of a request it applies to.
enum Decision {
    DenyEveryone,
    Clients { denied: Option<IpSet>, allowed: Option<IpSet> },
}

#[policy]
impl Policy for AccessControl {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !(400..=599).contains(&config.status) {
            return Err(Error::at("status", format!("{} is not 400 to 599", config.status)));
        }
        let rules = Rules::build("rules", config.rules, Decision::new)?;
        rules.narrow()?;
        activation::pure();
        Ok(Self { rules, status: config.status })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        for (rule, decision) in self.rules.matching(request) {
            match decision.passes(request) {
                Some(true) => return Verdict::Next,
                Some(false) => {
                    log::debug!("rules[{rule}] denied {}", request.client_ip_text());
                    return request.respond(Reply::new(self.status).text("access denied\n"));
                }
                None => {}
            }
        }
        Verdict::Next
    }
}

impl Decision {
    /// Refuses what cannot be meant: in a policy about access, a rule without effect or one that
    /// shuts everyone out by an empty list is a mistake.
    fn new(Clients { allow, deny }: Clients) -> Result<Self, Error> {
        let denied = match deny {
            Some(Deny::Everyone(true)) if allow.is_some() => {
                return Err(Error::at("deny", "denies everyone, so `allow` has no effect"));
            }
            Some(Deny::Everyone(true)) => return Ok(Self::DenyEveryone),
            Some(Deny::Clients(clients)) if clients.is_empty() => {
                return Err(Error::at("deny", "an empty list denies nobody; leave it out"));
            }
            Some(Deny::Clients(clients)) => Some(clients),
            Some(Deny::Everyone(false)) | None => None,
        };
        match &allow {
            Some(clients) if clients.is_empty() => {
                return Err(Error::at(
                    "allow",
                    "an empty list denies everyone; write `deny = true` for that",
                ));
            }
            None if denied.is_none() => return Err("neither `allow` nor `deny` says who may pass".into()),
            _ => {}
        }
        let set = |key: &str, clients: Option<Vec<String>>| {
            clients.map(IpSet::new).transpose().map_err(|error| error.within(key))
        };
        Ok(Self::Clients { denied: set("deny", denied)?, allowed: set("allow", allow)? })
    }

    /// `None` = the rules that follow decide.
    fn passes(&self, request: &Request) -> Option<bool> {
        let Self::Clients { denied, allowed } = self else {
            return Some(false);
        };
        if denied.as_ref().is_some_and(|denied| denied.has_client(request)) {
            return Some(false);
        }
        allowed.as_ref().map(|allowed| allowed.has_client(request))
    }
}

#[cfg(test)]
mod tests;
