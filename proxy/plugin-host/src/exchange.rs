//! One request and its response, as the policies of a chain see and change them.
//!
//! The server owns the exchange and moves it (one pointer) into an instance for the length of a
//! call. Nothing of it lives in a guest's memory, so any instance can serve any call.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderName;
use tidegate_message::{Connection, Reply, RequestHead, ResponseHead};
use tidegate_telemetry::TraceContext;

use crate::bodies::{Bodies, Side};
use crate::observe::Witness;

/// One request from its head to the end of its response.
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
    /// What policies say of caches; `None` = as configured.
    pub caching: Option<Box<Caching>>,
    /// Fields of the request that policies set, each once, where there are caches: servers may answer by them.
    pub set_fields: Vec<HeaderName>,
    /// Bytes of the request's body, as policies limit it; `None` = as configured.
    pub body_limit: Option<u64>,
    /// The request did not end with its head.
    pub has_body: bool,
    /// Whether and where the request is sent once more.
    pub retry: Retry,
    /// What became of the exchange so far.
    pub tally: Tally,
    /// Where it is in a trace; `None`: in none.
    pub trace: Option<TraceContext>,
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
    /// Where what policies ask and do is told in words; `None`: nobody wants to know.
    pub witness: Option<Box<Witness>>,
    /// What policies want of the bodies.
    pub(crate) bodies: Bodies,
    /// 64 bits per plugin that used them. A handful at most, so a scan beats a map.
    tokens: Vec<(u64, u64)>,
    /// By plugin and name; few, likewise.
    notes: Vec<(u64, String, Vec<u8>)>,
    /// How many each plugin has sent.
    callouts: Vec<(u64, u32)>,
}

/// Whether a request can be sent once more, and where a policy wants it to go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Retry {
    /// It was, or cannot be.
    #[default]
    Impossible,
    /// All of it is still there.
    Possible,
    /// A policy asked for it: to this destination.
    At(Arc<str>),
}

/// What policies say of caches for one request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caching {
    /// Which cache.
    pub cache: CacheChoice,
    /// Parts of the key, in order.
    pub key: Vec<String>,
    /// Seconds that what comes is fresh.
    pub lifetime: Option<u32>,
    /// Of what comes.
    pub tags: Vec<String>,
}

/// Which cache a request meets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheChoice {
    /// That of the upstream, if it has one.
    #[default]
    Configured,
    /// This one, of [`Exchange::destinations`].
    Named(Arc<str>),
    /// None.
    Bypassed,
}

/// What became of an exchange; most of it is known at its end.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of the request's body.
    pub bytes_received: u64,
    /// Of the response's body.
    pub bytes_sent: u64,
    /// The server that answered.
    pub server: Option<Arc<str>>,
    /// How often servers were tried.
    pub attempts: u32,
    /// Why it was broken off.
    pub failure: Option<&'static str>,
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
            caching: None,
            set_fields: Vec::new(),
            body_limit: None,
            has_body: false,
            retry: Retry::Impossible,
            tally: Tally::default(),
            trace: None,
            reply: None,
            attributes: Vec::new(),
            started,
            destinations,
            limits,
            witness: None,
            bodies: Bodies::default(),
            tokens: Vec::new(),
            notes: Vec::new(),
            callouts: Vec::new(),
        })
    }

    /// A copy of the request as it is now, for a policy that decides nothing: without a response, bodies, and what policies
    /// have for themselves.
    pub fn fork(&self) -> Box<Self> {
        let (connection, destinations) = (self.connection.clone(), self.destinations.clone());
        let mut fork = Self::new(
            self.id,
            self.started,
            connection,
            self.client,
            self.request.clone(),
            destinations,
            self.limits,
        );
        fork.route.clone_from(&self.route);
        fork.attributes.clone_from(&self.attributes);
        (fork.timeout, fork.body_limit, fork.has_body) = (self.timeout, self.body_limit, self.has_body);
        fork.hash_key.clone_from(&self.hash_key);
        fork.caching.clone_from(&self.caching);
        fork.set_fields.clone_from(&self.set_fields);
        fork.trace = self.trace;
        fork
    }

    /// Whether any policy asked for this body, as it is or decoded.
    pub fn sees_body(&self, side: Side) -> bool {
        self.bodies.any(side) || self.bodies.decoded(side)
    }

    /// Whether a policy asked for this body decoded. It was promised that: the head had codings, and
    /// [`Coding::of`](tidegate_message::Coding::of) knew them.
    pub fn decodes_body(&self, side: Side) -> bool {
        self.bodies.decoded(side)
    }

    /// Another response takes the place of the one there was, if any; what policies wanted of the body of that is void.
    pub fn replace_response(&mut self, response: ResponseHead) {
        self.response = Some(response);
        self.bodies.forget_response();
    }

    /// Whether a policy asked for the request to be sent once more.
    pub fn is_retried(&self) -> bool {
        matches!(self.retry, Retry::At(_))
    }

    /// The request goes where a policy wants it to, if one does; the response is given up.
    pub fn begin_again(&mut self) {
        if let Retry::At(destination) = std::mem::take(&mut self.retry) {
            self.route = Some(destination);
            self.response = None;
            self.bodies.forget_response();
        }
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

    /// Counts a callout of a plugin, and answers how many there are.
    pub(crate) fn count_callout(&mut self, plugin: u64) -> u32 {
        match self.callouts.iter_mut().find(|(of, _)| *of == plugin) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => {
                self.callouts.push((plugin, 1));
                1
            }
        }
    }

    /// What a plugin noted for itself.
    pub(crate) fn note(&self, plugin: u64, name: &str) -> Option<&[u8]> {
        let mut notes = self.notes.iter();
        notes.find(|(of, known, _)| *of == plugin && known == name).map(|(_, _, value)| value.as_slice())
    }

    /// Replaces, adds or removes it.
    pub(crate) fn put_note(&mut self, plugin: u64, name: String, value: Option<Vec<u8>>) {
        self.notes.retain(|(of, known, _)| !(*of == plugin && *known == name));
        self.notes.extend(value.map(|value| (plugin, name, value)));
    }

    /// How many notes a plugin has, and their bytes with those of their names.
    pub(crate) fn noted(&self, plugin: u64) -> (usize, usize) {
        let notes = self.notes.iter().filter(|(of, _, _)| *of == plugin);
        notes.fold((0, 0), |(count, size), (_, name, value)| (count + 1, size + name.len() + value.len()))
    }

    pub(crate) fn set_token(&mut self, plugin: u64, token: u64) {
        match self.tokens.iter_mut().find(|(of, _)| *of == plugin) {
            Some((_, old)) => *old = token,
            None => self.tokens.push((plugin, token)),
        }
    }
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
    /// A whole body or a chunk of one, unless it came larger, and what is held back of a chunk, bytes.
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

/// The names `route-to` accepts: upstreams and file roots of the running configuration; and those of its caches.
#[derive(Debug, Default)]
pub struct Destinations {
    routes: HashSet<Arc<str>>,
    caches: HashSet<Arc<str>>,
}

impl Destinations {
    /// The name as it is stored in a route: no text is copied per request.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.routes.get(name)
    }

    /// The names that `use-cache` accepts.
    #[must_use]
    pub fn with_caches<N: Into<Arc<str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { caches: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Whether there is any cache.
    pub(crate) fn has_caches(&self) -> bool {
        !self.caches.is_empty()
    }

    /// As [`Self::get`], of a cache.
    pub(crate) fn cache(&self, name: &str) -> Option<&Arc<str>> {
        self.caches.get(name)
    }
}

impl<N: Into<Arc<str>>> FromIterator<N> for Destinations {
    fn from_iter<I: IntoIterator<Item = N>>(names: I) -> Self {
        Self { routes: names.into_iter().map(Into::into).collect(), caches: HashSet::new() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http::{HeaderMap, Version};

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
