//! Compression of responses: which are compressed (`types`), with which coding, and what their head says then
//! (`head`).

mod head;
mod types;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::rc::Rc;

use http::{HeaderMap, StatusCode, Version};
use tidegate_body::Body;
use tidegate_body::codec::{self, Encoders, Permit};
use tidegate_config::{self as config, Config, Levels};
use tidegate_message::{AcceptEncoding, Coding, ResponseHead};

use self::types::Types;

/// `[compression]` as one worker runs it.
pub(crate) struct Compression {
    codings: Vec<Coding>,
    types: Types,
    min_size: u64,
    levels: Levels,
    max_in_flight: usize,
    /// Destinations whose responses are left as they are.
    without: HashSet<String>,
    encoders: Rc<Encoders>,
}

/// What codes the body of one response.
pub(crate) struct Encoding {
    coding: Coding,
    level: u8,
    permit: Permit,
}

impl Encoding {
    /// The body, compressed while it streams.
    pub(crate) fn apply(self, body: Body) -> Body {
        Body::boxed(codec::encode(body, self.coding, self.level, self.permit))
    }
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
            encoders: previous.map(|previous| previous.encoders.clone()).unwrap_or_default(),
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
    ) -> Option<Encoding> {
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
        let permit = self.encoders.permit(self.max_in_flight)?;
        head::code(&mut response.headers, coding);
        response.content_length = None;
        Some(Encoding { coding, level: level(coding, self.levels), permit })
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
