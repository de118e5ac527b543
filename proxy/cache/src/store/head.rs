//! The head of a stored response, and how stale it is.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::key::Key;
use super::room::Reserved;
use crate::decide::{Aged, Directives, Selection, Shielded, Staleness};
use crate::time::Time;

/// The head of a stored response, and what is known of it. It never changes, but for whether it is valid.
#[derive(Debug)]
pub struct Head {
    /// Never 206 or 304.
    pub status: StatusCode,
    /// As the origin sent them, without those of the connection.
    pub headers: HeaderMap,
    /// What the origin said beside the status, where that is not what everybody says.
    pub reason: Option<Bytes>,
    /// What it says of its reuse.
    pub directives: Directives,
    /// Seconds that it is fresh.
    pub lifetime: u64,
    /// How old it was when it came.
    pub aged: Aged,
    /// For which requests it is.
    pub selection: Selection,
    /// 0: as time makes it; [`INVALID`]; else when it was purged, in milliseconds.
    validity: AtomicU64,
    /// Of the memory, given back with it.
    _room: Option<Reserved>,
}

const INVALID: u64 = u64::MAX;

impl Head {
    /// Of a response that is to be stored.
    pub fn new(
        status: StatusCode,
        headers: HeaderMap,
        reason: Option<Bytes>,
        shielded: Shielded,
        aged: Aged,
    ) -> Self {
        let Shielded { directives, lifetime, selection } = shielded;
        Self {
            status,
            headers,
            reason,
            directives,
            lifetime: lifetime.seconds(),
            aged,
            selection,
            validity: AtomicU64::new(0),
            _room: None,
        }
    }

    /// Seconds since the origin made it.
    pub fn age(&self, now: Time) -> u64 {
        self.aged.now(now)
    }

    /// How stale it is.
    pub fn staleness(&self, now: Time) -> Staleness {
        let by_time = Staleness::of(self.age(now), self.lifetime);
        match (self.validity.load(Relaxed), by_time) {
            (0, staleness) => staleness,
            (INVALID, _) => Staleness::Invalid,
            (purged, Staleness::Fresh(_)) => Staleness::Stale(now.seconds_since(Time(purged))),
            (purged, Staleness::Stale(seconds)) => {
                Staleness::Stale(seconds.max(now.seconds_since(Time(purged))))
            }
            (_, Staleness::Invalid) => Staleness::Invalid,
        }
    }

    /// Seconds that it is fresh yet, or has been stale, for `Cache-Status`.
    pub fn ttl(&self, now: Time) -> i64 {
        let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        match self.staleness(now) {
            Staleness::Fresh(left) => seconds(left),
            Staleness::Stale(over) => -seconds(over),
            Staleness::Invalid => 0,
        }
    }

    /// Something changed what it is of.
    pub(super) fn invalidate(&self) {
        self.validity.store(INVALID, Relaxed);
    }

    /// It is stale from now on, if it is not already.
    pub(super) fn soft_purge(&self, now: Time) {
        let _ = self.validity.compare_exchange(0, now.0.max(1), Relaxed, Relaxed);
    }

    /// As it is kept.
    pub(super) fn validity(&self) -> u64 {
        self.validity.load(Relaxed)
    }

    pub(super) fn with_validity(self, validity: u64) -> Self {
        self.validity.store(validity, Relaxed);
        self
    }

    pub(super) fn with_room(self, room: Reserved) -> Self {
        Self { _room: Some(room), ..self }
    }

    /// What it takes in memory, about.
    pub(super) fn cost(&self, key: &Key) -> u64 {
        let of_field = |value: &HeaderValue| value.len() + size_of::<HeaderValue>() + 48;
        let fields: usize = self.headers.values().map(of_field).sum();
        let selection: usize =
            self.selection.iter().map(|(_, value)| value.map_or(0, |value| value.len()) + 64).sum();
        // Its places in the index and the queues, too.
        (fields + selection + key.as_bytes().len() + 512) as u64
    }

    /// Whether it carries this tag.
    pub fn has_tag(&self, tag: &[u8]) -> bool {
        let lists = |name: &str, is_separator: fn(&u8) -> bool| {
            let lines = self.headers.get_all(name).iter().map(HeaderValue::as_bytes);
            lines
                .flat_map(|line| line.split(is_separator))
                .any(|one| tidegate_message::fields::trim(one) == tag)
        };
        lists("cache-tag", |byte| *byte == b',')
            || lists("surrogate-key", |byte| matches!(byte, b' ' | b'\t' | b','))
    }

    /// Whether it can be of use: it is fresh, may be served stale, or can be validated.
    pub(super) fn is_of_use(&self, now: Time) -> bool {
        let can_be_validated =
            self.headers.contains_key(header::ETAG) || self.headers.contains_key(header::LAST_MODIFIED);
        let grace = self.directives.stale_if_error.max(self.directives.stale_while_revalidate).unwrap_or(0);
        can_be_validated
            || match self.staleness(now) {
                Staleness::Fresh(_) => true,
                Staleness::Stale(seconds) => seconds < grace,
                Staleness::Invalid => false,
            }
    }
}
