//! Lists of rules, first match or every match: conditions and what then happens.
//!
//! A rule is a table of `[config]`. Its conditions are the same in every policy; the policy adds its [action](Rule) to
//! them. All conditions of a rule must hold; a condition lists alternatives (`headers` excepted), and one that is
//! left out always holds. Rules are asked in order.
//!
//! This policy puts a name on requests, `rules = [{ paths = ["/api/**"], methods = ["GET"], tag = "reader" }]`:
//!
//! ```
//! use tidegate_plugin_sdk::prelude::*;
//! use tidegate_plugin_sdk::rules::{Rule, Rules};
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Config {
//!     /// Asked in order; the first that applies counts.
//!     rules: Vec<Rule<Tag>>,
//! }
//!
//! /// What requests are called.
//! #[derive(Deserialize, JsonSchema)]
//! struct Tag {
//!     /// The value of `x-tag`.
//!     tag: String,
//! }
//!
//! struct Tagger {
//!     rules: Rules<Tag>,
//! }
//!
//! #[policy]
//! impl Policy for Tagger {
//!     type Config = Config;
//!
//!     fn configure(config: Config) -> Result<Self, Error> {
//!         let rules = Rules::new(config.rules)?;
//!         rules.narrow()?; // this policy does nothing else
//!         Ok(Self { rules })
//!     }
//!
//!     fn on_request(&self, request: &Request) -> Verdict {
//!         let Some((rule, Tag { tag })) = self.rules.first(request) else {
//!             return Verdict::Next;
//!         };
//!         match request.set_header("x-tag", tag) {
//!             Ok(()) => Verdict::Next,
//!             Err(error) => {
//!                 log::error!("rules[{rule}].tag: {error}");
//!                 Verdict::Fail
//!             }
//!         }
//!     }
//! }
//!
//! let config = serde_json::json!({ "rules": [{ "paths": ["/api/**"], "methods": ["GET"], "tag": "reader" }] });
//! let tagger = testing::configure::<Tagger>(config).unwrap();
//! let request = testing::Request::new("GET", "/api/users");
//! assert_eq!(tagger.on_request(&request), Verdict::Next);
//! assert_eq!(request.header("x-tag").as_deref(), Some("reader"));
//!
//! let config = serde_json::json!({ "rules": [{ "path": "/api", "tag": "reader" }] });
//! let error = testing::configure::<Tagger>(config).err().unwrap();
//! assert!(error.starts_with("rules[0].path: unknown field `path`, expected one of `hosts`, `paths`, "));
//! ```

mod checked;
mod index;
mod rule;
#[cfg(test)]
mod tests;

use std::ops::Index;

use checked::Checked;
pub use rule::{Conditions, Rule};

use crate::{Error, Request, activation};

/// The rules of a policy, ready to be asked. `rules[index]` is the action of one.
///
/// However many rules there are, the paths of all of them cost one call to the proxy, and so do their user agents;
/// other conditions are asked only of rules whose host and path may fit.
#[derive(Debug)]
pub struct Rules<Action> {
    conditions: Checked,
    /// By rule.
    actions: Vec<Action>,
}

impl<Action> Rules<Action> {
    /// Of the key `rules`, with actions that need no preparation. Builds matchers, so it works only in
    /// [`configure`](crate::Policy::configure).
    ///
    /// # Errors
    ///
    /// A condition does not fit; names the key at fault, such as `rules[2].hosts[0]`.
    pub fn new(rules: Vec<Rule<Action>>) -> Result<Self, Error> {
        Self::build("rules", rules, Ok)
    }

    /// Of the key `list`. `action` makes an action of what the operator wrote: checks it, builds matchers.
    ///
    /// # Errors
    ///
    /// As [`Rules::new`]; an error of `action` is taken to be about a key of its rule, `list[2]`.
    pub fn build<Written>(
        list: &str,
        rules: Vec<Rule<Written>>,
        action: impl Fn(Written) -> Result<Action, Error>,
    ) -> Result<Self, Error> {
        let mut conditions = Vec::with_capacity(rules.len());
        let mut actions = Vec::with_capacity(rules.len());
        for (index, rule) in rules.into_iter().enumerate() {
            conditions.push(rule.conditions);
            actions.push(action(rule.action).map_err(|error| error.within(format!("{list}[{index}]")))?);
        }
        Ok(Self { conditions: Checked::new(list, conditions)?, actions })
    }

    /// [`narrow`] to these rules.
    ///
    /// # Errors
    ///
    /// As [`narrow`].
    pub fn narrow(&self) -> Result<(), Error> {
        narrow(self.conditions())
    }

    /// The conditions of all rules, in order.
    pub fn conditions(&self) -> impl Iterator<Item = &Conditions> + Clone {
        self.conditions.conditions()
    }

    /// The first rule that applies: its index, for the log, and its action.
    pub fn first(&self, request: &Request) -> Option<(usize, &Action)> {
        let index = self.conditions.matching(request).next()?;
        Some((index, &self.actions[index]))
    }

    /// The rules that apply, in order: index and action of each. Asks only as far as it is read.
    pub fn matching<'a>(&'a self, request: &Request) -> impl Iterator<Item = (usize, &'a Action)> {
        self.conditions.matching(request).map(|index| (index, &self.actions[index]))
    }
}

impl<Action> Index<usize> for Rules<Action> {
    type Output = Action;

    fn index(&self, index: usize) -> &Action {
        &self.actions[index]
    }
}

/// Has the policy called only for requests to which a rule with one of these conditions may apply, judged by path,
/// host and method. Only for a policy that does nothing else; only in [`configure`](crate::Policy::configure).
///
/// # Errors
///
/// This is not `configure`. Conditions that do not fit are refused as well, but without their key: take them from
/// [`Rules::conditions`], where they are checked already.
pub fn narrow<'a>(rules: impl Iterator<Item = &'a Conditions> + Clone) -> Result<(), Error> {
    only(rules.clone(), |rule| &rule.paths, activation::only_paths)?;
    only(rules.clone(), |rule| &rule.hosts, activation::only_hosts)?;
    only(rules, |rule| &rule.methods, activation::only_methods)
}

fn only<'a>(
    rules: impl Iterator<Item = &'a Conditions> + Clone,
    condition: impl Fn(&Conditions) -> &Vec<String>,
    narrow: impl Fn(Vec<String>) -> Result<(), Error>,
) -> Result<(), Error> {
    if rules.clone().any(|rule| condition(rule).is_empty()) {
        return Ok(()); // this rule may apply to any
    }
    narrow(rules.flat_map(condition).cloned().collect())
}
