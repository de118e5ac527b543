//! Why a request could not be sent, or had no answer.

use std::sync::Arc;

use tidegate_body::RequestBodyError;

/// The failure of one request to an upstream, after all attempts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
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
    /// There are `max-tunnels` upgraded connections to the upstream.
    #[error("upstream {upstream} is at max-tunnels")]
    TunnelsFull {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// The last server tried did not accept a connection.
    #[error("cannot connect to {server}: {cause}")]
    Connect {
        /// The last server tried.
        server: Arc<str>,
        /// The system's message.
        cause: String,
    },
    /// The last server tried did not accept a connection within `timeouts.connect`.
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
    /// The server closed the connection or sent something that is not an HTTP response.
    #[error("bad response from {server}: {cause}")]
    BadResponse {
        /// The server asked.
        server: Arc<str>,
        /// What was wrong.
        cause: String,
    },
    /// The body of the request could not be passed on, which tells nothing of the server.
    #[error(transparent)]
    RequestBody(#[from] RequestBodyError),
}

impl Error {
    /// A short name for logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoServer { .. } => "no-server",
            Self::QueueFull { .. } => "queue-full",
            Self::QueueTimeout { .. } => "queue-timeout",
            Self::TunnelsFull { .. } => "tunnels-full",
            Self::Connect { .. } => "connect",
            Self::ConnectTimeout { .. } => "connect-timeout",
            Self::ResponseTimeout { .. } => "response-timeout",
            Self::BadResponse { .. } => "bad-response",
            Self::RequestBody(_) => "request-body",
        }
    }

    /// The server at fault, where it is known.
    pub fn server(&self) -> Option<&Arc<str>> {
        match self {
            Self::Connect { server, .. }
            | Self::ConnectTimeout { server }
            | Self::ResponseTimeout { server }
            | Self::BadResponse { server, .. } => Some(server),
            Self::NoServer { .. }
            | Self::QueueFull { .. }
            | Self::QueueTimeout { .. }
            | Self::TunnelsFull { .. }
            | Self::RequestBody(_) => None,
        }
    }
}
