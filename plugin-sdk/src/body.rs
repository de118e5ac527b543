//! A body, or a piece of one, as a policy sees it.

use std::ops::Range;

use crate::host;
use crate::http::EditError;
use crate::matching::BodyPatterns;

/// A whole body or one piece of it.
///
/// The bytes lie in the proxy: what is not read is not copied. Every method works on them as the edits of this
/// call left them, and edits from front to back are cheap in any number. The proxy keeps `content-length`,
/// trailers and digests true. Tests make one with [`testing::Body`](crate::testing::Body).
pub struct Body(pub(crate) host::http::Body);

impl Body {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        to_usize(self.0.len())
    }

    /// There are none: a body of unknown length turned out empty, or this is the end of one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No piece follows this one; always so for a whole body.
    pub fn is_last(&self) -> bool {
        self.0.is_last()
    }

    /// A copy of these bytes, `body.read(0..body.len())` of all; without those beyond the end.
    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        let length = u32::try_from(range.len()).unwrap_or(u32::MAX);
        self.0.read(position(range.start), length)
    }

    /// Where these bytes stand next, from `from` on. No bytes stand everywhere up to the end. To look for one
    /// of many patterns, use [`Patterns::matches_body`](crate::matching::Patterns::matches_body).
    pub fn find(&self, needle: impl AsRef<[u8]>, from: usize) -> Option<usize> {
        self.0.find(needle.as_ref(), position(from)).map(to_usize)
    }

    /// Where one of the patterns next stands, from `from` on, and which: the match that begins first, and of those the
    /// pattern that comes first in the list. Searched in the proxy; nothing is copied.
    pub fn find_pattern(&self, patterns: &BodyPatterns, from: usize) -> Option<(Range<usize>, usize)> {
        let found = self.0.find_pattern(patterns.0, position(from))?;
        Some((to_usize(found.start)..to_usize(found.end), to_usize(found.pattern)))
    }

    /// Puts these bytes in its place.
    ///
    /// # Errors
    ///
    /// [`EditError::TooLarge`] if it is then larger than when the call began and than `limits.policy-body`.
    pub fn replace(&self, bytes: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.replace(bytes.as_ref())?)
    }

    /// Puts these bytes in place of a part: an empty part inserts, no bytes remove.
    ///
    /// # Errors
    ///
    /// [`EditError::Invalid`] if the part is not within the body; [`EditError::TooLarge`] as
    /// [`Body::replace`].
    pub fn replace_range(&self, range: Range<usize>, bytes: impl AsRef<[u8]>) -> Result<(), EditError> {
        Ok(self.0.replace_range(position(range.start), position(range.len()), bytes.as_ref())?)
    }

    /// Keeps the end of this piece for the next call, so that what stands across the border is seen whole: so
    /// many bytes, counted back from the end of the piece as this call leaves it, are not passed on but stand
    /// at the beginning of the next piece. The last call counts; more than there are means all of them.
    ///
    /// Without effect outside of the chunk phases, on the last piece, and on any verdict but
    /// [`Verdict::Next`](crate::Verdict::Next). To hold back more than `limits.policy-body` fails the call.
    pub fn hold_back(&self, bytes: usize) {
        self.0.hold_back(position(bytes));
    }
}

pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Bodies are far below 4 GiB; what is beyond stands nowhere.
pub(crate) fn position(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::Verdict;
    use crate::http::EditError;
    use crate::matching::Patterns;
    use crate::testing;

    #[test]
    fn a_part_is_replaced_where_it_stands() {
        let body = testing::Body::whole("one two three");
        let at = body.find("two", 0).expect("it is there");
        assert_eq!(body.replace_range(at..at + 3, "2"), Ok(()));
        assert_eq!((body.find("two", 0), body.find("e", 3), body.find("", 99)), (None, Some(9), None));
        assert_eq!((body.len(), body.read(4..5), body.read(9..99)), (11, b"2".to_vec(), b"ee".to_vec()));
        assert_eq!(body.replace_range(11..12, ""), Err(EditError::Invalid));
        assert_eq!(body.replace_range(11..11, "!"), Ok(()));
        assert_eq!(body.bytes(), b"one 2 three!");
        assert_eq!(body.replace(""), Ok(()));
        assert!(body.is_empty() && body.is_last());
    }

    #[test]
    fn patterns_see_a_body_as_it_stands_now() {
        let patterns = Patterns::regex(["^a", "x.z"]).expect("valid");
        let body = testing::Body::whole(b"..x\xffz");
        assert_eq!(patterns.matches_body(&body), Some(1), "a byte that is no text hides nothing");
        body.replace("abc").expect("small");
        assert_eq!(patterns.matches_body(&body), Some(0));
    }

    #[test]
    fn what_is_held_back_comes_again() {
        let mut seen = Vec::new();
        let passed = testing::pass_chunks(["ab", "", "cd", "e"], |chunk| {
            seen.push(String::from_utf8(chunk.read(0..chunk.len())).expect("text"));
            chunk.hold_back(1);
            Verdict::Next
        });
        assert_eq!(seen, ["ab", "b", "bcd", "de", "e"]);
        assert_eq!((passed.bytes.as_slice(), passed.verdict), (&b"abcde"[..], Verdict::Next));
        let passed = testing::pass_chunks(["ab", "cd"], |chunk| {
            chunk.hold_back(2);
            Verdict::Finish
        });
        assert_eq!((passed.bytes.as_slice(), passed.verdict), (&b"abcd"[..], Verdict::Finish));
    }

    #[test]
    fn a_body_that_is_not_passed_on_ends_there() {
        let passed = testing::pass_chunks(["ab", "cd", "ef"], |chunk| {
            if chunk.find("d", 0).is_some() { Verdict::Fail } else { Verdict::Next }
        });
        assert_eq!((passed.bytes.as_slice(), passed.verdict), (&b"ab"[..], Verdict::Fail));
    }
}
