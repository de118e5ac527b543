//! Chunks of a body in memory, in order.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A smaller chunk that has to wait is copied together with its neighbours. It is a slice of a buffer of up
/// to 64 KiB, and would keep all of that; and there may be as many as there are bytes. Servers that are fast
/// enough for copies to count fill their buffers.
const SMALL: usize = 32 << 10;
/// What is copied together becomes chunks of this size.
const BLOCK: usize = 64 << 10;

/// A queue of bytes. Larger chunks go through it as they are.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    whole: VecDeque<Bytes>,
    /// The last ones, while small ones may still join them.
    open: BytesMut,
    len: usize,
}

impl Chunks {
    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, mut chunk: Bytes) {
        let waits = !self.is_empty();
        self.len += chunk.len();
        if chunk.len() >= SMALL || !waits {
            self.close();
            self.whole.extend((!chunk.is_empty()).then_some(chunk));
            return;
        }
        while !chunk.is_empty() {
            let fits = chunk.split_to(chunk.len().min(BLOCK - self.open.len()));
            self.open.extend_from_slice(&fits);
            if self.open.len() == BLOCK {
                self.close();
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.close();
        }
        let chunk = self.whole.pop_front()?;
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Puts all of `others` behind.
    pub(crate) fn append(&mut self, others: &mut Self) {
        others.close();
        self.close();
        self.len += std::mem::take(&mut others.len);
        self.whole.append(&mut others.whole);
    }

    /// Keeps the first `len` bytes and returns the rest.
    pub(crate) fn split_off(&mut self, len: usize) -> Self {
        self.close();
        let mut rest = Self::default();
        while self.len > len
            && let Some(mut last) = self.whole.pop_back()
        {
            let before = self.len - last.len();
            let cut = last.split_off(len.saturating_sub(before));
            rest.len += cut.len();
            rest.whole.push_front(cut);
            self.len = before + last.len();
            if !last.is_empty() {
                self.whole.push_back(last);
            }
        }
        rest
    }

    /// What stands at byte `at`, up to the end of its chunk; it stays. `None` behind the last byte.
    pub(crate) fn read(&self, mut at: usize) -> Option<Bytes> {
        for chunk in &self.whole {
            if at < chunk.len() {
                return Some(chunk.slice(at..));
            }
            at -= chunk.len();
        }
        // Still growing, so it cannot be shared.
        self.open.get(at..).filter(|rest| !rest.is_empty()).map(Bytes::copy_from_slice)
    }

    /// Every chunk, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let open = (!self.open.is_empty()).then_some(&*self.open);
        self.whole.iter().map(|chunk| &**chunk).chain(open)
    }

    /// Every chunk, in order, each as it will stay.
    pub(crate) fn into_vec(mut self) -> Vec<Bytes> {
        self.close();
        self.whole.into()
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.whole.push_back(self.open.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(chunks: &mut Chunks) -> Vec<u8> {
        std::iter::from_fn(|| chunks.pop()).flatten().collect()
    }

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came_whatever_their_pieces() {
        let (mut chunks, mut expected) = (Chunks::default(), Vec::new());
        for (index, size) in
            [1, 0, 9000, 3, 50_000, 20_000, 32_767, 32_768, 17, 100_000].into_iter().enumerate()
        {
            let chunk = vec![index as u8; size];
            expected.extend_from_slice(&chunk);
            chunks.push(chunk.into());
            assert_eq!(chunks.len(), expected.len());
        }
        assert_eq!(chunks.iter().flatten().copied().collect::<Vec<_>>(), expected);
        for at in [0, 1, 9001, 50_000, expected.len(), expected.len() + 1] {
            let mut rest = chunks.split_off(at);
            assert_eq!((chunks.len(), chunks.len() + rest.len()), (at.min(expected.len()), expected.len()));
            chunks.append(&mut rest);
            assert_eq!((chunks.len(), rest.len()), (expected.len(), 0));
        }
        assert_eq!(drain(&mut chunks), expected);
        assert!(chunks.is_empty());
    }

    #[test]
    fn small_pieces_do_not_keep_what_they_were_cut_from() {
        let mut read = Bytes::from(vec![7; 64 << 10]);
        let mut chunks = Chunks::default();
        // One alone goes through as it is.
        let first = read.split_to(1);
        let place = first.as_ptr();
        chunks.push(first);
        assert_eq!(chunks.pop().map(|chunk| chunk.as_ptr()), Some(place));

        chunks.push(read.split_to(1));
        for _ in 0..10_000 {
            chunks.push(read.split_to(3));
        }
        drop(chunks.pop());
        assert!(chunks.into_vec().len() < 4);
        assert!(read.is_unique(), "nothing but this keeps it");
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let large = Bytes::from(vec![1; SMALL]);
        let mut chunks = Chunks::default();
        chunks.push(Bytes::from_static(b"before"));
        chunks.push(large.clone());
        chunks.pop();
        assert_eq!(chunks.pop().map(|chunk| chunk.as_ptr()), Some(large.as_ptr()));
    }
}
