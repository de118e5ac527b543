//! What the operator wants gone.

use super::key::KeyParts;
use super::object::Object;

/// Which stored responses are meant. Hosts are compared without regard to case, and a path that is meant without its port
/// as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// One URL, whatever was added to its key.
    Url {
        /// `http`, `https`, or either.
        scheme: Option<String>,
        /// Host and port as requests have it.
        authority: String,
        /// Path and query.
        target: String,
    },
    /// Everything of a host whose path begins so.
    Prefix {
        /// `http`, `https`, or either.
        scheme: Option<String>,
        /// Host and port as requests have it.
        authority: String,
        /// The beginning of path and query.
        target: String,
    },
    /// Everything of a host, whatever the port.
    Host(String),
    /// Everything with this tag: `Cache-Tag` or `Surrogate-Key`.
    Tag(String),
    /// Everything.
    All,
}

impl Purge {
    /// Whether a response under this key is meant, or may be: of what is not there yet no tag is known.
    pub(super) fn may_mean(&self, parts: &KeyParts<'_>) -> bool {
        let same = |scheme: &Option<String>, authority: &str| {
            scheme.as_deref().is_none_or(|scheme| scheme == parts.scheme)
                && parts.authority.eq_ignore_ascii_case(authority)
        };
        match self {
            Self::Url { scheme, authority, target } => same(scheme, authority) && parts.target == target,
            Self::Prefix { scheme, authority, target } => {
                same(scheme, authority) && parts.target.starts_with(&**target)
            }
            Self::Host(host) => tidegate_message::authority::host(parts.authority).eq_ignore_ascii_case(host),
            Self::Tag(_) | Self::All => true,
        }
    }

    /// Whether a response is meant.
    pub(super) fn means(&self, object: &Object) -> bool {
        object.key.parts().is_some_and(|parts| self.may_mean(&parts))
            && match self {
                Self::Tag(tag) => object.head.has_tag(tag.as_bytes()),
                _ => true,
            }
    }
}
