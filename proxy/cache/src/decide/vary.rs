//! Which requests a stored response is for (RFC 9111 §4.1): the fields that `Vary` names, in one form.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tidegate_message::fields::{parts, tokens, trim};
use tidegate_message::{AcceptEncoding, Coding};

/// Codings that an origin may choose from, in the order in which it is told of them.
const CODINGS: [Coding; 4] = [Coding::Zstd, Coding::Brotli, Coding::Gzip, Coding::Deflate];

/// Names that `Vary` may have; a response that depends on more is for hardly anybody else.
const MOST_NAMES: usize = 16;

/// The fields of a request that a response depends on, and what they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection(Vec<(HeaderName, Option<Bytes>)>);

impl Selection {
    /// Of a response to a request with the fields `asked`; `None` if it is for no other request: `Vary: *`, or what cannot
    /// be read.
    pub fn of(asked: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let lines = || response.get_all(header::VARY).iter();
        if lines().next().is_none() {
            return Some(Self::default());
        }
        let members = lines().flat_map(|line| parts(line.as_bytes(), b',')).filter(|name| !name.is_empty());
        let mut names = Vec::new();
        for member in members {
            if member == b"*" {
                return None;
            }
            let name = HeaderName::from_bytes(member).ok()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        // In one order: it means nothing which comes first.
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        (names.len() <= MOST_NAMES).then(|| Self::with(names, asked))
    }

    /// What the fields of another request are, that this response depends on.
    pub fn again(&self, asked: &HeaderMap) -> Self {
        Self::with(self.0.iter().map(|(name, _)| name.clone()).collect(), asked)
    }

    /// Whether a request with these fields would have selected the response.
    pub fn matches(&self, asked: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| of_request(asked, name) == *value)
    }

    /// Every name, and what the request had.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeaderName, Option<&Bytes>)> {
        self.0.iter().map(|(name, value)| (name, value.as_ref()))
    }

    pub(crate) fn from_parts(parts: Vec<(HeaderName, Option<Bytes>)>) -> Self {
        Self(parts)
    }

    /// The same in bytes, for what is kept by it.
    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            into.extend_from_slice(name.as_str().as_bytes());
            into.push(if value.is_some() { b':' } else { b'-' });
            into.extend_from_slice(value.as_deref().unwrap_or_default());
            into.push(b'\n');
        }
    }

    fn with(names: Vec<HeaderName>, asked: &HeaderMap) -> Self {
        let with_value = |name: HeaderName| {
            let value = of_request(asked, &name);
            (name, value)
        };
        Self(names.into_iter().map(with_value).collect())
    }
}

/// The value of a field of a request in one form: its lines as one, which is what they mean (RFC 9110 §5.3). Of
/// `Accept-Encoding` the codings there are; of `Accept-Language` without white space and in small letters. Of no other
/// field is it known what else makes no difference.
fn of_request(asked: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    if name == header::ACCEPT_ENCODING {
        return accepted(asked).map(Bytes::from_static);
    }
    let mut lines = asked.get_all(name).iter().map(HeaderValue::as_bytes);
    let mut value = trim(lines.next()?).to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(trim(line));
    }
    if name == header::ACCEPT_LANGUAGE {
        value.retain(|byte| !matches!(byte, b' ' | b'\t'));
        value.make_ascii_lowercase();
    }
    Some(value.into())
}

/// The codings out of [`CODINGS`] that a client takes; `None` for none of them.
fn accepted(asked: &HeaderMap) -> Option<&'static [u8]> {
    /// By the bits of the codings.
    const NAMES: [&[u8]; 16] = [
        b"",
        b"zstd",
        b"br",
        b"zstd, br",
        b"gzip",
        b"zstd, gzip",
        b"br, gzip",
        b"zstd, br, gzip",
        b"deflate",
        b"zstd, deflate",
        b"br, deflate",
        b"zstd, br, deflate",
        b"gzip, deflate",
        b"zstd, gzip, deflate",
        b"br, gzip, deflate",
        b"zstd, br, gzip, deflate",
    ];
    // Most clients that are no browsers say nothing.
    tokens(asked, &header::ACCEPT_ENCODING).next()?;
    let taken = AcceptEncoding::of(asked).preferred(CODINGS);
    let bit = |coding: &Coding| CODINGS.iter().position(|known| known == coding).map_or(0, |at| 1 << at);
    let bits = taken.iter().flatten().map(bit).fold(0, |bits: usize, bit: usize| bits | bit);
    (bits > 0).then(|| NAMES[bits])
}

/// Makes the fields of a request that are compared in another form than they have the same for all that are taken for
/// one: what is sent to the origin is what the response is kept for.
pub fn normalize(asked: &mut HeaderMap) {
    if !asked.contains_key(header::ACCEPT_ENCODING) {
        return;
    }
    match accepted(asked) {
        Some(codings) => drop(
            asked
                .insert(header::ACCEPT_ENCODING, HeaderValue::from_bytes(codings).expect("names of codings")),
        ),
        None => drop(asked.remove(header::ACCEPT_ENCODING)),
    }
}
