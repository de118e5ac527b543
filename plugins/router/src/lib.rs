//! The `router` policy: chooses the destination of a request, first matching rule wins.

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

/// A rule with `to` alone catches the rest.
#[derive(Debug, Deserialize, JsonSchema)]
struct Route {
    /// The upstream or file root the request goes to.
    to: String,
}

struct Router {
    rules: Rules<Route>,
}

#[policy]
impl Policy for Router {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let destinations: Vec<String> = config.rules.iter().map(|rule| rule.action.to.clone()).collect();
        let rules = Rules::build("rules", config.rules, |route| match route.to.as_str() {
            "" => Err(Error::at("to", "names no upstream or file root")),
            _ => Ok(route),
        })?;
        rules.narrow()?;
        activation::pure();
        activation::routes(destinations);
        Ok(Self { rules })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let Some((rule, Route { to })) = self.rules.first(request) else {
            return Verdict::Next;
        };
        match request.route_to(to) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("rules[{rule}].to = \"{to}\": {error}");
                Verdict::Fail
            }
        }
    }
}

#[cfg(test)]
mod tests;
