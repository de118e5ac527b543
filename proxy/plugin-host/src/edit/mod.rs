//! Changes a policy makes to an exchange: checked first, recorded second, made last.

mod journal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use tidegate_message::{Coding, Reply, authority, fields, path};

use crate::bodies::{BodyMode, Side};
use crate::exchange::{CacheChoice, Caching, Exchange, Retry};
use crate::phase::Phase;
use crate::refusal::{EditError, RetryError, RouteError};

pub(crate) use journal::Journal;

/// Attributes of one exchange. They stand in the access log, a line of which should stay readable.
const MAX_ATTRIBUTES: usize = 64;
const MAX_ATTRIBUTE_KEY: usize = 128;
const MAX_ATTRIBUTE_VALUE: usize = 4 << 10;
/// Notes of one policy about one exchange, and what they may hold together, bytes.
const MAX_NOTES: usize = 16;
const MAX_NOTE_NAME: usize = 64;
const MAX_NOTED: usize = 64 << 10;
/// A longer key tells upstream servers apart no better.
const MAX_HASH_KEY: usize = 1 << 10;
/// Parts of a key, or tags, of one request for caches, bytes together.
const MAX_CACHING: usize = 4 << 10;
/// A host name has at most 253 characters, a port 5.
const MAX_AUTHORITY: usize = 260;
/// Longest text or body that an edit takes from a plugin, bytes. One that is larger is refused before it is copied.
pub(crate) const MAX_COPY: usize = 4 << 20;
/// Fields of a message as a policy leaves it, whatever the operator's limits in bytes: the map that holds them ends
/// at 24,576, and the proxy adds some of its own.
const MAX_FIELDS: usize = 10_000;
/// `": "` and CR LF around each field on the wire.
const FIELD_OVERHEAD: usize = 4;

/// Write access to the exchange of the call in progress.
pub(crate) struct Editor<'a> {
    pub(crate) exchange: &'a mut Exchange,
    pub(crate) journal: &'a mut Journal,
    pub(crate) phase: Phase,
    /// Number of the plugin.
    pub(crate) plugin: u64,
    /// Routes it was granted; `None` = all.
    pub(crate) routes: Option<&'a [String]>,
}

type Edit<T = ()> = Result<T, EditError>;

impl Editor<'_> {
    pub(crate) fn set_method(&mut self, method: &str) -> Edit {
        self.may_edit(Side::Request)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| EditError::Invalid)?;
        // A tunnel is framed differently, which is the proxy's business.
        if method == Method::CONNECT {
            return Err(EditError::Forbidden);
        }
        let old = std::mem::replace(&mut self.exchange.request.method, method);
        self.journal.method(old);
        Ok(())
    }

    pub(crate) fn set_authority(&mut self, authority: String) -> Edit {
        self.may_edit(Side::Request)?;
        if authority.len() > MAX_AUTHORITY {
            return Err(EditError::TooLarge);
        }
        if !authority::is_valid(&authority) {
            return Err(EditError::Invalid);
        }
        let old = std::mem::replace(&mut self.exchange.request.authority, authority);
        self.journal.authority(old);
        Ok(())
    }

    /// `target` is one of [`valid_target`].
    pub(crate) fn set_parsed_target(&mut self, target: PathAndQuery) -> Edit {
        self.may_edit(Side::Request)?;
        if target.as_str().len() > self.exchange.limits.request_target {
            return Err(EditError::TooLarge);
        }
        let old = self.exchange.request.set_target(target);
        self.journal.target(old);
        Ok(())
    }

    /// `name` is one of [`editable_name`].
    pub(crate) fn set_field(&mut self, side: Side, name: HeaderName, value: HeaderValue) -> Edit {
        self.may_edit(side)?;
        self.has_room(side, &name, &value, true)?;
        self.note_field(side, &name);
        self.headers(side, &name)?.try_insert(name, value).map_err(|_| EditError::TooLarge)?;
        Ok(())
    }

    /// `name` is one of [`editable_name`].
    pub(crate) fn append_field(&mut self, side: Side, name: HeaderName, value: HeaderValue) -> Edit {
        self.may_edit(side)?;
        self.has_room(side, &name, &value, false)?;
        self.note_field(side, &name);
        self.headers(side, &name)?.try_append(name, value).map_err(|_| EditError::TooLarge)?;
        Ok(())
    }

    /// One too many, if the call fails after all, makes nobody get what is another's.
    fn note_field(&mut self, side: Side, name: &HeaderName) {
        let exchange = &mut *self.exchange;
        if side == Side::Request && exchange.destinations.has_caches() && !exchange.set_fields.contains(name)
        {
            exchange.set_fields.push(name.clone());
        }
    }

    /// `name` is one of [`editable_name`]. Returns how many values were removed.
    pub(crate) fn remove_field(&mut self, side: Side, name: &HeaderName) -> Edit<u32> {
        self.may_edit(side)?;
        let count = self.map(side)?.get_all(name).iter().count();
        if count > 0 {
            self.headers(side, name)?.remove(name);
        }
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(crate) fn set_status(&mut self, status: u16) -> Edit {
        self.may_edit(Side::Response)?;
        let status = final_status(status)?;
        let response = self.exchange.response.as_mut().ok_or(EditError::Forbidden)?;
        let old = std::mem::replace(&mut response.status, status);
        self.journal.status(old);
        Ok(())
    }

    /// When the request may be on its way nothing is granted any more.
    pub(crate) fn route_to(&mut self, name: &str) -> Result<(), RouteError> {
        if self.may_edit(Side::Request).is_err() {
            return Err(RouteError::NotGranted);
        }
        let destination = self.destination(name)?;
        let old = self.exchange.route.replace(destination);
        self.journal.route(old);
        Ok(())
    }

    /// Only about a response that has just come, and as long as the request is there.
    pub(crate) fn retry_at(&mut self, name: &str) -> Result<(), RetryError> {
        let destination = self.destination(name).map_err(|error| match error {
            RouteError::Unknown => RetryError::Unknown,
            RouteError::NotGranted => RetryError::NotGranted,
        })?;
        if self.phase != Phase::Response || self.exchange.retry == Retry::Impossible {
            return Err(RetryError::NotPossible);
        }
        let old = std::mem::replace(&mut self.exchange.retry, Retry::At(destination));
        self.journal.retry(old);
        Ok(())
    }

    /// One that exists and that was granted.
    fn destination(&self, name: &str) -> Result<Arc<str>, RouteError> {
        let destination = self.exchange.destinations.get(name).ok_or(RouteError::Unknown)?;
        match self.routes {
            Some(granted) if !granted.iter().any(|granted| granted == name) => Err(RouteError::NotGranted),
            _ => Ok(destination.clone()),
        }
    }

    /// Without effect outside of `on-request`, and where there is a narrower limit.
    pub(crate) fn limit_body(&mut self, bytes: u64) {
        if self.phase == Phase::Request && self.exchange.body_limit.is_none_or(|limit| bytes < limit) {
            let old = self.exchange.body_limit.replace(bytes);
            self.journal.body_limit(old);
        }
    }

    /// `None` means as configured. Without effect when the request may be on its way.
    pub(crate) fn set_timeout(&mut self, timeout: Option<Duration>) {
        if self.may_edit(Side::Request).is_ok() {
            let old = std::mem::replace(&mut self.exchange.timeout, timeout);
            self.journal.timeout(old);
        }
    }

    /// Without effect when the request may be on its way.
    pub(crate) fn set_hash_key(&mut self, key: &str) {
        if self.may_edit(Side::Request).is_ok() {
            let key = &key[..key.floor_char_boundary(MAX_HASH_KEY)];
            let old = self.exchange.hash_key.replace(key.to_owned());
            self.journal.hash_key(old);
        }
    }

    /// False if there is no cache of this name; without effect then, when the request may be on its way, and where it bypasses caches: a
    /// part of its key may have found no room.
    pub(crate) fn use_cache(&mut self, name: &str) -> bool {
        let Some(cache) = self.exchange.destinations.cache(name).cloned() else { return false };
        if let Ok(caching) = self.caching()
            && caching.cache != CacheChoice::Bypassed
        {
            caching.cache = CacheChoice::Named(cache);
        }
        true
    }

    /// Without effect when the request may be on its way.
    pub(crate) fn bypass_cache(&mut self) {
        if let Ok(caching) = self.caching() {
            caching.cache = CacheChoice::Bypassed;
        }
    }

    /// What would share a key that it should not have bypasses the cache.
    pub(crate) fn add_cache_key(&mut self, part: &str) -> Edit {
        let caching = self.caching()?;
        let length = caching.key.iter().map(|part| part.len() + 1).sum::<usize>() + part.len();
        if length > MAX_CACHING {
            caching.cache = CacheChoice::Bypassed;
            return Err(EditError::TooLarge);
        }
        caching.key.push(part.to_owned());
        Ok(())
    }

    /// Without effect when the request may be on its way.
    pub(crate) fn set_cache_lifetime(&mut self, seconds: u32) {
        if let Ok(caching) = self.caching() {
            caching.lifetime = Some(seconds);
        }
    }

    pub(crate) fn add_cache_tag(&mut self, tag: &str) -> Edit {
        let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
        if tag.is_empty() || !tag.bytes().all(is_visible) {
            return Err(EditError::Invalid);
        }
        let caching = self.caching()?;
        let length = caching.tags.iter().map(|tag| tag.len() + 1).sum::<usize>() + tag.len();
        if length > MAX_CACHING {
            return Err(EditError::TooLarge);
        }
        caching.tags.push(tag.to_owned());
        Ok(())
    }

    fn caching(&mut self) -> Edit<&mut Caching> {
        self.may_edit(Side::Request)?;
        self.journal.caching(self.exchange.caching.as_deref());
        Ok(self.exchange.caching.get_or_insert_default())
    }

    /// Without effect outside of the head phase of that side.
    pub(crate) fn set_body_mode(&mut self, side: Side, mode: BodyMode) {
        if self.phase == Phase::of_head(side) {
            let old = self.exchange.bodies.set_mode(side, self.plugin, mode);
            self.journal.body_mode(side, old);
        }
    }

    /// False, and without effect, if the body cannot be decoded, and outside of the head phase of that side.
    pub(crate) fn decode_body(&mut self, side: Side) -> bool {
        if self.phase != Phase::of_head(side) {
            return false;
        }
        let Ok(headers) = self.map(side) else { return false };
        // A part of a coded body is no coded body.
        let is_part = side == Side::Response && headers.contains_key(CONTENT_RANGE);
        match Coding::of(headers) {
            Some(codings) if codings.is_empty() => true,
            Some(_) if !is_part => {
                let old = self.exchange.bodies.set_decoded(side, true);
                self.journal.decoded(side, old);
                true
            }
            _ => false,
        }
    }

    /// Stores a response; the last one counts. It is dropped unless the call returns `respond`, so
    /// there is nothing to undo.
    pub(crate) fn respond(
        &mut self,
        side: Side,
        status: u16,
        fields: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    ) -> Edit {
        self.may_respond(side)?;
        let status = final_status(status)?;
        if fields.len() > MAX_FIELDS || body.len() > MAX_COPY {
            return Err(EditError::TooLarge);
        }
        let mut headers = HeaderMap::new();
        let mut size = 0;
        for (name, value) in fields {
            let name = editable_name(&name)?;
            let value = valid_value(value)?;
            size += field_size(&name, &value);
            if size > self.exchange.limits.response_headers {
                return Err(EditError::TooLarge);
            }
            headers.try_append(name, value).map_err(|_| EditError::TooLarge)?;
        }
        self.exchange.reply = Some(Reply { status, headers, body: body.into() });
        Ok(())
    }

    pub(crate) fn set_token(&mut self, token: u64) {
        self.journal.token(self.exchange.token(self.plugin));
        self.exchange.set_token(self.plugin, token);
    }

    /// Allowed in every phase.
    pub(crate) fn set_note(&mut self, name: String, value: Vec<u8>) -> Edit {
        let old = self.exchange.note(self.plugin, &name);
        let (count, size) = self.exchange.noted(self.plugin);
        let (count, size) = match old {
            Some(old) => (count, size - old.len() + value.len()),
            None => (count + 1, size + name.len() + value.len()),
        };
        if count > MAX_NOTES || name.len() > MAX_NOTE_NAME || size > MAX_NOTED {
            return Err(EditError::TooLarge);
        }
        self.journal.note(&name, old);
        self.exchange.put_note(self.plugin, name, Some(value));
        Ok(())
    }

    /// Allowed in every phase: the access log comes last.
    pub(crate) fn set_attribute(&mut self, key: String, value: String) -> Edit {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EditError::Invalid);
        }
        let old = self.exchange.attribute(&key);
        let full = old.is_none() && self.exchange.attributes.len() >= MAX_ATTRIBUTES;
        if full || key.len() > MAX_ATTRIBUTE_KEY || value.len() > MAX_ATTRIBUTE_VALUE {
            return Err(EditError::TooLarge);
        }
        if !self.journal.attribute(&key, old) {
            return Err(EditError::TooLarge);
        }
        self.exchange.put_attribute(key, Some(value));
        Ok(())
    }

    /// The request may be changed until it is sent, the response until it is.
    pub(crate) fn may_edit(&self, side: Side) -> Edit {
        match (side, self.phase) {
            (Side::Request, Phase::Request | Phase::RequestBody)
            | (Side::Response, Phase::Response | Phase::ResponseBody) => Ok(()),
            _ => Err(EditError::Forbidden),
        }
    }

    /// A request that is on its way already can still be answered; a response cannot be taken back.
    fn may_respond(&self, side: Side) -> Edit {
        match (side, self.phase) {
            (Side::Request, Phase::RequestChunk) => Ok(()),
            _ => self.may_edit(side),
        }
    }

    fn has_room(&self, side: Side, name: &HeaderName, value: &HeaderValue, replaces: bool) -> Edit {
        let limits = &self.exchange.limits;
        let (bytes, count) = match side {
            Side::Request => (limits.request_headers, limits.request_header_count.min(MAX_FIELDS)),
            Side::Response => (limits.response_headers, MAX_FIELDS),
        };
        let stays = |(known, _): &(&HeaderName, &HeaderValue)| !(replaces && *known == name);
        let fields = self.map(side)?.iter().filter(stays);
        let (size, number) = fields.fold((field_size(name, value), 1), |(size, number), (name, value)| {
            (size + field_size(name, value), number + 1)
        });
        if size > bytes || number > count { Err(EditError::TooLarge) } else { Ok(()) }
    }

    fn map(&self, side: Side) -> Edit<&HeaderMap> {
        match side {
            Side::Request => Ok(&self.exchange.request.headers),
            Side::Response => Ok(&self.exchange.response.as_ref().ok_or(EditError::Forbidden)?.headers),
        }
    }

    /// The fields of a message, with this one recorded as it is.
    fn headers(&mut self, side: Side, name: &HeaderName) -> Edit<&mut HeaderMap> {
        let (headers, recorded) = match side {
            Side::Request => {
                let headers = &mut self.exchange.request.headers;
                let recorded = self.journal.request_header(name, headers);
                (headers, recorded)
            }
            Side::Response => {
                let headers = &mut self.exchange.response.as_mut().ok_or(EditError::Forbidden)?.headers;
                let recorded = self.journal.response_header(name, headers);
                (headers, recorded)
            }
        };
        if recorded { Ok(headers) } else { Err(EditError::TooLarge) }
    }
}

/// The name of a field that policies may set.
pub(crate) fn editable_name(name: &str) -> Edit<HeaderName> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| EditError::Invalid)?;
    if fields::is_owned_by_proxy(&name) { Err(EditError::Forbidden) } else { Ok(name) }
}

/// Path and query that a policy may set.
pub(crate) fn valid_target(target: String) -> Edit<PathAndQuery> {
    // A fragment is never sent (RFC 9110 §7.1), and the parser would drop it without a word.
    // The longest that the parser takes.
    if target.len() >= usize::from(u16::MAX) {
        return Err(EditError::TooLarge);
    }
    if !target.starts_with('/') || target.contains('#') || !path::is_sendable(&target) {
        return Err(EditError::Invalid);
    }
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| EditError::Invalid)
}

pub(crate) fn valid_value(value: Vec<u8>) -> Edit<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| EditError::Invalid)
}

/// Interim responses (1xx) are the proxy's, and what comes after 599 has no meaning.
fn final_status(status: u16) -> Edit<StatusCode> {
    let in_range = (200..=599).contains(&status);
    StatusCode::from_u16(status).ok().filter(|_| in_range).ok_or(EditError::Invalid)
}

fn field_size(name: &HeaderName, value: &HeaderValue) -> usize {
    wire_size(name.as_str().len(), value.len())
}

/// Bytes of a field on the wire in HTTP/1.1, by the lengths of its name and its value.
pub(crate) fn wire_size(name: usize, value: usize) -> usize {
    name.saturating_add(value).saturating_add(FIELD_OVERHEAD)
}
