//! The `error-pages` policy: puts pages in place of error responses.

mod page;
mod source;

use tidegate_plugin_sdk::accept;
use tidegate_plugin_sdk::http::is_owned_by_proxy;
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rules::{Rule, Rules};
use tidegate_plugin_sdk::statuses::{Status, Statuses};

use crate::page::{DEFAULT_PAGE, Facts, filled, problem};
use crate::source::Source;

/// Which errors get which page, and for whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    /// Asked in order; the first that applies counts. Without it, all errors get a short page. At most 64.
    #[serde(default = "everything")]
    pages: Vec<Rule<Page>>,
    /// The upstream or file root that `page` is fetched from; `grants.callout` has to name it.
    from: Option<String>,
    /// Seconds for which a fetched page is kept.
    #[serde(default = "minute")]
    keep: u32,
    /// Which responses: `"plain"` those without a body, and the plain texts of the proxy and of policies; `"html"`
    /// also plain texts and pages of servers; `"all"` every one.
    #[serde(default)]
    replace: Replace,
    /// For whom: `"navigations"` browsers that open a page; `"all"` everyone who does not prefer JSON.
    #[serde(default)]
    clients: Clients,
    /// Whether clients that prefer JSON get a problem (RFC 9457).
    #[serde(default = "yes")]
    json: bool,
}

/// At most one of `page` and `html`; with neither, a short page.
#[derive(Debug, Deserialize, JsonSchema)]
struct Page {
    /// Statuses and ranges of them: `[404, "500-599"]`. Without it, `["400-599"]`.
    #[serde(default = "errors")]
    statuses: Vec<Status>,
    /// A path at `from`: `/errors/{status}.html`.
    page: Option<String>,
    /// The page itself. In both, `{status}`, `{reason}` and `{id}` stand for those of the response and its request.
    html: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Replace {
    #[default]
    Plain,
    Html,
    All,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Clients {
    #[default]
    Navigations,
    All,
}

fn everything() -> Vec<Rule<Page>> {
    vec![Rule { conditions: Default::default(), action: Page { statuses: errors(), page: None, html: None } }]
}

fn errors() -> Vec<Status> {
    vec![Status::Range("400-599".to_owned())]
}

fn minute() -> u32 {
    60
}

fn yes() -> bool {
    true
}

/// Which rules are about a request is remembered as bits of the exchange's token.
const MAX_RULES: usize = 64;

struct ErrorPages {
    rules: Rules<Shown>,
    /// `None` = no page is fetched.
    source: Option<Source>,
    replace: Replace,
    clients: Clients,
    json: bool,
}

struct Shown {
    statuses: Statuses,
    page: Text,
}

/// Where the text of a page comes from.
enum Text {
    Here(String),
    /// Its path at the source.
    There(String),
}

/// What a client would rather have.
enum Form {
    Html,
    Json,
}

#[policy]
impl Policy for ErrorPages {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.pages.len() > MAX_RULES {
            let count = config.pages.len();
            return Err(Error::at("pages", format!("{count} rules; at most {MAX_RULES} can be remembered")));
        }
        let fetches = config.pages.iter().position(|rule| rule.action.page.is_some());
        let source = match (config.from, fetches) {
            (Some(from), Some(_)) if from.is_empty() => {
                return Err(Error::at("from", "names no upstream or file root"));
            }
            (Some(from), Some(_)) => Some(Source::new(from, config.keep)),
            (Some(_), None) => {
                return Err(Error::at("from", "no rule has a `page` to be fetched from there"));
            }
            (None, Some(rule)) => {
                return Err(Error::at(
                    format!("pages[{rule}].page"),
                    "is to be fetched, but `from` does not say where",
                ));
            }
            (None, None) => None,
        };
        let rules = Rules::build("pages", config.pages, Shown::new)?;
        rules.narrow()?;
        activation::pure();
        Ok(Self { rules, source, replace: config.replace, clients: config.clients, json: config.json })
    }

    /// All rules are asked here: what policies further down the chain make of the request does not matter.
    fn on_request(&self, request: &Request) -> Verdict {
        let bits = self.rules.matching(request).fold(0, |bits, (rule, _)| bits | 1 << rule);
        request.set_token(bits);
        Verdict::Next
    }

    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let status = response.status();
        if status < 400 {
            return Verdict::Next;
        }
        let bits = request.token();
        let mut applying = (0..MAX_RULES).filter(|rule| bits & 1 << rule != 0).map(|rule| &self.rules[rule]);
        let Some(shown) = applying.find(|shown| shown.statuses.has(status)) else {
            return Verdict::Next;
        };
        if !self.replaces(response) {
            return Verdict::Next;
        }
        let facts = Facts { status, id: request.id() };
        let (content_type, body) = match self.form(request) {
            None => return Verdict::Next,
            Some(Form::Json) => ("application/problem+json".to_owned(), problem(&facts).into_bytes()),
            Some(Form::Html) => self.page(shown, &facts),
        };
        response.respond(replacement(response, &content_type, body))
    }
}

impl ErrorPages {
    /// Whether what there is was not made to be seen.
    fn replaces(&self, response: &Response) -> bool {
        if self.replace == Replace::All || response.content_length() == Some(0) {
            return true;
        }
        let content_type = response.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let is = |media_type: &str| content_type.split(';').next().unwrap_or_default().trim() == media_type;
        let is_plain = is("text/plain") || is("");
        match self.replace {
            Replace::All => true,
            Replace::Html => is_plain || is("text/html"),
            Replace::Plain => is_plain && response.origin().is_none(),
        }
    }

    /// `None` = the client has no use for either.
    fn form(&self, request: &Request) -> Option<Form> {
        let names_html = accept::names(request, "text/html");
        let json = ["application/problem+json", "application/json"];
        if self.json && json.iter().any(|media_type| accept::names(request, media_type)) {
            let preferred = accept::preferred(request, &["text/html", json[0], json[1]]);
            if preferred.is_some_and(|preferred| preferred != "text/html") {
                return Some(Form::Json);
            }
        }
        let is_meant = match self.clients {
            Clients::All => true,
            // What scripts, images and the like ask for names its mode; old browsers and others name nothing.
            Clients::Navigations => {
                names_html && request.header("sec-fetch-mode").is_none_or(|mode| mode == "navigate")
            }
        };
        is_meant.then_some(Form::Html)
    }

    /// Its type and its text.
    fn page(&self, shown: &Shown, facts: &Facts) -> (String, Vec<u8>) {
        const HTML: &str = "text/html; charset=utf-8";
        let fetched = match (&shown.page, &self.source) {
            (Text::Here(text), _) => return (HTML.to_owned(), filled(text, facts).into_bytes()),
            (Text::There(path), Some(source)) => source.fetch(&filled(path, facts)),
            (Text::There(_), None) => None,
        };
        match fetched {
            Some(page) => match String::from_utf8(page.body) {
                Ok(text) => (page.content_type, filled(&text, facts).into_bytes()),
                Err(error) => (page.content_type, error.into_bytes()),
            },
            None => (HTML.to_owned(), filled(DEFAULT_PAGE, facts).into_bytes()),
        }
    }
}

/// Fields that describe the body there was (RFC 9110 §8, RFC 9530, RFC 6266).
const OF_THE_BODY: [&str; 13] = [
    "accept-ranges",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-range",
    "content-type",
    "digest",
    "etag",
    "last-modified",
    "repr-digest",
    "x-content-type-options",
];

/// The same response with another body: what it says of the error (`www-authenticate`, `retry-after`, `allow`) and
/// everything else stays.
fn replacement(response: &Response, content_type: &str, body: Vec<u8>) -> Reply {
    let mut reply = Reply::new(response.status());
    for (name, value) in response.headers() {
        let is_gone =
            OF_THE_BODY.iter().any(|gone| gone.eq_ignore_ascii_case(&name)) || is_owned_by_proxy(&name);
        if !is_gone {
            reply = reply.header(name, value);
        }
    }
    reply
        .header("content-type", content_type)
        .header("x-content-type-options", "nosniff")
        .header("vary", "accept, sec-fetch-mode")
        .body(body)
}

impl Shown {
    fn new(page: Page) -> Result<Self, Error> {
        let Page { statuses, page, html } = page;
        if statuses.is_empty() {
            return Err(Error::at("statuses", "an empty list has no page; leave it out for all errors"));
        }
        for (index, status) in statuses.iter().enumerate() {
            let at = |error: Error| error.within(format!("statuses[{index}]"));
            if *status.range().map_err(at)?.start() < 400 {
                return Err(at("errors are 400 to 599".into()));
            }
        }
        let page = match (page, html) {
            (Some(_), Some(_)) => return Err("has both `page` and `html`".into()),
            (Some(path), None) => {
                if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#')
                {
                    return Err(Error::at(
                        "page",
                        format!("`{path}` is not a path, as `/errors/{{status}}.html`"),
                    ));
                }
                Text::There(path)
            }
            (None, Some(html)) => Text::Here(html),
            (None, None) => Text::Here(DEFAULT_PAGE.to_owned()),
        };
        Ok(Self { statuses: Statuses::new(&statuses).map_err(|error| error.within("statuses"))?, page })
    }
}

#[cfg(test)]
mod tests;
