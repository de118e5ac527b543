//! `replace`: texts that are put in place of others, wherever the pieces of a body end.

use tidegate_plugin_sdk::prelude::*;

/// Longest `from`, bytes. One less than this is kept of each piece until the next one comes.
const MAX_FROM: usize = 1024;

/// Puts one text in place of another.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
    /// The text to find, with regard to case; not a pattern. 1 to 1024 bytes.
    #[schemars(length(min = 1, max = 1024))]
    from: String,
    /// The text in its place. It is not searched again.
    to: String,
}

/// Those of one rule.
#[derive(Debug)]
pub(crate) struct Replacements(Vec<Replacement>);

impl Replacements {
    /// The error is one of `replace`.
    pub(crate) fn new(list: Vec<Replacement>) -> Result<Self, Error> {
        if list.is_empty() {
            return Err("an empty list replaces nothing".into());
        }
        for (index, Replacement { from, .. }) in list.iter().enumerate() {
            if from.is_empty() || from.len() > MAX_FROM {
                let reason = format!("has {} bytes; 1 to {MAX_FROM} can be found", from.len());
                return Err(Error::at(format!("[{index}].from"), reason));
            }
        }
        Ok(Self(list))
    }
}

/// A text and where it stands next.
struct Search<'a> {
    replacement: &'a Replacement,
    at: Option<usize>,
}

/// Makes the replacements of all these rules in one piece of a body. What comes out does not depend on where
/// the pieces end: what could be part of a text that begins earlier, or goes on in the next piece, waits for it.
pub(crate) fn in_chunk<'a>(
    rules: impl Iterator<Item = &'a Replacements>,
    chunk: &Body,
) -> Result<(), EditError> {
    let search = |replacement: &'a Replacement| {
        let at = chunk.find(&replacement.from, 0);
        Search { replacement, at }
    };
    let mut searches: Vec<_> = rules.flat_map(|rule| &rule.0).map(search).collect();
    let longest = searches.iter().map(|search| search.replacement.from.len()).max().unwrap_or(0);
    let mut length = chunk.len();
    // Everything before is done.
    let mut done = 0;
    let first = |searches: &[Search<'a>]| {
        let found = searches.iter().filter_map(|search| Some((search.at?, search.replacement)));
        // Of several that begin at the same place, the first in the list.
        found.min_by_key(|(at, _)| *at)
    };
    while let Some((at, replacement)) = first(&searches) {
        if !chunk.is_last() && at + longest > length {
            break;
        }
        let Replacement { from, to } = replacement;
        chunk.replace_range(at..at + from.len(), to)?;
        done = at + to.len();
        length = length - from.len() + to.len();
        for search in &mut searches {
            search.at = match search.at {
                Some(next) if next >= at + from.len() => Some(next - from.len() + to.len()),
                Some(_) => chunk.find(&search.replacement.from, done),
                None => None,
            };
        }
    }
    chunk.hold_back((length - done).min(longest.saturating_sub(1)));
    Ok(())
}
