//! A chunk of a body, or all of it, in host memory, while policies look at it.

use bytes::{Buf, Bytes};
use memchr::memmem;

use crate::refusal::EditError;

/// A chunk of a body as it passes; a whole body counts as one.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Bytes,
    is_last: bool,
    is_edited: bool,
    /// Of the end of `bytes`.
    held: usize,
}

impl Chunk {
    /// `bytes` begin with what was held back of the chunk before. `is_last`: no other follows, as is
    /// always so for a whole body.
    pub fn new(bytes: Bytes, is_last: bool) -> Self {
        Self { bytes, is_last, is_edited: false, held: 0 }
    }

    /// What is to be passed on, and what the last call held back: it stands at the beginning of the next
    /// chunk.
    pub fn into_parts(mut self) -> (Bytes, Bytes) {
        let held = self.bytes.split_off(self.bytes.len() - self.held);
        (self.bytes, held)
    }

    /// No other follows.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether a call changed the bytes.
    pub fn is_edited(&self) -> bool {
        self.is_edited
    }
}

/// A chunk during a call, which may be undone.
///
/// Edits as a rule go from front to back: what they leave behind is collected in `front`, what they have not
/// reached is still where it came. So a chunk that is not edited is not copied, and one with thousands of
/// edits is copied once.
#[derive(Debug)]
pub(crate) struct Draft {
    original: Chunk,
    front: Vec<u8>,
    rest: Bytes,
    is_edited: bool,
    hold: u64,
    /// What an edit may grow it to, bytes.
    limit: usize,
}

/// The call wanted to hold back more than it may.
#[derive(Debug)]
pub(crate) struct HeldTooMuch(pub(crate) Chunk);

impl Draft {
    /// `limit` holds for what edits grow and for what is held back; what comes larger may stay so.
    pub(crate) fn new(original: Chunk, limit: usize) -> Self {
        let rest = original.bytes.clone();
        Self { original, front: Vec::new(), rest, is_edited: false, hold: 0, limit }
    }

    /// The call succeeded. `may_hold`: another chunk can follow, and the policy will see it.
    pub(crate) fn finish(mut self, may_hold: bool) -> Result<Chunk, HeldTooMuch> {
        let holds = may_hold && !self.original.is_last;
        let wanted = usize::try_from(self.hold).unwrap_or(usize::MAX);
        let held = if holds { wanted.min(self.len()) } else { 0 };
        if held > self.limit {
            return Err(HeldTooMuch(self.abandon()));
        }
        let mut chunk = self.original;
        if self.is_edited {
            self.front.extend_from_slice(&self.rest);
            chunk.bytes = self.front.into();
            chunk.is_edited = true;
        }
        chunk.held = held;
        Ok(chunk)
    }

    /// The call failed: the chunk is as it was before, and nothing is held back.
    pub(crate) fn abandon(self) -> Chunk {
        Chunk { held: 0, ..self.original }
    }

    pub(crate) fn is_last(&self) -> bool {
        self.original.is_last
    }

    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.rest.len()
    }

    /// Fewer than `max` at the end, none beyond it.
    pub(crate) fn read(&self, offset: u64, max: u32) -> Vec<u8> {
        let clamp = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(self.len());
        let (start, end) = (clamp(offset), clamp(offset.saturating_add(max.into())));
        let border = self.front.len();
        let front = &self.front[start.min(border)..end.min(border)];
        let rest = &self.rest[start.saturating_sub(border)..end.saturating_sub(border)];
        [front, rest].concat()
    }

    /// No bytes stand everywhere.
    pub(crate) fn find(&self, needle: &[u8], offset: u64) -> Option<usize> {
        let offset = usize::try_from(offset).ok().filter(|offset| *offset <= self.len())?;
        let border = self.front.len();
        let found = if offset < border { self.find_before_rest(needle, offset) } else { None };
        found.or_else(|| {
            let from = offset.saturating_sub(border);
            Some(border + from + memmem::find(&self.rest[from..], needle)?)
        })
    }

    /// What begins in `front`, also if it ends in `rest`.
    fn find_before_rest(&self, needle: &[u8], offset: usize) -> Option<usize> {
        if let Some(at) = memmem::find(&self.front[offset..], needle) {
            return Some(offset + at);
        }
        let reach = needle.len().saturating_sub(1);
        let start = self.front.len().saturating_sub(reach).max(offset);
        let seam = [&self.front[start..], &self.rest[..reach.min(self.rest.len())]].concat();
        Some(start + memmem::find(&seam, needle)?)
    }

    /// All of it in one place, which is a copy only after an edit.
    pub(crate) fn contiguous(&mut self) -> &[u8] {
        if self.front.is_empty() {
            return &self.rest;
        }
        self.front.extend_from_slice(&self.rest);
        self.rest.clear();
        &self.front
    }

    pub(crate) fn replace(&mut self, bytes: Vec<u8>) -> Result<(), EditError> {
        self.check_size(bytes.len())?;
        self.is_edited = true;
        self.rest.clear();
        self.front = bytes;
        Ok(())
    }

    pub(crate) fn replace_range(&mut self, offset: u64, length: u64, bytes: &[u8]) -> Result<(), EditError> {
        let (offset, length) = self.check_range(offset, length, bytes.len())?;
        self.is_edited = true;
        match offset.checked_sub(self.front.len()) {
            Some(ahead) => self.front.extend_from_slice(&self.rest.split_to(ahead)),
            // Back to what an edit passed already: it is ahead again.
            None => {
                let passed = self.front.split_off(offset);
                self.rest = [&passed[..], &self.rest].concat().into();
            }
        }
        self.rest.advance(length);
        self.front.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether so many bytes may stand in place of this part, which is within the chunk.
    pub(crate) fn check_range(
        &self,
        offset: u64,
        length: u64,
        put: usize,
    ) -> Result<(usize, usize), EditError> {
        let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else {
            return Err(EditError::Invalid);
        };
        let stays = self.len().checked_sub(length).filter(|stays| offset <= *stays);
        let stays = stays.ok_or(EditError::Invalid)?;
        self.check_size(stays.saturating_add(put))?;
        Ok((offset, length))
    }

    pub(crate) fn check_size(&self, size: usize) -> Result<(), EditError> {
        let grows = size > self.original.bytes.len();
        if grows && size > self.limit { Err(EditError::TooLarge) } else { Ok(()) }
    }

    pub(crate) fn hold_back(&mut self, bytes: u64) {
        self.hold = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &'static str, limit: usize) -> Draft {
        Draft::new(Chunk::new(Bytes::from_static(text.as_bytes()), false), limit)
    }

    fn finished(draft: Draft) -> (String, String, bool) {
        let chunk = draft.finish(true).expect("holds back little");
        let is_edited = chunk.is_edited();
        let (passed, held) = chunk.into_parts();
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        (text(passed), text(held), is_edited)
    }

    #[test]
    fn what_is_not_edited_is_not_copied() {
        let bytes = Bytes::from(b"some bytes".to_vec());
        let mut draft = Draft::new(Chunk::new(bytes.clone(), false), 0);
        assert_eq!(
            (draft.read(5, 100), draft.read(10, 1), draft.read(u64::MAX, 1)),
            (b"bytes".to_vec(), vec![], vec![])
        );
        assert_eq!(draft.contiguous(), b"some bytes");
        draft.hold_back(0);
        let chunk = draft.finish(true).expect("holds back nothing");
        assert!(!chunk.is_edited());
        let (passed, held) = chunk.into_parts();
        assert_eq!((passed.as_ptr(), passed.len(), held.len()), (bytes.as_ptr(), 10, 0));
    }

    #[test]
    fn edits_are_seen_by_what_follows() {
        let mut draft = draft("one two three", 100);
        draft.replace_range(4, 3, b"2").expect("inside");
        assert_eq!(draft.read(0, 100), b"one 2 three");
        assert_eq!(draft.read(3, 4), b" 2 t");
        assert_eq!(draft.find(b"e 2 t", 0), Some(2), "across what was edited");
        assert_eq!((draft.find(b"three", 0), draft.find(b"e", 3)), (Some(6), Some(9)));
        assert_eq!((draft.find(b"two", 0), draft.find(b"", 11), draft.find(b"", 12)), (None, Some(11), None));
        assert_eq!((draft.find(b"one", 0), draft.find(b"one", 1)), (Some(0), None));
        // Backwards, into what was passed; and both ends.
        draft.replace_range(0, 5, b"1").expect("inside");
        draft.replace_range(7, 0, b"!").expect("at the end");
        draft.replace_range(0, 0, b"> ").expect("at the beginning");
        assert_eq!(draft.contiguous(), b"> 1 three!");
        assert_eq!(finished(draft), ("> 1 three!".to_owned(), String::new(), true));
    }

    #[test]
    fn thousands_of_edits_make_one_text() {
        let text = "a-".repeat(20_000);
        let mut draft = Draft::new(Chunk::new(text.clone().into(), true), 1 << 20);
        let mut from = 0;
        while let Some(at) = draft.find(b"-", from).map(|at| at as u64) {
            draft.replace_range(at, 1, b", ").expect("inside");
            from = at + 2;
        }
        assert_eq!(finished(draft).0, text.replace('-', ", "));
    }

    #[test]
    fn a_part_outside_is_refused_and_changes_nothing() {
        let mut draft = draft("abc", 100);
        for (offset, length) in [(0, 4), (3, 1), (4, 0), (u64::MAX, 0), (1, u64::MAX)] {
            assert_eq!(
                draft.replace_range(offset, length, b"x"),
                Err(EditError::Invalid),
                "{offset} {length}"
            );
        }
        assert_eq!(finished(draft), ("abc".to_owned(), String::new(), false));
    }

    #[test]
    fn edits_grow_a_chunk_up_to_the_limit_or_what_it_was() {
        let mut small = draft("abc", 4);
        assert_eq!(small.replace(b"abcde".to_vec()), Err(EditError::TooLarge));
        assert_eq!(small.replace_range(0, 1, b"123"), Err(EditError::TooLarge));
        assert_eq!(small.replace_range(0, 1, b"12"), Ok(()));
        assert_eq!(finished(small).0, "12bc");
        let mut large = draft("abcdef", 4);
        assert_eq!(large.replace_range(0, 3, b"123"), Ok(()));
        assert_eq!(large.replace_range(0, 1, b"12"), Err(EditError::TooLarge));
        assert_eq!(large.replace(b"ABCDEF".to_vec()), Ok(()));
        assert_eq!(finished(large).0, "ABCDEF");
    }

    #[test]
    fn what_is_held_back_is_counted_from_the_end() {
        let mut held = draft("one two", 100);
        held.replace_range(0, 3, b"1").expect("inside");
        held.hold_back(9);
        held.hold_back(3);
        assert_eq!(finished(held), ("1 ".to_owned(), "two".to_owned(), true));
        let mut all = draft("one", 3);
        all.hold_back(u64::MAX);
        assert_eq!(finished(all), (String::new(), "one".to_owned(), false));
        let mut too_much = draft("four", 3);
        too_much.replace(b"4444".to_vec()).expect("not larger");
        too_much.hold_back(4);
        let HeldTooMuch(chunk) = too_much.finish(true).expect_err("over the limit");
        assert_eq!((chunk.is_edited(), chunk.into_parts()), (false, ("four".into(), Bytes::new())));
    }

    #[test]
    fn the_last_chunk_is_passed_on_whole() {
        let mut last = Draft::new(Chunk::new("end".into(), true), 100);
        last.hold_back(2);
        assert_eq!(finished(last), ("end".to_owned(), String::new(), false));
        let mut finishing = draft("abc", 100);
        finishing.hold_back(2);
        let (passed, held) = finishing.finish(false).expect("holds back nothing").into_parts();
        assert_eq!((passed.as_ref(), held.len()), (&b"abc"[..], 0));
    }

    #[test]
    fn an_abandoned_draft_is_the_chunk_that_came() {
        let mut draft = draft("abc", 100);
        draft.replace(b"x".to_vec()).expect("small");
        draft.hold_back(1);
        let chunk = draft.abandon();
        assert!(!chunk.is_edited());
        assert_eq!(chunk.into_parts(), ("abc".into(), Bytes::new()));
    }
}
