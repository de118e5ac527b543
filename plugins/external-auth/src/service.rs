//! What the service is asked, and what its answer means.

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_plugin_sdk::callout::{CalloutError, Incoming, Outgoing};
use tidegate_plugin_sdk::http::is_owned_by_proxy;
use tidegate_plugin_sdk::prelude::*;

/// Where the question goes.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) upstream: String,
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    pub(crate) method: Method,
    pub(crate) timeout: Duration,
    /// `None`: all but those of [`LEFT_OUT`].
    pub(crate) fields: Option<Vec<String>>,
    /// What the answer says to servers: what clients send under these names is forged.
    pub(crate) forged: Vec<String>,
    /// `X-Original-*` too, as examples for nginx have them.
    pub(crate) tells_original: bool,
}

/// The method of the question. The body of the request is never sent with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum Method {
    /// `GET`, whatever the client's is.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// The client's.
    #[serde(rename = "original")]
    Original,
}

/// What comes of a question.
pub(crate) enum Answer {
    /// 2xx.
    Yes(Incoming),
    /// Anything else that a service says on purpose.
    No(Incoming),
    /// Its own fault: dead, slow, or a 5xx.
    Down(String),
    /// It was not asked, or its answer was not read to the end: over a limit, which a client may have seen to.
    NotAsked(CalloutError),
}

/// Fields that are about a body the service does not get, or that would make its answer another one than to the question:
/// 304, or a part (RFC 9110 §13.1, §14.2). Framing and hop-by-hop fields are the proxy's anyway.
const LEFT_OUT: [&str; 10] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-range",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
];

/// Said by us or by nobody.
const OURS: [&str; 5] =
    ["x-forwarded-method", "x-forwarded-uri", "x-original-method", "x-original-uri", "x-original-url"];

impl Service {
    pub(crate) fn ask(&self, request: &Request) -> Answer {
        match self.question(request).send() {
            Ok(answer) => match answer.status() {
                200..=299 => Answer::Yes(answer),
                300..=499 => Answer::No(answer),
                status => Answer::Down(format!("the status is {status}")),
            },
            Err(error @ (CalloutError::Failed | CalloutError::Timeout)) => Answer::Down(error.to_string()),
            Err(error) => Answer::NotAsked(error),
        }
    }

    /// As `check` and the log say it before anything is asked.
    pub(crate) fn check_grant(&self) -> Result<(), Error> {
        // Nothing is sent while a policy configures itself; what is not granted is said all the same.
        let sent = Outgoing::new(&self.upstream, "GET", &self.path).send();
        match sent {
            Err(CalloutError::NotGranted) => {
                let reason =
                    format!("is not granted: write `grants = {{ callout = [\"{}\"] }}`", self.upstream);
                Err(Error::at("upstream", reason))
            }
            _ => Ok(()),
        }
    }

    fn question(&self, request: &Request) -> Outgoing {
        let (method, scheme, host) = (request.method(), request.scheme(), request.authority());
        let target = request.original_target();
        let asked = match self.method {
            Method::Get => "GET",
            Method::Original => &method,
        };
        let mut question = Outgoing::new(&self.upstream, asked, &self.path)
            .timeout(self.timeout)
            .copy_headers_from(request, &self.copied(request).iter().map(String::as_str).collect::<Vec<_>>())
            .header("x-forwarded-method", &method)
            .header("x-forwarded-proto", &scheme)
            .header("x-forwarded-host", &host)
            .header("x-forwarded-uri", &target)
            .header("x-forwarded-for", request.client_ip_text());
        if self.tells_original {
            question = question
                .header("x-original-method", &method)
                .header("x-original-uri", &target)
                .header("x-original-url", format!("{scheme}://{host}{target}"));
        }
        match &self.host {
            Some(host) => question.host(host),
            None => question,
        }
    }

    /// Names of fields, each once.
    fn copied(&self, request: &Request) -> BTreeSet<String> {
        let is_ours = |name: &String| OURS.contains(&plain(name).as_str());
        let is_forged = |name: &String| self.forged.iter().any(|forged| plain(forged) == plain(name));
        match &self.fields {
            Some(names) => names.iter().filter(|name| !is_ours(name)).cloned().collect(),
            None => {
                let names = request.headers().into_iter().map(|(name, _)| name.to_ascii_lowercase());
                names
                    .filter(|name| {
                        !is_ours(name)
                            && !is_forged(name)
                            && !LEFT_OUT.contains(&name.as_str())
                            && !is_owned_by_proxy(name)
                    })
                    .collect()
            }
        }
    }
}

/// As services see it that take fields for variables (RFC 3875 §4.1.18): to them `x_user` is `x-user`.
fn plain(name: &str) -> String {
    name.replace(|character: char| !character.is_ascii_alphanumeric(), "-")
}

/// The answer as it is, for the client.
pub(crate) fn passed_on(answer: &Incoming) -> Reply {
    let mut reply = Reply::new(answer.status()).body(answer.body());
    reply.headers = answer.headers();
    reply.headers.retain(|(name, _)| !is_owned_by_proxy(name));
    reply
}
