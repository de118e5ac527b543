//! The `body-filter` policy: refuses requests by what is in their body, and replaces text in responses.

mod media;
mod replace;

use tidegate_plugin_sdk::http::BodyMode;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{self, Rule, Rules};

use media::MediaTypes;
use replace::{Replacement, Replacements};

/// What is in bodies. At least one of the lists has a rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Which request bodies are refused. Every rule that applies counts. At most 32.
    #[serde(default)]
    requests: Vec<Rule<Refuse>>,
    /// What is replaced in response bodies. Every rule that applies counts. At most 32.
    #[serde(default)]
    responses: Vec<Rule<Replace>>,
}

/// A body in which one of `patterns` is found is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Refuse {
    /// One of these media types is in `content-type`: `application/json`, or `text/*`. Case and parameters do
    /// not count.
    #[serde(default)]
    content_types: Vec<String>,
    /// Regular expressions in the syntax of the Rust `regex` crate, not anchored.
    patterns: Vec<String>,
    /// Whether upper and lower case are the same to the patterns.
    #[serde(default)]
    ignore_case: bool,
    /// Of the response to what is refused.
    #[serde(default = "forbidden")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
}

/// `content-types` is about the response and has a default, the other conditions are about the request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Replace {
    /// As in `requests`, of the response. Without it, `text/html`.
    #[serde(default = "html")]
    content_types: Vec<String>,
    /// Texts to replace. Where several could be, the one that begins first is, and of those the one that
    /// stands first here.
    replace: Vec<Replacement>,
}

fn forbidden() -> u16 {
    403
}

fn html() -> Vec<String> {
    vec!["text/html".to_owned()]
}

/// Rules of one list: they are remembered as bits of the exchange's token.
const MAX_RULES: usize = 32;

struct BodyFilter {
    requests: Rules<Refusal>,
    responses: Rules<Edit>,
}

struct Refusal {
    content_types: Option<MediaTypes>,
    patterns: Patterns,
    status: u16,
}

struct Edit {
    content_types: MediaTypes,
    replacements: Replacements,
}

#[policy]
impl Policy for BodyFilter {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.requests.is_empty() && config.responses.is_empty() {
            return Err("neither `requests` nor `responses` has a rule".into());
        }
        for (list, count) in [("requests", config.requests.len()), ("responses", config.responses.len())] {
            if count > MAX_RULES {
                return Err(Error::at(list, format!("{count} rules; at most {MAX_RULES} can be remembered")));
            }
        }
        let requests = Rules::build("requests", config.requests, Refusal::new)?;
        let responses = Rules::build("responses", config.responses, Edit::new)?;
        rules::narrow(requests.conditions().chain(responses.conditions()))?;
        activation::pure();
        Ok(Self { requests, responses })
    }

    /// All rules are asked here: what policies further down the chain make of the request does not matter.
    fn on_request(&self, request: &Request) -> Verdict {
        let has_type =
            |refusal: &Refusal| refusal.content_types.as_ref().is_none_or(|types| types.has_request(request));
        let refusals = self.requests.matching(request).filter(|(_, refusal)| has_type(refusal));
        let refusals = bits(refusals.map(|(rule, _)| rule));
        let edits = bits(self.responses.matching(request).map(|(rule, _)| rule));
        if (refusals, edits) == (0, 0) {
            return Verdict::Next;
        }
        Seen { refusals, edits }.keep(request);
        if refusals != 0 {
            request.set_body_mode(BodyMode::Whole);
            if !request.decode_body() {
                let codings = "gzip, deflate, br, zstd";
                let reply = Reply::new(415).header("accept-encoding", codings);
                return request.respond(reply.text("the content coding is not supported\n"));
            }
        }
        // A part of a body begins and ends anywhere: what crosses its ends cannot be found, and offsets do
        // not count the same bytes before and after an edit.
        if edits != 0
            && (request.remove_header("range").is_err() || request.remove_header("if-range").is_err())
        {
            return Verdict::Fail;
        }
        Verdict::Next
    }

    fn on_request_body(&self, request: &Request, body: &Body) -> Verdict {
        for rule in indices(Seen::of(request).refusals) {
            let Refusal { patterns, status, .. } = &self.requests[rule];
            if let Some(pattern) = patterns.matches_body(body) {
                log::debug!("requests[{rule}].patterns[{pattern}] found in a body of {} bytes", body.len());
                return request.respond(Reply::new(*status).text("the content is not accepted\n"));
            }
        }
        Verdict::Next
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let seen = Seen::of(request);
        if seen.edits == 0 || response.status() == 206 {
            return Verdict::Next;
        }
        let edits = bits(
            indices(seen.edits).filter(|&rule| self.responses[rule].content_types.has_response(response)),
        );
        // In a coding that nobody knows, no text can be found.
        if edits != 0 && response.decode_body() {
            response.set_body_mode(BodyMode::Chunks);
            Seen { edits, ..seen }.keep(request);
        }
        Verdict::Next
    }

    fn on_response_chunk(&self, request: &Request, _: &Response, chunk: &Body) -> Verdict {
        let applying = indices(Seen::of(request).edits);
        let replacements = applying.map(|rule| &self.responses[rule].replacements);
        match replace::in_chunk(replacements, chunk) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("a piece of the response cannot grow: {error}");
                Verdict::Fail
            }
        }
    }
}

/// Which rules an exchange is subject to, a bit each.
struct Seen {
    refusals: u32,
    edits: u32,
}

impl Seen {
    fn of(request: &Request) -> Self {
        let token = request.token();
        Self { refusals: (token & u64::from(u32::MAX)) as u32, edits: (token >> 32) as u32 }
    }

    fn keep(&self, request: &Request) {
        request.set_token(u64::from(self.edits) << 32 | u64::from(self.refusals));
    }
}

fn bits(rules: impl Iterator<Item = usize>) -> u32 {
    rules.fold(0, |bits, rule| bits | 1 << rule)
}

fn indices(bits: u32) -> impl Iterator<Item = usize> {
    (0..MAX_RULES).filter(move |rule| bits & 1 << rule != 0)
}

impl Refusal {
    fn new(refuse: Refuse) -> Result<Self, Error> {
        let Refuse { content_types, patterns, ignore_case, status } = refuse;
        if !(400..=599).contains(&status) {
            return Err(Error::at("status", format!("{status} is not 400 to 599")));
        }
        if patterns.is_empty() {
            return Err(Error::at("patterns", "an empty list refuses nothing"));
        }
        let patterns =
            if ignore_case { Patterns::ignore_case().regex(patterns) } else { Patterns::regex(patterns) };
        let content_types = match content_types.is_empty() {
            true => None,
            false => Some(MediaTypes::new(&content_types)?),
        };
        Ok(Self { content_types, patterns: patterns.map_err(|error| error.within("patterns"))?, status })
    }
}

impl Edit {
    fn new(Replace { content_types, replace }: Replace) -> Result<Self, Error> {
        if content_types.is_empty() {
            return Err(Error::at(
                "content-types",
                "an empty list has no response; leave it out for `text/html`",
            ));
        }
        Ok(Self {
            content_types: MediaTypes::new(&content_types)?,
            replacements: Replacements::new(replace).map_err(|error| error.within("replace"))?,
        })
    }
}

#[cfg(test)]
mod tests;
