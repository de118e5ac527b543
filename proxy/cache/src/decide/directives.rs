//! The directives of `Cache-Control` (RFC 9111 §5.2), of what is targeted at caches like this one (RFC 9213), and
//! of requests.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use tidegate_message::fields::{parts, trim};

/// Fields that speak to this kind of cache alone, the most special first (RFC 9213 §2.2).
const TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("tidegate-cache-control"), HeaderName::from_static("cdn-cache-control")];

/// What a response says of how it may be cached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the directives")]
pub struct Directives {
    pub immutable: bool,
    pub max_age: Option<u64>,
    pub must_revalidate: bool,
    pub must_understand: bool,
    pub no_cache: bool,
    pub no_store: bool,
    pub private: bool,
    pub proxy_revalidate: bool,
    pub public: bool,
    pub s_maxage: Option<u64>,
    pub stale_if_error: Option<u64>,
    pub stale_while_revalidate: Option<u64>,
    /// They are those of a targeted field: `Expires` says nothing beside them.
    pub targeted: bool,
}

/// What a request says of what it wants from caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named like the directives")]
pub struct Asked {
    pub max_age: Option<u64>,
    /// Inner `None`: however stale.
    pub max_stale: Option<Option<u64>>,
    pub min_fresh: Option<u64>,
    pub no_cache: bool,
    pub no_store: bool,
    pub only_if_cached: bool,
    pub stale_if_error: Option<u64>,
}

impl Directives {
    /// Of a response: those of the most special field that is valid, else of `Cache-Control`.
    pub fn of(headers: &HeaderMap) -> Self {
        TARGETED
            .iter()
            .find_map(|name| Self::targeted(headers, name))
            .unwrap_or_else(|| Self::general(headers))
    }

    fn general(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in directives(headers) {
            let flag = |place: &mut bool| *place = true;
            match name.as_str() {
                "immutable" => flag(&mut found.immutable),
                "max-age" => first(&mut found.max_age, lifetime(value)),
                "must-revalidate" => flag(&mut found.must_revalidate),
                "must-understand" => flag(&mut found.must_understand),
                // With names of fields it speaks of these alone; to keep to all of it is allowed, and simpler (§5.2.2.4).
                "no-cache" => flag(&mut found.no_cache),
                "no-store" => flag(&mut found.no_store),
                "private" => flag(&mut found.private),
                "proxy-revalidate" => flag(&mut found.proxy_revalidate),
                "public" => flag(&mut found.public),
                "s-maxage" => first(&mut found.s_maxage, lifetime(value)),
                "stale-if-error" => first(&mut found.stale_if_error, lifetime(value)),
                "stale-while-revalidate" => first(&mut found.stale_while_revalidate, lifetime(value)),
                _ => {}
            }
        }
        found
    }

    /// `None` if the field is not there, empty, or no dictionary (RFC 9213 §2.1).
    fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes).peekable();
        lines.peek()?;
        let text = lines.collect::<Vec<_>>().join(&b", "[..]);
        let members: Dictionary =
            Parser::new(&text).parse().ok().filter(|members: &Dictionary| !members.is_empty())?;
        let item = |name: &str| match members.get(name)? {
            ListEntry::Item(item) => Some(&item.bare_item),
            ListEntry::InnerList(_) => None,
        };
        // `private` and `no-cache` may name fields; they are kept to as a whole.
        let flag = |name: &str| match item(name) {
            Some(BareItem::Boolean(is)) => *is,
            Some(BareItem::String(_)) => true,
            _ => false,
        };
        // What is not of its type is not there.
        let seconds = |name: &str| match item(name)? {
            BareItem::Integer(seconds) => u64::try_from(i64::from(*seconds)).ok(),
            _ => None,
        };
        Some(Self {
            immutable: flag("immutable"),
            max_age: seconds("max-age"),
            must_revalidate: flag("must-revalidate"),
            must_understand: flag("must-understand"),
            no_cache: flag("no-cache"),
            no_store: flag("no-store"),
            private: flag("private"),
            proxy_revalidate: flag("proxy-revalidate"),
            public: flag("public"),
            s_maxage: seconds("s-maxage"),
            stale_if_error: seconds("stale-if-error"),
            stale_while_revalidate: seconds("stale-while-revalidate"),
            targeted: true,
        })
    }
}

impl Asked {
    /// Of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        if !headers.contains_key(header::CACHE_CONTROL) {
            // What HTTP/1.0 had (§5.4).
            found.no_cache = tidegate_message::fields::lists(headers, &header::PRAGMA, "no-cache");
            return found;
        }
        for (name, value) in directives(headers) {
            match name.as_str() {
                "max-age" => first(&mut found.max_age, lifetime(value)),
                "max-stale" => first(&mut found.max_stale, value.map(|value| lifetime(Some(value)))),
                "min-fresh" => first(&mut found.min_fresh, lifetime(value)),
                "no-cache" => found.no_cache = true,
                "no-store" => found.no_store = true,
                "only-if-cached" => found.only_if_cached = true,
                "stale-if-error" => first(&mut found.stale_if_error, lifetime(value)),
                _ => {}
            }
        }
        found
    }
}

/// Of several the first counts (§4.2.1).
fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

/// The members of `Cache-Control`: a name in small letters, and the value if there is one.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = (String, Option<&[u8]>)> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| parts(line, b',')).filter(|member| !member.is_empty()).map(|member| {
        let (name, value) = match member.iter().position(|byte| *byte == b'=') {
            Some(at) => (&member[..at], Some(&member[at + 1..])),
            None => (member, None),
        };
        (String::from_utf8_lossy(name).to_ascii_lowercase(), value)
    })
}

/// Seconds, in quotes or not. What is no number makes a response stale (§4.2.1); what is too large is very long (§1.2.2).
fn lifetime(value: Option<&[u8]>) -> u64 {
    let value = value.unwrap_or_default();
    let value = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value);
    seconds(value).unwrap_or(0)
}

/// Digits and nothing else.
pub(super) fn seconds(value: &[u8]) -> Option<u64> {
    let value = trim(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(value.iter().fold(0, add).min(LONGEST))
}

/// Some 68 years, which RFC 9111 §1.2.2 takes for ever.
const LONGEST: u64 = 1 << 31;
