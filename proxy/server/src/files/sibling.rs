//! Files that are there in a compressed form as well: their names, and which of them a client gets.

use http::HeaderMap;
use tidegate_message::{AcceptEncoding, Coding};

/// How siblings can be compressed, in the order in which they are preferred when the client likes them alike:
/// the smallest first.
pub(super) const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// What the name of the sibling adds to that of the file; `None` for a coding that files do not come in.
pub(super) fn suffix(coding: Coding) -> Option<&'static str> {
    match coding {
        Coding::Brotli => Some(".br"),
        Coding::Zstd => Some(".zst"),
        Coding::Gzip => Some(".gz"),
        Coding::Deflate => None,
    }
}

/// The codings a client prefers to the file as it is, best first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preferences([Option<Coding>; CODINGS.len()]);

impl Preferences {
    /// Of a client that does not say what it takes: nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(AcceptEncoding::of(headers).preferred(CODINGS))
    }

    pub(super) fn has(self, coding: Coding) -> bool {
        self.0.contains(&Some(coding))
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Coding> {
        self.0.into_iter().flatten()
    }
}
