//! The word that was probably meant.

/// The candidate nearest to `word`, if one is near enough to be a slip of the finger, another case,
/// `_` for `-`, or longer or shorter at the end (`warning` for `warn`).
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes the product of both lengths, and no known word is anywhere near this long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('_', "-");
    let slips = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let (shorter, longer) =
                if word.len() < candidate.len() { (&*word, *candidate) } else { (*candidate, &*word) };
            let slip = *distance <= slips && *distance < candidate.chars().count();
            slip || shorter.len() >= 4 && longer.starts_with(shorter)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
