//! Tests of a policy without a proxy: `cargo test` on the machine you write it on.
//!
//! [`configure`] makes the policy, [`Request`] and [`Response`] what it decides about; both can be given to the
//! phases as they are. Afterwards they show what the policy did: edits through the same methods the policy
//! reads with, the rest through [`Request::reply`] and its neighbours. [`Body`] is one whole body or one piece,
//! [`pass_chunks`] leads a body through a chunk phase.
//!
//! ```
//! # use tidegate_plugin_sdk::prelude::*;
//! # struct P;
//! # #[policy]
//! # impl Policy for P {
//! #     type Config = ();
//! #     fn configure((): ()) -> Result<Self, Error> { Ok(P) }
//! #     fn on_request(&self, request: &Request) -> Verdict {
//! #         request.set_header("x-seen", "yes").unwrap();
//! #         Verdict::Next
//! #     }
//! # }
//! let policy = testing::configure::<P>(serde_json::json!({})).unwrap();
//! let request = testing::Request::new("GET", "/path?x=1").with_host("example.org").with_header("accept", "*/*");
//! assert_eq!(policy.on_request(&request), Verdict::Next);
//! assert_eq!(request.header("x-seen").as_deref(), Some("yes"));
//! assert_eq!(request.reply(), None);
//! ```
//!
//! Matchers work with the crates the proxy uses. A policy must be used in the thread that configured it.
//! Activation is checked but not applied, and the operator's limits are not enforced.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use crate::bindings::imports::tidegate::policy::types::Version;
use crate::callout::CalloutError;
use crate::double::body::BodyFacts;
pub use crate::double::http::Caching;
use crate::double::http::{ClientCertificate, Fields, RequestFacts, ResponseFacts};
use crate::log::Level;
use crate::policy::read_config;
use crate::{BodyMode, Policy, Reply, Verdict, double};

/// Configures a policy as the proxy does.
///
/// # Errors
///
/// The text the proxy would report, beginning with the key at fault.
pub fn configure<P: Policy>(config: serde_json::Value) -> Result<P, String> {
    read_config(&config.to_string()).and_then(P::configure).map_err(|error| error.to_string())
}

/// What [`secret`](crate::environment::secret) answers in this thread from now on: set it before [`configure`].
pub fn set_secret(name: &str, value: impl AsRef<[u8]>) {
    double::shared::set_secret(name, value.as_ref());
}

/// Moves the clocks of this thread forward: those of [`environment`](crate::environment), of limits and of the store.
pub fn advance(by: Duration) {
    double::shared::advance(by);
}

/// What a metric counts in this thread, `None` if nothing was counted: the sum, the value of a gauge, or how many
/// observations there were.
pub fn metric(name: &str, labels: &[&str]) -> Option<f64> {
    double::metrics::value(name, labels)
}

/// A request of the policy's own, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callout {
    /// The upstream.
    pub destination: String,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In place of the server's own name.
    pub host: Option<String>,
    /// In order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Empty without one.
    pub body: Vec<u8>,
    /// What the policy set.
    pub timeout: Option<Duration>,
}

impl Callout {
    /// The first value of a field, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }
}

/// What comes of callouts in this thread from now on.
pub fn answer_callouts(answer: impl Fn(&Callout) -> Result<Reply, CalloutError> + 'static) {
    double::callout::answer_with(Box::new(answer));
}

/// What was logged in this thread since the last call, whatever the level.
pub fn take_log() -> Vec<(Level, String)> {
    double::log::take()
}

/// A request: from 192.0.2.1 over HTTP/1.1 without TLS, for `example.com`, to the listener `test`, unless
/// said otherwise. Use it wherever a [`Request`](crate::Request) is asked for.
pub struct Request(crate::Request);

impl Request {
    /// `target` is the path with or without query.
    ///
    /// # Panics
    ///
    /// If the target does not begin with `/`.
    pub fn new(method: &str, target: &str) -> Self {
        assert!(target.starts_with('/'), "{target:?} does not begin with /");
        Self(crate::Request(double::http::Request(RefCell::new(RequestFacts {
            listener: "test".to_owned(),
            client: IpAddr::from([192, 0, 2, 1]),
            tls: None,
            server_name: None,
            client_certificate: None,
            version: Version::Http11,
            method: method.to_owned(),
            scheme: "http",
            authority: "example.com".to_owned(),
            target: target.to_owned(),
            original_target: target.to_owned(),
            has_body: false,
            headers: Fields::default(),
            routes: None,
            route: None,
            timeout_milliseconds: None,
            hash_key: None,
            caching: Caching::default(),
            body_limit: None,
            notes: Vec::new(),
            reply: None,
            body_mode: BodyMode::Skip,
            decodes_body: false,
            token: 0,
            attributes: Vec::new(),
        }))))
    }

    /// Host and, if wanted, port.
    #[must_use]
    pub fn with_host(self, authority: &str) -> Self {
        self.with(|facts| facts.authority = authority.to_owned())
    }

    /// One more header field, `content-length` included; bytes that are not UTF-8 as well.
    ///
    /// # Panics
    ///
    /// If it is not valid HTTP: the proxy lets no such field in.
    #[must_use]
    pub fn with_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|facts| facts.headers.add(name, value.as_ref()))
    }

    /// Where it comes from.
    ///
    /// # Panics
    ///
    /// If it is not an IP address.
    #[must_use]
    pub fn with_client(self, address: &str) -> Self {
        let address = address.parse().unwrap_or_else(|_| panic!("{address:?} is not an address"));
        self.with(|facts| facts.client = address)
    }

    /// Name of the listener.
    #[must_use]
    pub fn with_listener(self, name: &str) -> Self {
        self.with(|facts| facts.listener = name.to_owned())
    }

    /// The version the client speaks.
    #[must_use]
    pub fn with_version(self, version: Version) -> Self {
        self.with(|facts| facts.version = version)
    }

    /// Over TLS 1.3, with the name the client asked for.
    #[must_use]
    pub fn with_tls(self, server_name: Option<&str>) -> Self {
        self.with(|facts| {
            facts.tls = Some((0x0304, 0x1301));
            facts.server_name = server_name.map(str::to_owned);
            facts.scheme = "https";
        })
    }

    /// With a verified client certificate of this subject (`CN=alice`), this SHA-256 and these names (`DNS:…`).
    #[must_use]
    pub fn with_client_certificate(self, subject: &str, sha256: [u8; 32], names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let (sha256, subject) = (sha256.to_vec(), subject.to_owned());
        self.with(|facts| {
            facts.client_certificate = Some(ClientCertificate { sha256, names, subject, is_verified: true });
        })
    }

    /// With a body that is to come.
    #[must_use]
    pub fn with_body(self) -> Self {
        self.with(|facts| facts.has_body = true)
    }

    /// The destinations that exist and are granted; without this, every name is.
    #[must_use]
    pub fn with_routes(self, names: &[&str]) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        self.with(|facts| facts.routes = Some(names))
    }

    /// As another policy set it before.
    #[must_use]
    pub fn with_attribute(self, key: &str, value: &str) -> Self {
        self.with(|facts| facts.attributes.push((key.to_owned(), value.to_owned())))
    }

    /// The reply that would be sent if the phase returned [`Verdict::Respond`].
    pub fn reply(&self) -> Option<Reply> {
        self.0.0.0.borrow().reply.clone()
    }

    /// What [`set_timeout`](crate::Request::set_timeout) set.
    pub fn timeout(&self) -> Option<Duration> {
        self.0
            .0
            .0
            .borrow()
            .timeout_milliseconds
            .map(|milliseconds| Duration::from_millis(milliseconds.into()))
    }

    /// What [`set_hash_key`](crate::Request::set_hash_key) set.
    pub fn hash_key(&self) -> Option<String> {
        self.0.0.0.borrow().hash_key.clone()
    }

    /// What was said of caches.
    pub fn caching(&self) -> Caching {
        self.0.0.0.borrow().caching.clone()
    }

    /// What [`limit_body`](crate::Request::limit_body) set.
    pub fn body_limit(&self) -> Option<u64> {
        self.0.0.0.borrow().body_limit
    }

    /// What [`set_body_mode`](crate::Message::set_body_mode) set.
    pub fn body_mode(&self) -> BodyMode {
        self.0.0.0.borrow().body_mode
    }

    /// Whether [`decode_body`](crate::Message::decode_body) found something to undo.
    pub fn decodes_body(&self) -> bool {
        self.0.0.0.borrow().decodes_body
    }

    fn with(self, change: impl FnOnce(&mut RequestFacts)) -> Self {
        change(&mut self.0.0.0.borrow_mut());
        self
    }
}

impl Deref for Request {
    type Target = crate::Request;

    fn deref(&self) -> &crate::Request {
        &self.0
    }
}

/// A response without fields from the upstream `test`, after a millisecond, unless said otherwise. Use it
/// wherever a [`Response`](crate::Response) is asked for.
pub struct Response(crate::Response);

impl Response {
    /// With this status.
    pub fn new(status: u16) -> Self {
        Self(crate::Response(double::http::Response(RefCell::new(ResponseFacts {
            status,
            headers: Fields::default(),
            origin: Some("test".to_owned()),
            failure: None,
            elapsed_microseconds: 1000,
            retry: Some(None),
            reply: None,
            body_mode: BodyMode::Skip,
            decodes_body: false,
        }))))
    }

    /// One more header field, `content-length` included.
    ///
    /// # Panics
    ///
    /// If it is not valid HTTP: the proxy lets no such field in.
    #[must_use]
    pub fn with_header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|facts| facts.headers.add(name, value.as_ref()))
    }

    /// The upstream or file root it came from; `None` = made by a policy or the proxy.
    #[must_use]
    pub fn with_origin(self, origin: Option<&str>) -> Self {
        self.with(|facts| facts.origin = origin.map(str::to_owned))
    }

    /// Made by the proxy for this reason.
    #[must_use]
    pub fn with_failure(self, reason: &str) -> Self {
        self.with(|facts| {
            facts.failure = Some(reason.to_owned());
            facts.origin = None;
        })
    }

    /// To a request that cannot be sent again.
    #[must_use]
    pub fn without_retry(self) -> Self {
        self.with(|facts| facts.retry = None)
    }

    /// Where [`retry_at`](crate::Response::retry_at) sent the request.
    pub fn retry(&self) -> Option<String> {
        self.0.0.0.borrow().retry.clone().flatten()
    }

    /// Since the request head was complete; whole microseconds count.
    #[must_use]
    pub fn with_elapsed(self, elapsed: Duration) -> Self {
        let microseconds = elapsed.as_micros().try_into().unwrap_or(u64::MAX);
        self.with(|facts| facts.elapsed_microseconds = microseconds)
    }

    /// The reply that would be sent if the phase returned [`Verdict::Respond`].
    pub fn reply(&self) -> Option<Reply> {
        self.0.0.0.borrow().reply.clone()
    }

    /// What [`set_body_mode`](crate::Message::set_body_mode) set.
    pub fn body_mode(&self) -> BodyMode {
        self.0.0.0.borrow().body_mode
    }

    /// Whether [`decode_body`](crate::Message::decode_body) found something to undo.
    pub fn decodes_body(&self) -> bool {
        self.0.0.0.borrow().decodes_body
    }

    fn with(self, change: impl FnOnce(&mut ResponseFacts)) -> Self {
        change(&mut self.0.0.0.borrow_mut());
        self
    }
}

impl Deref for Response {
    type Target = crate::Response;

    fn deref(&self) -> &crate::Response {
        &self.0
    }
}

/// A whole body, or a piece of one. Use it wherever a [`Body`](crate::Body) is asked for.
pub struct Body(crate::Body);

impl Body {
    /// All of it.
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self::chunk(bytes, true)
    }

    /// A piece; `is_last`: no other follows. [`pass_chunks`] makes them of a whole body.
    pub fn chunk(bytes: impl Into<Vec<u8>>, is_last: bool) -> Self {
        let facts = BodyFacts { bytes: bytes.into(), is_last, hold: 0 };
        Self(crate::Body(double::http::Body(RefCell::new(facts))))
    }

    /// As the policy left it, with what it holds back.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.0.0.borrow().bytes.clone()
    }

    /// Of the end of [`Body::bytes`], so many are held back if the verdict is [`Verdict::Next`].
    pub fn held_back(&self) -> usize {
        let facts = self.0.0.0.borrow();
        if facts.is_last { 0 } else { crate::body::to_usize(facts.hold).min(facts.bytes.len()) }
    }
}

impl Deref for Body {
    type Target = crate::Body;

    fn deref(&self) -> &crate::Body {
        &self.0
    }
}

/// What became of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// What was passed on.
    pub bytes: Vec<u8>,
    /// Of the last call.
    pub verdict: Verdict,
}

/// Leads a body through a chunk phase as the proxy does: what is held back of a piece begins the next one, a last
/// piece without bytes ends it, [`Verdict::Finish`] lets the rest pass unseen, and after [`Verdict::Respond`] and
/// [`Verdict::Fail`] nothing is passed on.
pub fn pass_chunks<B: AsRef<[u8]>>(
    pieces: impl IntoIterator<Item = B>,
    mut phase: impl FnMut(&crate::Body) -> Verdict,
) -> Passed {
    let mut passed = Passed { bytes: Vec::new(), verdict: Verdict::Next };
    let mut held = Vec::new();
    let pieces = pieces.into_iter().map(|piece| (piece.as_ref().to_vec(), false));
    for (piece, is_last) in pieces.chain([(Vec::new(), true)]) {
        held.extend(piece);
        if passed.verdict == Verdict::Next {
            let body = Body::chunk(std::mem::take(&mut held), is_last);
            passed.verdict = phase(&body);
            let keep = if passed.verdict == Verdict::Next { body.held_back() } else { 0 };
            let mut bytes = body.bytes();
            held = bytes.split_off(bytes.len() - keep);
            match passed.verdict {
                Verdict::Next | Verdict::Finish => passed.bytes.extend(bytes),
                Verdict::Respond | Verdict::Fail => break,
            }
        } else {
            passed.bytes.append(&mut held);
        }
    }
    passed
}
