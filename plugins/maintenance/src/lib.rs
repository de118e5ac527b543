//! The `maintenance` policy: answers with a maintenance page while a switch is on.

use tidegate_plugin_sdk::accept;
use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::statuses::reason;

/// What clients see while the site is being worked on, and who sees the site all the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Whether clients see the page. Left out where the secret `switch` says `on` or `off`.
    enabled: Option<bool>,
    /// Of the response.
    #[serde(default = "unavailable")]
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// The page, of the type that `content-type` says.
    #[serde(default = "page")]
    page: String,
    /// The type of `page`.
    #[serde(default = "html")]
    content_type: String,
    /// JSON for clients that would rather have it than `page`. Without it, a problem as RFC 9457 has it.
    json: Option<String>,
    /// When to come back: seconds, or a date (`"Wed, 21 Oct 2026 07:28:00 GMT"`).
    retry_after: Option<RetryAfter>,
    /// Networks and addresses that see the site.
    #[serde(default)]
    allow: Vec<String>,
    /// Globs over the normalised path: what everyone sees, such as health checks.
    #[serde(default)]
    exempt: Vec<String>,
    /// The request field in which the secret `bypass` lets a client through.
    #[serde(default = "bypass_header")]
    bypass_header: String,
    /// The cookie in which it does.
    #[serde(default = "bypass_cookie")]
    bypass_cookie: String,
}

/// When to come back (RFC 9110 §10.2.3).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected seconds, or a date as `\"Wed, 21 Oct 2026 07:28:00 GMT\"`")]
enum RetryAfter {
    /// After so many seconds.
    Seconds(u32),
    /// At this time.
    Date(String),
}

fn unavailable() -> u16 {
    503
}

fn page() -> String {
    "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
     <meta name=\"viewport\" content=\"width=device-width\">\n<title>Maintenance</title>\n\
     <h1>Maintenance</h1>\n<p>We are working on this site. Please come back soon.</p>\n</html>\n"
        .to_owned()
}

fn html() -> String {
    "text/html; charset=utf-8".to_owned()
}

fn bypass_header() -> String {
    "x-maintenance-bypass".to_owned()
}

fn bypass_cookie() -> String {
    "maintenance-bypass".to_owned()
}

/// A secret that could be found by trying is none.
const MIN_BYPASS: usize = 16;

const PROBLEM: &str = "application/problem+json";

struct Maintenance {
    /// `None` = the site is open.
    closed: Option<Closed>,
    /// `None` = no secret opens it.
    bypass: Option<Bypass>,
    /// Removed from what goes upstream, since it may hold the secret.
    bypass_header: String,
}

struct Closed {
    allowed: IpSet,
    exempt: Patterns,
    page: Reply,
    json: Reply,
}

/// Digests have one length, so that a comparison tells nothing of that of the secret.
struct Bypass {
    digest: Vec<u8>,
    cookie: String,
}

#[policy]
impl Policy for Maintenance {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let is_on = is_on(config.enabled)?;
        let bypass = environment::secret_text("bypass");
        if bypass.as_ref().is_some_and(|secret| secret.len() < MIN_BYPASS) {
            return Err(format!(
                "the secret `bypass` is shorter than {MIN_BYPASS} characters: it can be guessed"
            )
            .into());
        }
        for (key, name) in
            [("bypass-header", &config.bypass_header), ("bypass-cookie", &config.bypass_cookie)]
        {
            if !is_token(name) || (key == "bypass-header" && is_owned_by_proxy(name)) {
                return Err(Error::at(key, format!("`{name}` is no name that could carry it")));
            }
        }
        let bypass = bypass.map(|secret| Bypass {
            digest: crypto::digest(Hash::Sha256, secret),
            cookie: config.bypass_cookie.clone(),
        });
        let bypass_header = config.bypass_header.clone();
        let closed = Closed::new(config)?;
        activation::pure();
        Ok(Self { closed: Some(closed).filter(|_| is_on), bypass, bypass_header })
    }

    fn on_request(&self, request: &Request) -> Verdict {
        let Some(closed) = &self.closed else {
            return self.pass(request);
        };
        if closed.exempt.matches_path(request).is_some()
            || closed.allowed.has_client(request)
            || self.bypass.as_ref().is_some_and(|bypass| bypass.is_shown(request, &self.bypass_header))
        {
            return self.pass(request);
        }
        let reply = match accept::preferred(request, &["text/html", "application/json", PROBLEM]) {
            Some("application/json" | PROBLEM) => &closed.json,
            _ => &closed.page,
        };
        request.respond(reply.clone())
    }
}

impl Maintenance {
    fn pass(&self, request: &Request) -> Verdict {
        if self.bypass.is_some()
            && let Err(error) = request.remove_header(&self.bypass_header)
        {
            log::error!("`{}` was not removed: {error}", self.bypass_header);
            return Verdict::Fail;
        }
        Verdict::Next
    }
}

/// The secret `switch` or the key `enabled`, one of them.
fn is_on(enabled: Option<bool>) -> Result<bool, Error> {
    let switch = environment::secret("switch").map(|switch| switch.trim_ascii().to_ascii_lowercase());
    match (switch.as_deref(), enabled) {
        (Some(b"on"), None) => Ok(true),
        (Some(b"off"), None) => Ok(false),
        // What it is instead may be the secret that was meant for `bypass`.
        (Some(_), None) => Err("the secret `switch` is neither `on` nor `off`".into()),
        (Some(_), Some(_)) => {
            Err(Error::at("enabled", "the secret `switch` decides already; leave one of them out"))
        }
        (None, Some(enabled)) => Ok(enabled),
        (None, None) => {
            let reason = "nothing says whether it is on: write `true` or `false`, or `switch = { file = \"…\" }` under `[secrets]`";
            Err(Error::at("enabled", reason))
        }
    }
}

impl Closed {
    fn new(config: Config) -> Result<Self, Error> {
        let status = config.status;
        if !(400..=599).contains(&status) {
            return Err(Error::at(
                "status",
                format!("{status} is not 400 to 599; search engines would keep the page"),
            ));
        }
        if !config.content_type.contains('/')
            || config.content_type.chars().any(|char| char.is_control() || !char.is_ascii())
        {
            return Err(Error::at(
                "content-type",
                format!("{:?} is no media type; write `text/html; charset=utf-8`", config.content_type),
            ));
        }
        let retry_after = config.retry_after.map(RetryAfter::text).transpose()?;
        let json_type = if config.json.is_some() { "application/json" } else { PROBLEM };
        let json = config.json.unwrap_or_else(|| {
            // `about:blank` says that the title is that of the status (RFC 9457 §4.2.1).
            let title = reason(status);
            format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"maintenance"}}"#)
        });
        let reply = |content_type: &str, body: String| {
            let reply = Reply::new(status)
                .header("content-type", content_type)
                // Nobody is to see the page when the site is back.
                .header("cache-control", "no-store")
                .header("vary", "accept");
            let reply = match &retry_after {
                Some(when) => reply.header("retry-after", when),
                None => reply,
            };
            reply.body(body)
        };
        Ok(Self {
            allowed: IpSet::new(config.allow).map_err(|error| error.within("allow"))?,
            exempt: Patterns::for_paths().glob(config.exempt).map_err(|error| error.within("exempt"))?,
            page: reply(&config.content_type, config.page),
            json: reply(json_type, json),
        })
    }
}

impl RetryAfter {
    fn text(self) -> Result<String, Error> {
        match self {
            Self::Seconds(seconds) => Ok(seconds.to_string()),
            // IMF-fixdate (RFC 9110 §5.6.7): twenty-nine characters, the only form that is still made.
            Self::Date(date)
                if date.is_ascii() && date.len() == 29 && date.ends_with(" GMT") && &date[3..5] == ", " =>
            {
                Ok(date)
            }
            Self::Date(date) => {
                let reason = format!(
                    "{date:?} is no date; write it as `\"Wed, 21 Oct 2026 07:28:00 GMT\"`, or seconds"
                );
                Err(Error::at("retry-after", reason))
            }
        }
    }
}

impl Bypass {
    /// In the cookie, or in any value of the field.
    fn is_shown(&self, request: &Request, header: &str) -> bool {
        let shown = request
            .header_values(header)
            .into_iter()
            .chain(request.cookie(&self.cookie).map(String::into_bytes));
        // Few are worth the digests.
        shown.take(4).any(|shown| crypto::equal(crypto::digest(Hash::Sha256, shown), &self.digest))
    }
}

#[cfg(test)]
mod tests;
