//! The response as a policy sees it.

use std::time::Duration;

use crate::host;
use crate::http::{EditError, Reply, RetryError, Verdict};
use crate::request::refused_reply;

/// The response on its way back to the client.
///
/// Its header fields, and whether its body is seen, are methods of [`Message`](crate::Message), since a request has them
/// too. Edits count in `on_response` and `on_response_body`. Tests make one with [`testing::Response`](crate::testing::Response).
pub struct Response(pub(crate) host::http::Response);

impl Response {
    /// 200 to 599.
    pub fn status(&self) -> u16 {
        self.0.status()
    }

    /// The status the client gets.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] unless 200 to 599.
    pub fn set_status(&self, status: u16) -> Result<(), EditError> {
        Ok(self.0.set_status(status)?)
    }

    /// Sends this instead: return the verdict. A reply that is not valid HTTP is logged and becomes
    /// [`Verdict::Fail`].
    #[must_use = "the reply is sent when the phase returns this verdict"]
    pub fn respond(&self, reply: Reply) -> Verdict {
        match self.0.respond_bytes(reply.status, &reply.headers, &reply.body) {
            Ok(()) => Verdict::Respond,
            Err(error) => refused_reply(error.into()),
        }
    }

    /// Drops this response and sends the request once more, to this upstream or file root, when the phase returns
    /// [`Verdict::Next`] or [`Verdict::Finish`]; the response to that goes through `on_response` from the beginning.
    ///
    /// # Errors
    ///
    /// The name is unknown or not granted; or it is not possible: it was done before in this exchange, the request's
    /// body is gone, or this is not `on_response`.
    pub fn retry_at(&self, destination: &str) -> Result<(), RetryError> {
        Ok(self.0.retry_at(destination)?)
    }

    /// Where it came from: an upstream, a file root, the cache; `None` when a policy or the proxy
    /// made it.
    pub fn origin(&self) -> Option<String> {
        self.0.origin()
    }

    /// The server that answered, `ip:port`.
    pub fn server(&self) -> Option<String> {
        self.0.server()
    }

    /// How often servers were tried for it.
    pub fn attempts(&self) -> u32 {
        self.0.attempts()
    }

    /// Bytes of the body that were sent to the client; 0 before `on_log`.
    pub fn bytes_sent(&self) -> u64 {
        self.0.bytes_sent()
    }

    /// Why the proxy made it, for example `connect-timeout`; in `on_log` also why the exchange was broken off.
    pub fn failure(&self) -> Option<String> {
        self.0.failure()
    }

    /// Since the request head was complete.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.elapsed())
    }
}
