//! The `cors` policy: answers cross-origin preflights and says which origins may read responses.

mod origins;

use tidegate_plugin_sdk::http::is_token;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Conditions, Rule, Rules};

use crate::origins::Origins;

/// Which pages of others may use this site, by the Fetch standard.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Asked in order; the first that applies counts. What none applies to is left to the server.
    rules: Vec<Rule<Sharing>>,
    /// What a preflight of an origin that is not allowed gets: `"refuse"` is a 403, `"plain"` a 204 that allows
    /// nothing. Browsers go no further after either.
    #[serde(default)]
    denied_preflights: Denied,
}

/// `methods` is no condition here, as a preflight has OPTIONS for all of them, and neither are `cookies`, of which it has
/// none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Sharing {
    /// Origins that may use it: `https://app.example.com`, `https://*.example.com` for every name below it,
    /// `http://localhost:*` for every port, `*` for all.
    #[serde(default)]
    allow_origins: Vec<String>,
    /// Regular expressions that the whole origin matches.
    #[serde(default)]
    allow_origin_regexes: Vec<String>,
    /// Methods that they may use, `*` for all. GET, HEAD and POST need no leave.
    #[serde(default = "simple_methods")]
    allow_methods: Vec<String>,
    /// Request fields that they may set, `*` for all but `authorization`.
    #[serde(default)]
    allow_headers: Vec<String>,
    /// Response fields that they may read beside the usual ones, `*` for all.
    #[serde(default)]
    expose_headers: Vec<String>,
    /// Whether cookies and other credentials may go with it. Not with `*` anywhere.
    #[serde(default)]
    allow_credentials: bool,
    /// Seconds for which a browser may keep the answer to a preflight. Without it, browsers keep it for five.
    max_age: Option<u32>,
    /// Whether pages of the public network may use it where it is in a private one.
    #[serde(default)]
    allow_private_network: bool,
}

/// What a preflight of an origin that is not allowed gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Denied {
    /// 403.
    #[default]
    Refuse,
    /// 204 that allows nothing.
    Plain,
}

fn simple_methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";

/// What a server may have set on its own.
const RESPONSE_FIELDS: [&str; 7] = [
    ALLOW_ORIGIN,
    ALLOW_CREDENTIALS,
    EXPOSE_HEADERS,
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-allow-private-network",
];

struct Cors {
    rules: Rules<Shared>,
    denied_preflights: Denied,
    /// `origin` or `*` among the members of `vary`.
    varies_already: Patterns,
}

/// A rule with its values as they are sent.
struct Shared {
    origins: Origins,
    methods: String,
    headers: Option<String>,
    exposed: Option<String>,
    credentials: bool,
    max_age: Option<String>,
    private_network: bool,
}

#[policy]
impl Policy for Cors {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        for (index, rule) in config.rules.iter().enumerate() {
            fits_preflights(&rule.conditions).map_err(|error| error.within(format!("rules[{index}]")))?;
        }
        let rules = Rules::build("rules", config.rules, Shared::new)?;
        rules.narrow()?;
        activation::pure();
        Ok(Self {
            rules,
            denied_preflights: config.denied_preflights,
            varies_already: Patterns::ignore_case().regex([r"(?:^|,)[ \t]*(?:origin|\*)[ \t]*(?:,|$)"])?,
        })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let Some((rule, shared)) = self.rules.first(request) else {
            return Verdict::Next;
        };
        // Fetch §3.3.2: what a browser asks before it dares to send the request itself.
        if request.method_is("OPTIONS")
            && request.header_count("origin") > 0
            && request.header_count("access-control-request-method") > 0
        {
            // Without a token: the response phase leaves what comes of this alone.
            return request.respond(self.preflight(shared, request));
        }
        // Counted from 1: a token is 0 at first.
        request.set_token(rule as u64 + 1);
        Verdict::Next
    }

    /// Whoever made the response: a page that may read answers may read errors.
    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let Some(rule) = request.token().checked_sub(1) else {
            return Verdict::Next;
        };
        match self.share(&self.rules[rule as usize], request, response) {
            Ok(()) => Verdict::Next,
            Err(error) => {
                log::error!("an edit of the response was refused: {error}");
                Verdict::Fail
            }
        }
    }
}

/// A rule that a preflight cannot fit would answer the request, and not the question that comes before it.
fn fits_preflights(conditions: &Conditions) -> Result<(), Error> {
    if !conditions.methods.is_empty() {
        return Err(Error::at("methods", "a preflight has OPTIONS for every method: use `allow-methods`"));
    }
    if !conditions.cookies.is_empty() {
        let reason = "a preflight carries no cookies, so no rule about them would answer it: tell requests apart by \
                      `hosts`, `paths` or `query`";
        return Err(Error::at("cookies", reason));
    }
    // Fetch §4.8: it is made without credentials.
    let is_credential = |name: &&String| ["authorization", "cookie"].contains(&&*name.to_ascii_lowercase());
    match conditions.headers.keys().find(is_credential) {
        Some(name) => {
            let reason = "a preflight carries no credentials, so no rule about them would answer it: tell requests \
                          apart by `hosts`, `paths` or `query`";
            Err(Error::at(format!("headers.{name}"), reason))
        }
        None => Ok(()),
    }
}

impl Cors {
    fn preflight(&self, shared: &Shared, request: &Request) -> Reply {
        let Some(origin) = shared.origins.allowed(request) else {
            let reply = match self.denied_preflights {
                Denied::Refuse => Reply::new(403).text("this origin is not allowed\n"),
                Denied::Plain => Reply::new(204),
            };
            return reply.header("vary", "origin");
        };
        // The lists are sent whole, whatever was asked for: the browser compares, and its console says what is missing.
        let mut reply = Reply::new(204)
            .header(ALLOW_ORIGIN, origin)
            .header("access-control-allow-methods", &shared.methods)
            .header("vary", "origin, access-control-request-method, access-control-request-headers");
        if let Some(headers) = &shared.headers {
            reply = reply.header("access-control-allow-headers", headers);
        }
        if shared.credentials {
            reply = reply.header(ALLOW_CREDENTIALS, "true");
        }
        if let Some(max_age) = &shared.max_age {
            reply = reply.header("access-control-max-age", max_age);
        }
        if shared.private_network && request.header_count("access-control-request-private-network") > 0 {
            reply = reply.header("access-control-allow-private-network", "true");
        }
        reply
    }

    fn share(&self, shared: &Shared, request: &Request, response: &Response) -> Result<(), EditError> {
        for name in RESPONSE_FIELDS {
            response.remove_header(name)?;
        }
        // A cache must not hand to one origin what was made for another, or for none.
        if !shared.origins.is_everyone()
            && self.varies_already.matches_response_header(response, "vary").is_none()
        {
            response.append_header("vary", "origin")?;
        }
        let Some(origin) = shared.origins.allowed(request) else {
            return Ok(());
        };
        response.set_header(ALLOW_ORIGIN, origin)?;
        if shared.credentials {
            response.set_header(ALLOW_CREDENTIALS, "true")?;
        }
        if let Some(exposed) = &shared.exposed {
            response.set_header(EXPOSE_HEADERS, exposed)?;
        }
        Ok(())
    }
}

impl Shared {
    fn new(sharing: Sharing) -> Result<Self, Error> {
        let credentials = sharing.allow_credentials;
        let names = |key: &str, names: &[String]| -> Result<Option<String>, Error> {
            for (index, name) in names.iter().enumerate() {
                let key = format!("{key}[{index}]");
                if name == "*" && credentials {
                    let reason = "`*` means nothing to browsers with `allow-credentials`: list them";
                    return Err(Error::at(key, reason));
                }
                if !is_token(name) {
                    return Err(Error::at(key, format!("`{name}` is not a name")));
                }
            }
            Ok(Some(names.join(", ")).filter(|names| !names.is_empty()))
        };
        for (index, method) in sharing.allow_methods.iter().enumerate() {
            if method.to_ascii_uppercase() != *method {
                let reason = format!(
                    "`{method}`: the case of methods matters; did you mean `{}`?",
                    method.to_ascii_uppercase()
                );
                return Err(Error::at(format!("allow-methods[{index}]"), reason));
            }
        }
        let methods = names("allow-methods", &sharing.allow_methods)?;
        Ok(Self {
            methods: methods.ok_or_else(|| {
                Error::at("allow-methods", "an empty list; leave it out for GET, HEAD and POST")
            })?,
            headers: names("allow-headers", &sharing.allow_headers)?,
            exposed: names("expose-headers", &sharing.expose_headers)?,
            origins: Origins::new(&sharing.allow_origins, &sharing.allow_origin_regexes, credentials)?,
            credentials,
            max_age: sharing.max_age.map(|seconds| seconds.to_string()),
            private_network: sharing.allow_private_network,
        })
    }
}

#[cfg(test)]
mod tests;
