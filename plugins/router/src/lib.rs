//! The `router` policy: chooses the destination of a request, first matching rule wins.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

/// Where requests go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Asked in order; the first that applies decides. If none does, the request goes to the proxy's
    /// `default-upstream`, or where another policy sent it.
    rules: Vec<Rule<Route>>,
}

/// Exactly one of `to` and `weights` says where to. A rule without conditions catches the rest.
#[derive(Debug, Deserialize, JsonSchema)]
struct Route {
    /// The upstream or file root the request goes to.
    to: Option<String>,
    /// Several of them, one drawn for each request: `{ blue = 9, green = 1 }`. The policy `canary` is for shares that stay
    /// with a client.
    weights: Option<BTreeMap<String, u32>>,
}

struct Router {
    rules: Rules<Destination>,
}

enum Destination {
    One(String),
    /// Each with the sum of the weights up to its own.
    Drawn(Vec<(String, u64)>),
}

#[policy]
impl Policy for Router {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let named = config.rules.iter().flat_map(|rule| {
            let drawn = rule.action.weights.iter().flat_map(|weights| weights.keys());
            rule.action.to.iter().chain(drawn).cloned()
        });
        let destinations: Vec<String> = named.collect();
        let rules = Rules::build("rules", config.rules, Destination::new)?;
        rules.narrow()?;
        activation::pure();
        activation::routes(destinations);
        Ok(Self { rules })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let Some((rule, destination)) = self.rules.first(request) else {
            return Verdict::Next;
        };
        let to = destination.choose();
        match request.route_to(to) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("rules[{rule}] leads to \"{to}\": {error}");
                Verdict::Fail
            }
        }
    }
}

impl Destination {
    fn new(route: Route) -> Result<Self, Error> {
        match (route.to, route.weights) {
            (Some(_), Some(_)) => Err("has both `to` and `weights`".into()),
            (None, None) => Err("has neither `to` nor `weights`".into()),
            (Some(to), None) if to.is_empty() => Err(Error::at("to", "names no upstream or file root")),
            (Some(to), None) => Ok(Self::One(to)),
            (None, Some(weights)) => {
                let mut sum = 0;
                let mut drawn = Vec::with_capacity(weights.len());
                for (to, weight) in weights {
                    if to.is_empty() {
                        return Err(Error::at("weights", "has a name that is empty"));
                    }
                    sum += u64::from(weight);
                    drawn.push((to, sum));
                }
                if sum == 0 {
                    return Err(Error::at("weights", "has no weight above 0"));
                }
                Ok(Self::Drawn(drawn))
            }
        }
    }

    fn choose(&self) -> &str {
        match self {
            Self::One(to) => to,
            Self::Drawn(drawn) => {
                let sum = drawn.last().map_or(1, |(_, sum)| *sum);
                // Sums are far below 2^64: that some come a little more often than others shows nowhere.
                let lot = environment::random() % sum;
                drawn.iter().find(|(_, sum)| lot < *sum).map_or("", |(to, _)| to)
            }
        }
    }
}

#[cfg(test)]
mod tests;
