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
    /// More of them, one a line, in the file that this name has in `[secrets]`: it is watched. Empty lines, and what follows a
    /// `#`, are left out.
    #[serde(rename = "allow-file")]
    allow_file: Option<String>,
    /// `true` denies everyone; networks and addresses are denied, also within `allow`. Without `allow`, the
    /// rules that follow decide about everyone else.
    deny: Option<Deny>,
    /// More that are denied, as in `allow-file`.
    #[serde(rename = "deny-file")]
    deny_file: Option<String>,
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
    fn new(Clients { allow, allow_file, deny, deny_file }: Clients) -> Result<Self, Error> {
        let denied = match deny {
            Some(Deny::Everyone(true)) if allow.is_some() || allow_file.is_some() => {
                return Err(Error::at("deny", "denies everyone, so `allow` has no effect"));
            }
            Some(Deny::Everyone(true)) if deny_file.is_some() => {
                return Err(Error::at("deny", "denies everyone, so `deny-file` has no effect"));
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
            None if denied.is_none() && allow_file.is_none() && deny_file.is_none() => {
                return Err("neither `allow` nor `deny` says who may pass".into());
            }
            _ => {}
        }
        Ok(Self::Clients {
            denied: set("deny", denied, deny_file)?,
            allowed: set("allow", allow, allow_file)?,
        })
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

/// Of the entries of a list and of the lines of a file; `None` if there is neither.
fn set(key: &str, list: Option<Vec<String>>, file: Option<String>) -> Result<Option<IpSet>, Error> {
    let Some(name) = file else {
        return list.map(IpSet::new).transpose().map_err(|error| error.within(key));
    };
    let key_of_file = format!("{key}-file");
    let Some(text) = environment::secret_text(&name) else {
        return Err(Error::at(key_of_file, format!("[secrets] has no text `{name}`: name the file there")));
    };
    let mut entries = list.unwrap_or_default();
    let in_list = entries.len();
    let entry = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let lines = text.lines().map(entry).enumerate().filter(|(_, entry)| !entry.is_empty());
    let (lines, of_file): (Vec<_>, Vec<_>) = lines.unzip();
    entries.extend(of_file);
    IpSet::new(entries).map(Some).map_err(|error| match error.index() {
        Some(index) if index >= in_list => Error::at(
            key_of_file,
            format!("line {} of `{name}`: {}", lines[index - in_list] + 1, error.reason()),
        ),
        Some(_) => error.within(key),
        None => error.within(key_of_file),
    })
}

#[cfg(test)]
mod tests;
