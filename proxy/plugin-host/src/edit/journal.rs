//! What one call changed, so that a call that fails leaves nothing behind.
//!
//! A policy that crashes between two edits must not have half of them take effect, least of all
//! under `on-error = "skip"`. The first time a call changes something, the old value goes here.
//! A call that edits nothing pays for one flag.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::bodies::{BodyMode, Side};
use crate::exchange::{Caching, Exchange, Retry};

/// Different fields or attributes one call may change. Far beyond any policy; bounds what the
/// journal may hold while a plugin runs wild within its CPU budget.
const MAX_ENTRIES: usize = 1024;

/// Old values; `None` = unchanged.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    touched: bool,
    method: Option<Method>,
    authority: Option<String>,
    target: Option<PathAndQuery>,
    route: Option<Option<Arc<str>>>,
    timeout: Option<Option<Duration>>,
    hash_key: Option<Option<String>>,
    caching: Option<Option<Box<Caching>>>,
    status: Option<StatusCode>,
    token: Option<u64>,
    body_mode: Option<(Side, BodyMode)>,
    decoded: Option<(Side, bool)>,
    request_headers: Fields,
    response_headers: Fields,
    body_limit: Option<Option<u64>>,
    retry: Option<Retry>,
    attributes: Vec<(String, Option<String>)>,
    notes: Vec<(String, Option<Vec<u8>>)>,
}

impl Journal {
    /// The call succeeded: its changes stay.
    pub(crate) fn commit(&mut self) {
        if self.touched {
            *self = Self::default();
        }
    }

    /// The call failed: everything is as it was before.
    pub(crate) fn revert(&mut self, plugin: u64, exchange: &mut Exchange) {
        if !self.touched {
            return;
        }
        let old = std::mem::take(self);
        let request = &mut exchange.request;
        if let Some(method) = old.method {
            request.method = method;
        }
        if let Some(authority) = old.authority {
            request.authority = authority;
        }
        if let Some(target) = old.target {
            request.set_target(target);
        }
        old.request_headers.restore(&mut request.headers);
        if let Some(response) = &mut exchange.response {
            if let Some(status) = old.status {
                response.status = status;
            }
            old.response_headers.restore(&mut response.headers);
        }
        if let Some(route) = old.route {
            exchange.route = route;
        }
        if let Some(timeout) = old.timeout {
            exchange.timeout = timeout;
        }
        if let Some(hash_key) = old.hash_key {
            exchange.hash_key = hash_key;
        }
        if let Some(caching) = old.caching {
            exchange.caching = caching;
        }
        if let Some(token) = old.token {
            exchange.set_token(plugin, token);
        }
        if let Some((side, mode)) = old.body_mode {
            exchange.bodies.set_mode(side, plugin, mode);
        }
        if let Some((side, decoded)) = old.decoded {
            exchange.bodies.set_decoded(side, decoded);
        }
        if let Some(limit) = old.body_limit {
            exchange.body_limit = limit;
        }
        if let Some(retry) = old.retry {
            exchange.retry = retry;
        }
        for (key, value) in old.attributes {
            exchange.put_attribute(key, value);
        }
        for (name, value) in old.notes {
            exchange.put_note(plugin, name, value);
        }
    }

    pub(crate) fn method(&mut self, old: Method) {
        self.touched = true;
        self.method.get_or_insert(old);
    }

    pub(crate) fn authority(&mut self, old: String) {
        self.touched = true;
        self.authority.get_or_insert(old);
    }

    pub(crate) fn target(&mut self, old: PathAndQuery) {
        self.touched = true;
        self.target.get_or_insert(old);
    }

    pub(crate) fn route(&mut self, old: Option<Arc<str>>) {
        self.touched = true;
        self.route.get_or_insert(old);
    }

    pub(crate) fn timeout(&mut self, old: Option<Duration>) {
        self.touched = true;
        self.timeout.get_or_insert(old);
    }

    pub(crate) fn hash_key(&mut self, old: Option<String>) {
        self.touched = true;
        self.hash_key.get_or_insert(old);
    }

    pub(crate) fn caching(&mut self, old: Option<&Caching>) {
        self.touched = true;
        self.caching.get_or_insert_with(|| old.cloned().map(Box::new));
    }

    pub(crate) fn body_limit(&mut self, old: Option<u64>) {
        self.touched = true;
        self.body_limit.get_or_insert(old);
    }

    /// The request is not sent once more after all.
    pub(crate) fn forget_retry(&mut self, exchange: &mut Exchange) {
        if let Some(retry) = self.retry.take() {
            exchange.retry = retry;
        }
    }

    pub(crate) fn retry(&mut self, old: Retry) {
        self.touched = true;
        self.retry.get_or_insert(old);
    }

    /// A policy has a handful of them at most.
    pub(crate) fn note(&mut self, name: &str, old: Option<&[u8]>) {
        if !self.notes.iter().any(|(known, _)| known == name) {
            self.touched = true;
            self.notes.push((name.to_owned(), old.map(<[u8]>::to_vec)));
        }
    }

    pub(crate) fn status(&mut self, old: StatusCode) {
        self.touched = true;
        self.status.get_or_insert(old);
    }

    pub(crate) fn token(&mut self, old: u64) {
        self.touched = true;
        self.token.get_or_insert(old);
    }

    /// A phase changes it of one side only.
    pub(crate) fn body_mode(&mut self, side: Side, old: BodyMode) {
        self.touched = true;
        self.body_mode.get_or_insert((side, old));
    }

    /// A phase changes it of one side only.
    pub(crate) fn decoded(&mut self, side: Side, old: bool) {
        self.touched = true;
        self.decoded.get_or_insert((side, old));
    }

    /// False when the call changed too much already; the change must not be made then.
    #[must_use]
    pub(crate) fn request_header(&mut self, name: &HeaderName, headers: &HeaderMap) -> bool {
        self.touched = true;
        self.request_headers.remember(name, headers)
    }

    /// False when the call changed too much already; the change must not be made then.
    #[must_use]
    pub(crate) fn response_header(&mut self, name: &HeaderName, headers: &HeaderMap) -> bool {
        self.touched = true;
        self.response_headers.remember(name, headers)
    }

    /// False when the call changed too much already; the change must not be made then.
    #[must_use]
    pub(crate) fn attribute(&mut self, key: &str, old: Option<&str>) -> bool {
        if self.attributes.iter().any(|(known, _)| known == key) {
            return true;
        }
        if self.attributes.len() == MAX_ENTRIES {
            return false;
        }
        self.touched = true;
        self.attributes.push((key.to_owned(), old.map(str::to_owned)));
        true
    }
}

/// All old values of each changed field.
#[derive(Debug, Default)]
struct Fields(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Fields {
    fn remember(&mut self, name: &HeaderName, headers: &HeaderMap) -> bool {
        if self.0.iter().any(|(known, _)| known == name) {
            return true;
        }
        if self.0.len() == MAX_ENTRIES {
            return false;
        }
        self.0.push((name.clone(), headers.get_all(name).iter().cloned().collect()));
        true
    }

    fn restore(self, headers: &mut HeaderMap) {
        // First what is new goes, so that what was there has room again.
        for (name, _) in &self.0 {
            headers.remove(name);
        }
        for (name, values) in self.0 {
            for value in values {
                headers.append(&name, value);
            }
        }
    }
}
