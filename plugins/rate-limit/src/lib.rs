//! The `rate-limit` policy: how many requests may come in a time, by whatever tells clients apart.

mod fields;
mod key;
mod limit;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use tidegate_plugin_sdk::metrics::Counter;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::Decision;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::fields::{Fields, Show};
use crate::limit::{Applying, Limit, Numbers};

/// How many requests may come.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Every limit that applies to a request has to let it pass.
    limits: Vec<Rule<Numbers>>,
    /// Networks and addresses of clients that are neither limited nor counted.
    exempt: Option<Vec<String>>,
    /// Of the response to a request over a limit.
    #[serde(default = "too_many_requests")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// Which responses carry `ratelimit` and `ratelimit-policy`.
    #[serde(default)]
    fields: Show,
}

fn too_many_requests() -> u16 {
    429
}

struct RateLimit {
    limits: Rules<Limit>,
    exempt: Option<IpSet>,
    status: u16,
    show: Show,
    /// `None` = metrics were not granted.
    refused: Option<Counter>,
}

#[policy]
impl Policy for RateLimit {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !(400..=599).contains(&config.status) {
            return Err(Error::at("status", format!("{} is not 400 to 599", config.status)));
        }
        let limits = Rules::build("limits", config.limits, Limit::new)?;
        let mut names = BTreeSet::new();
        let count = limits.conditions().count();
        if count == 0 {
            return Err(Error::at("limits", "an empty list limits nothing"));
        }
        if let Some(twice) = (0..count).find(|&index| !names.insert(&limits[index].name)) {
            let reason = format!("`{}` is the name of another limit too", limits[twice].name);
            return Err(Error::at(format!("limits[{twice}].name"), reason));
        }
        let exempt = match config.exempt {
            Some(clients) if clients.is_empty() => {
                return Err(Error::at("exempt", "an empty list exempts nobody; leave it out"));
            }
            Some(clients) => Some(IpSet::new(clients).map_err(|error| error.within("exempt"))?),
            None => None,
        };
        limits.narrow()?;
        // The only error there can be is that it was not granted.
        let help = "Requests over a limit";
        let refused = Counter::new("rate_limit_refused", help, &["limit", "mode"]).ok();
        Ok(Self { limits, exempt, status: config.status, show: config.fields, refused })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let applying = self.limits.matching(request).map(|(_, limit)| limit).collect::<Vec<_>>();
        if applying.is_empty() || self.exempt.as_ref().is_some_and(|exempt| exempt.has_client(request)) {
            return Verdict::Next;
        }
        let applying = applying.into_iter().map(|limit| Applying::new(limit, request));
        let (trials, limits): (Vec<_>, Vec<_>) = applying.partition(|applying| applying.limit.dry_run);
        if !take_all(&limits) {
            return self.refuse(request, &limits);
        }
        self.try_out(request, &trials);
        if self.show == Show::All
            && let Some((tightest, decision)) = tightest(&limits)
            && let Err(error) =
                Fields::new(limits.iter().map(|applying| applying.limit), tightest, &decision).keep(request)
        {
            log::debug!("the client is not told of limits: {error}");
        }
        Verdict::Next
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        if self.show == Show::All
            && let Some(fields) = Fields::kept(request)
            && let Err(error) = fields.append_to(response)
        {
            log::debug!("the client is not told of limits: {error}");
        }
        Verdict::Next
    }
}

impl RateLimit {
    fn refuse(&self, request: &Request, limits: &[Applying<'_>]) -> Verdict {
        let mut reply = Reply::new(self.status);
        if let Some((limit, decision)) = tightest(limits) {
            log::debug!("limit `{}` refused {}", limit.name, request.client_ip_text());
            self.count(&limit.name, "enforced");
            note(request, "rate-limit", &limit.name);
            // Not 0, as when a refusal by another proxy is about to end.
            let wait = decision.retry_after_seconds().max(1);
            reply = reply.header("retry-after", wait.to_string());
            if self.show != Show::None {
                let applying = limits.iter().map(|applying| applying.limit);
                reply = Fields::new(applying, limit, &decision).add_to(reply);
            }
        }
        request.respond(reply.text("too many requests\n"))
    }

    /// What would be refused is counted as if it had been.
    fn try_out(&self, request: &Request, trials: &[Applying<'_>]) {
        let mut refusing = Vec::new();
        for trial in trials.iter().filter(|trial| !trial.take()) {
            log::info!("limit `{}` would refuse {}", trial.limit.name, request.client_ip_text());
            self.count(&trial.limit.name, "dry-run");
            refusing.push(trial.limit.name.as_str());
        }
        if !refusing.is_empty() {
            note(request, "rate-limit-dry-run", &refusing.join(","));
        }
    }

    fn count(&self, limit: &str, mode: &str) {
        if let Some(refused) = &self.refused {
            refused.add(&[limit, mode], 1);
        }
    }
}

/// For the access log, which has limits of its own.
fn note(request: &Request, key: &str, value: &str) {
    if let Err(error) = request.set_attribute(key, value) {
        log::debug!("the attribute `{key}` was not set: {error}");
    }
}

/// Whether all of them let the request pass. One that counted cannot take it back when another refuses, so those
/// that answer at once are asked beforehand, and those that another machine decides on come before them.
fn take_all(limits: &[Applying<'_>]) -> bool {
    let (shared, here): (Vec<_>, Vec<_>) = limits.iter().partition(|applying| applying.limit.is_shared);
    if limits.len() > 1 {
        let used_up = here.iter().filter(|applying| applying.is_used_up());
        // All of them are asked, for the one that refuses longest.
        if used_up.filter(|applying| !applying.take()).count() > 0 {
            return false;
        }
    }
    shared.iter().chain(&here).all(|applying| applying.take())
}

/// What a client has to go by: a limit that refused, of these the one that does so longest; otherwise the one that
/// lets the fewest pass.
fn tightest<'a>(limits: &[Applying<'a>]) -> Option<(&'a Limit, Decision)> {
    let decided = limits.iter().filter_map(|applying| Some((applying.limit, applying.decision.get()?)));
    decided.min_by_key(|(limit, decision)| {
        (
            decision.allowed,
            Reverse(decision.retry_after),
            decision.remaining,
            Reverse(limit.until_more(decision)),
        )
    })
}

#[cfg(test)]
mod tests;
