//! One request and its response, as the policies of a chain see and change them.
//!
//! The server owns the exchange and moves it (one pointer) into an instance for the length of a
//! call. Nothing of it lives in a guest's memory, so any instance can serve any call.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode, Version};

use crate::bodies::{Bodies, BodyMode, Side};
use crate::code::Phase;
use crate::instance::Instance;
use crate::path;
use crate::plugin::Plugin;

/// One request from its head to the end of its response.
///
/// Dropping it releases the instances that plugins with `isolation = "request"` hold for it.
#[derive(Debug)]
pub struct Exchange {
    /// Unique in this process; also in the access log and in `x-request-id`.
    pub id: u64,
    /// The client connection the request came on.
    pub connection: Arc<Connection>,
    /// The client after trusted-proxy handling; the connection's source without it.
    pub client: IpAddr,
    /// The request as the next policy sees it and as it is sent on.
    pub request: RequestHead,
    /// `None` until there is one. The response and log phases are skipped without it.
    pub response: Option<ResponseHead>,
    /// Where policies sent the request; `None` = the configured default. Always one of
    /// [`Exchange::destinations`].
    pub route: Option<Arc<str>>,
    /// Whole time allowed for the upstream, as policies set it; `None` = as configured.
    pub timeout: Option<Duration>,
    /// Key for an upstream balanced by `hash`, as policies set it.
    pub hash_key: Option<String>,
    /// The response a policy made. Set exactly when the last call returned
    /// [`Verdict::Respond`](crate::Verdict::Respond); the server takes it out.
    pub reply: Option<Reply>,
    /// What policies noted, in order of first mention; also for the access log.
    pub attributes: Vec<(String, String)>,
    /// When the request head was complete.
    pub started: Instant,
    /// The names `route-to` accepts, apart from what the operator granted to each plugin.
    pub destinations: Arc<Destinations>,
    /// How far policies may grow the messages.
    pub limits: EditLimits,
    /// What policies want of the bodies.
    pub(crate) bodies: Bodies,
    /// 64 bits per plugin that used them. A handful at most, so a scan beats a map.
    tokens: Vec<(u64, u64)>,
    /// Instances that belong to this exchange alone (`isolation = "request"`), by plugin.
    kept: Vec<(u64, Box<Instance>)>,
}

impl Exchange {
    /// A new exchange with no response, no route and nothing noted.
    pub fn new(
        id: u64,
        started: Instant,
        connection: Arc<Connection>,
        client: IpAddr,
        request: RequestHead,
        destinations: Arc<Destinations>,
        limits: EditLimits,
    ) -> Box<Self> {
        Box::new(Self {
            id,
            connection,
            client: client.to_canonical(),
            request,
            response: None,
            route: None,
            timeout: None,
            hash_key: None,
            reply: None,
            attributes: Vec::new(),
            started,
            destinations,
            limits,
            bodies: Bodies::default(),
            tokens: Vec::new(),
            kept: Vec::new(),
        })
    }

    /// The request as it is, to be sent while policies have the exchange itself: without what belongs to
    /// plugins, and without a response.
    pub fn to_send(&self) -> Box<Self> {
        let mut copy = Self::new(
            self.id,
            self.started,
            self.connection.clone(),
            self.client,
            self.request.clone(),
            self.destinations.clone(),
            self.limits,
        );
        copy.route = self.route.clone();
        copy.timeout = self.timeout;
        copy.hash_key = self.hash_key.clone();
        copy
    }

    /// Whether any policy asked to see this body.
    pub fn wants_bodies(&self, side: Side) -> bool {
        self.bodies.any(side)
    }

    /// What `plugin` asked for with `set-body-mode`; [`BodyMode::Skip`] if it does not export the phase for
    /// that mode.
    pub fn body_mode(&self, plugin: &Plugin, side: Side) -> BodyMode {
        let mode = self.bodies.mode(side, plugin.shared().id);
        match Phase::of_body(side, mode) {
            Some(phase) if plugin.has(phase) => mode,
            _ => BodyMode::Skip,
        }
    }

    /// Whether a policy asked for this body decoded. It was promised that: the head had codings, and
    /// [`Coding::of`](crate::Coding::of) knew them.
    pub fn decodes_body(&self, side: Side) -> bool {
        self.bodies.decoded(side)
    }

    /// What a policy noted under this key.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(known, _)| known == key)?;
        Some(value)
    }

    /// Replaces, adds (at the end) or removes what is noted under a key.
    pub(crate) fn put_attribute(&mut self, key: String, value: Option<String>) {
        let known = self.attributes.iter().position(|(known, _)| *known == key);
        match (known, value) {
            (Some(at), Some(value)) => self.attributes[at].1 = value,
            (Some(at), None) => drop(self.attributes.remove(at)),
            (None, Some(value)) => self.attributes.push((key, value)),
            (None, None) => {}
        }
    }

    pub(crate) fn token(&self, plugin: u64) -> u64 {
        let found = self.tokens.iter().find(|(of, _)| *of == plugin);
        found.map_or(0, |(_, token)| *token)
    }

    pub(crate) fn set_token(&mut self, plugin: u64, token: u64) {
        match self.tokens.iter_mut().find(|(of, _)| *of == plugin) {
            Some((_, old)) => *old = token,
            None => self.tokens.push((plugin, token)),
        }
    }

    pub(crate) fn take_instance(&mut self, plugin: u64) -> Option<Box<Instance>> {
        let at = self.kept.iter().position(|(of, _)| *of == plugin)?;
        Some(self.kept.swap_remove(at).1)
    }

    pub(crate) fn keep_instance(&mut self, plugin: u64, instance: Box<Instance>) {
        self.kept.push((plugin, instance));
    }
}

/// What every exchange of one client connection has in common.
#[derive(Debug)]
pub struct Connection {
    /// Name of the listener in the configuration.
    pub listener: Arc<str>,
    /// The other end of the connection, which may be a proxy.
    pub peer: SocketAddr,
    /// Whom the connection is made for: the source in the PROXY protocol header of a trusted peer, else
    /// the peer.
    pub source: SocketAddr,
    /// Where `source` connected to: the destination in that header, else this end of the connection.
    pub destination: SocketAddr,
    /// `None` = clear text.
    pub tls: Option<TlsFacts>,
}

/// What the TLS handshake established.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// 0x0303 = TLS 1.2, 0x0304 = TLS 1.3.
    pub version: u16,
    /// IANA number.
    pub cipher_suite: u16,
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
    /// Of the client's own certificate in DER form.
    pub client_certificate_sha256: Option<[u8; 32]>,
    /// Subject alternative names with their kind: `DNS:…`, `URI:…`, `IP:…`.
    pub client_certificate_names: Vec<String>,
    /// The certificate was verified against the listener's client CA.
    pub client_verified: bool,
}

/// The head of a request.
///
/// Policies see [`RequestHead::authority`] as the field `host`, whatever `headers` holds under that
/// name: RFC 9110 §7.2 makes them one thing, and two answers to one question get policies bypassed.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// Policies may change it, except to `CONNECT`.
    pub method: Method,
    /// As the client spoke it.
    pub version: Version,
    /// `http` or `https`, as the client connected.
    pub scheme: &'static str,
    /// Host and, if given, port.
    pub authority: String,
    /// Policies read all of them, and set all but framing and hop-by-hop fields.
    pub headers: HeaderMap,
    /// `content-length`, when the client gave one.
    pub content_length: Option<u64>,
    /// Behind accessors, since [`RequestHead::normalized`] depends on it.
    target: PathAndQuery,
    /// Computed when first asked for; `None` inside = the path is written that way already.
    normalized: OnceCell<Option<String>>,
}

impl RequestHead {
    /// A request head without `content-length`; set the field when there is one.
    pub fn new(
        method: Method,
        version: Version,
        scheme: &'static str,
        authority: String,
        target: PathAndQuery,
        headers: HeaderMap,
    ) -> Self {
        Self {
            method,
            version,
            scheme,
            authority,
            headers,
            content_length: None,
            target,
            normalized: OnceCell::new(),
        }
    }

    /// Path and query, as received or as a policy rewrote them.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// Replaces path and query, and returns the old ones.
    pub fn set_target(&mut self, target: PathAndQuery) -> PathAndQuery {
        self.normalized.take();
        std::mem::replace(&mut self.target, target)
    }

    /// The path, not decoded and not normalised, without the query.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The path with dot segments removed, unreserved octets decoded and empty segments merged:
    /// the one to decide on.
    pub fn normalized_path(&self) -> &str {
        let normalized = self.normalized.get_or_init(|| path::normalize(self.path()));
        normalized.as_deref().unwrap_or_else(|| self.path())
    }

    /// [`RequestHead::authority`] without port, brackets kept, one trailing dot removed, in the
    /// case it was written.
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The values of a field as policies see them, `host` included.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let host = name.eq_ignore_ascii_case("host");
        let authority = host.then_some(self.authority.as_bytes());
        let headers = (!host).then(|| self.headers.get_all(name).iter().map(|value| value.as_bytes()));
        authority.into_iter().chain(headers.into_iter().flatten())
    }
}

pub(crate) fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// The head of a response, from wherever it came.
#[derive(Debug)]
pub struct ResponseHead {
    /// Policies may set 200 to 599.
    pub status: StatusCode,
    /// Framing and hop-by-hop fields belong to the server; policies cannot set them.
    pub headers: HeaderMap,
    /// `content-length`, when there is one.
    pub content_length: Option<u64>,
    /// An upstream or a file root; `None` when a policy or the proxy made it.
    pub origin: Option<Arc<str>>,
    /// Why the proxy made it, for example `connect-timeout`.
    pub failure: Option<&'static str>,
}

impl ResponseHead {
    /// A response head with neither origin nor failure nor `content-length`.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers, content_length: None, origin: None, failure: None }
    }
}

/// A whole response made by a policy. Its fields are valid HTTP without framing and hop-by-hop
/// fields; its status is 200 to 599.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: StatusCode,
    /// Without `content-length`: the server frames the body.
    pub headers: HeaderMap,
    /// At most about 4 MiB, the bound of a single call into the host.
    pub body: Bytes,
}

/// How far policies may grow a message; beyond it an edit is refused as `too-large`.
///
/// Sizes count each field as it stands on the wire in HTTP/1.1: name, value and four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditLimits {
    /// All fields of the request, bytes. Default 32 KiB.
    pub request_headers: usize,
    /// All fields of the request, count. Default 100.
    pub request_header_count: usize,
    /// Path and query, bytes. Default 8 KiB.
    pub request_target: usize,
    /// All fields of the response, bytes. Default 64 KiB.
    pub response_headers: usize,
    /// A whole body or a piece of one, unless it came larger, and what is held back of a piece, bytes.
    /// Default 1 MiB.
    pub body: usize,
}

impl Default for EditLimits {
    fn default() -> Self {
        Self {
            request_headers: 32 << 10,
            request_header_count: 100,
            request_target: 8 << 10,
            response_headers: 64 << 10,
            body: 1 << 20,
        }
    }
}

/// The names `route-to` accepts: upstreams and file roots of the running configuration.
#[derive(Debug, Default)]
pub struct Destinations(HashSet<Arc<str>>);

impl Destinations {
    /// The name as it is stored in a route: no text is copied per request.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(name)
    }
}

impl<N: Into<Arc<str>>> FromIterator<N> for Destinations {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// True for fields that only the proxy sets: framing, hop-by-hop (RFC 9110 §7.6.1), and `host`,
/// which is set with the authority.
pub(crate) fn is_owned_by_proxy(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "host"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// An authority a request may carry: a host and perhaps a port (RFC 9110 §7.2 allows no user info).
pub(crate) fn is_valid_authority(text: &str) -> bool {
    let parsed = Authority::try_from(text);
    parsed.is_ok_and(|authority| !text.contains('@') && !authority.host().is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request on listener `web` that may be routed to `app` and `images`.
    pub(crate) fn exchange(method: &str, authority: &str, target: &str) -> Box<Exchange> {
        let peer = ([192, 0, 2, 1], 4000).into();
        let destination = ([192, 0, 2, 2], 80).into();
        let connection = Connection { listener: "web".into(), peer, source: peer, destination, tls: None };
        let request = RequestHead::new(
            method.parse().expect("a method"),
            Version::HTTP_11,
            "http",
            authority.to_owned(),
            target.parse().expect("a target"),
            HeaderMap::new(),
        );
        let destinations = Arc::new(["app", "images"].into_iter().collect());
        let client = connection.peer.ip();
        let limits = EditLimits::default();
        Exchange::new(1, Instant::now(), Arc::new(connection), client, request, destinations, limits)
    }

    #[test]
    fn the_normal_form_follows_the_target() {
        let mut request = exchange("GET", "a", "/a/../b").request;
        assert_eq!((request.path(), request.normalized_path()), ("/a/../b", "/b"));
        let old = request.set_target(PathAndQuery::from_static("/c?d"));
        assert_eq!(old, "/a/../b");
        assert_eq!((request.path(), request.normalized_path()), ("/c", "/c"));
    }

    #[test]
    fn the_field_host_is_the_authority() {
        let mut request = exchange("GET", "a:1", "/").request;
        request.headers.insert("host", http::HeaderValue::from_static("other"));
        assert_eq!(request.values("Host").collect::<Vec<_>>(), [b"a:1"]);
        assert_eq!(request.values("absent").count(), 0);
    }

    #[test]
    fn a_token_belongs_to_one_plugin() {
        let mut exchange = exchange("GET", "a", "/");
        exchange.set_token(1, 5);
        exchange.set_token(2, 6);
        exchange.set_token(1, 7);
        assert_eq!([1, 2, 3].map(|plugin| exchange.token(plugin)), [7, 6, 0]);
    }

    #[test]
    fn exchanges_can_move_between_threads() {
        fn is_send<T: Send>() {}
        is_send::<Exchange>();
    }
}
