//! Why a request does not pass, and what its client is told (RFC 6750 §3).

use tidegate_plugin_sdk::http::Reply;

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It bears no token. The client is told where tokens are asked for, and of no error (RFC 6750 §3.1).
    Missing,
    /// It cannot be said which token is meant.
    Request(&'static str),
    /// The token is not one that counts here.
    Token(&'static str),
    /// It counts, and does not allow this. The scopes that would are told.
    Insufficient {
        /// Space-separated; empty if scopes are not what it lacks.
        scopes: String,
    },
    /// The keys cannot be had now: nothing is known of the token.
    Unavailable {
        /// When it may be worth to ask again.
        retry_after_seconds: u64,
    },
}

impl Refusal {
    /// `realm` was checked to fit between quotation marks.
    pub(crate) fn reply(&self, realm: &str) -> Reply {
        let challenge = |status: u16, rest: &str| {
            Reply::new(status).header("www-authenticate", format!("Bearer realm=\"{realm}\"{rest}"))
        };
        let error = |status: u16, error: &str, description: &str| {
            let rest = format!(", error=\"{error}\", error_description=\"{description}\"");
            challenge(status, &rest)
        };
        match self {
            Self::Missing => challenge(401, "").text("a token is needed\n"),
            Self::Request(why) => error(400, "invalid_request", why).text("bad request\n"),
            Self::Token(why) => error(401, "invalid_token", why).text("the token is not valid\n"),
            Self::Insufficient { scopes } => {
                let scope = if scopes.is_empty() { String::new() } else { format!(", scope=\"{scopes}\"") };
                let why = "the token does not allow this";
                let rest = format!(", error=\"insufficient_scope\", error_description=\"{why}\"{scope}");
                challenge(403, &rest).text("the token does not allow this\n")
            }
            Self::Unavailable { retry_after_seconds } => Reply::new(503)
                .header("retry-after", retry_after_seconds.to_string())
                .text("tokens cannot be checked now\n"),
        }
    }

    /// For the log.
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::Missing => "no token",
            Self::Request(why) | Self::Token(why) => why,
            Self::Insufficient { .. } => "a scope or claim is missing",
            Self::Unavailable { .. } => "the keys cannot be had",
        }
    }
}
