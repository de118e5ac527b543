//! The response as a policy sees it.

use std::time::Duration;

use crate::host;
use crate::http::{BodyMode, EditError, Reply, Verdict};
use crate::request::refused_reply;

/// The response on its way back to the client.
///
/// Edits count in `on_response` and `on_response_body`. Tests make one with [`testing::Response`](crate::testing::Response).
#[cfg_attr(target_family = "wasm", derive(ref_cast::RefCast))]
#[repr(transparent)]
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

    /// The first value; `None` if absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<String> {
        self.0.header(name)
    }

    /// All values in order, exact bytes.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0.header_values(name)
    }

    /// How many values there are.
    pub fn header_count(&self, name: &str) -> u32 {
        self.0.header_count(name)
    }

    /// Everything, copied: ask only when everything is needed.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0.headers()
    }

    /// Replaces all values of the field with this one.
    ///
    /// # Errors
    ///
    /// [`EditError::Forbidden`] for framing and hop-by-hop fields.
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.set_header(name, value.as_ref())?)
    }

    /// Adds a value after those the field has.
    ///
    /// # Errors
    ///
    /// As [`Response::set_header`].
    pub fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.append_header(name, value.as_ref())?)
    }

    /// Returns how many values were removed.
    ///
    /// # Errors
    ///
    /// As [`Response::set_header`].
    pub fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        Ok(self.0.remove_header(name)?)
    }

    /// `content-length`, when the origin gave one.
    pub fn content_length(&self) -> Option<u64> {
        self.0.content_length()
    }

    /// As [`Request::set_body_mode`](crate::Request::set_body_mode), in `on_response`.
    pub fn set_body_mode(&self, mode: BodyMode) {
        self.0.set_body_mode(mode);
    }

    /// As [`Request::decode_body`](crate::Request::decode_body), in `on_response`. Also false for a part of a
    /// coded body (`content-range`, RFC 9110 §14.4).
    pub fn decode_body(&self) -> bool {
        self.0.decode_body()
    }

    /// Sends this instead: return the verdict. A reply that is not valid HTTP is logged and becomes
    /// [`Verdict::Fail`].
    #[must_use = "the reply is sent when the phase returns this verdict"]
    pub fn respond(&self, reply: Reply) -> Verdict {
        match self.0.respond(reply.status, &reply.headers, &reply.body) {
            Ok(()) => Verdict::Respond,
            Err(error) => refused_reply(error.into()),
        }
    }

    /// Where it came from: an upstream, a file root, the cache; `None` when a policy or the proxy
    /// made it.
    pub fn origin(&self) -> Option<String> {
        self.0.origin()
    }

    /// Why the proxy made it, for example `connect-timeout`.
    pub fn failure(&self) -> Option<String> {
        self.0.failure()
    }

    /// Since the request head was complete.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.elapsed())
    }
}
