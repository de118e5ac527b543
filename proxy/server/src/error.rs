//! Why an exchange could not be completed as asked, and whose fault it was.

use std::sync::Arc;

use http::{StatusCode, Version};
use tidegate_body::{MemoryUsedUp, RequestBodyError};
use tidegate_upstream as upstream;

/// What did not become a request: the parser, or a bound of the connection, refused it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unparsed {
    pub(crate) version: Version,
    /// What was answered. On an error of a connection or a stream of HTTP/2, what HTTP/1 would have.
    pub(crate) status: StatusCode,
    /// As the access log has it; one of a closed list.
    pub(crate) failure: &'static str,
}

/// The failure of one exchange. [`crate::response`] words it for the client.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// The client's request is malformed or ambiguous (RFC 9112 §3, §6, §11; RFC 9113 §8).
    #[error("bad request: {0}")]
    BadRequest(&'static str),
    /// The target is over `limits.request-target`.
    #[error("the request target is over limits.request-target")]
    TargetTooLong,
    /// The head is over `limits.request-headers` or `limits.request-header-count`.
    #[error("the request head is over {0}")]
    HeadersTooLarge(&'static str),
    /// The declared length of the body is over `limits.request-body`.
    #[error("the request body is over limits.request-body")]
    BodyTooLarge,
    /// The body could not be passed on.
    #[error(transparent)]
    RequestBody(RequestBodyError),
    /// A method this proxy does not forward: CONNECT, TRACE.
    #[error("this method is not forwarded")]
    MethodRefused,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    #[error("only the expectation 100-continue can be met")]
    ExpectationFailed,
    /// A file root's file system failed or did not answer.
    #[error("the file root {root} cannot be read: {cause}")]
    File {
        /// The file root's name.
        root: Arc<str>,
        /// The system's message.
        cause: String,
    },
    /// No policy chose a destination and there is no `default-upstream`.
    #[error("no policy chose a destination and there is no default-upstream")]
    NoRoute,
    /// The head of the request, or a body, has to be held in memory, and there is none left for it.
    #[error("{0}, and a head or a body has to be held")]
    Memory(MemoryUsedUp),
    /// A policy could not decide and its `on-error` is `deny`.
    #[error("policy {policy} made no decision: {cause}")]
    Policy {
        /// The policy's name.
        policy: Arc<str>,
        /// What kept it from deciding.
        cause: String,
    },
    /// The request body is over `limits.policy-body`, and the policy's `body-overflow` is `deny`.
    #[error("the request body is over limits.policy-body, and policy {policy} has to see all of it")]
    RequestOverflow {
        /// The policy's name.
        policy: Arc<str>,
    },
    /// The same of a response body.
    #[error("the response body is over limits.policy-body, and policy {policy} has to see all of it")]
    ResponseOverflow {
        /// The policy's name.
        policy: Arc<str>,
    },
    /// No server answered.
    #[error(transparent)]
    Upstream(upstream::Error),
    /// A success without a switch of protocols, which over HTTP/2 would open a WebSocket that is not there
    /// (RFC 8441 §5): from a server that does not speak it, or from a policy.
    #[error("{0} instead of 101 to a WebSocket handshake over HTTP/2")]
    NoSwitch(StatusCode),
    /// What a server sent cannot be passed on: its body broke off while a policy had to see all of it, or its 101
    /// is none to the handshake.
    #[error("bad response from {server}: {cause}")]
    BadResponse {
        /// The server asked.
        server: Arc<str>,
        /// What was wrong.
        cause: String,
    },
}

/// Who has to mend what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client's: for the access log alone, as no operator is woken by what clients do.
    Client,
    /// The operator's: configuration, policies, disks, servers.
    Ours,
}

/// What a failure means to the client, the log and the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consequences {
    /// What the client gets.
    pub(crate) status: StatusCode,
    /// In the access log, and in `response.failure` of the plugin contract.
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    /// It passes by itself, so the client is told to come again: a server comes back, a policy leaves
    /// quarantine, other requests are answered.
    pub(crate) passes: bool,
    /// What the client sends next on this connection can no longer be trusted to be a request: the connection
    /// is closed after the response.
    pub(crate) closes: bool,
}

impl Error {
    /// The one table of what follows from a failure.
    pub(crate) fn consequences(&self) -> Consequences {
        use RequestBodyError as Body;
        use upstream::Error as Upstream;

        // `client` and `ours` say whose fault it is; the rest is what is special.
        let client =
            |status, name| Consequences { status, name, fault: Fault::Client, passes: false, closes: false };
        let closing = |status, name| Consequences { closes: true, ..client(status, name) };
        let ours = |status, name| Consequences { fault: Fault::Ours, ..client(status, name) };
        let passing = |name| Consequences { passes: true, ..ours(StatusCode::SERVICE_UNAVAILABLE, name) };
        match self {
            Self::BadRequest(_) => closing(StatusCode::BAD_REQUEST, "bad-request"),
            Self::TargetTooLong => closing(StatusCode::URI_TOO_LONG, "target-too-long"),
            Self::HeadersTooLarge(_) => {
                closing(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large")
            }
            Self::MethodRefused => client(StatusCode::METHOD_NOT_ALLOWED, "method-refused"),
            Self::ExpectationFailed => client(StatusCode::EXPECTATION_FAILED, "expectation-failed"),
            Self::NoRoute => client(StatusCode::NOT_FOUND, "no-route"),

            Self::BodyTooLarge => closing(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
            Self::RequestOverflow { .. } => closing(StatusCode::PAYLOAD_TOO_LARGE, "body-overflow"),
            Self::RequestBody(error) | Self::Upstream(Upstream::RequestBody(error)) => match error {
                Body::TooLarge | Body::OverBuffer { .. } => {
                    closing(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
                }
                Body::Idle | Body::Slow => closing(StatusCode::REQUEST_TIMEOUT, "body-timeout"),
                // What a policy or a codec makes of a body is broken where its own error is not known.
                Body::Broken | Body::Stage(_) => closing(StatusCode::BAD_REQUEST, "body-broken"),
                Body::Decoded(_) => closing(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
                Body::NoSpace => passing("temporary-space"),
                Body::NoMemory => passing("memory"),
                Body::TemporaryFile { .. } => ours(StatusCode::SERVICE_UNAVAILABLE, "temporary-file"),
            },

            Self::Memory(_) => passing("memory"),
            Self::Policy { .. } => passing("policy"),
            Self::ResponseOverflow { .. } => ours(StatusCode::BAD_GATEWAY, "body-overflow"),
            Self::File { .. } => ours(StatusCode::INTERNAL_SERVER_ERROR, "file"),

            Self::Upstream(error) => match error {
                Upstream::NoServer { .. }
                | Upstream::QueueFull { .. }
                | Upstream::QueueTimeout { .. }
                | Upstream::TunnelsFull { .. }
                | Upstream::Connect { .. }
                | Upstream::ConnectTimeout { .. } => passing(error.as_str()),
                Upstream::ResponseTimeout { .. } => ours(StatusCode::GATEWAY_TIMEOUT, error.as_str()),
                Upstream::BadResponse { .. } | Upstream::RequestBody(_) => {
                    ours(StatusCode::BAD_GATEWAY, error.as_str())
                }
            },
            Self::BadResponse { .. } | Self::NoSwitch(_) => ours(StatusCode::BAD_GATEWAY, "bad-response"),
        }
    }

    /// The name in the access log and in `response.failure` of the plugin contract.
    pub(crate) fn as_str(&self) -> &'static str {
        self.consequences().name
    }

    /// The server at fault, where it is known.
    pub(crate) fn server(&self) -> Option<&Arc<str>> {
        match self {
            Self::Upstream(error) => error.server(),
            Self::BadResponse { server, .. } => Some(server),
            _ => None,
        }
    }
}

impl From<RequestBodyError> for Error {
    /// A stage of the body that is the proxy's own fails with an error of this type.
    fn from(error: RequestBodyError) -> Self {
        match &error {
            RequestBodyError::Stage(stage) => match stage.downcast_ref::<Self>() {
                Some(known) => known.clone(),
                None => Self::RequestBody(RequestBodyError::Broken),
            },
            _ => Self::RequestBody(error),
        }
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        match error {
            upstream::Error::RequestBody(error) => error.into(),
            error => Self::Upstream(error),
        }
    }
}
