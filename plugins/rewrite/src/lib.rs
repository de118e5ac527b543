//! The `rewrite` policy: rewrites request targets and header fields, and redirects.

mod headers;
mod template;

use regex_lite::Regex;
use tidegate_plugin_sdk::matching::path_regex;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::headers::{FieldEdits, HeaderEdits, RequestEdits};
use crate::template::Template;

/// What is rewritten. Rules come first, then `request-headers`; `response-headers` apply to every response,
/// redirects included.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Asked in order; the first that applies counts, and only that one.
    #[serde(default)]
    rules: Vec<Rule<Change>>,
    /// Edits of what is sent upstream. `host` under `set` replaces the authority.
    #[serde(default)]
    request_headers: HeaderEdits,
    /// Edits of what is sent to the client.
    #[serde(default)]
    response_headers: HeaderEdits,
}

/// `path` must match as well. Exactly one of `to` and `redirect` says what then happens.
#[derive(Debug, Deserialize, JsonSchema)]
struct Change {
    /// A regular expression found in the normalised path, without the query. Not anchored: write `^` and `$`
    /// where they are meant.
    path: String,
    /// The target to send upstream. `$1` and `${name}` are what the groups of `path` captured, `$$` is `$`. The
    /// query is kept unless this has one.
    to: Option<String>,
    /// Where to send the client: `/path` or `https://host/path`, with groups as in `to` except in the host.
    /// The query is kept unless this has one.
    redirect: Option<String>,
    /// Of the redirect: 301 (the default), 302, 303, 307 or 308.
    status: Option<u16>,
}

struct Rewrite {
    /// One list of all `path`, run by the proxy: a request that no rule is about costs one call.
    paths: Patterns,
    rules: Rules<Rewriting>,
    request_headers: RequestEdits,
    response_headers: FieldEdits,
}

struct Rewriting {
    /// The same as in `paths`; the proxy does not tell what groups captured.
    path: Regex,
    action: Action,
}

enum Action {
    To(Template),
    Redirect { status: u16, location: Template },
}

#[policy]
impl Policy for Rewrite {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let paths: Vec<String> = config.rules.iter().map(|rule| path_regex(&rule.action.path)).collect();
        let rules = Rules::build("rules", config.rules, Rewriting::new)?;
        activation::pure();
        Ok(Self {
            paths: Patterns::regex(paths)?,
            rules,
            request_headers: RequestEdits::new(config.request_headers)
                .map_err(|error| error.within("request-headers"))?,
            response_headers: FieldEdits::new(config.response_headers)
                .map_err(|error| error.within("response-headers"))?,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Some((action, rewritten)) = self.rewritten(request) {
            let Some(rewritten) = rewritten else {
                return request.respond(Reply::new(400).text("bad request\n"));
            };
            match action {
                Action::To(_) => {
                    if let Err(error) = request.set_target(&rewritten) {
                        log::error!("the target {rewritten:?} was refused: {error}");
                        return Verdict::Fail;
                    }
                }
                Action::Redirect { status, .. } => {
                    return request.respond(Reply::redirect(*status, rewritten));
                }
            }
        }
        self.request_headers.apply(request)
    }

    fn on_response(&self, _request: &Request, response: &Response) -> Verdict {
        self.response_headers.apply(response)
    }
}

impl Rewrite {
    /// The action of the first rule that applies and what its template becomes; `None` inside = it cannot be
    /// filled safely ([`Template::fill`]).
    fn rewritten(&self, request: &Request) -> Option<(&Action, Option<String>)> {
        let first = self.paths.matches_path(request)?;
        let path = request.normalized_path();
        let mut rules = self.rules.matching(request).skip_while(|&(rule, _)| rule < first);
        let (action, captures) =
            rules.find_map(|(_, rewriting)| Some((&rewriting.action, rewriting.path.captures(&path)?)))?;
        let (Action::To(template) | Action::Redirect { location: template, .. }) = action;
        Some((action, template.fill(&captures, || request.query())))
    }
}

impl Rewriting {
    fn new(change: Change) -> Result<Self, Error> {
        let path = Regex::new(&path_regex(&change.path)).map_err(|error| Error::at("path", error))?;
        let action = match (&change.to, &change.redirect, change.status) {
            (Some(to), None, None) => {
                Action::To(Template::of_target(to, &path).map_err(|reason| Error::at("to", reason))?)
            }
            (Some(_), None, Some(_)) => return Err(Error::at("status", "belongs to `redirect`")),
            (None, Some(redirect), status) => {
                let status = status.unwrap_or(301);
                if ![301, 302, 303, 307, 308].contains(&status) {
                    return Err(Error::at("status", format!("{status} is not 301, 302, 303, 307 or 308")));
                }
                let location = Template::of_redirect(redirect, &path);
                Action::Redirect {
                    status,
                    location: location.map_err(|reason| Error::at("redirect", reason))?,
                }
            }
            (Some(_), Some(_), _) => return Err("has both `to` and `redirect`".into()),
            (None, None, _) => return Err("has neither `to` nor `redirect`".into()),
        };
        // The proxy's engine knows more than ours; what only one of them takes is refused here.
        Patterns::regex([path_regex(&change.path)]).map_err(|error| Error::at("path", error))?;
        Ok(Self { path, action })
    }
}

#[cfg(test)]
mod tests;
