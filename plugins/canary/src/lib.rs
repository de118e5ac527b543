//! The `canary` policy: divides requests between destinations by weight, and goes back to the stable one when another fails.

mod choice;
mod circuit;
mod sticky;

use std::time::Duration;

use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::statuses::{Status, Statuses};

use crate::choice::{Chosen, Weights};
use crate::circuit::Circuit;
use crate::sticky::{Sticky, StickyConfig};

/// How requests are divided. `match` of `NAME.toml` says which ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Where requests go, and how many of them. The first is the stable one.
    destinations: Vec<Destination>,
    /// How a client stays where it was. Without it, each request is a new throw of the dice.
    sticky: Option<StickyConfig>,
    /// How testers choose for themselves.
    force: Option<Force>,
    /// What happens when a destination other than the stable one fails.
    #[serde(default)]
    fallback: Fallback,
}

/// An upstream or file root and its share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Destination {
    /// Its name.
    to: String,
    /// Its share of the sum of all weights; 0 = only for those who force it.
    #[schemars(range(max = 1_000_000))]
    weight: u32,
}

/// A field or a cookie with the name of a destination; with the secret `force`, `NAME:SECRET`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Force {
    /// The request field; it does not go upstream.
    header: Option<String>,
    /// The cookie, if the field is not there.
    cookie: Option<String>,
}

/// What happens when a destination other than the stable one fails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Fallback {
    /// Statuses that count as failures, those of the proxy for a server that is gone included.
    statuses: Vec<Status>,
    /// Which requests are sent to the stable destination after a failure.
    retry: Retry,
    /// So many failures of a destination within `period` open its circuit: all its requests go to the stable one.
    /// 0 = never.
    failures: u32,
    /// In seconds.
    #[schemars(range(min = 1))]
    period: u32,
    /// For how many seconds the circuit is open.
    #[schemars(range(min = 1))]
    pause: u32,
}

impl Default for Fallback {
    fn default() -> Self {
        let statuses = vec![Status::Range("502-504".to_owned())];
        Self { statuses, retry: Retry::default(), failures: 10, period: 10, pause: 30 }
    }
}

/// Which requests are sent to the stable destination after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Retry {
    /// None: the client gets the failure.
    None,
    /// GET, HEAD and OPTIONS, which change nothing (RFC 9110 §9.2.1).
    #[default]
    Safe,
    /// All whose body was kept. What the server had done before it failed is done twice.
    All,
}

/// Of the attribute that says which destination was chosen.
const ATTRIBUTE: &str = "canary";
/// Of the attribute that says which destination failed.
const FAILED: &str = "canary-failed";

/// A secret that could be found by trying is none.
const MIN_SECRET: usize = 16;

struct Canary {
    weights: Weights,
    sticky: Option<Sticky>,
    force: Option<Force>,
    /// The digest of the secret that must go with a forced choice.
    secret: Option<Vec<u8>>,
    statuses: Statuses,
    retry: Retry,
    circuit: Option<Circuit>,
}

#[policy]
impl Policy for Canary {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let weights = Weights::new(&config.destinations)?;
        let force = config.force.map(Force::checked).transpose().map_err(|error| error.within("force"))?;
        let secret = environment::secret("force").map(|secret| secret.trim_ascii_end().to_vec());
        if secret.is_some() && force.is_none() {
            return Err(Error::at(
                "force",
                "there is a secret for it, but nothing says which field or cookie holds it",
            ));
        }
        if secret.as_ref().is_some_and(|secret| secret.len() < MIN_SECRET) {
            return Err(format!(
                "the secret `force` is shorter than {MIN_SECRET} characters: it can be guessed"
            )
            .into());
        }
        let sticky = config.sticky.map(|sticky| Sticky::new(sticky, &weights)).transpose();
        let Fallback { statuses, retry, failures, period, pause } = config.fallback;
        for (key, seconds) in [("period", period), ("pause", pause)] {
            if seconds == 0 {
                return Err(Error::at(format!("fallback.{key}"), "is at least one second"));
            }
        }
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        activation::routes(weights.names());
        Ok(Self {
            circuit: (failures > 0)
                .then(|| Circuit::new(failures, seconds(period), seconds(pause), weights.len())),
            statuses: Statuses::new(&statuses).map_err(|error| error.within("fallback.statuses"))?,
            sticky: sticky.map_err(|error| error.within("sticky"))?,
            secret: secret.map(|secret| crypto::digest(Hash::Sha256, secret)),
            weights,
            force,
            retry,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let forced = self.forced(request);
        if let Some(Force { header: Some(header), .. }) = &self.force
            && request.remove_header(header).is_err()
        {
            return Verdict::Fail;
        }
        let mut chosen = match forced {
            Some(destination) => Chosen { destination, is_forced: true, is_new: false },
            None => self.choose(request),
        };
        if !chosen.is_forced
            && self.circuit.as_ref().is_some_and(|circuit| circuit.is_open(&self.weights, chosen.destination))
        {
            chosen = Chosen::STABLE;
        }
        if let Err(error) = request.route_to(self.weights.name(chosen.destination)) {
            log::error!("destinations[{}]: {error}", chosen.destination);
            if chosen.destination == Chosen::STABLE.destination
                || request.route_to(self.weights.name(Chosen::STABLE.destination)).is_err()
            {
                return Verdict::Fail;
            }
            chosen = Chosen::STABLE;
        }
        self.remember(request, chosen);
        Verdict::Next
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let Some(chosen) = Chosen::of(request.token()) else {
            return Verdict::Next;
        };
        // A policy after this one may have sent it elsewhere: then the canary has no part in what came of it.
        let is_canary = chosen.destination != Chosen::STABLE.destination
            && request.route().is_some_and(|route| route == self.weights.name(chosen.destination));
        if is_canary && !chosen.is_forced && self.statuses.has(response.status()) {
            if let Some(circuit) = &self.circuit {
                circuit.count_failure(&self.weights, chosen.destination);
            }
            if self.may_retry(request) {
                match response.retry_at(self.weights.name(Chosen::STABLE.destination)) {
                    Ok(()) => {
                        note(request, FAILED, self.weights.name(chosen.destination));
                        self.remember(request, Chosen::STABLE);
                        return Verdict::Next;
                    }
                    Err(error) => log::debug!("no retry: {error}"),
                }
            }
        }
        if chosen.is_new
            && let Some(cookie) = self
                .sticky
                .as_ref()
                .and_then(|sticky| sticky.cookie(request, self.weights.name(chosen.destination)))
            && let Err(error) = response.append_header("set-cookie", cookie)
        {
            // Worth no failure: the client will be asked again.
            log::warn!("the cookie was refused: {error}");
        }
        Verdict::Next
    }
}

impl Canary {
    fn choose(&self, request: &Request) -> Chosen {
        let sticky = self.sticky.as_ref();
        if let Some(destination) = sticky.and_then(|sticky| sticky.destination(request, &self.weights)) {
            return Chosen { destination, is_forced: false, is_new: false };
        }
        let hash = sticky.and_then(|sticky| sticky.hash(request)).unwrap_or_else(environment::random);
        Chosen { destination: self.weights.at(hash), is_forced: false, is_new: true }
    }

    /// What a tester asked for, if that is a destination and the secret is right.
    fn forced(&self, request: &Request) -> Option<usize> {
        let force = self.force.as_ref()?;
        let header = force.header.as_ref().and_then(|header| match request.header_count(header) {
            1 => request.header(header),
            _ => None,
        });
        let asked = header.or_else(|| request.cookie(force.cookie.as_ref()?))?;
        let name = match &self.secret {
            None => asked.as_str(),
            Some(digest) => {
                let (name, secret) = asked.split_once(':')?;
                if !crypto::equal(crypto::digest(Hash::Sha256, secret), digest) {
                    return None;
                }
                name
            }
        };
        self.weights.index_of(name)
    }

    fn may_retry(&self, request: &Request) -> bool {
        match self.retry {
            Retry::None => false,
            Retry::Safe => ["GET", "HEAD", "OPTIONS"].iter().any(|method| request.method_is(method)),
            Retry::All => true,
        }
    }

    fn remember(&self, request: &Request, chosen: Chosen) {
        request.set_token(chosen.token());
        note(request, ATTRIBUTE, self.weights.name(chosen.destination));
    }
}

/// For the access log and for other policies.
fn note(request: &Request, attribute: &str, destination: &str) {
    if let Err(error) = request.set_attribute(attribute, destination) {
        log::warn!("the attribute `{attribute}` was refused: {error}");
    }
}

impl Force {
    fn checked(self) -> Result<Self, Error> {
        if self.header.is_none() && self.cookie.is_none() {
            return Err("neither `header` nor `cookie` says where a choice would stand".into());
        }
        for (key, name) in [("header", &self.header), ("cookie", &self.cookie)] {
            if let Some(name) = name
                && (!is_token(name) || (key == "header" && is_owned_by_proxy(name)))
            {
                return Err(Error::at(key, format!("`{name}` is no name that could carry it")));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
