//! One form for letters that differ in case alone.

use std::borrow::Cow;

use super::pace::{OverBudget, Pace, Watch};

/// Characters that are looked at between two looks at the budget, to begin with.
const SLICE: usize = 16 << 10;

/// The text with one character in place of each set of characters that are the same by simple case folding (Unicode,
/// `CaseFolding.txt`, C and S), as `(?i)` of a regex has it; not copied where it is lower-case ASCII already.
pub(super) fn fold<'t>(text: &'t str, watch: &dyn Watch) -> Result<Cow<'t, str>, OverBudget> {
    if text.is_ascii() {
        return Ok(if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        });
    }
    let mut pace = Pace::new(watch, SLICE);
    let mut folded = String::with_capacity(text.len());
    for character in text.chars() {
        pace.step(1)?;
        folded.push(fold_char(character));
    }
    Ok(Cow::Owned(folded))
}

/// By way of the upper case, since more than one lower-case letter may have the same: `ſ` and `s`, `ς` and `σ`.
fn fold_char(character: char) -> char {
    match character {
        ascii if ascii.is_ascii() => ascii.to_ascii_lowercase(),
        // Only in Turkish the dotless i is an i.
        'ı' => 'ı',
        // Those that have no single upper case, and another that is written the same.
        '\u{1fd3}' => '\u{390}',
        '\u{1fe3}' => '\u{3b0}',
        '\u{fb05}' => '\u{fb06}',
        other => {
            let upper = single(other.to_uppercase()).unwrap_or(other);
            single(upper.to_lowercase()).unwrap_or(upper)
        }
    }
}

fn single(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use regex::Regex;

    use super::*;

    /// All characters that have a case, by what they fold to.
    #[test]
    fn characters_are_the_same_where_a_regex_says_so() {
        let cased = Regex::new(r"[\p{CWCF}\p{CWL}\p{CWU}\p{CWT}]").expect("valid");
        let mut text = [0; 4];
        let mut folds = |character: char| {
            fold_char(character) != character || cased.is_match(character.encode_utf8(&mut text))
        };
        let cased: Vec<char> = ('\0'..=char::MAX).filter(|character| folds(*character)).collect();
        assert!(cased.len() > 2_000);
        let mut same = BTreeMap::<char, String>::new();
        for character in &cased {
            same.entry(fold_char(*character)).or_default().push(*character);
        }
        let all: String = cased.iter().collect();
        for character in &cased {
            let regex = format!("(?i){}", regex::escape(character.encode_utf8(&mut [0; 4])));
            let regex = Regex::new(&regex).expect("valid");
            let matched: String = regex.find_iter(&all).map(|found| found.as_str()).collect();
            assert_eq!(
                matched,
                same[&fold_char(*character)],
                "{character:?} U+{:04X}",
                u32::from(*character)
            );
        }
    }
}
