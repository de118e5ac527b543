//! Compression of responses: which are compressed, with which coding, and what their head says then.
//!
//! `types` and `head` say which responses are; `encode` makes the
//! codings, `decode` undoes them, and `stage` is the body around either.

mod decode;
mod encode;
mod head;
mod stage;
mod types;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use tidegate_config::{self as config, Config, Levels};
use tidegate_message::{AcceptEncoding, Coding, ResponseHead};
use zstd_safe::CCtx;

pub(crate) use self::decode::decode;
use self::encode::Encoder;
use self::types::Types;
use crate::body::BoxError;

/// `[compression]` as one worker runs it.
pub(crate) struct Compression {
    codings: Vec<Coding>,
    types: Types,
    min_size: u64,
    levels: Levels,
    max_in_flight: usize,
    /// Destinations whose responses are left as they are.
    without: HashSet<String>,
    workshop: Rc<Workshop>,
}

/// What a worker's compressed responses share; it outlives generations.
#[derive(Default)]
struct Workshop {
    in_flight: Cell<usize>,
    /// Contexts of zstd for reuse: to make one takes longer than to compress a small response with it.
    idle: RefCell<Vec<CCtx<'static>>>,
}

impl Compression {
    /// `None` if the configuration has no such table. Takes over what a worker keeps from `previous`.
    pub(crate) fn new(config: &Config, previous: Option<&Self>) -> Option<Self> {
        let compression = config.compression.as_ref()?;
        let upstreams = config.upstreams.iter().map(|(name, upstream)| (name, upstream.compression));
        let roots = config.files.iter().map(|(name, files)| (name, files.compression));
        let without = upstreams.chain(roots).filter(|(_, compresses)| !compresses);
        Some(Self {
            codings: compression.codings.iter().copied().map(coding).collect(),
            types: Types::new(&compression.types),
            min_size: compression.min_size,
            levels: compression.levels,
            max_in_flight: compression.max_in_flight,
            without: without.map(|(name, _)| name.clone()).collect(),
            workshop: previous.map(|previous| previous.workshop.clone()).unwrap_or_default(),
        })
    }

    /// The coding that suits this client best; `None` = what it wants is the response as it is.
    ///
    /// `request` is what the client sent, before any policy: one that takes `Accept-Encoding` away, so that
    /// the server does not compress, says nothing about the client.
    pub(crate) fn wish(&self, request: &HeaderMap, version: Version) -> Option<Coding> {
        // Recipients and caches of HTTP/1.0 need not know codings nor Vary (RFC 1945 §10.3), and would lose
        // the connection, as such a response has no length.
        let knows = version >= Version::HTTP_11 && !head::forbids_transformation(request);
        knows.then(|| AcceptEncoding::of(request).best(&self.codings)).flatten()
    }

    /// Makes the head of a response what it has to be beside a compressed body, and answers with what
    /// compresses it. `None` = the body stays as it is.
    ///
    /// `wish` is the client's, `request` the request as it was sent to the upstream, and `length` that of
    /// the body, if it is known. For HEAD the head is the one that GET would get.
    pub(crate) fn apply(
        &self,
        wish: Option<Coding>,
        request: &HeaderMap,
        response: &mut ResponseHead,
        length: Option<u64>,
    ) -> Option<Compressor> {
        if response.origin.as_deref().is_some_and(|name| self.without.contains(name)) {
            return None;
        }
        if response.status == StatusCode::NOT_MODIFIED {
            head::revalidate(request, &mut response.headers);
            return None;
        }
        let large = length.is_none_or(|length| length > 0 && length >= self.min_size);
        if !large || !head::is_compressible(response.status, &response.headers, &self.types) {
            return None;
        }
        // Another client might get another body, and a cache has to know.
        head::vary(&mut response.headers);
        let coding = wish?;
        let place = Place::take(&self.workshop, self.max_in_flight)?;
        head::code(&mut response.headers, coding);
        response.content_length = None;
        Some(Compressor { coding, level: level(coding, self.levels), place })
    }
}

/// No response is compressed with deflate, which has no level.
fn level(coding: Coding, levels: Levels) -> u8 {
    match coding {
        Coding::Zstd => levels.zstd,
        Coding::Brotli => levels.br,
        Coding::Gzip | Coding::Deflate => levels.gzip,
    }
}

fn coding(configured: config::Coding) -> Coding {
    match configured {
        config::Coding::Zstd => Coding::Zstd,
        config::Coding::Br => Coding::Brotli,
        config::Coding::Gzip => Coding::Gzip,
    }
}

/// What compresses the body of one response.
pub(crate) struct Compressor {
    coding: Coding,
    level: u8,
    place: Place,
}

impl Compressor {
    /// The body, compressed while it streams. What it takes to do so (up to 2 MiB with the default
    /// levels) is given up with the last byte that is taken in, or when the body is dropped.
    pub(crate) fn compress<B>(self, body: B) -> impl http_body::Body<Data = Bytes, Error = BoxError> + use<B>
    where
        B: http_body::Body<Data = Bytes, Error = BoxError> + 'static,
    {
        let length = body.size_hint().exact();
        let Self { coding, level, place } = self;
        stage::Stage::new(body, move || Encoder::new(coding, level, length, place))
    }
}

/// One of the responses that a worker may compress at a time, until it is dropped.
struct Place(Rc<Workshop>);

impl Place {
    fn take(workshop: &Rc<Workshop>, most: usize) -> Option<Self> {
        let taken = workshop.in_flight.get();
        (taken < most).then(|| {
            workshop.in_flight.set(taken + 1);
            Self(workshop.clone())
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}
