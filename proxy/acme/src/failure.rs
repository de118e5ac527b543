//! Why there is no certificate, and whose fault that is.

use instant_acme::{Error, Problem};

use crate::At;

/// Why an attempt gave no certificate.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// For people.
    pub(crate) text: String,
    /// Before which the authority does not want to be asked again.
    pub(crate) not_before: Option<At>,
}

/// What a failure says about the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The name cannot be validated, or is refused: it alone waits.
    Name,
    /// The authority does not answer as it should: all names wait for it.
    Authority,
    /// The authority has enough of us for now.
    RateLimit,
    /// The authority does not know the account any more.
    Account,
    /// The storage, or something else of the proxy's own.
    Own,
}

impl Failure {
    pub(crate) fn new(fault: Fault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into(), not_before: None }
    }

    pub(crate) fn own(text: impl Into<String>) -> Self {
        Self::new(Fault::Own, text)
    }

    /// What `error` says; `not_before` is what the authority said with it.
    pub(crate) fn of(error: Error, not_before: Option<At>) -> Self {
        let (fault, text) = match error {
            Error::Api(problem) => (fault(&problem), text(&problem)),
            // The transport's words.
            Error::Other(error) => (Fault::Authority, error.to_string()),
            error => (Fault::Authority, format!("the answer of the authority cannot be used: {error}")),
        };
        Self { fault, text, not_before }
    }
}

/// By its type (RFC 8555 §6.7).
fn fault(problem: &Problem) -> Fault {
    match short_type(problem) {
        Some("rateLimited") => Fault::RateLimit,
        Some("accountDoesNotExist") => Fault::Account,
        Some(
            "serverInternal"
            | "badNonce"
            | "externalAccountRequired"
            | "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "invalidProfile",
        ) => Fault::Authority,
        _ if problem.status == Some(429) => Fault::RateLimit,
        _ if problem.status.is_some_and(|status| status >= 500) => Fault::Authority,
        Some(_) => Fault::Name,
        // Not ACME that speaks.
        None => Fault::Authority,
    }
}

/// Without what all have.
fn short_type(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.strip_prefix("urn:ietf:params:acme:error:")
}

/// A problem on one line: its type, what it says, and what it says of each name.
pub(crate) fn text(problem: &Problem) -> String {
    let one = |kind: Option<&str>, detail: Option<&str>| match (kind, detail) {
        (Some(kind), Some(detail)) => format!("{kind}: {detail}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "an error that says nothing".to_owned(),
    };
    let short = |kind: &Option<String>| {
        kind.as_deref().map(|kind| kind.rsplit(':').next().unwrap_or(kind).to_owned())
    };
    let mut text = one(short(&problem.r#type).as_deref(), problem.detail.as_deref());
    for inner in &problem.subproblems {
        text = format!("{text}; {}", one(short(&inner.r#type).as_deref(), inner.detail.as_deref()));
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_tells_who_has_to_wait() {
        let problem = |text: &str| serde_json::from_str::<Problem>(text).expect("a problem");
        for (written, expected) in [
            (r#"{"type":"urn:ietf:params:acme:error:dns","status":400}"#, Fault::Name),
            (r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","status":403}"#, Fault::Name),
            (r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429}"#, Fault::RateLimit),
            (r#"{"detail":"too many","status":429}"#, Fault::RateLimit),
            (r#"{"detail":"503 Service Unavailable","status":503}"#, Fault::Authority),
            (r#"{"type":"urn:ietf:params:acme:error:serverInternal","status":500}"#, Fault::Authority),
            (r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist","status":400}"#, Fault::Account),
            (r#"{"detail":"go away","status":403}"#, Fault::Authority),
        ] {
            assert_eq!(fault(&problem(written)), expected, "{written}");
        }
    }

    #[test]
    fn the_text_is_one_line() {
        let written = r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"two\nlines","subproblems":[
            {"type":"urn:ietf:params:acme:error:dns","detail":"no such name"}]}"#;
        let problem: Problem = serde_json::from_str(written).expect("a problem");
        assert_eq!(text(&problem), "malformed: two lines; dns: no such name");
    }
}
