//! Many texts, one of which a text may begin or end with.

/// Sorted, so that one binary search finds all that a text begins with, whatever their number: they begin with
/// each other.
#[derive(Debug, Default)]
pub(super) struct Affixes(Vec<Affix>);

#[derive(Debug)]
struct Affix {
    text: Box<[u8]>,
    /// The smallest index of this and of those it begins with.
    index: u32,
    /// The longest of those it begins with, by position.
    within: Option<usize>,
}

impl Affixes {
    /// Texts and their index; for texts that are to be looked for at the end, from back to front.
    pub(super) fn new(mut texts: Vec<(Box<[u8]>, u32)>) -> Self {
        texts.sort_unstable();
        // Of equal texts the first counts.
        texts.dedup_by(|next, kept| next.0 == kept.0);
        let mut affixes: Vec<Affix> = Vec::with_capacity(texts.len());
        for (text, index) in texts {
            let mut within = affixes.len().checked_sub(1);
            while let Some(at) = within.filter(|at| !text.starts_with(&affixes[*at].text)) {
                within = affixes[at].within;
            }
            let index = within.map_or(index, |at| index.min(affixes[at].index));
            affixes.push(Affix { text, index, within });
        }
        Self(affixes)
    }

    /// The smallest index of those the bytes begin with.
    pub(super) fn first<B: Iterator<Item = u8> + Clone>(&self, bytes: B) -> Option<u32> {
        // All that the bytes begin with come before them, and each one that comes between begins with them too.
        let not_after = |affix: &Affix| affix.text.iter().copied().le(bytes.clone());
        let last = self.0.partition_point(not_after).checked_sub(1)?;
        let common =
            self.0[last].text.iter().copied().zip(bytes).take_while(|(one, other)| one == other).count();
        let mut at = last;
        while self.0[at].text.len() > common {
            at = self.0[at].within?;
        }
        Some(self.0[at].index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_index_of_all_that_a_text_begins_with() {
        let texts = ["abc", "a", "abd", "", "b", "abc", "abcde", "ab"];
        let affixes = |texts: &[&str]| {
            Affixes::new((0..).zip(texts).map(|(index, text)| (text.as_bytes().into(), index)).collect())
        };
        let all = affixes(&texts);
        for text in ["", "a", "ab", "abc", "abcd", "abcdef", "abe", "abd", "b", "bb", "c", "0"] {
            let expected =
                (0..).zip(texts).find(|(_, affix)| text.starts_with(affix)).map(|(index, _)| index);
            assert_eq!(all.first(text.bytes()), expected, "{text:?}");
        }
        let some = affixes(&["abc", "abd", "abcde"]);
        assert_eq!(
            ["ab", "abcx", "abcdx", "abcdef", "z", ""].map(|text| some.first(text.bytes())),
            [None, Some(0), Some(0), Some(0), None, None]
        );
        assert_eq!(Affixes::default().first("a".bytes()), None);
    }
}
