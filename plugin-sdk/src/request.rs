//! The request as a policy sees it.

use std::net::IpAddr;
use std::time::Duration;

use crate::http::{BodyMode, EditError, Reply, RouteError, TlsInfo, Verdict, Version};
use crate::{host, log};

/// One request, and the facts of the connection it came on.
///
/// Nothing of it lies in the plugin: every method asks the proxy. A method that returns a number or
/// a `bool` costs about 50 ns, one that returns text about 120 ns, so ask for what the decision
/// needs and keep what is needed twice.
///
/// Edits count in `on_request` and `on_request_body`; elsewhere they are refused with [`EditError::Forbidden`]. Tests make
/// one with [`testing::Request`](crate::testing::Request).
#[cfg_attr(target_family = "wasm", derive(ref_cast::RefCast))]
#[repr(transparent)]
pub struct Request(pub(crate) host::http::Request);

/// The connection.
impl Request {
    /// Unique in this process; also in the access log and in `x-request-id`.
    pub fn id(&self) -> u64 {
        self.0.id()
    }

    /// Name of the listener in the configuration.
    pub fn listener(&self) -> String {
        self.0.listener()
    }

    /// The client after trusted-proxy handling: decide on this one. To compare it with networks, use
    /// [`IpSet::has_client`](crate::matching::IpSet::has_client), which copies nothing.
    pub fn client_ip(&self) -> IpAddr {
        self.0.client_ip().into()
    }

    /// [`Request::client_ip`] as text.
    pub fn client_ip_text(&self) -> String {
        self.0.client_ip_text()
    }

    /// The peer of the connection itself, `ip:port`: a load balancer, if one stands before the proxy.
    pub fn peer_address(&self) -> String {
        self.0.peer_address()
    }

    /// `None` on clear text.
    pub fn tls(&self) -> Option<TlsInfo> {
        self.0.tls()
    }

    /// The name the client asked for in its TLS handshake (SNI).
    pub fn server_name(&self) -> Option<String> {
        self.0.server_name()
    }

    /// SHA-256 of the client certificate, 32 bytes; `None` if it gave none.
    pub fn client_certificate_sha256(&self) -> Option<Vec<u8>> {
        self.0.client_certificate_sha256()
    }

    /// Subject alternative names of the client certificate with their kind: `DNS:…`, `URI:…`, `IP:…`.
    pub fn client_certificate_names(&self) -> Vec<String> {
        self.0.client_certificate_names()
    }

    /// The HTTP version the client spoke.
    pub fn version(&self) -> Version {
        self.0.version()
    }
}

/// The request line.
impl Request {
    /// Case-sensitive (RFC 9110 §9.1).
    pub fn method(&self) -> String {
        self.0.method()
    }

    /// `method() == method`, without copying.
    pub fn method_is(&self, method: &str) -> bool {
        self.0.method_is(method)
    }

    /// The method to send upstream.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] if it is not a token.
    pub fn set_method(&self, method: &str) -> Result<(), EditError> {
        Ok(self.0.set_method(method)?)
    }

    /// `http` or `https`, as the client connected.
    pub fn scheme(&self) -> String {
        self.0.scheme()
    }

    /// Host and, if given, port: the `host` field of HTTP/1, `:authority` of HTTP/2.
    pub fn authority(&self) -> String {
        self.0.authority()
    }

    /// The host to send upstream.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] if it is not `host` or `host:port`.
    pub fn set_authority(&self, authority: &str) -> Result<(), EditError> {
        Ok(self.0.set_authority(authority)?)
    }

    /// Path of the target, not decoded and not normalised, without the query. Not for decisions: `/a`,
    /// `/b/../a` and `/%61` are the same to most servers and differ here.
    pub fn path(&self) -> String {
        self.0.path()
    }

    /// The path with unreserved octets decoded, empty segments merged and dot segments removed:
    /// decide on this one. To compare it with patterns, use
    /// [`Patterns::matches_path`](crate::matching::Patterns::matches_path), which copies nothing.
    pub fn normalized_path(&self) -> String {
        self.0.normalized_path()
    }

    /// Whether the normalised path begins with the text; `/admin` also begins `/administrator`.
    pub fn path_starts_with(&self, prefix: &str) -> bool {
        self.0.path_starts_with(prefix)
    }

    /// What follows the first `?`; `None` without `?`.
    pub fn query(&self) -> Option<String> {
        self.0.query()
    }

    /// Path and query to send upstream; later policies see them as well.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] unless it begins with `/` and holds only what a target may;
    /// [`EditError::TooLarge`] over `limits.request-target`.
    pub fn set_target(&self, path_and_query: &str) -> Result<(), EditError> {
        Ok(self.0.set_target(path_and_query)?)
    }
}

/// Header fields. Names are compared without regard to case.
impl Request {
    /// The first value; `None` if absent or not UTF-8. A client may send a field twice: for decisions
    /// that depend on all values use [`Request::header_values`] or
    /// [`Patterns::matches_header`](crate::matching::Patterns::matches_header).
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

    /// Whether any value contains the text, with regard to case.
    pub fn header_contains(&self, name: &str, text: &str) -> bool {
        self.0.header_contains(name, text)
    }

    /// Everything, copied: ask only when everything is needed.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0.headers()
    }

    /// Replaces all values of the field with this one.
    ///
    /// # Errors
    ///
    /// [`EditError::Forbidden`] for framing and hop-by-hop fields and for `host` (use
    /// [`Request::set_authority`]).
    pub fn set_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.set_header(name, value.as_ref())?)
    }

    /// Adds a value after those the field has.
    ///
    /// # Errors
    ///
    /// As [`Request::set_header`].
    pub fn append_header(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.append_header(name, value.as_ref())?)
    }

    /// Returns how many values were removed.
    ///
    /// # Errors
    ///
    /// As [`Request::set_header`].
    pub fn remove_header(&self, name: &str) -> Result<u32, EditError> {
        Ok(self.0.remove_header(name)?)
    }

    /// `content-length`, when the client gave one.
    pub fn content_length(&self) -> Option<u64> {
        self.0.content_length()
    }
}

/// What becomes of it.
impl Request {
    /// Sends the request to this upstream or file root. The last call of all policies wins.
    ///
    /// # Errors
    ///
    /// The name is unknown or not granted; the route chosen before stays.
    pub fn route_to(&self, name: &str) -> Result<(), RouteError> {
        Ok(self.0.route_to(name)?)
    }

    /// Chosen so far; `None` means the operator's `default-upstream`.
    pub fn route(&self) -> Option<String> {
        self.0.route()
    }

    /// The whole time the upstream may take; whole milliseconds, at most 49 days.
    pub fn set_timeout(&self, timeout: Duration) {
        self.0.set_timeout(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
    }

    /// Chooses the server in an upstream balanced by `hash`; others ignore it.
    pub fn set_hash_key(&self, key: &str) {
        self.0.set_hash_key(key);
    }

    /// Answers now: return the verdict. In `on_request_chunk` it comes too late if the response has begun: then
    /// the exchange is broken off. A reply that is not valid HTTP is logged and becomes
    /// [`Verdict::Fail`].
    #[must_use = "the reply is sent when the phase returns this verdict"]
    pub fn respond(&self, reply: Reply) -> Verdict {
        match self.0.respond(reply.status, &reply.headers, &reply.body) {
            Ok(()) => Verdict::Respond,
            Err(error) => refused_reply(error.into()),
        }
    }
}

/// The body.
impl Request {
    /// Whether this policy sees the body: whole ([`Policy::on_request_body`](crate::Policy::on_request_body))
    /// or piece by piece ([`on_request_chunk`](crate::Policy::on_request_chunk)). Without this it does not, nor
    /// without the phase for the mode. Only in `on_request`; without effect elsewhere.
    pub fn set_body_mode(&self, mode: BodyMode) {
        self.0.set_body_mode(mode);
    }

    /// Has the proxy undo the content codings (gzip, deflate, br, zstd) before any policy sees the body; it then
    /// goes on decoded, without `content-encoding`. True if that is so or there is nothing to undo; false if a
    /// coding is unknown or there are more than two: the bytes are then seen as they are. Only in
    /// `on_request`; false elsewhere.
    pub fn decode_body(&self) -> bool {
        self.0.decode_body()
    }
}

/// What a policy remembers about this exchange.
impl Request {
    /// 64 bits private to this policy and this exchange; 0 at first.
    pub fn token(&self) -> u64 {
        self.0.token()
    }

    /// What [`Request::token`] returns from now on, in later phases too.
    pub fn set_token(&self, value: u64) {
        self.0.set_token(value);
    }

    /// Visible to every policy of the exchange and to the access log; `None` if nobody set it.
    pub fn attribute(&self, key: &str) -> Option<String> {
        self.0.attribute(key)
    }

    /// Replaces what was there.
    ///
    /// # Errors
    ///
    /// [`EditError::TooLarge`] over the proxy's limits for attributes.
    pub fn set_attribute(&self, key: &str, value: &str) -> Result<(), EditError> {
        Ok(self.0.set_attribute(key, value)?)
    }
}

pub(crate) fn refused_reply(error: EditError) -> Verdict {
    log::error!("the reply was refused: {error}");
    Verdict::Fail
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;
    use crate::testing;

    #[test]
    fn edits_are_seen_and_checked() {
        let request =
            testing::Request::new("GET", "/a//b?x=1").with_header("x-a", "1").with_host("a.example:81");
        assert_eq!(request.set_header("X-A", "2"), Ok(()));
        assert_eq!(request.append_header("x-a", b"\xff"), Ok(()));
        assert_eq!(request.header_values("x-a"), [b"2", b"\xff"]);
        assert_eq!(request.header("host").as_deref(), Some("a.example:81"));
        assert_eq!(request.set_header("x a", "2"), Err(EditError::Invalid));
        assert_eq!(request.set_header("x-a", "2\r\nx: y"), Err(EditError::Invalid));
        assert_eq!(request.set_header("Content-Length", "2"), Err(EditError::Forbidden));
        assert_eq!(request.set_target("b"), Err(EditError::Invalid));
        assert_eq!((request.path().as_str(), request.normalized_path().as_str()), ("/a//b", "/a/b"));
        assert_eq!(request.set_target("/c?"), Ok(()));
        assert_eq!((request.path().as_str(), request.query().as_deref()), ("/c", Some("")));
    }

    #[test]
    fn a_reply_that_is_not_http_is_a_failure_with_a_reason() {
        let request = testing::Request::new("GET", "/");
        assert_eq!(request.respond(Reply::new(204)), Verdict::Respond);
        assert_eq!(request.respond(Reply::redirect(302, "/a\r\nset-cookie: b")), Verdict::Fail);
        assert_eq!(request.reply(), Some(Reply::new(204)), "a refused reply changes nothing");
        assert_eq!(testing::take_log(), [(Level::Error, "the reply was refused: not valid HTTP".to_owned())]);
    }

    #[test]
    fn a_timeout_is_in_milliseconds() {
        let request = testing::Request::new("GET", "/");
        request.set_timeout(Duration::from_secs(2));
        assert_eq!(request.timeout(), Some(Duration::from_secs(2)));
        request.set_timeout(Duration::MAX);
        assert_eq!(request.timeout(), Some(Duration::from_millis(u32::MAX.into())));
    }
}
