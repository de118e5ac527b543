//! Requests of the policy's own, to upstreams and file roots granted with `grants.callout`, with their balancing, health checks and
//! connections. A call looks blocking; the proxy serves others meanwhile.
//!
//! ```ignore
//! let response = callout::Outgoing::new("auth", "GET", "/check")
//!     .copy_headers_from(request, &["authorization", "cookie"])
//!     .send()?;
//! if response.status() != 200 { … }
//! ```

use std::time::Duration;

use thiserror::Error;

use crate::{Request, host};

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CalloutError {
    /// Not in `grants.callout`.
    #[error("the operator did not grant this upstream")]
    NotGranted,
    /// Not valid HTTP, or a field the proxy owns.
    #[error("the request is not valid HTTP")]
    InvalidRequest,
    /// No server took the connection, or what came is not HTTP.
    #[error("no server answered")]
    Failed,
    /// Over [`Outgoing::timeout`] or `limits.callout-timeout`.
    #[error("no answer in time")]
    Timeout,
    /// Over `limits.callout-response`.
    #[error("the response is too large")]
    TooLarge,
    /// Over `limits.callouts` of one exchange, or `limits.waiting` calls of this plugin wait already.
    #[error("too many callouts")]
    TooMany,
}

impl From<host::callout::CalloutError> for CalloutError {
    fn from(error: host::callout::CalloutError) -> Self {
        match error {
            host::callout::CalloutError::NotGranted => Self::NotGranted,
            host::callout::CalloutError::InvalidRequest => Self::InvalidRequest,
            host::callout::CalloutError::Failed => Self::Failed,
            host::callout::CalloutError::Timeout => Self::Timeout,
            host::callout::CalloutError::TooLarge => Self::TooLarge,
            host::callout::CalloutError::TooMany => Self::TooMany,
        }
    }
}

/// A request that is being prepared. What is wrong with it, [`Outgoing::send`] says.
#[derive(Debug)]
#[must_use = "it is sent with `send`"]
pub struct Outgoing(host::callout::Outgoing);

impl Outgoing {
    /// To an upstream or file root of the configuration. The target begins with `/`.
    pub fn new(destination: &str, method: &str, path_and_query: &str) -> Self {
        Self(host::callout::begin(destination, method, path_and_query))
    }

    /// Instead of the server's own name.
    pub fn host(self, host: &str) -> Self {
        host::callout::set_host(self.0, host);
        self
    }

    /// Replaces all values of a field. Framing and hop-by-hop fields are the proxy's.
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        host::callout::set_header_bytes(self.0, name, value.as_ref());
        self
    }

    /// Adds a value to a field.
    pub fn append_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        host::callout::append_header_bytes(self.0, name, value.as_ref());
        self
    }

    /// Copies these fields from the request of the exchange, those it has.
    pub fn copy_headers_from(self, request: &Request, names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        host::callout::copy_headers(self.0, &request.0, &names);
        self
    }

    /// Sent whole, with its length.
    pub fn body(self, body: impl AsRef<[u8]>) -> Self {
        host::callout::set_body(self.0, body.as_ref());
        self
    }

    /// For the whole of it; `limits.callout-timeout` caps it.
    pub fn timeout(self, timeout: Duration) -> Self {
        host::callout::set_timeout(self.0, u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Sends it and waits for the whole response. Any status is a response.
    ///
    /// # Errors
    ///
    /// See [`CalloutError`].
    pub fn send(self) -> Result<Incoming, CalloutError> {
        Ok(Incoming(host::callout::send(self.0)?))
    }
}

/// Sends all at once; the results keep the order.
pub fn send_all(requests: impl IntoIterator<Item = Outgoing>) -> Vec<Result<Incoming, CalloutError>> {
    let numbers: Vec<_> = requests.into_iter().map(|request| request.0).collect();
    let answers = host::callout::send_all(&numbers);
    answers.into_iter().map(|answer| Ok(Incoming(answer?))).collect()
}

/// The response to a callout, as long as the call lasts.
#[derive(Debug)]
pub struct Incoming(host::callout::Incoming);

impl Incoming {
    /// 200 to 599.
    pub fn status(&self) -> u16 {
        host::callout::status(self.0)
    }

    /// First value as text; `None` if absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<String> {
        host::callout::header(self.0, name)
    }

    /// All values in order, exact bytes.
    pub fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        host::callout::header_values(self.0, name)
    }

    /// Everything, copied.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        host::callout::headers(self.0)
    }

    /// All of the body, copied.
    pub fn body(&self) -> Vec<u8> {
        host::callout::read_body(self.0, 0, u32::MAX)
    }
}
