//! What requests and responses have in common: header fields, and a body that a policy may want to see.

use crate::http::{BodyMode, EditError};
use crate::{Request, Response};

/// A [`Request`] or a [`Response`], and nothing else. The methods are at hand with the [`prelude`](crate::prelude).
///
/// Names of header fields are compared without regard to case. Edits are refused with [`EditError::Forbidden`] once
/// the message may be on its way.
pub trait Message: sealed::Sealed {
    /// The first value; `None` if absent or not UTF-8. Whoever sends a field may send it twice: for decisions that
    /// depend on all values use [`Message::header_values`] or, for requests,
    /// [`Patterns::matches_header`](crate::matching::Patterns::matches_header).
    fn header(&self, name: &str) -> Option<String>;

    /// All values in order, exact bytes.
    fn header_values(&self, name: &str) -> Vec<Vec<u8>>;

    /// How many values there are.
    fn header_count(&self, name: &str) -> u32;

    /// Everything, copied: ask only when everything is needed.
    fn headers(&self) -> Vec<(String, Vec<u8>)>;

    /// Replaces all values of the field with this one.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] if name or value is not HTTP; [`EditError::Forbidden`] for framing and hop-by-hop
    /// fields and for `host` ([`is_owned_by_proxy`](crate::http::is_owned_by_proxy)); [`EditError::TooLarge`] over
    /// the operator's limits for all fields.
    fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError>;

    /// Adds a value after those the field has.
    ///
    /// # Errors
    ///
    /// As [`Message::set_header`].
    fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError>;

    /// Returns how many values were removed.
    ///
    /// # Errors
    ///
    /// As [`Message::set_header`].
    fn remove_header(&self, name: &str) -> Result<u32, EditError>;

    /// `content-length`, when the sender gave one.
    fn content_length(&self) -> Option<u64>;

    /// Whether this policy sees the body: whole
    /// ([`Policy::on_request_body`](crate::Policy::on_request_body),
    /// [`on_response_body`](crate::Policy::on_response_body)) or piece by piece
    /// ([`on_request_chunk`](crate::Policy::on_request_chunk),
    /// [`on_response_chunk`](crate::Policy::on_response_chunk)). Without this it does not, nor without the phase for
    /// the mode. Only in the phase for the head of the message; without effect elsewhere.
    fn set_body_mode(&self, mode: BodyMode);

    /// Has the proxy undo the content codings (gzip, deflate, br, zstd) before any policy sees the body; it then
    /// goes on decoded, without `content-encoding`. True if that is so or there is nothing to undo; false if a
    /// coding is unknown, if there are more than two, or for a part of a coded body (`content-range`, RFC 9110
    /// §14.4): the bytes are then seen as they are. Only in the phase for the head of the message; false elsewhere.
    fn decode_body(&self) -> bool;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for crate::Request {}
    impl Sealed for crate::Response {}
}

/// The bindings give both the same methods, but no trait for them.
macro_rules! messages {
    ($($message:ident)*) => {$(
        impl Message for $message {
            fn header(&self, name: &str) -> Option<String> {
                self.0.header(name)
            }

            fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
                self.0.header_values(name)
            }

            fn header_count(&self, name: &str) -> u32 {
                self.0.header_count(name)
            }

            fn headers(&self) -> Vec<(String, Vec<u8>)> {
                self.0.headers()
            }

            fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
                Ok(self.0.set_header_bytes(name, value.as_ref())?)
            }

            fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
                Ok(self.0.append_header_bytes(name, value.as_ref())?)
            }

            fn remove_header(&self, name: &str) -> Result<u32, EditError> {
                Ok(self.0.remove_header(name)?)
            }

            fn content_length(&self) -> Option<u64> {
                self.0.content_length()
            }

            fn set_body_mode(&self, mode: BodyMode) {
                self.0.set_body_mode(mode);
            }

            fn decode_body(&self) -> bool {
                self.0.decode_body()
            }
        }
    )*};
}

messages! { Request Response }
