//! Matchers built once in [`configure`](crate::Policy::configure) and run by the proxy: comparing a request
//! with a thousand patterns costs one call that returns a number.
//!
//! They can be built only in `configure`. Patterns come in six kinds:
//!
//! - *exact*, *prefix*, *suffix*, *contains*: plain text;
//! - *glob*: the whole text; `*` is any characters but `/`, `**` any characters, `?` one character but `/`,
//!   all others stand for themselves. `/admin/**` matches `/admin` too;
//! - *regex*: the syntax of the `regex` crate, not anchored: write `^` and `$` where they are meant.

use std::net::IpAddr;

use crate::host;
use crate::host::matching::PatternKind;
use crate::{Body, Error, Request, Response};

/// A set of networks and addresses.
#[derive(Debug)]
pub struct IpSet(host::matching::Matcher);

impl IpSet {
    /// From CIDR blocks (`10.0.0.0/8`, `fd00::/8`) and single addresses.
    ///
    /// # Errors
    ///
    /// Names the entry that is neither ([`Error::within`] adds the key); also when called outside `configure`.
    pub fn new(entries: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
        let entries: Vec<String> = entries.into_iter().map(Into::into).collect();
        host::matching::ip_set(&entries).map(Self).map_err(Error::from_host)
    }

    /// Whether the client, after trusted-proxy handling, is in the set.
    pub fn has_client(&self, request: &Request) -> bool {
        host::matching::ip_set_has_client(self.0, &request.0)
    }

    /// Whether this address is in the set.
    pub fn has(&self, address: IpAddr) -> bool {
        host::matching::ip_set_has(self.0, address.into())
    }
}

/// A regex over normalised paths, with what people write for the path they see: `^/café/(.*)$` becomes
/// `^/(?:caf%C3%A9)/(.*)$` in effect. Characters outside ASCII, spaces and quotation marks are spelled as triplets, and
/// triplets as normalised paths have them; classes (`[…]`) stay as they are.
pub fn path_regex(source: &str) -> String {
    let verbose = source.contains("(?x") || source.contains("x)");
    let mut spelled = String::with_capacity(source.len());
    let (mut rest, mut class) = (source, 0_u32);
    while let Some(character) = rest.chars().next() {
        let (this, after) = rest.split_at(character.len_utf8());
        rest = after;
        match character {
            '\\' => {
                let escaped = rest.chars().next().map_or(0, char::len_utf8);
                spelled.push_str(this);
                spelled.push_str(&rest[..escaped]);
                rest = &rest[escaped..];
            }
            '[' => {
                class += 1;
                spelled.push('[');
            }
            ']' => {
                class = class.saturating_sub(1);
                spelled.push(']');
            }
            _ if class > 0 => spelled.push(character),
            '%' => match rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(octet) if octet.is_ascii_alphanumeric() || b"-_~!&',;=:@".contains(&octet) => {
                    spelled.push(char::from(octet));
                    rest = &rest[2..];
                }
                // These mean something in a regex.
                Some(octet) if b".$()+".contains(&octet) => {
                    spelled.push('\\');
                    spelled.push(char::from(octet));
                    rest = &rest[2..];
                }
                Some(_) => {
                    spelled.push('%');
                    spelled.push_str(&rest[..2].to_ascii_uppercase());
                    rest = &rest[2..];
                }
                None => spelled.push('%'),
            },
            ' ' if verbose => spelled.push(' '),
            ' ' | '"' => spelled.push_str(&format!("(?:%{:02X})", u32::from(character))),
            plain if plain.is_ascii() => spelled.push(plain),
            other => {
                let triplets: String =
                    other.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
                spelled.push_str(&format!("(?:{triplets})"));
            }
        }
    }
    spelled
}

/// A list of patterns of one kind. Matching returns the index of the first that matches.
///
/// `Patterns::glob(["/api/**", "/v1/*"])?` regards case, `Patterns::ignore_case().glob(…)?` does not. An empty
/// list matches nothing.
#[derive(Debug)]
pub struct Patterns(host::matching::Matcher);

impl Patterns {
    /// Whether the text matches.
    pub fn matches(&self, text: &str) -> Option<usize> {
        host::matching::match_text(self.0, text).map(index)
    }

    /// Whether the normalised path of the request matches.
    pub fn matches_path(&self, request: &Request) -> Option<usize> {
        host::matching::match_path(self.0, &request.0).map(index)
    }

    /// Whether any value of the header field matches. Bytes that are not UTF-8 count as U+FFFD.
    pub fn matches_header(&self, request: &Request, name: &str) -> Option<usize> {
        host::matching::match_header(self.0, &request.0, name).map(index)
    }

    /// The same for a field of the response.
    pub fn matches_response_header(&self, response: &Response, name: &str) -> Option<usize> {
        host::matching::match_response_header(self.0, &response.0, name).map(index)
    }

    /// Whether a whole body, or a piece of one, matches as it stands now. Bytes that are not UTF-8 count as
    /// U+FFFD. Nothing is copied.
    pub fn matches_body(&self, body: &Body) -> Option<usize> {
        host::matching::match_body(self.0, &body.0).map(index)
    }

    /// Makes patterns for [`Patterns::matches_path`], written as people see paths.
    pub const fn for_paths() -> ForPaths {
        ForPaths { ignore_case: false }
    }

    /// Makes patterns that do not regard case.
    pub const fn ignore_case() -> IgnoreCase {
        IgnoreCase(())
    }

    fn build(
        kind: PatternKind,
        patterns: impl IntoIterator<Item = impl Into<String>>,
        ignore_case: bool,
    ) -> Result<Self, Error> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        host::matching::patterns(kind, &patterns, ignore_case).map(Self).map_err(Error::from_host)
    }
}

/// The constructors of [`Patterns`] for patterns that do not regard case.
#[derive(Debug, Clone, Copy)]
pub struct IgnoreCase(());

/// The constructors of [`Patterns`] for paths. They are brought into the form of normalised paths (`/café` becomes
/// `/caf%C3%A9`, in regexes too, classes excepted), and one that can match no path is refused with the spelling that
/// would.
#[derive(Debug, Clone, Copy)]
pub struct ForPaths {
    ignore_case: bool,
}

impl ForPaths {
    /// Makes patterns that do not regard case.
    #[must_use]
    pub const fn ignore_case(self) -> Self {
        Self { ignore_case: true }
    }

    fn build(
        self,
        kind: PatternKind,
        patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Patterns, Error> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        host::matching::path_patterns(kind, &patterns, self.ignore_case)
            .map(Patterns)
            .map_err(Error::from_host)
    }
}

/// A list of patterns to be found in bodies with [`Body::find_pattern`].
#[derive(Debug)]
pub struct BodyPatterns(pub(crate) host::matching::Matcher);

impl BodyPatterns {
    /// Plain texts.
    ///
    /// # Errors
    ///
    /// Names the pattern at fault ([`Error::within`] adds the key); also when called outside `configure`.
    pub fn contains(
        patterns: impl IntoIterator<Item = impl Into<String>>,
        ignore_case: bool,
    ) -> Result<Self, Error> {
        Self::build(PatternKind::Contains, patterns, ignore_case)
    }

    /// Regexes; bytes that are not UTF-8 match no character, unless it says `(?-u)`.
    ///
    /// # Errors
    ///
    /// As [`BodyPatterns::contains`].
    pub fn regex(
        patterns: impl IntoIterator<Item = impl Into<String>>,
        ignore_case: bool,
    ) -> Result<Self, Error> {
        Self::build(PatternKind::Regex, patterns, ignore_case)
    }

    fn build(
        kind: PatternKind,
        patterns: impl IntoIterator<Item = impl Into<String>>,
        ignore_case: bool,
    ) -> Result<Self, Error> {
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        host::matching::body_patterns(kind, &patterns, ignore_case).map(Self).map_err(Error::from_host)
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident $kind:ident)*) => {
        impl Patterns {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Names the pattern that does not parse ([`Error::within`] adds the key); also when called outside `configure`.
            pub fn $name(patterns: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, Error> {
                Self::build(PatternKind::$kind, patterns, false)
            })*
        }

        impl IgnoreCase {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Names the pattern that does not parse ([`Error::within`] adds the key); also when called outside `configure`.
            pub fn $name(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Result<Patterns, Error> {
                Patterns::build(PatternKind::$kind, patterns, true)
            })*
        }

        impl ForPaths {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Names the pattern at fault ([`Error::within`] adds the key); also when called outside `configure`.
            pub fn $name(self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Result<Patterns, Error> {
                self.build(PatternKind::$kind, patterns)
            })*
        }
    };
}

constructors! {
    /// The whole text.
    exact Exact
    /// The beginning of the text.
    prefix Prefix
    /// The end of the text.
    suffix Suffix
    /// Any part of the text.
    contains Contains
    /// The whole text, with `*`, `**` and `?`.
    glob Glob
    /// Any part of the text, in the syntax of the `regex` crate.
    regex Regex
}

fn index(index: u32) -> usize {
    // wasm32 and everything tests run on have at least 32 bits.
    index as usize
}

#[cfg(test)]
mod tests {
    use super::path_regex;

    #[test]
    fn regexes_are_spelled_like_paths() {
        for (written, spelled) in [
            ("^/old/(.*)$", "^/old/(.*)$"),
            ("^/café/(.*)$", "^/caf(?:%C3%A9)/(.*)$"),
            ("^/my docs", "^/my(?:%20)docs"),
            ("^/caf%c3%a9", "^/caf%C3%A9"),
            ("^/%7Euser%2e", r"^/~user\."),
            (r"^/[é ]\[%2f", r"^/[é ]\[%2F"),
            ("(?x) a b", "(?x) a b"),
        ] {
            assert_eq!(path_regex(written), spelled, "{written}");
        }
    }
}
