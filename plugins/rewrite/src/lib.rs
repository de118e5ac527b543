//! The `rewrite` policy: rewrites request targets and header fields, and redirects.

mod headers;
mod template;

use std::collections::BTreeMap;

use regex_lite::{Captures, Regex};
use tidegate_plugin_sdk::http::host_of;
use tidegate_plugin_sdk::matching::path_regex;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};

use crate::headers::{FieldEdits, HeaderEdits, RequestEdits, check_name, check_value};
use crate::template::{Asked, Template, Value};

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

/// `path` must match as well. `to` or `redirect` says what then happens, not both, or `set-headers` or
/// `response-headers` alone.
#[derive(Debug, Deserialize, JsonSchema)]
struct Change {
    /// A regular expression found in the normalised path, without the query. Not anchored: write `^` and `$`
    /// where they are meant.
    path: String,
    /// The target to send upstream. `$1` and `${name}` are what the groups of `path` captured, `$$` is `$`. The
    /// query is kept unless this has one.
    to: Option<String>,
    /// Where to send the client: `/path` or `https://host/path`, with groups as in `to` except in the host, which may
    /// be `${host}`: the one that was asked for, without its port.
    /// The query is kept unless this has one.
    redirect: Option<String>,
    /// Of the redirect: 301 (the default), 302, 303, 307 or 308.
    status: Option<u16>,
    /// Fields of the request that are set to these values: with groups as in `to`, `${host}` for the host that the
    /// client asked for, and `${client}` for its address. Before `request-headers`.
    #[serde(default, rename = "set-headers")]
    set_headers: BTreeMap<String, String>,
    /// Edits of the response to such a request, after `response-headers` of all. An empty table makes none.
    #[serde(rename = "response-headers")]
    response_headers: Option<HeaderEdits>,
}

struct Rewrite {
    /// One list of all `path`, run by the proxy: a request that no rule is about costs one call.
    paths: Patterns,
    rules: Rules<Rewriting>,
    request_headers: RequestEdits,
    response_headers: FieldEdits,
    /// Some rule edits responses too: only then is the proxy asked which one applied.
    edits_by_rule: bool,
}

struct Rewriting {
    /// The same as in `paths`; the proxy does not tell what groups captured.
    path: Regex,
    action: Action,
    fields: Vec<(String, Value)>,
    response_headers: Option<FieldEdits>,
}

enum Action {
    None,
    To(Template),
    Redirect { status: u16, location: Template },
}

/// Of the request at hand.
struct AskedBy<'a>(&'a Request);

impl Asked for AskedBy<'_> {
    fn host(&self) -> String {
        host_of(&self.0.authority()).to_owned()
    }

    fn query(&self) -> Option<String> {
        self.0.query()
    }

    fn client(&self) -> String {
        self.0.client_ip_text()
    }
}

#[policy]
impl Policy for Rewrite {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let paths: Vec<String> = config.rules.iter().map(|rule| path_regex(&rule.action.path)).collect();
        let edits_by_rule = config.rules.iter().any(|rule| rule.action.response_headers.is_some());
        let rules = Rules::build("rules", config.rules, Rewriting::new)?;
        activation::pure();
        Ok(Self {
            paths: Patterns::regex(paths)?,
            rules,
            request_headers: RequestEdits::new(config.request_headers)
                .map_err(|error| error.within("request-headers"))?,
            response_headers: FieldEdits::new(config.response_headers)
                .map_err(|error| error.within("response-headers"))?,
            edits_by_rule,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        if let Some((index, rewriting, path)) = self.first(request)
            && let Some(captures) = rewriting.path.captures(&path)
        {
            if rewriting.response_headers.is_some() {
                // 0 is an exchange without such a rule.
                request.set_token(index as u64 + 1);
            }
            let verdict = rewriting.apply(request, &captures);
            if verdict != Verdict::Next {
                return verdict;
            }
        }
        self.request_headers.apply(request)
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let verdict = self.response_headers.apply(response);
        if verdict != Verdict::Next || !self.edits_by_rule {
            return verdict;
        }
        let index = usize::try_from(request.token()).ok().and_then(|token| token.checked_sub(1));
        let edits = index.and_then(|index| self.rules[index].response_headers.as_ref());
        edits.map_or(verdict, |edits| edits.apply(response))
    }
}

impl Rewrite {
    /// The first rule that applies, with its index, and the path it was found in.
    fn first(&self, request: &Request) -> Option<(usize, &Rewriting, String)> {
        let first = self.paths.matches_path(request)?;
        let path = request.normalized_path();
        let mut rules = self.rules.matching(request).skip_while(|&(rule, _)| rule < first);
        let (index, rewriting) = rules.find(|(_, rewriting)| rewriting.path.is_match(&path))?;
        Some((index, rewriting, path))
    }
}

impl Rewriting {
    /// [`Verdict::Next`] if there is more to do.
    fn apply(&self, request: &Request, captures: &Captures<'_>) -> Verdict {
        let asked = AskedBy(request);
        // Before the target is another one: fields are made of what the client asked for, whatever it becomes.
        for (name, value) in &self.fields {
            if let Err(error) = request.set_header(name, value.fill(captures, &asked)) {
                log::error!("the edit of `{name}` was refused: {error}");
                return Verdict::Fail;
            }
        }
        let (Action::To(template) | Action::Redirect { location: template, .. }) = &self.action else {
            return Verdict::Next;
        };
        let Some(rewritten) = template.fill(captures, &asked) else {
            return request.respond(Reply::new(400).text("bad request\n"));
        };
        if let Action::Redirect { status, .. } = &self.action {
            return request.respond(Reply::redirect(*status, rewritten));
        }
        match request.set_target(&rewritten) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("the target {rewritten:?} was refused: {error}");
                Verdict::Fail
            }
        }
    }

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
            (None, None, Some(_)) => return Err(Error::at("status", "belongs to `redirect`")),
            (None, None, None) if change.set_headers.is_empty() && change.response_headers.is_none() => {
                return Err("has neither `to` nor `redirect` nor `set-headers` nor `response-headers`".into());
            }
            (None, None, None) => Action::None,
        };
        if let (Action::Redirect { .. }, Some(name)) = (&action, change.set_headers.keys().next()) {
            return Err(Error::at(
                format!("set-headers.{name}"),
                "a redirect is not sent on, and needs no fields",
            ));
        }
        let field = |(name, value): (&String, &String)| {
            let checked = check_name(name).and_then(|()| check_value(value));
            let value = checked.and_then(|()| Value::new(value, &path));
            let value = value.map_err(|reason| Error::at(format!("set-headers.{name}"), reason))?;
            Ok::<_, Error>((name.clone(), value))
        };
        let fields = change.set_headers.iter().map(field).collect::<Result<_, _>>()?;
        // The proxy's engine knows more than ours; what only one of them takes is refused here.
        Patterns::regex([path_regex(&change.path)]).map_err(|error| Error::at("path", error))?;
        let response_headers = change.response_headers.map(FieldEdits::new).transpose();
        let response_headers = response_headers.map_err(|error| error.within("response-headers"))?;
        Ok(Self { path, action, fields, response_headers })
    }
}

#[cfg(test)]
mod tests;
