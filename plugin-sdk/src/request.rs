//! The request as a policy sees it.

use std::net::IpAddr;
use std::time::Duration;

use crate::http::{EditError, Reply, RouteError, Verdict, Version};
use crate::{host, log};

/// One request, and the facts of the connection it came on.
///
/// Nothing of it lies in the plugin: every method asks the proxy. A method that returns a number or
/// a `bool` costs about 50 ns, one that returns text about 120 ns, so ask for what the decision
/// needs and keep what is needed twice.
///
/// Its header fields, and whether its body is seen, are methods of [`Message`](crate::Message), since a response has them
/// too. Edits count in `on_request` and `on_request_body`; elsewhere they are refused with [`EditError::Forbidden`].
/// Tests make one with [`testing::Request`](crate::testing::Request).
pub struct Request(pub(crate) host::http::Request);

/// The connection.
impl Request {
    /// Unique in this process: 16 hexadecimal digits, also in the access log and within `x-request-id`.
    pub fn id(&self) -> String {
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

    /// The proxy's own end of the connection, `ip:port`; what the client connected to where a trusted proxy says so with
    /// the PROXY protocol.
    pub fn local_address(&self) -> String {
        self.0.local_address()
    }

    /// The client came over TLS.
    pub fn is_tls(&self) -> bool {
        self.0.is_tls()
    }

    /// As on the wire: 0x0303 is TLS 1.2, 0x0304 is TLS 1.3; `None` on clear text.
    pub fn tls_version(&self) -> Option<u16> {
        self.0.tls_version()
    }

    /// IANA cipher suite number.
    pub fn tls_cipher_suite(&self) -> Option<u16> {
        self.0.tls_cipher_suite()
    }

    /// The name the client asked for in its TLS handshake (SNI).
    pub fn server_name(&self) -> Option<String> {
        self.0.server_name()
    }

    /// The client gave a certificate, and it was verified against the listener's client CA.
    pub fn client_verified(&self) -> bool {
        self.0.client_verified()
    }

    /// SHA-256 of the client certificate, 32 bytes; `None` if it gave none.
    pub fn client_certificate_sha256(&self) -> Option<Vec<u8>> {
        self.0.client_certificate_sha256()
    }

    /// Subject alternative names of the client certificate with their kind: `DNS:…`, `URI:…`, `IP:…`.
    pub fn client_certificate_names(&self) -> Vec<String> {
        self.0.client_certificate_names()
    }

    /// The subject of the client certificate (RFC 4514): `CN=alice,O=Example`.
    pub fn client_certificate_subject(&self) -> Option<String> {
        self.0.client_certificate_subject()
    }

    /// Its serial number, hexadecimal in lower case without leading zeros.
    pub fn client_certificate_serial(&self) -> Option<String> {
        self.0.client_certificate_serial()
    }

    /// The client certificate itself, DER.
    pub fn client_certificate(&self) -> Option<Vec<u8>> {
        self.0.client_certificate()
    }

    /// The HTTP version the client spoke.
    pub fn version(&self) -> Version {
        self.0.http_version()
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

    /// The first parameter of this name in the query, decoded as forms are: `+` is a space, and bytes that are not UTF-8
    /// become U+FFFD. `a` and `a=` are both there and empty.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.0.query_param(name)
    }

    /// All of them, in order.
    pub fn query_params(&self, name: &str) -> Vec<String> {
        self.0.query_params(name)
    }

    /// Path and query as the client sent them, whatever policies made of them since.
    pub fn original_target(&self) -> String {
        self.0.original_target()
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

/// Header fields; what they share with those of a response is in [`Message`](crate::Message).
impl Request {
    /// Whether any value contains the text, with regard to case.
    pub fn header_contains(&self, name: &str, text: &str) -> bool {
        self.0.header_contains(name, text)
    }

    /// The first cookie of this name (RFC 6265 §4.2.1), without quotation marks around it and not decoded further;
    /// `None` if absent or not UTF-8.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.0.cookie(name)
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

    /// Refuses a body of more bytes than this with 413, if that is less than the operator allows. Only in `on_request`.
    pub fn limit_body(&self, bytes: u64) {
        self.0.limit_body(bytes);
    }

    /// Has the response come from this cache of the operator's, and kept there as far as it may be, whatever the
    /// upstream's `cache` says. The last call of all policies wins, but for [`bypass_cache`](Self::bypass_cache).
    ///
    /// # Errors
    ///
    /// There is no `[cache.NAME]` of this name.
    pub fn use_cache(&self, name: &str) -> Result<(), RouteError> {
        Ok(self.0.use_cache(name)?)
    }

    /// Has the response come from the upstream itself, and not kept, whatever is said later.
    pub fn bypass_cache(&self) {
        self.0.bypass_cache();
    }

    /// Makes a text a part of the key of what is kept: a request with other parts gets another response. Say of what it is, as in
    /// `lang=de`: other policies add theirs.
    ///
    /// # Errors
    ///
    /// All parts are longer than 4 KiB together; the cache is bypassed then.
    pub fn add_cache_key(&self, part: &str) -> Result<(), EditError> {
        Ok(self.0.add_cache_key(part)?)
    }

    /// How long the response may be used before it is validated, in place of what it says itself; whole seconds. What says nothing gets
    /// it as it would a default: with a status that allows that, and to a request without a cookie. What it says of who may have it
    /// (`private`, `no-store`, `set-cookie`) counts all the same, and so does what it says to a request with `authorization`,
    /// unless that is `public`.
    pub fn set_cache_lifetime(&self, lifetime: Duration) {
        self.0.set_cache_lifetime(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX));
    }

    /// A tag by which the operator can purge what is kept, beside those in its `cache-tag`, where it stands from then on.
    ///
    /// # Errors
    ///
    /// It has a comma or what is not visible ASCII, or all tags are longer than 4 KiB together.
    pub fn add_cache_tag(&self, tag: &str) -> Result<(), EditError> {
        Ok(self.0.add_cache_tag(tag)?)
    }

    /// The request has a body, or may have one: it did not end with its head.
    pub fn has_body(&self) -> bool {
        self.0.has_body()
    }

    /// Bytes of the body that came from the client; 0 before `on_log`.
    pub fn bytes_received(&self) -> u64 {
        self.0.bytes_received()
    }

    /// Answers now: return the verdict. In `on_request_chunk` it comes too late if the response has begun: then
    /// the exchange is broken off. A reply that is not valid HTTP is logged and becomes
    /// [`Verdict::Fail`].
    #[must_use = "the reply is sent when the phase returns this verdict"]
    pub fn respond(&self, reply: Reply) -> Verdict {
        match self.0.respond_bytes(reply.status, &reply.headers, &reply.body) {
            Ok(()) => Verdict::Respond,
            Err(error) => refused_reply(error.into()),
        }
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

    /// Bytes private to this policy and this exchange, by name; never logged. `None` at first.
    pub fn note(&self, name: &str) -> Option<Vec<u8>> {
        self.0.note(name)
    }

    /// What [`Request::note`] returns from now on, in later phases too.
    ///
    /// # Errors
    ///
    /// [`EditError::TooLarge`] over 16 notes, 64 bytes of a name or 64 KiB in all.
    pub fn set_note(&self, name: &str, value: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.set_note(name, value.as_ref())?)
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
    use crate::{Message, testing};

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
    fn what_is_said_of_caches_is_checked() {
        let request = testing::Request::new("GET", "/");
        assert_eq!(request.use_cache("pages"), Ok(()));
        assert_eq!(request.add_cache_key("de"), Ok(()));
        assert_eq!(request.add_cache_tag("news"), Ok(()));
        assert_eq!(request.add_cache_tag("a,b"), Err(EditError::Invalid));
        request.set_cache_lifetime(Duration::from_secs(60));
        let said = request.caching();
        assert_eq!(
            (said.cache.as_deref(), said.key, said.tags),
            (Some("pages"), vec!["de".to_owned()], vec!["news".to_owned()])
        );
        assert_eq!(said.lifetime, Some(Duration::from_secs(60)));
        assert_eq!(request.add_cache_key(&"x".repeat(5000)), Err(EditError::TooLarge));
        assert!(request.caching().bypassed, "it might get what is another's");
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
