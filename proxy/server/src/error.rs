//! Why an exchange could not be completed as asked, and whose fault it was.

use std::sync::Arc;

use http::StatusCode;

use crate::body::BoxError;

/// The failure of one exchange. [`crate::response`] turns it into a response; nothing else does.
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
    /// The body is over `limits.request-body`.
    #[error("the request body is over limits.request-body")]
    BodyTooLarge,
    /// The body is over what the upstream's `buffer-requests` keeps.
    #[error("the request body is over buffer-requests of upstream {upstream}")]
    BodyOverBuffer {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// The request's body would have to be kept, and all temporary files together are at
    /// `limits.temporary-space`.
    #[error("limits.temporary-space is used up, and the request body has to be kept")]
    TemporarySpace,
    /// The request's body could not be kept on the disk, or not be read again.
    #[error("cannot keep the request body in a temporary file: {cause}")]
    TemporaryFile {
        /// The system's message.
        cause: String,
    },
    /// The client sent nothing of its body for `timeouts.body-idle`.
    #[error("the client sent nothing of its body for timeouts.body-idle")]
    BodyTimeout,
    /// The client's body broke off or its framing is wrong.
    #[error("the request body broke off or is badly framed")]
    BodyBroken,
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
    /// A policy that saw a piece of the request body answered the client itself. Not a failure: what was
    /// sent upstream is given up.
    #[error("a policy answered")]
    Replied,
    /// The upstream has no server: its host names stand for no address.
    #[error("upstream {upstream} has no server: its names have no address")]
    NoServer {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// `max-in-flight` requests are in flight to the upstream, and `max-queued` wait.
    #[error("upstream {upstream} is at max-in-flight and max-queued")]
    QueueFull {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// `max-in-flight` was reached for `timeouts.queue`.
    #[error("upstream {upstream} is at max-in-flight, and no place came free within timeouts.queue")]
    QueueTimeout {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// No server of the upstream accepted a connection.
    #[error("cannot connect to {server}: {cause}")]
    Connect {
        /// The last server tried.
        server: Arc<str>,
        /// The system's message.
        cause: String,
    },
    /// No server of the upstream accepted a connection within `timeouts.connect`.
    #[error("no connection to {server} within timeouts.connect")]
    ConnectTimeout {
        /// The last server tried.
        server: Arc<str>,
    },
    /// The server did not begin its response within `timeouts.response`.
    #[error("{server} did not answer in time")]
    ResponseTimeout {
        /// The server asked.
        server: Arc<str>,
    },
    /// A success without a switch of protocols, which over HTTP/2 would open a WebSocket that is not there
    /// (RFC 8441 §5): from a server that does not speak it, or from a policy.
    #[error("{0} instead of 101 to a WebSocket handshake over HTTP/2")]
    NoSwitch(StatusCode),
    /// The server closed the connection or sent something that is not an HTTP response.
    #[error("bad response from {server}: {cause}")]
    BadResponse {
        /// The server asked.
        server: Arc<str>,
        /// What was wrong.
        cause: String,
    },
}

impl Error {
    /// The status the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge | Self::BodyOverBuffer { .. } | Self::RequestOverflow { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TemporarySpace
            | Self::TemporaryFile { .. }
            | Self::Policy { .. }
            | Self::Replied
            | Self::NoServer { .. }
            | Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::Connect { .. }
            | Self::ConnectTimeout { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::ResponseTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::BadResponse { .. } | Self::NoSwitch(_) | Self::ResponseOverflow { .. } => {
                StatusCode::BAD_GATEWAY
            }
        }
    }

    /// The name in the access log and in `response.failure` of the plugin contract.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad-request",
            Self::TargetTooLong => "target-too-long",
            Self::HeadersTooLarge(_) => "headers-too-large",
            Self::BodyTooLarge | Self::BodyOverBuffer { .. } => "body-too-large",
            Self::TemporarySpace => "temporary-space",
            Self::TemporaryFile { .. } => "temporary-file",
            Self::BodyTimeout => "body-timeout",
            Self::BodyBroken => "body-broken",
            Self::MethodRefused => "method-refused",
            Self::ExpectationFailed => "expectation-failed",
            Self::File { .. } => "file",
            Self::NoRoute => "no-route",
            Self::Policy { .. } | Self::Replied => "policy",
            Self::RequestOverflow { .. } | Self::ResponseOverflow { .. } => "body-overflow",
            Self::NoServer { .. } => "no-server",
            Self::QueueFull { .. } => "queue-full",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::ResponseTimeout { .. } => "response-timeout",
            Self::BadResponse { .. } | Self::NoSwitch(_) => "bad-response",
        }
    }

    /// Why a request body could not be read to its end: what [`crate::body::RequestBody`] says, or that what
    /// came cannot be decoded.
    pub(crate) fn of_request_body(error: BoxError) -> Self {
        error.downcast::<Self>().map_or(Self::BodyBroken, |error| *error)
    }

    /// The server at fault, where it is known.
    pub(crate) fn server(&self) -> Option<&Arc<str>> {
        match self {
            Self::Connect { server, .. }
            | Self::ConnectTimeout { server }
            | Self::ResponseTimeout { server }
            | Self::BadResponse { server, .. } => Some(server),
            _ => None,
        }
    }

    /// Whether what the client sends next on this connection can no longer be trusted to be a
    /// request: the connection is closed after the response.
    pub(crate) fn poisons_connection(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::TargetTooLong
                | Self::HeadersTooLarge(_)
                | Self::BodyTooLarge
                | Self::RequestOverflow { .. }
                | Self::BodyOverBuffer { .. }
                | Self::BodyTimeout
                | Self::BodyBroken
        )
    }

    /// Whether the client alone caused it: such failures are for the access log, not for the log an
    /// operator is woken by.
    pub(crate) fn is_clients(&self) -> bool {
        self.status().is_client_error()
    }
}
