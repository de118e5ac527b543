//! The heads of a request and a response, and a whole response made by a policy or the proxy.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderMap;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Version};

use crate::{authority, path};

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
    /// `None` while the target is as it was received.
    received: Option<PathAndQuery>,
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
            received: None,
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
        match &self.received {
            None => self.received = Some(self.target.clone()),
            Some(received) if *received == target => self.received = None,
            Some(_) => {}
        }
        std::mem::replace(&mut self.target, target)
    }

    /// Path and query as the client asked for them.
    pub fn received(&self) -> &PathAndQuery {
        self.received.as_ref().unwrap_or(&self.target)
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
        authority::host(&self.authority)
    }

    /// The values of a field as policies see them, `host` included.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let host = name.eq_ignore_ascii_case("host");
        let authority = host.then_some(self.authority.as_bytes());
        let headers = (!host).then(|| self.headers.get_all(name).iter().map(|value| value.as_bytes()));
        authority.into_iter().chain(headers.into_iter().flatten())
    }
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
    /// What a server of HTTP/1.1 said beside this status, where it is not what everybody says (RFC 9112 §4).
    pub reason: Option<(StatusCode, Bytes)>,
}

impl ResponseHead {
    /// A response head with neither origin nor failure nor `content-length`.
    pub fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, headers, content_length: None, origin: None, failure: None, reason: None }
    }
}

/// A whole response made by a policy or the proxy. Its fields are valid HTTP without framing and hop-by-hop
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authority: &str, target: &'static str) -> RequestHead {
        let target = PathAndQuery::from_static(target);
        RequestHead::new(
            Method::GET,
            Version::HTTP_11,
            "http",
            authority.to_owned(),
            target,
            HeaderMap::new(),
        )
    }

    #[test]
    fn the_normal_form_follows_the_target() {
        let mut request = request("a", "/a/../b");
        assert_eq!(request.path(), "/a/../b");
        assert_eq!(request.normalized_path(), "/b");
        let old = request.set_target(PathAndQuery::from_static("/c?d"));
        assert_eq!(old, "/a/../b");
        assert_eq!(request.path(), "/c");
        assert_eq!(request.normalized_path(), "/c");
    }

    #[test]
    fn the_field_host_is_the_authority() {
        let mut request = request("a:1", "/");
        request.headers.insert("host", http::HeaderValue::from_static("other"));
        assert_eq!(request.values("Host").collect::<Vec<_>>(), [b"a:1"]);
        assert_eq!(request.values("absent").count(), 0);
    }
}
