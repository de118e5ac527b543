//! The `router` policy: chooses the destination of a request, first matching rule wins.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Conditions, Rules};

/// Where requests go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Asked in order; the first that applies decides. If none does, the request goes to the proxy's
    /// `default-upstream`, or where another policy sent it.
    rules: Vec<Rule>,
}

/// All conditions must hold; one that is left out always holds, so a rule with `to` alone catches the rest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rule {
    /// One of these hosts: `example.org`, or `*.example.org` for every name below it. Case and port do not
    /// count.
    #[serde(default)]
    hosts: Vec<String>,
    /// One of these globs over the normalised path: `*` within a segment, `**` across segments; `/api/**`
    /// matches `/api` too.
    #[serde(default)]
    paths: Vec<String>,
    /// One of these methods, with regard to case.
    #[serde(default)]
    methods: Vec<String>,
    /// All of these fields: a pattern that the whole of any value matches. `*` is any characters, `?` any one;
    /// `*` alone holds if the field is present.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// One of these texts is part of the `user-agent` field, in any case.
    #[serde(default)]
    user_agents: Vec<String>,
    /// The upstream or file root the request goes to.
    to: String,
}

struct Router {
    rules: Rules,
    /// By rule.
    destinations: Vec<String>,
}

#[policy]
impl Policy for Router {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let mut conditions = Vec::new();
        let mut destinations = Vec::new();
        for (index, rule) in config.rules.into_iter().enumerate() {
            if rule.to.is_empty() {
                return Err(Error::at(format!("rules[{index}].to"), "names no upstream or file root"));
            }
            destinations.push(rule.to);
            conditions.push(Conditions {
                hosts: rule.hosts,
                paths: rule.paths,
                methods: rule.methods,
                headers: rule.headers,
                user_agents: rule.user_agents,
            });
        }
        let rules = Rules::new(&conditions)?;
        Rules::narrow(&conditions)?;
        activation::pure();
        Ok(Self { rules, destinations })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let Some(rule) = self.rules.first(request) else {
            return Verdict::Next;
        };
        let destination = &self.destinations[rule];
        match request.route_to(destination) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("rules[{rule}].to = \"{destination}\": {error}");
                Verdict::Fail
            }
        }
    }
}

#[cfg(test)]
mod tests;
